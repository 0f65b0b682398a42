//! The profile's table.

/// One system call of the table.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// Its name.
    #[cfg_attr(not(test), allow(dead_code, reason = "named for readers and tests"))]
    pub(crate) name: &'static str,
    /// Under which condition it is allowed.
    pub(crate) rule: Rule,
    numbers: [Option<u32>; 5],
}

/// Under which condition a call is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    /// Always.
    Allow,
    /// Always, and without effect where there is one id only.
    Owner,
    /// Without flags that make namespaces.
    Clone,
    /// Never, but as if the kernel did not know it: its flags lie in memory, where no filter sees them.
    Clone3,
    /// For the personalities that programs use.
    Personality,
    /// For all families but one.
    Socket,
}

/// A table of system call numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Abi {
    X86_64,
    X32,
    I386,
    Aarch64,
    Arm,
}

impl Row {
    /// Returns the call's number, if the ABI has it.
    pub(crate) fn number(&self, abi: Abi) -> Option<u32> {
        let column = match abi {
            Abi::X86_64 => 0,
            Abi::X32 => 1,
            Abi::I386 => 2,
            Abi::Aarch64 => 3,
            Abi::Arm => 4,
        };
        self.numbers.get(column).copied().flatten()
    }

    /// Reads one line; `None` for a comment or a malformed one (a test reads them all).
    fn parse(line: &'static str) -> Option<Self> {
        let mut fields = line.split_whitespace();
        let name = fields.next().filter(|name| !name.starts_with('#'))?;
        let rule = match fields.next()? {
            "allow" => Rule::Allow,
            "owner" => Rule::Owner,
            "clone" => Rule::Clone,
            "clone3" => Rule::Clone3,
            "personality" => Rule::Personality,
            "socket" => Rule::Socket,
            _ => return None,
        };
        let mut numbers = [None; 5];
        for slot in &mut numbers {
            *slot = match fields.next()? {
                "-" => None,
                number => Some(number.parse().ok()?),
            };
        }
        Some(Self {
            name,
            rule,
            numbers,
        })
    }
}

/// The table's text.
const TEXT: &str = include_str!("syscalls.txt");

/// Returns all rows.
pub(crate) fn rows() -> Vec<Row> {
    TEXT.lines().filter_map(Row::parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_read() {
        let lines = TEXT
            .lines()
            .filter(|line| !line.starts_with('#') && !line.is_empty())
            .count();
        assert_eq!(rows().len(), lines);
        assert!(lines > 300);
    }

    #[test]
    fn names_are_sorted_and_unique() {
        let names: Vec<&str> = rows()
            .iter()
            .map(|row| row.name.trim_start_matches('_'))
            .collect();
        assert!(names.windows(2).all(|pair| pair[0] < pair[1]));
    }

    /// The kernel's headers on this machine are another source for the same numbers.
    #[test]
    fn own_numbers_agree_with_the_c_library() {
        let abi = match cfg!(target_arch = "aarch64") {
            true => Abi::Aarch64,
            false => Abi::X86_64,
        };
        let number = |name: &str| {
            let rows = rows();
            let row = rows.iter().find(|row| row.name == name)?;
            row.number(abi).map(i64::from)
        };
        assert_eq!(number("clone"), Some(libc::SYS_clone));
        assert_eq!(number("clone3"), Some(libc::SYS_clone3));
        assert_eq!(number("execve"), Some(libc::SYS_execve));
        assert_eq!(number("openat2"), Some(libc::SYS_openat2));
        assert_eq!(number("personality"), Some(libc::SYS_personality));
        assert_eq!(number("socket"), Some(libc::SYS_socket));
        assert_eq!(number("fchownat"), Some(libc::SYS_fchownat));
        for absent in [
            "mount",
            "bpf",
            "unshare",
            "io_uring_setup",
            "keyctl",
            "reboot",
        ] {
            assert_eq!(number(absent), None, "{absent}");
        }
    }
}
