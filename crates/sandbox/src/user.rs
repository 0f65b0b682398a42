//! `USER` against the image's own `/etc/passwd` and `/etc/group`.
//!
//! The rules and the error texts are those of Docker's runtime (moby/sys/user, as BuildKit calls it). Pure:
//! the files come as bytes, read by `place::read_small`.

use crate::wire::Failure;

/// Largest id that the runtime accepts.
const MAX_ID: i64 = (1 << 31) - 1;

/// As whom a program runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    /// User id.
    pub(crate) uid: u32,
    /// Group id.
    pub(crate) gid: u32,
    /// Supplementary groups; the primary one is among them.
    pub(crate) groups: Vec<u32>,
    /// Home directory of the user id; `/` if unknown.
    pub(crate) home: String,
}

/// The image's user files; an absent one is empty, an unusable one says why.
pub(crate) struct Database {
    /// `/etc/passwd`.
    pub(crate) passwd: Result<Vec<u8>, String>,
    /// `/etc/group`.
    pub(crate) group: Result<Vec<u8>, String>,
}

/// One line of `/etc/passwd`.
struct User {
    name: String,
    uid: i64,
    gid: i64,
    home: String,
}

/// One line of `/etc/group`.
struct Group {
    name: String,
    gid: i64,
    members: Vec<String>,
}

impl Database {
    /// Resolves `user[:group]`.
    ///
    /// Both as numbers: taken as they are, no supplementary groups. Otherwise looked up; a number that is not
    /// found stands for itself (its group is 0), a name that is not found is an error. Supplementary groups
    /// come from `/etc/group` when no group is named.
    pub(crate) fn resolve(&self, user: &str) -> Result<Identity, Failure> {
        let (uid, gid, groups) = self.ids(user)?;
        let mut groups = groups;
        // As since CVE-2023-25173: without it a group that is denied could be left.
        if !groups.contains(&gid) {
            groups.insert(0, gid);
        }
        Ok(Identity {
            uid,
            gid,
            groups,
            home: self.home(uid),
        })
    }

    /// Returns user, group and supplementary groups.
    fn ids(&self, spec: &str) -> Result<(u32, u32, Vec<u32>), Failure> {
        let (user_part, group_part) = spec.split_once(':').unwrap_or((spec, ""));
        if let (Some(uid), Some(gid)) = (small(user_part), small(group_part)) {
            return Ok((uid, gid, Vec::new()));
        }
        // Nothing asked for: root, whether or not the image knows him.
        let user_part = if spec.is_empty() { "0" } else { user_part };
        let number = user_part.parse::<i64>().ok();
        let found = self.find_user(user_part, number)?;
        let (uid, mut gid, name) = match (found, number) {
            (Some(user), _) => (user.uid, user.gid, user.name),
            (None, Some(uid)) => (uid, 0, String::new()),
            (None, None) if user_part.is_empty() => (0, 0, String::new()),
            (None, None) => {
                return Err(unable(user_part, "no matching entries in passwd file"));
            }
        };
        let mut groups = Vec::new();
        if group_part.is_empty() {
            if !name.is_empty() {
                groups = self.groups_of(&name);
            }
        } else {
            gid = self.find_group(group_part)?;
        }
        Ok((in_range(uid)?, in_range(gid)?, groups))
    }

    /// Finds a user by number or name; an empty user (`:group`) is number 0.
    fn find_user(&self, part: &str, number: Option<i64>) -> Result<Option<User>, Failure> {
        let text = match &self.passwd {
            Ok(text) => text,
            // A number stands for itself.
            Err(_) if number.is_some() => return Ok(None),
            Err(reason) => return Err(unable(part, reason)),
        };
        let wanted = if part.is_empty() { Some(0) } else { number };
        Ok(users(text).find(|user| match wanted {
            Some(uid) => user.uid == uid,
            None => user.name == part,
        }))
    }

    /// Finds a group by number or name.
    fn find_group(&self, part: &str) -> Result<i64, Failure> {
        let number = part.parse::<i64>().ok();
        let unable = |reason: &str| Failure::User(format!("unable to find group {part}: {reason}"));
        let found = match (&self.group, number) {
            (Ok(text), Some(gid)) => groups(text).find(|group| group.gid == gid),
            (Ok(text), None) => groups(text).find(|group| group.name == part),
            (Err(_), Some(_)) => None,
            (Err(reason), None) => return Err(unable(reason)),
        };
        found
            .map(|group| group.gid)
            .or(number)
            .ok_or_else(|| unable("no matching entries in group file"))
    }

    /// Returns the groups that list a user.
    fn groups_of(&self, name: &str) -> Vec<u32> {
        let Ok(text) = &self.group else {
            return Vec::new();
        };
        groups(text)
            .filter(|group| group.members.iter().any(|member| member == name))
            .filter_map(|group| in_range(group.gid).ok())
            .collect()
    }

    /// Returns the home of the first user with this id.
    fn home(&self, uid: u32) -> String {
        let text = self.passwd.as_deref().unwrap_or_default();
        users(text)
            .find(|user| user.uid == i64::from(uid))
            .map(|user| user.home)
            .filter(|home| !home.is_empty())
            .unwrap_or_else(|| "/".to_owned())
    }
}

/// Error for a user that cannot be found.
fn unable(user: &str, reason: &str) -> Failure {
    Failure::User(format!("unable to find user {user}: {reason}"))
}

/// Reads a number as the fast path does: 32 bits, no sign.
fn small(text: &str) -> Option<u32> {
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok())?
}

/// Checks an id's range.
fn in_range(id: i64) -> Result<u32, Failure> {
    let outside = || Failure::User(format!("uids and gids must be in range 0-{MAX_ID}"));
    match u32::try_from(id) {
        Ok(small) if id <= MAX_ID => Ok(small),
        _ => Err(outside()),
    }
}

/// Splits a file into its lines' fields, blank lines left out.
fn records(text: &[u8]) -> impl Iterator<Item = Vec<String>> + '_ {
    text.split(|byte| *byte == b'\n')
        .map(String::from_utf8_lossy)
        .filter(|line| !line.trim().is_empty())
        .map(|line| line.trim().split(':').map(str::to_owned).collect())
}

/// Returns a field, empty if the line is too short.
fn field(fields: &[String], index: usize) -> &str {
    fields.get(index).map_or("", String::as_str)
}

/// Returns a numeric field; what is no number counts as 0, as in the runtime.
fn number(fields: &[String], index: usize) -> i64 {
    field(fields, index).parse().unwrap_or(0)
}

/// Reads `/etc/passwd`.
fn users(text: &[u8]) -> impl Iterator<Item = User> + '_ {
    records(text).map(|fields| User {
        name: field(&fields, 0).to_owned(),
        uid: number(&fields, 2),
        gid: number(&fields, 3),
        home: field(&fields, 5).to_owned(),
    })
}

/// Reads `/etc/group`.
fn groups(text: &[u8]) -> impl Iterator<Item = Group> + '_ {
    records(text).map(|fields| Group {
        name: field(&fields, 0).to_owned(),
        gid: number(&fields, 2),
        members: field(&fields, 3).split(',').map(str::to_owned).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n\nbuild:x:1000:1001::/home/build:/bin/sh\n7:x:70:71::/seven:\nodd\n";
    const GROUP: &str = "root:x:0:\nwheel:x:10:root,build\nbuild:x:1001:\nvideo:x:44:build\n";

    fn show(database: &Database, user: &str) -> String {
        match database.resolve(user) {
            Ok(id) => {
                let groups: Vec<String> = id.groups.iter().map(u32::to_string).collect();
                format!("{}:{} [{}] {}", id.uid, id.gid, groups.join(","), id.home)
            }
            Err(Failure::User(text)) => text,
            Err(other) => format!("{other:?}"),
        }
    }

    fn full() -> Database {
        Database {
            passwd: Ok(PASSWD.into()),
            group: Ok(GROUP.into()),
        }
    }

    #[test]
    fn user_is_resolved_as_docker_does() {
        let cases = [
            ("", "0:0 [0,10] /root"),
            ("root", "0:0 [0,10] /root"),
            ("build", "1000:1001 [1001,10,44] /home/build"),
            ("1000", "1000:1001 [1001,10,44] /home/build"),
            ("1000:1001", "1000:1001 [1001] /home/build"),
            ("build:wheel", "1000:10 [10] /home/build"),
            ("build:44", "1000:44 [44] /home/build"),
            ("build:4444", "1000:4444 [4444] /home/build"),
            ("12345", "12345:0 [0] /"),
            ("12345:12", "12345:12 [12] /"),
            // A name of digits is a number.
            ("7", "7:0 [0] /"),
            (":wheel", "0:10 [10] /root"),
            (
                "nobodyx",
                "unable to find user nobodyx: no matching entries in passwd file",
            ),
            (
                "build:none",
                "unable to find group none: no matching entries in group file",
            ),
            ("-1", "uids and gids must be in range 0-2147483647"),
            ("4294967295", "uids and gids must be in range 0-2147483647"),
        ];
        for (user, expected) in cases {
            assert_eq!(show(&full(), user), expected, "USER {user}");
        }
    }

    #[test]
    fn without_files_only_numbers_work() {
        let empty = Database {
            passwd: Ok(Vec::new()),
            group: Ok(Vec::new()),
        };
        assert_eq!(show(&empty, ""), "0:0 [0] /");
        assert_eq!(show(&empty, "5"), "5:0 [0] /");
        assert_eq!(
            show(&empty, "build"),
            "unable to find user build: no matching entries in passwd file"
        );
    }

    #[test]
    fn unusable_files_matter_only_to_names() {
        let broken = Database {
            passwd: Err("/etc/passwd is not a regular file".into()),
            group: Err("/etc/group is too long".into()),
        };
        assert_eq!(show(&broken, ""), "0:0 [0] /");
        assert_eq!(show(&broken, "5:6"), "5:6 [6] /");
        assert_eq!(
            show(&broken, "build"),
            "unable to find user build: /etc/passwd is not a regular file"
        );
        assert_eq!(
            show(&broken, "5:video"),
            "unable to find group video: /etc/group is too long"
        );
    }
}
