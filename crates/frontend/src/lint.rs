//! Rules of good style that need values of variables, images or the ignore file, one file for each
//! subject. Those that an instruction's own lowering sees in passing stay with it.

pub(crate) mod global_arg;
pub(crate) mod heredoc;
pub(crate) mod ignored;
pub(crate) mod one_file;
pub(crate) mod owner;
pub(crate) mod platform;
pub(crate) mod secret;
pub(crate) mod unset;
