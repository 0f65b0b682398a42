//! Programs that tests and chores call, and the Debian package that brings each.

use std::env;
use std::path::PathBuf;

/// Program and package, sorted by program.
const PACKAGES: &[(&str, &str)] = &[
    ("busybox", "busybox-static"),
    ("c++", "g++"),
    ("debootstrap", "debootstrap"),
    ("docker-registry", "docker-registry"),
    ("git", "git"),
    ("htpasswd", "apache2-utils"),
    ("hyperfine", "hyperfine"),
    ("mmdebstrap", "mmdebstrap"),
    ("newgidmap", "uidmap"),
    ("newuidmap", "uidmap"),
    ("nsenter", "util-linux"),
    ("podman", "podman"),
    ("openssl", "openssl"),
    ("python3", "python3"),
    ("setpriv", "util-linux"),
    ("skopeo", "skopeo"),
    ("ssh-add", "openssh-client"),
    ("ssh-agent", "openssh-client"),
    ("ssh-keygen", "openssh-client"),
    ("sshd", "openssh-server"),
    ("time", "time"),
    ("umoci", "umoci"),
    ("unshare", "util-linux"),
    ("zstd", "zstd"),
];

/// Returns the program's full path if it is installed.
///
/// Looks in `PATH` and then where Debian puts programs for administrators, which an ordinary user's
/// `PATH` leaves out.
pub fn find_tool(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from))
        .map(|dir| dir.join(name))
        .find(|file| file.is_file())
}

/// Returns the Debian package that brings `name`; the name itself where none is recorded.
pub fn package_of(name: &str) -> &str {
    PACKAGES
        .iter()
        .find(|(program, _)| *program == name)
        .map_or(name, |(_, package)| package)
}

/// Returns the program's full path, or panics saying which package to install.
pub fn need_tool(name: &str) -> PathBuf {
    find_tool(name).unwrap_or_else(|| {
        panic!(
            "this test needs `{name}`; install Debian's package `{}` or run `cargo xtask test`",
            package_of(name)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tools_are_found_and_packages_named() {
        assert!(find_tool("sh").is_some());
        assert!(find_tool("no-such-program-anywhere").is_none());
        assert_eq!(package_of("newuidmap"), "uidmap");
        assert_eq!(package_of("tar"), "tar");
    }
}
