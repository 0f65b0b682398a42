//! HEALTHCHECK.

use super::Request;
use super::command::CommandLine;
use crate::diagnostic::{Code, Fault};
use crate::duration::parse_duration;
use crate::flag::{FlagKind, FlagSpec, Flags};
use crate::node::Arguments;
use crate::quote::go_quote;
use crate::word::Word;

/// HEALTHCHECK; nothing of it is expanded. Times are in nanoseconds, 0 means "inherit".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthcheckInstruction {
    /// What to run.
    pub test: HealthTest,
    /// `--interval`.
    pub interval_ns: u64,
    /// `--timeout`.
    pub timeout_ns: u64,
    /// `--start-period`.
    pub start_period_ns: u64,
    /// `--start-interval`.
    pub start_interval_ns: u64,
    /// `--retries`.
    pub retries: u32,
}

/// The test of a health check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HealthTest {
    /// `HEALTHCHECK NONE`: no check, not even an inherited one.
    None,
    /// `HEALTHCHECK CMD ...`.
    Cmd(CommandLine),
}

const FLAGS: &[FlagSpec] = &[
    ("interval", FlagKind::Text),
    ("timeout", FlagKind::Text),
    ("start-period", FlagKind::Text),
    ("start-interval", FlagKind::Text),
    ("retries", FlagKind::Text),
];

/// The shortest time that is not "inherit".
const MINIMUM_NS: i64 = 1_000_000;

/// Reads HEALTHCHECK.
///
/// Grammar: dockerfile.ebnf#healthcheck
pub(super) fn healthcheck(request: &mut Request) -> Result<HealthcheckInstruction, Fault> {
    let arguments = std::mem::replace(&mut request.arguments, Arguments::Words(Vec::new()));
    let Arguments::Health(kind, command) = arguments else {
        return Err(request.no_arguments());
    };
    let empty =
        matches!(&*command, Arguments::Words(words) | Arguments::Json(words) if words.is_empty());
    let upper = upper(&kind.text);
    if upper == "NONE" {
        return none(&kind, empty);
    }
    let flags = request.flags(FLAGS)?;
    if upper != "CMD" {
        let message = format!("Unknown type {} in HEALTHCHECK (try CMD)", go_quote(&upper));
        return Err(Fault::new(Code::InvalidHealthcheck, message, kind.span)
            .help("Write `HEALTHCHECK [flags] CMD command` or `HEALTHCHECK NONE`."));
    }
    if empty {
        let message = "Missing command after HEALTHCHECK CMD";
        return Err(Fault::new(Code::InvalidHealthcheck, message, kind.span));
    }
    Ok(HealthcheckInstruction {
        test: HealthTest::Cmd(CommandLine::new(*command, &kind, Vec::new())),
        interval_ns: interval(&flags, "interval")?,
        timeout_ns: interval(&flags, "timeout")?,
        start_period_ns: interval(&flags, "start-period")?,
        start_interval_ns: interval(&flags, "start-interval")?,
        retries: retries(&flags)?,
    })
}

/// `HEALTHCHECK NONE`; its flags are ignored, as BuildKit does.
fn none(kind: &Word, empty: bool) -> Result<HealthcheckInstruction, Fault> {
    if !empty {
        let message = "HEALTHCHECK NONE takes no arguments";
        return Err(Fault::new(Code::InvalidHealthcheck, message, kind.span));
    }
    Ok(HealthcheckInstruction {
        test: HealthTest::None,
        interval_ns: 0,
        timeout_ns: 0,
        start_period_ns: 0,
        start_interval_ns: 0,
        retries: 0,
    })
}

/// Reads a time; absent, empty and zero are 0.
fn interval(flags: &Flags, name: &str) -> Result<u64, Fault> {
    let Some(value) = flags.text(name) else {
        return Ok(0);
    };
    let fault = |message: String| {
        let fault = Fault::new(Code::InvalidFlagValue, message, value.span);
        fault.help("Times need a unit: `30s`, `1m30s`, `500ms`.")
    };
    let time_ns = parse_duration(&value.text).map_err(|error| fault(error.to_string()))?;
    if time_ns != 0 && time_ns < MINIMUM_NS {
        let message = format!("Interval {} cannot be less than 1ms", go_quote(name));
        return Err(fault(message));
    }
    Ok(u64::try_from(time_ns).unwrap_or(0))
}

/// Reads `--retries`.
fn retries(flags: &Flags) -> Result<u32, Fault> {
    let Some(value) = flags.text("retries") else {
        return Ok(0);
    };
    let fault = |message: String| Fault::new(Code::InvalidFlagValue, message, value.span);
    let number = parse_int32(&value.text).map_err(|reason| {
        let quoted = go_quote(&value.text);
        fault(format!("strconv.ParseInt: parsing {quoted}: {reason}"))
    })?;
    u32::try_from(number).map_err(|_| fault(format!("--retries cannot be negative ({number})")))
}

/// Reads a decimal number of 32 bits with an optional sign; the error is Go's reason.
fn parse_int32(text: &str) -> Result<i32, &'static str> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err("invalid syntax");
    }
    text.parse().map_err(|_| "value out of range")
}

/// Raises character by character: what would become two, stays.
fn upper(text: &str) -> String {
    let raise = |ch: char| {
        let mut upper = ch.to_uppercase();
        match (upper.next(), upper.next()) {
            (Some(one), None) => one,
            _ => ch,
        }
    };
    text.chars().map(raise).collect()
}

#[cfg(test)]
mod tests {
    use super::upper;

    #[test]
    fn one_character_stays_one() {
        assert_eq!(upper("cmdäß"), "CMDÄß");
    }
}
