//! What the tests of every crate share: temporary directories, trees written from a description and
//! compared as text, a loopback registry, a busybox root file system, random texts by the grammar files,
//! and the finding of tools.
//!
//! It depends on no other crate of this project, so that any of them can use it in its tests and none
//! can be tested through a copy of itself. Being test support, it panics with a readable message where
//! a library would return an error: a broken fixture is a failed test.

mod actions;
mod authority;
mod busybox;
mod command;
pub mod ebnf;
mod generator;
mod git;
mod image;
mod listing;
mod moto;
mod privilege;
mod proxy;
mod registry;
mod served;
mod sshd;
mod stress;
mod temp;
mod tool;
mod tree;
mod web;
mod workspace;

pub use actions::{
    ACTIONS_API_TOKEN, ACTIONS_REPOSITORY, ACTIONS_TOKEN, Actions, ActionsEntry, ActionsFault,
    ActionsState,
};
pub use authority::{Authority, TokenKey};
pub use busybox::{busybox_layout, busybox_rootfs};
pub use command::{Finished, run, run_with_input};
pub use generator::{Dice, Generator, Language, damage};
pub use git::{GitServer, git};
pub use image::{Image, hex, write_layout};
pub use listing::{Listing, assert_same_tree};
pub use moto::Moto;
pub use privilege::{Privilege, granted};
pub use proxy::{ProxyAsked, ProxyServer};
pub use registry::{
    REGISTRY_PASSWORD, REGISTRY_USER, Registry, RegistrySetup, RegistryTls, RegistryTokens,
};
pub use served::Served;
pub use sshd::{Agent, SshServer, make_key};
pub use stress::{StressOptions, StressReport, stress};
pub use temp::TempDir;
pub use tool::{find_tool, need_tool, package_of};
pub use tree::{Node, Tree};
pub use web::{WebAsked, WebLength, WebReply, WebServer};
pub use workspace::{rbuild_binary, repository_root};
