//! Docker's default system call filter, as a program for this machine.
//!
//! The profile is a table (`seccomp/syscalls.txt`): what it lists is allowed, all else fails with `EPERM`.
//! Each architecture that the kernel can run gets a *binary tree* over system call numbers, so that a call
//! costs some ten instructions; a list, as libseccomp emits, costs hundreds, and attaching it ten times as
//! much, since the kernel tries every number when it attaches a filter.

mod rule;
mod table;
mod tree;

use rbuild_sys::seccomp::Instruction;

use crate::role::Rung;
use crate::spec::Security;
use rule::Action;
use table::{Abi, Row};
use tree::{Segment, emit, return_action, segments};

/// `AUDIT_ARCH_*` values. Source: linux/audit.h.
const X86_64: u32 = 0xc000_003e;
const I386: u32 = 0x4000_0003;
const AARCH64: u32 = 0xc000_00b7;
const ARM: u32 = 0x4000_0028;

/// Marks a number as one of the x32 ABI, which shares its architecture value with x86_64.
const X32_BIT: u32 = 0x4000_0000;

/// Offset of `arch` in `struct seccomp_data`.
const ARCH: u32 = 4;
/// Offset of `nr`.
const NUMBER: u32 = 0;

/// The filters that a nursery's steps need, built once.
#[derive(Debug)]
pub(crate) struct Filters {
    sandbox: Vec<Instruction>,
    insecure: Option<Vec<Instruction>>,
}

impl Filters {
    /// Builds the filters for a nursery with these rights.
    pub(crate) fn new(rung: Rung) -> Self {
        let rows = table::rows();
        let owner = match rung {
            // With one id no other owner exists: answering yes lets package managers go on.
            Rung::SingleId => Action::Pretend,
            Rung::Root | Rung::Subordinate => Action::Allow,
        };
        Self {
            sandbox: program(&rows, owner, Action::Refuse),
            insecure: (owner == Action::Pretend).then(|| {
                let owners: Vec<Row> = rows
                    .iter()
                    .filter(|row| row.rule == table::Rule::Owner)
                    .cloned()
                    .collect();
                program(&owners, owner, Action::Allow)
            }),
        }
    }

    /// Returns the filter for a step, if there is to be one.
    pub(crate) fn program(&self, security: Security) -> Option<&[Instruction]> {
        match security {
            Security::Sandbox => Some(&self.sandbox),
            Security::Insecure => self.insecure.as_deref(),
        }
    }
}

/// Returns the architectures of this machine, its own first.
fn architectures() -> [(u32, &'static [(Abi, u32)]); 2] {
    if cfg!(target_arch = "aarch64") {
        [(AARCH64, &[(Abi::Aarch64, 0)]), (ARM, &[(Abi::Arm, 0)])]
    } else {
        [
            (X86_64, &[(Abi::X86_64, 0), (Abi::X32, X32_BIT)]),
            (I386, &[(Abi::I386, 0)]),
        ]
    }
}

/// Builds a program: a test of the architecture, then that architecture's tree.
fn program(rows: &[Row], owner: Action, otherwise: Action) -> Vec<Instruction> {
    let mut program = vec![tree::load(ARCH)];
    for (arch, abis) in architectures() {
        let mut body = vec![tree::load(NUMBER)];
        body.extend(emit(&segments_of(rows, abis, owner, otherwise)));
        program.extend(tree::unless_equal_skip(arch, body.len()));
        program.extend(body);
    }
    // No other architecture can run here; if one could, its numbers would mean other calls.
    program.extend(return_action(Action::Kill));
    program
}

/// Returns the segments of one architecture's number space.
fn segments_of(
    rows: &[Row],
    abis: &[(Abi, u32)],
    owner: Action,
    otherwise: Action,
) -> Vec<Segment> {
    let listed = abis.iter().flat_map(|(abi, offset)| {
        rows.iter().filter_map(move |row| {
            let number = row.number(*abi)?;
            Some((number + offset, rule::action(row.rule, owner)))
        })
    });
    segments(listed.collect(), otherwise)
}

#[cfg(test)]
mod tests;
