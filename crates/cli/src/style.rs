//! How a stream is written to: colours, symbols, width.

use std::io::IsTerminal;
use std::os::fd::AsFd;

use anstyle::{AnsiColor, Style};

/// What the receiver of a text can show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// Whether colours and weights are wanted.
    pub colour: Colour,
    /// Which characters it has.
    pub symbols: Symbols,
}

/// Whether colours and weights are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    /// Yes.
    Ansi,
    /// No: text only.
    None,
}

/// Which characters there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Symbols {
    /// All of Unicode.
    Unicode,
    /// ASCII only.
    Ascii,
}

impl Symbols {
    /// The mark where a text was cut.
    pub fn ellipsis(self) -> char {
        match self {
            Self::Unicode => '…',
            Self::Ascii => '~',
        }
    }
}

/// What a piece of text is, which decides how it looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Nothing special.
    Normal,
    /// A title.
    Title,
    /// Of little interest.
    Dim,
    /// Ended well.
    Good,
    /// At work.
    Active,
    /// Failed.
    Bad,
    /// Doubtful.
    Warning,
    /// Advice.
    Help,
}

impl Look {
    /// Plain text in ASCII.
    pub const PLAIN: Self = Self {
        colour: Colour::None,
        symbols: Symbols::Ascii,
    };

    /// Judges a stream by what it is and by what the environment asks for; see no-color.org.
    pub fn of(stream: &impl IsTerminal) -> Self {
        let dumb = variable("TERM").is_none_or(|term| term == "dumb");
        let colour = if stream.is_terminal() && !dumb && variable("NO_COLOR").is_none() {
            Colour::Ansi
        } else {
            Colour::None
        };
        Self {
            colour,
            symbols: symbols(),
        }
    }

    /// Returns `text` dressed for its role.
    pub fn paint(&self, role: Role, text: &str) -> String {
        let style = style(role);
        match self.colour {
            Colour::Ansi if style != Style::new() => {
                format!("{}{text}{}", style.render(), style.render_reset())
            }
            Colour::Ansi | Colour::None => text.to_owned(),
        }
    }
}

/// Rows and columns of a terminal; `None` if the stream is none, or does not tell.
pub fn terminal_size(stream: &impl AsFd) -> Option<(usize, usize)> {
    let size = rustix::termios::tcgetwinsize(stream).ok()?;
    (size.ws_row > 0 && size.ws_col > 0).then(|| (size.ws_row.into(), size.ws_col.into()))
}

fn style(role: Role) -> Style {
    match role {
        Role::Normal => Style::new(),
        Role::Title => Style::new().bold(),
        Role::Dim => Style::new().dimmed(),
        Role::Good => AnsiColor::Green.on_default(),
        Role::Active => AnsiColor::Cyan.on_default(),
        Role::Bad => AnsiColor::Red.on_default().bold(),
        Role::Warning => AnsiColor::Yellow.on_default(),
        Role::Help => AnsiColor::Cyan.on_default(),
    }
}

/// The locale says which characters there are; the first variable that is set counts.
fn symbols() -> Symbols {
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"]
        .into_iter()
        .find_map(variable);
    let utf8 = locale.is_some_and(|name| {
        let name = name.to_ascii_lowercase();
        name.contains("utf-8") || name.contains("utf8")
    });
    if utf8 {
        Symbols::Unicode
    } else {
        Symbols::Ascii
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
