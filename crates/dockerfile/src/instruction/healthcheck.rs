//! HEALTHCHECK.

use super::command::CommandLine;

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
