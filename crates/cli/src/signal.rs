//! Interrupts: the first one cancels, the second one aborts.

use std::io::{self, Write};

use rbuild::progress::CancelToken;
use rbuild::signal::{Interrupt, Interrupts};

/// Shows the cursor again, which the live display hides, and ends a line begun by `^C`.
const RESTORE: &[u8] = b"\x1b[?25h\r\n";

/// Listens from now on. Call before any other thread starts: threads inherit what is blocked.
///
/// The first interrupt sets the token that is returned: the build stops what runs and tidies up. The
/// second one ends the process at once; what was running dies with it, and what was half made is
/// swept at the next start.
///
/// `on_resize` is called whenever the terminal has another size.
pub fn listen(on_resize: impl Fn() + Send + 'static) -> io::Result<CancelToken> {
    let cancel = CancelToken::try_new()?;
    let interrupts = Interrupts::block()?;
    let token = cancel.clone();
    std::thread::Builder::new()
        .name("rbuild-signal".to_owned())
        .spawn(move || {
            while let Ok(interrupt) = interrupts.wait() {
                match interrupt {
                    Interrupt::Int | Interrupt::Term | Interrupt::Hup => end(&token),
                    Interrupt::Winch => on_resize(),
                }
            }
        })?;
    Ok(cancel)
}

fn end(token: &CancelToken) {
    if token.is_cancelled() {
        if rustix::termios::isatty(io::stderr()) {
            io::stderr().write_all(RESTORE).ok();
        }
        std::process::exit(crate::exit::Exit::Interrupted.code().into());
    }
    token.cancel();
}
