//! Resource limits by Docker's names.

use rustix::process::{Resource, Rlimit, setrlimit};

use crate::failure::{During, setup};
use crate::spec::Ulimit;
use crate::wire::Failure;

const STAGE: &str = "set resource limit";

/// Sets the limits of the calling process.
pub(crate) fn set(limits: &[Ulimit]) -> Result<(), Failure> {
    for limit in limits {
        let resource = resource(&limit.name)
            .ok_or_else(|| setup(STAGE, format!("{}: no such resource", limit.name)))?;
        let value = Rlimit {
            current: bound(limit.soft),
            maximum: bound(limit.hard),
        };
        setrlimit(resource, value).during(
            STAGE,
            format!("{}={}:{}", limit.name, limit.soft, limit.hard),
        )?;
    }
    Ok(())
}

/// Reads a bound; a negative one is unlimited.
fn bound(value: i64) -> Option<u64> {
    u64::try_from(value).ok()
}

/// Returns the resource of a name.
fn resource(name: &str) -> Option<Resource> {
    Some(match name {
        "as" => Resource::As,
        "core" => Resource::Core,
        "cpu" => Resource::Cpu,
        "data" => Resource::Data,
        "fsize" => Resource::Fsize,
        "locks" => Resource::Locks,
        "memlock" => Resource::Memlock,
        "msgqueue" => Resource::Msgqueue,
        "nice" => Resource::Nice,
        "nofile" => Resource::Nofile,
        "nproc" => Resource::Nproc,
        "rss" => Resource::Rss,
        "rtprio" => Resource::Rtprio,
        "rttime" => Resource::Rttime,
        "sigpending" => Resource::Sigpending,
        "stack" => Resource::Stack,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn negative_is_unlimited() {
        assert_eq!(bound(-1), None);
        assert_eq!(bound(7), Some(7));
    }

    #[test]
    fn unknown_resources_are_named() {
        let limit = Ulimit {
            name: "magic".into(),
            soft: 1,
            hard: 1,
        };
        match set(&[limit]) {
            Err(Failure::Setup { detail, .. }) => assert_eq!(detail, "magic: no such resource"),
            other => panic!("{other:?}"),
        }
    }
}
