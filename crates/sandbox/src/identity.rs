//! From the nursery's rights down to those of the step, in the one order that works.
//!
//! The filter goes in while `CAP_SYS_ADMIN` is there (a filter needs that or no_new_privs, and set-id
//! programs must work); the bounding set shrinks while `CAP_SETPCAP` is there; ids change last, and take the
//! rest of the capabilities along unless they stay 0.

use rbuild_sys::seccomp;
use rustix::io::Errno;
use rustix::process::{Gid, Uid};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities, set_no_new_privs, set_thread_groups,
    set_thread_res_gid, set_thread_res_uid,
};

use crate::failure::During;
use crate::role::Rung;
use crate::seccomp::Filters;
use crate::spec::{Security, StepSpec};
use crate::user::Identity;
use crate::wire::Failure;

/// What a container gets by default: mask 00000000a80425fb. Source: containerd's default OCI spec.
pub(crate) const DEFAULT_CAPABILITIES: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SETPCAP)
    .union(CapabilitySet::NET_BIND_SERVICE)
    .union(CapabilitySet::NET_RAW)
    .union(CapabilitySet::SYS_CHROOT)
    .union(CapabilitySet::MKNOD)
    .union(CapabilitySet::AUDIT_WRITE)
    .union(CapabilitySet::SETFCAP);

/// Gives up everything the step must not have.
pub(crate) fn assume(
    spec: &StepSpec,
    rung: Rung,
    identity: &Identity,
    filters: &Filters,
) -> Result<(), Failure> {
    if spec.no_new_privileges {
        set_no_new_privs(true).during("set no_new_privs", "process")?;
    }
    if let Some(program) = filters.program(spec.security) {
        seccomp::install(program).during("install seccomp filter", "process")?;
    }
    if spec.security == Security::Sandbox {
        shrink_bounding_set()?;
    }
    clear_ambient_capability_set().during("clear ambient capabilities", "process")?;
    // With one id there is no other to change to; the step is root there and its files are root's.
    if rung != Rung::SingleId {
        change_ids(identity)?;
    }
    keep_default_capabilities(spec.security)
}

/// Removes everything but the default from the bounding set, unknown future capabilities included.
fn shrink_bounding_set() -> Result<(), Failure> {
    for bit in 0..64 {
        let capability = CapabilitySet::from_bits_retain(1 << bit);
        if DEFAULT_CAPABILITIES.contains(capability) {
            continue;
        }
        match remove_capability_from_bounding_set(capability) {
            Ok(()) => {}
            // Past the last one this kernel knows.
            Err(Errno::INVAL) => return Ok(()),
            Err(error) => return Err(error).during("drop capabilities", format!("number {bit}")),
        }
    }
    Ok(())
}

/// Changes groups, then group, then user: afterwards there is no right to.
fn change_ids(identity: &Identity) -> Result<(), Failure> {
    const STAGE: &str = "change user";
    let groups: Vec<Gid> = identity.groups.iter().copied().map(Gid::from_raw).collect();
    set_thread_groups(&groups).during(STAGE, format!("groups {:?}", identity.groups))?;
    let gid = Gid::from_raw(identity.gid);
    set_thread_res_gid(gid, gid, gid).during(STAGE, format!("group {}", identity.gid))?;
    let uid = Uid::from_raw(identity.uid);
    set_thread_res_uid(uid, uid, uid).during(STAGE, format!("user {}", identity.uid))
}

/// Leaves the default capabilities to a root that has them, nothing inheritable (CVE-2022-29162).
fn keep_default_capabilities(security: Security) -> Result<(), Failure> {
    const STAGE: &str = "set capabilities";
    let have = capabilities(None).during(STAGE, "read")?;
    let limit = match security {
        Security::Sandbox => DEFAULT_CAPABILITIES,
        Security::Insecure => CapabilitySet::all(),
    };
    let keep = have.permitted & limit;
    let sets = CapabilitySets {
        effective: keep,
        permitted: keep,
        inheritable: CapabilitySet::empty(),
    };
    set_capabilities(None, sets).during(STAGE, "write")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_capabilities_are_the_fourteen_of_docker() {
        assert_eq!(DEFAULT_CAPABILITIES.bits(), 0xa804_25fb);
    }
}
