//! What a test may do here, and the rule that a skip never passes for a pass.

use std::env;
use std::fs;

/// Something a test needs that not every machine or user has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Privilege {
    /// The test runs as root with the right to mount.
    Root,
    /// The kernel lets an ordinary user make a user namespace.
    UserNamespaces,
}

/// Tells whether the test may go on.
///
/// If not, prints why on standard error and returns false, so that the test returns early. With
/// `RBUILD_REQUIRE_PRIVILEGED=1` in the environment, as in CI, it panics instead.
///
/// ```no_run
/// use rbuild_testkit::{Privilege, granted};
/// if !granted(Privilege::Root) {
///     return;
/// }
/// ```
pub fn granted(what: Privilege) -> bool {
    let Err(reason) = probe(what) else {
        return true;
    };
    let required = env::var("RBUILD_REQUIRE_PRIVILEGED").is_ok_and(|value| value == "1");
    assert!(
        !required,
        "RBUILD_REQUIRE_PRIVILEGED=1, but {what:?} is not to be had: {reason}"
    );
    eprintln!("skipped: needs {what:?}: {reason}");
    false
}

fn probe(what: Privilege) -> Result<(), String> {
    match what {
        Privilege::Root => root(),
        Privilege::UserNamespaces => user_namespaces(),
    }
}

/// Root alone is not enough: a container's root often lacks CAP_SYS_ADMIN (bit 21).
fn root() -> Result<(), String> {
    if !rustix::process::geteuid().is_root() {
        return Err("not running as root".to_owned());
    }
    let status = fs::read_to_string("/proc/self/status").map_err(|error| error.to_string())?;
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .unwrap_or(0);
    if effective & (1 << 21) == 0 {
        return Err("root without CAP_SYS_ADMIN".to_owned());
    }
    Ok(())
}

fn user_namespaces() -> Result<(), String> {
    for (file, refused) in [
        ("/proc/sys/user/max_user_namespaces", "0"),
        ("/proc/sys/kernel/unprivileged_userns_clone", "0"),
    ] {
        if fs::read_to_string(file).is_ok_and(|value| value.trim() == refused) {
            return Err(format!("{file} is {refused}"));
        }
    }
    Ok(())
}
