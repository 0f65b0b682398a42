//! What a filter answers, and the rules that look at arguments.

use super::table::Rule;

/// What a filter does with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Lets it through.
    Allow,
    /// Fails it with `EPERM`.
    Refuse,
    /// Fails it with `ENOSYS`, as a kernel that does not know it.
    Unknown,
    /// Answers 0 without doing it.
    Pretend,
    /// Kills the process.
    Kill,
    /// `clone`: allowed unless it makes namespaces.
    CheckClone,
    /// `personality`: allowed for those in [`PERSONALITIES`].
    CheckPersonality,
    /// `socket`: allowed unless of family [`AF_VSOCK`].
    CheckSocket,
}

/// The namespace flags of clone(2): NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET.
pub(crate) const NAMESPACE_FLAGS: u32 = 0x7e02_0000;
/// Linux, BSD-like; either with UNAME26; and the query.
pub(crate) const PERSONALITIES: [u32; 5] = [0, 8, 0x2_0000, 0x2_0008, 0xffff_ffff];
/// Sockets of a hypervisor's guest reach the host past any network namespace.
pub(crate) const AF_VSOCK: u32 = 40;

/// Returns the action for a rule; `owner` is the one for calls that change owners and ids.
pub(crate) fn action(rule: Rule, owner: Action) -> Action {
    match rule {
        Rule::Allow => Action::Allow,
        Rule::Owner => owner,
        Rule::Clone => Action::CheckClone,
        Rule::Clone3 => Action::Unknown,
        Rule::Personality => Action::CheckPersonality,
        Rule::Socket => Action::CheckSocket,
    }
}
