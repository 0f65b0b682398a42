//! The configuration files: what a machine, and a person on it, wants of every command.
//!
//! Read whole and strictly: a word that is not known here is refused, since it would otherwise be believed
//! to work. What is on the command line or in the environment goes before.

use std::fs::{self, File};
use std::io::{self, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::{CommandError, directory};
use crate::args::size;

/// Largest file that is read, in bytes.
const MAX_BYTES: u64 = 1 << 20;

/// All words there are.
const KNOWN: &str = "`cache-max`";

/// What the files say.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// What the store may take, in bytes.
    pub cache_max: Option<u64>,
}

impl Settings {
    /// Reads the person's own file and the machine's, those that there are; the person's goes before.
    pub fn read() -> Result<Settings, CommandError> {
        let config = directory("XDG_CONFIG_HOME")
            .or_else(|| directory("HOME").map(|home| home.join(".config")));
        let own = config.map(|config| config.join(FILE));
        Settings::of(own.into_iter().chain([super::hosts::etc(FILE)]))
    }

    fn of(files: impl IntoIterator<Item = PathBuf>) -> Result<Settings, CommandError> {
        let mut all = Settings::default();
        for file in files {
            let found = match text(&file) {
                Ok(None) => continue,
                Ok(Some(text)) => parse(&file, &text),
                Err(error) => Err(format!("read {}: {error}", file.display())),
            };
            let found = found.map_err(CommandError::Usage)?;
            all.cache_max = all.cache_max.or(found.cache_max);
        }
        Ok(all)
    }
}

/// Where a file lies in a folder of configurations.
const FILE: &str = "rbuild/config.toml";

/// The text of a file; `None` if there is none.
fn text(file: &Path) -> io::Result<Option<String>> {
    let opened = match File::open(file) {
        Err(error) if is_absent(&error) => return Ok(None),
        // A home that is somebody else's, as after `su` without `-`: what is in it is not for us.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied && is_out_of_reach(file) => {
            return Ok(None);
        }
        opened => opened?,
    };
    if !opened.metadata()?.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    let mut text = String::new();
    opened.take(MAX_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_BYTES {
        return Err(io::Error::other(format!(
            "it is longer than {MAX_BYTES} bytes"
        )));
    }
    Ok(Some(text))
}

/// Also where something on the way is a file.
fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

/// Whether a folder on the way to a file cannot be entered, so that it cannot even be looked at.
fn is_out_of_reach(file: &Path) -> bool {
    fs::symlink_metadata(file).is_err()
}

/// Reads a file's text. Errors: what is wrong, with file and line.
fn parse(file: &Path, text: &str) -> Result<Settings, String> {
    let at = |place: Option<Range<usize>>, what: &str| {
        let before = place.and_then(|place| text.get(..place.start));
        let line = before.unwrap_or_default().matches('\n').count() + 1;
        format!("{}:{line}: {what}", file.display())
    };
    let table = DeTable::parse(text).map_err(|error| at(error.span(), error.message()))?;
    let mut settings = Settings::default();
    for (key, value) in table.get_ref() {
        let name: &str = key.get_ref();
        match name {
            "cache-max" => {
                let bytes = bytes(value.get_ref())
                    .map_err(|what| at(Some(value.span()), &format!("{name}: {what}")))?;
                settings.cache_max = Some(bytes);
            }
            _ => {
                let what = format!("`{name}` is not known; there is {KNOWN}");
                return Err(at(Some(key.span()), &what));
            }
        }
    }
    Ok(settings)
}

/// Reads a size: a text as on the command line, or a number of bytes.
fn bytes(value: &DeValue<'_>) -> Result<u64, String> {
    match value {
        DeValue::String(text) => size(text),
        DeValue::Integer(number) if number.radix() == 10 => {
            size(number.as_str()).map_err(|_| "write a size such as \"20g\"".to_owned())
        }
        _ => Err("write a size such as \"20g\"".to_owned()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Settings, String> {
        parse(Path::new("/etc/x.toml"), text)
    }

    #[test]
    fn sizes_are_read_and_the_rest_is_refused_with_its_line() {
        let max = |text| parsed(text).unwrap().cache_max;
        assert_eq!(max(""), None);
        assert_eq!(max("# nothing\n"), None);
        assert_eq!(max("cache-max = \"2g\"\n"), Some(2 << 30));
        assert_eq!(max("cache-max = 4096"), Some(4096));
        for (text, error) in [
            (
                "\n\ncache-max = \"much\"\n",
                ":3: cache-max: `much` is no size",
            ),
            ("cache-max = true", ":1: cache-max: write a size"),
            ("cache-max = -1", ":1: cache-max: write a size"),
            ("cache-max = 0x10", ":1: cache-max: write a size"),
            (
                "\ncache_max = 1\n",
                ":2: `cache_max` is not known; there is `cache-max`",
            ),
            ("[cache]\nmax = 1\n", ":1: `cache` is not known"),
            ("cache-max = 1\ncache-max = 2\n", ":2: "),
            ("\n\n\ncache-max = \n", ":4: "),
        ] {
            let found = parsed(text).unwrap_err();
            assert!(found.starts_with(&format!("/etc/x.toml{error}")), "{found}");
        }
    }

    #[test]
    fn the_first_file_that_says_something_counts_and_absent_ones_do_not() {
        let dir = rbuild_testkit::TempDir::new();
        let file = |name: &str, text: &str| {
            let path = dir.join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let (own, system) = (file("own", ""), file("system", "cache-max = 7"));
        let of = |files: &[&PathBuf]| Settings::of(files.iter().map(|file| (*file).clone()));
        let absent = dir.join("absent");
        let below_a_file = own.join("rbuild");
        let found = of(&[&absent, &below_a_file, &own, &system]).unwrap();
        assert_eq!(found.cache_max, Some(7));
        let own = file("own", "cache-max = 8");
        assert_eq!(of(&[&own, &system]).unwrap().cache_max, Some(8));
        let broken = file("broken", "x");
        assert!(of(&[&own, &broken]).is_err());
        assert!(of(&[&dir.to_path_buf()]).is_err());
        let latin = dir.join("latin");
        std::fs::write(&latin, b"# \xe4").unwrap();
        assert!(of(&[&latin]).is_err());
    }
}
