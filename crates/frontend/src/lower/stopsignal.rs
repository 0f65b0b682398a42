//! STOPSIGNAL: checked, and stored as it was written.

use rbuild_dockerfile::instruction::StopsignalInstruction;

use super::Outcome;
use super::stage::StageCx;
use crate::stage::Command;
use crate::{Code, Diagnostic};

/// The signals of Linux by name, without the real-time ones.
///
/// Source: signal(7).
const NAMES: [&str; 36] = [
    "ABRT", "ALRM", "BUS", "CHLD", "CLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "IOT", "KILL",
    "PIPE", "POLL", "PROF", "PWR", "QUIT", "SEGV", "STKFLT", "STOP", "SYS", "TERM", "TRAP", "TSTP",
    "TTIN", "TTOU", "URG", "USR1", "USR2", "VTALRM", "WINCH", "XCPU", "XFSZ", "RTMIN", "RTMAX",
];

pub(super) fn lower(
    stage: &mut StageCx<'_, '_>,
    command: &Command<'_>,
    signal: &StopsignalInstruction,
) -> Outcome {
    let signal = stage.expand(&signal.signal, command)?;
    if !is_signal(&signal) {
        let message = format!("invalid signal: {signal}");
        return Err(Diagnostic::error(
            Code::InvalidSignal,
            command.span,
            message,
        ));
    }
    stage.state.note(format!("STOPSIGNAL {signal}"));
    stage.state.run_config().stop_signal = signal;
    Ok(())
}

fn is_signal(text: &str) -> bool {
    if let Ok(number) = text.parse::<i64>() {
        return number != 0;
    }
    let upper = text.to_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    NAMES.contains(&name) || is_real_time(name)
}

/// `RTMIN+1` to `RTMIN+15`, `RTMAX-14` to `RTMAX-1`.
fn is_real_time(name: &str) -> bool {
    let below = |prefix, limit| {
        let offset = name.strip_prefix(prefix)?;
        let plain = !offset.starts_with(['0', '+']);
        Some(plain && offset.parse::<u8>().is_ok_and(|offset| offset <= limit))
    };
    below("RTMIN+", 15)
        .or_else(|| below("RTMAX-", 14))
        .unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::is_signal;

    #[test]
    fn names_numbers_and_real_time_signals() {
        for text in [
            "9",
            "-1",
            "SIGTERM",
            "term",
            "sigRtMin+3",
            "RTMAX-14",
            "RTMIN",
            "SIGIOT",
        ] {
            assert!(is_signal(text), "{text}");
        }
        for text in [
            "", "0", "FOO", "RTMIN+16", "RTMAX-15", "RTMIN+0", "RTMIN+03", "SIG",
        ] {
            assert!(!is_signal(text), "{text}");
        }
    }
}
