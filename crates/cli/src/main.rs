//! The `rbuild` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    // First of all: if this process was started as the nursery, it never comes back.
    rbuild::nursery_main();
    rbuild_cli::main().into()
}
