//! Interrupts as values, for programs that cancel a build when the user presses Ctrl-C.

use std::io;
use std::sync::Mutex;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGWINCH};
use signal_hook::iterator::Signals;

/// What arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interrupt {
    /// Ctrl-C.
    Int,
    /// Asked to end.
    Term,
    /// The terminal is gone.
    Hup,
    /// The terminal changed its size.
    Winch,
}

/// Receives interrupts in place of their default effect. Child programs are not touched by it.
#[derive(Debug)]
pub struct Interrupts {
    signals: Mutex<Signals>,
}

impl Interrupts {
    /// Begins to receive SIGINT, SIGTERM, SIGHUP and SIGWINCH.
    pub fn block() -> io::Result<Interrupts> {
        let signals = Signals::new([SIGINT, SIGTERM, SIGHUP, SIGWINCH])?;
        Ok(Interrupts {
            signals: Mutex::new(signals),
        })
    }

    /// Waits until one arrives; meant for one thread of the caller's.
    pub fn wait(&self) -> io::Result<Interrupt> {
        let mut signals = self.signals.lock().unwrap_or_else(|e| e.into_inner());
        loop {
            let next = signals.forever().next();
            return Ok(match next {
                Some(SIGINT) => Interrupt::Int,
                Some(SIGTERM) => Interrupt::Term,
                Some(SIGHUP) => Interrupt::Hup,
                Some(SIGWINCH) => Interrupt::Winch,
                Some(_) => continue,
                None => return Err(io::Error::other("no more signals are delivered")),
            });
        }
    }
}
