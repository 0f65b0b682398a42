use super::rule::{AF_VSOCK, NAMESPACE_FLAGS, PERSONALITIES};
use super::table::Rule;
use super::*;

/// Runs a program on one call, as the kernel would, and returns its answer and how many instructions it took.
fn answer(program: &[Instruction], arch: u32, number: u32, argument: u64) -> (u32, usize) {
    let mut at = 0;
    let mut word = 0;
    for count in 1..=program.len() {
        let step = program[at];
        let jump = |holds: bool| usize::from(if holds { step.jt } else { step.jf });
        at += 1;
        match step.code {
            0x20 => {
                word = match step.k {
                    0 => number,
                    4 => arch,
                    16 => argument as u32,
                    20 => (argument >> 32) as u32,
                    other => panic!("load of {other}"),
                }
            }
            0x05 => at += step.k as usize,
            0x15 => at += jump(word == step.k),
            0x35 => at += jump(word >= step.k),
            0x45 => at += jump(word & step.k != 0),
            0x06 => return (step.k, count),
            other => panic!("instruction {other}"),
        }
    }
    panic!("no answer");
}

const ALLOW: u32 = 0x7fff_0000;
const EPERM: u32 = 0x0005_0001;
const ENOSYS: u32 = 0x0005_0026;
const PRETEND: u32 = 0x0005_0000;
const KILL: u32 = 0x8000_0000;

fn expected(rule: Rule, owner: u32) -> u32 {
    match rule {
        Rule::Allow | Rule::Clone | Rule::Personality | Rule::Socket => ALLOW,
        Rule::Owner => owner,
        Rule::Clone3 => ENOSYS,
    }
}

#[test]
fn every_number_gets_the_answer_of_its_row() {
    for (rung, owner) in [(Rung::Root, ALLOW), (Rung::SingleId, PRETEND)] {
        let filters = Filters::new(rung);
        let program = filters.program(Security::Sandbox).unwrap();
        for (arch, abis) in architectures() {
            let mut wanted = std::collections::BTreeMap::new();
            for (abi, offset) in abis {
                for row in table::rows() {
                    if let Some(number) = row.number(*abi) {
                        wanted.insert(number + offset, expected(row.rule, owner));
                    }
                }
            }
            for number in (0..1200)
                .chain(X32_BIT..X32_BIT + 1200)
                .chain(0xf_0000..0xf_0010)
            {
                let want = wanted.get(&number).copied().unwrap_or(EPERM);
                let (got, count) = answer(program, arch, number, 0);
                assert_eq!(got, want, "{arch:#x} {number}");
                assert!(count < 40, "{count} instructions for {number}");
            }
            assert_eq!(answer(program, arch, u32::MAX, 0).0, EPERM);
        }
    }
}

#[test]
fn program_fits_and_kills_foreign_architectures() {
    let filters = Filters::new(Rung::Root);
    let program = filters.program(Security::Sandbox).unwrap();
    assert!(program.len() < 4096, "{}", program.len());
    // s390x
    assert_eq!(answer(program, 0x8000_0016, 1, 0).0, KILL);
}

#[test]
fn arguments_decide_where_the_rule_says_so() {
    let filters = Filters::new(Rung::Root);
    let program = filters.program(Security::Sandbox).unwrap();
    let (arch, abis) = architectures()[0];
    let number = |rule| {
        let rows = table::rows();
        let row = rows.iter().find(|row| row.rule == rule).unwrap();
        row.number(abis[0].0).unwrap()
    };
    let ask = |rule, argument| answer(program, arch, number(rule), argument).0;
    for bit in 0..32 {
        let flag = 1_u32 << bit;
        let want = if flag & NAMESPACE_FLAGS == 0 {
            ALLOW
        } else {
            EPERM
        };
        assert_eq!(ask(Rule::Clone, flag.into()), want, "clone flag {flag:#x}");
    }
    for personality in PERSONALITIES {
        assert_eq!(ask(Rule::Personality, personality.into()), ALLOW);
        assert_eq!(
            ask(Rule::Personality, u64::from(personality) | 1 << 32),
            EPERM
        );
    }
    assert_eq!(ask(Rule::Personality, 0x4_0000), EPERM, "no ASLR");
    assert_eq!(ask(Rule::Socket, 2), ALLOW);
    assert_eq!(ask(Rule::Socket, AF_VSOCK.into()), EPERM);
    assert_eq!(ask(Rule::Socket, u64::from(AF_VSOCK) | 1 << 32), EPERM);
    assert_eq!(ask(Rule::Clone3, 0), ENOSYS);
}

#[test]
fn insecure_steps_are_filtered_only_where_ids_are_pretended() {
    assert!(
        Filters::new(Rung::Root)
            .program(Security::Insecure)
            .is_none()
    );
    let filters = Filters::new(Rung::SingleId);
    let program = filters.program(Security::Insecure).unwrap();
    let (arch, abis) = architectures()[0];
    for row in table::rows() {
        let Some(number) = row.number(abis[0].0) else {
            continue;
        };
        let want = if row.rule == Rule::Owner {
            PRETEND
        } else {
            ALLOW
        };
        assert_eq!(
            answer(program, arch, number, u64::MAX).0,
            want,
            "{}",
            row.name
        );
    }
}
