//! From numbers and actions to a classic BPF program.
//!
//! The number space is cut into segments of one action each; a binary tree of comparisons leads to the
//! segment that holds a number. Source: seccomp(2), linux/bpf_common.h.

use std::collections::BTreeMap;

use rbuild_sys::seccomp::Instruction;

use super::rule::{AF_VSOCK, Action, NAMESPACE_FLAGS, PERSONALITIES};

/// BPF_LD | BPF_W | BPF_ABS.
const LOAD: u16 = 0x20;
/// BPF_JMP | BPF_JA.
const JUMP: u16 = 0x05;
/// BPF_JMP | BPF_JEQ | BPF_K.
const JUMP_IF_EQUAL: u16 = 0x15;
/// BPF_JMP | BPF_JGE | BPF_K.
const JUMP_IF_NOT_BELOW: u16 = 0x35;
/// BPF_JMP | BPF_JSET | BPF_K.
const JUMP_IF_ANY_BIT: u16 = 0x45;
/// BPF_RET | BPF_K.
const RETURN: u16 = 0x06;

const RETURN_KILL: u32 = 0x8000_0000;
const RETURN_ERRNO: u32 = 0x0005_0000;
const RETURN_ALLOW: u32 = 0x7fff_0000;

const EPERM: u32 = 1;
const ENOSYS: u32 = 38;

/// Offset of the low half of argument 0 in `struct seccomp_data`, on little-endian machines.
const ARGUMENT: u32 = 16;
/// Offset of its high half.
const ARGUMENT_HIGH: u32 = 20;

/// Numbers from `start` up to the next segment's have this action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    /// First number.
    pub(crate) start: u32,
    /// What happens to them.
    pub(crate) action: Action,
}

/// Cuts the number space: listed numbers have their action, all others `otherwise`.
///
/// The result starts at 0, is sorted, and no two neighbours are equal.
pub(crate) fn segments(listed: BTreeMap<u32, Action>, otherwise: Action) -> Vec<Segment> {
    let mut segments: Vec<Segment> = Vec::new();
    let mut put = |start, action| {
        if segments
            .last()
            .is_none_or(|last: &Segment| last.action != action)
        {
            segments.push(Segment { start, action });
        }
    };
    let mut next = 0;
    for (number, action) in listed {
        if number > next {
            put(next, otherwise);
        }
        put(number, action);
        next = number + 1;
    }
    put(next, otherwise);
    segments
}

/// Returns an instruction without jumps.
fn plain(code: u16, k: u32) -> Instruction {
    Instruction {
        code,
        jt: 0,
        jf: 0,
        k,
    }
}

/// Loads a word of `struct seccomp_data`.
pub(crate) fn load(offset: u32) -> Instruction {
    plain(LOAD, offset)
}

/// Skips `length` instructions unless the loaded word is `value`.
pub(crate) fn unless_equal_skip(value: u32, length: usize) -> [Instruction; 2] {
    [
        Instruction {
            code: JUMP_IF_EQUAL,
            jt: 1,
            jf: 0,
            k: value,
        },
        // A program has at most 4096 instructions.
        plain(JUMP, u32::try_from(length).unwrap_or(u32::MAX)),
    ]
}

/// Emits the tree for segments; the number is loaded.
pub(crate) fn emit(segments: &[Segment]) -> Vec<Instruction> {
    let [first, rest @ ..] = segments else {
        return return_action(Action::Refuse);
    };
    if rest.is_empty() {
        return return_action(first.action);
    }
    let (low, high) = segments.split_at(segments.len() / 2);
    let Some(middle) = high.first() else {
        return return_action(first.action);
    };
    let below = emit(low);
    let mut program = match u8::try_from(below.len()) {
        Ok(near) => vec![Instruction {
            code: JUMP_IF_NOT_BELOW,
            jt: near,
            jf: 0,
            k: middle.start,
        }],
        // Conditional jumps reach 255 instructions.
        Err(_) => vec![
            Instruction {
                code: JUMP_IF_NOT_BELOW,
                jt: 0,
                jf: 1,
                k: middle.start,
            },
            plain(JUMP, u32::try_from(below.len()).unwrap_or(u32::MAX)),
        ],
    };
    program.extend(below);
    program.extend(emit(high));
    program
}

/// Emits the end of a branch.
pub(crate) fn return_action(action: Action) -> Vec<Instruction> {
    let errno = |number| vec![plain(RETURN, RETURN_ERRNO | number)];
    let allow = plain(RETURN, RETURN_ALLOW);
    let refuse = plain(RETURN, RETURN_ERRNO | EPERM);
    let test = |code, k, jt, jf| Instruction { code, jt, jf, k };
    match action {
        Action::Allow => vec![allow],
        Action::Refuse => vec![refuse],
        Action::Unknown => errno(ENOSYS),
        Action::Pretend => errno(0),
        Action::Kill => vec![plain(RETURN, RETURN_KILL)],
        Action::CheckClone => vec![
            load(ARGUMENT),
            test(JUMP_IF_ANY_BIT, NAMESPACE_FLAGS, 1, 0),
            allow,
            refuse,
        ],
        // The kernel reads the family as 32 bits, so the high half must not make a difference.
        Action::CheckSocket => vec![
            load(ARGUMENT),
            test(JUMP_IF_EQUAL, AF_VSOCK, 1, 0),
            allow,
            refuse,
        ],
        Action::CheckPersonality => {
            let mut program = vec![load(ARGUMENT_HIGH), test(JUMP_IF_EQUAL, 0, 1, 0), refuse];
            program.push(load(ARGUMENT));
            for personality in PERSONALITIES {
                program.extend([test(JUMP_IF_EQUAL, personality, 0, 1), allow]);
            }
            program.push(refuse);
            program
        }
    }
}
