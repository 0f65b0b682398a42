//! The real program, started as a person would start it, in a directory and a store of its own.

mod add_git;
mod add_git_ssh;
mod add_url;
mod bad_input;
mod context;
mod context_elsewhere;
mod first_image;
mod host;
mod interrupt;
mod judges;
mod kill;
mod layout;
mod lazy;
mod leftovers;
mod mounts;
mod names;
mod output;
mod place;
mod platforms;
mod proxies;
mod pull;
mod reproducible;
mod rootless;
mod steps;
mod terminal;
mod together;
