//! Shows a running build, in one of several ways, from its events alone.
//!
//! Words and layout are decided here; the engine only sends typed events.

mod display;
mod frame;
mod json;
mod plain;
mod screen;
mod summary;
mod tail;
mod text;
mod trace;
mod tty;

pub use display::{Display, Mode};
pub use frame::{Canvas, Ending, Phase, Work};
pub use json::line as json_line;
pub use plain::Plain;
pub use summary::{failed_steps, warnings};
pub use text::{bytes, clean, columns, fit};
pub use trace::Trace;
pub use tty::Tty;
