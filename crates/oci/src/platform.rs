//! Operating system, architecture and variant: parse, normalise, match.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::json::null_default;
use crate::{Error, Result};

/// An operating system and processor, in Go's words.
///
/// Field order of the serde form is Go's. Documents may hold any text here; [`Platform::parse`]
/// and [`Platform::normalized`] give the normal form. Source: OCI image-spec, image-index.md.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Platform {
    /// `amd64`, `arm64`, …
    #[serde(default, deserialize_with = "null_default")]
    pub architecture: String,
    /// `linux`, `windows`, …
    #[serde(default, deserialize_with = "null_default")]
    pub os: String,
    /// Version of the operating system (Windows).
    #[serde(
        rename = "os.version",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub os_version: Option<String>,
    /// Mandatory features of the operating system (Windows).
    #[serde(
        rename = "os.features",
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "null_default"
    )]
    pub os_features: Vec<String>,
    /// Variant of the architecture: `v7`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

/// What [`is_component`] allows, as it is told to people.
const COMPONENT: &str = "^[A-Za-z0-9_.-]+$";

const SYSTEMS: [&str; 16] = [
    "aix",
    "android",
    "darwin",
    "dragonfly",
    "freebsd",
    "hurd",
    "illumos",
    "ios",
    "js",
    "linux",
    "nacl",
    "netbsd",
    "openbsd",
    "plan9",
    "solaris",
    "windows",
];

const ARCHITECTURES: [&str; 19] = [
    "386", "amd64", "amd64p32", "arm", "armbe", "arm64", "arm64be", "loong64", "mips", "mipsle",
    "mips64", "mips64le", "ppc64", "ppc64le", "riscv64", "s390x", "sparc64", "wasm", "riscv",
];

impl Platform {
    /// Makes the normal form of an operating system and an architecture without variant.
    pub fn new(os: &str, architecture: &str) -> Self {
        let plain = Self {
            os: os.into(),
            architecture: architecture.into(),
            ..Self::default()
        };
        plain.normalized()
    }

    /// The platform this program was compiled for.
    pub fn host() -> Self {
        Self::new(std::env::consts::OS, std::env::consts::ARCH)
    }

    /// Reads `os[/arch[/variant]]` or an architecture alone, normalised.
    ///
    /// What is not given is taken from the host. `os(version)` sets the version as well.
    ///
    /// Errors: [`Error::Platform`] for empty or odd components, more than three of them, or a
    /// single one that is neither a known system nor a known architecture.
    pub fn parse(text: &str) -> Result<Self> {
        let fail = |reason: String| Error::Platform {
            text: text.to_owned(),
            reason: format!("{reason}: invalid argument"),
        };
        let (first, rest) = text
            .split_once('/')
            .map_or((text, None), |(a, b)| (a, Some(b)));
        let (os, os_version) = split_version(first)
            .filter(|(os, _)| is_component(os))
            .ok_or_else(|| {
                fail(format!(
                    "{first:?} is an invalid OS component of {text:?}: only letters, digits, '_', '.' and '-' \
                     may stand in it"
                ))
            })?;
        let parts: Vec<&str> = std::iter::once(os)
            .chain(rest.iter().flat_map(|r| r.split('/')))
            .collect();
        if let Some(part) = parts.iter().find(|part| !is_component(part)) {
            return Err(fail(format!(
                "{part:?} is an invalid component of {text:?}: platform specifier component must match {COMPONENT:?}"
            )));
        }
        let mut platform = match parts[..] {
            [one] => single(one).ok_or_else(|| {
                fail(format!(
                    "{text:?}: unknown operating system or architecture"
                ))
            })?,
            [os, architecture] => Self::new(os, architecture),
            [os, architecture, variant] => {
                let mut exact = Self::new(os, architecture);
                exact.architecture = architecture.into();
                exact.variant = Some(variant.into());
                exact.normalized()
            }
            _ => {
                return Err(fail(format!("{text:?}: cannot parse platform specifier")));
            }
        };
        platform.os_version = os_version.map(str::to_owned);
        Ok(platform)
    }

    /// The normal form: Go's names, no variant that is the default, `v7` for plain `arm`.
    pub fn normalized(&self) -> Self {
        let os = match self.os.to_ascii_lowercase().as_str() {
            "macos" => "darwin".to_owned(),
            other => other.to_owned(),
        };
        let variant = self
            .variant
            .as_deref()
            .unwrap_or_default()
            .to_ascii_lowercase();
        let (architecture, variant) =
            normalize_architecture(&self.architecture.to_ascii_lowercase(), variant);
        Self {
            architecture,
            os,
            os_version: self
                .os_version
                .clone()
                .filter(|version| !version.is_empty()),
            os_features: self.os_features.clone(),
            variant: Some(variant).filter(|variant| !variant.is_empty()),
        }
    }

    /// Whether both name the same system, architecture and variant once normalised.
    ///
    /// The version of the operating system is compared only if both state one, up to the build
    /// number, as Windows does.
    pub fn matches(&self, other: &Self) -> bool {
        self.rank(other) == Some(0)
    }

    /// How well an image for `image` serves `self`: 0 is exact, larger is worse, `None` not at all.
    ///
    /// Lower variants of one architecture serve the higher (arm v6 on v7, amd64 v2 on v3), arm
    /// serves arm64 and 386 serves amd64, in that order. Source: containerd's platform matching.
    pub fn rank(&self, image: &Self) -> Option<u32> {
        let (want, have) = (self.normalized(), image.normalized());
        if want.os != have.os || !version_serves(&want, &have) {
            return None;
        }
        if !have
            .os_features
            .iter()
            .all(|feature| want.os_features.contains(feature))
        {
            return None;
        }
        let level = |p: &Self| variant_level(&p.architecture, p.variant.as_deref());
        let (want_level, have_level) = (level(&want), level(&have));
        match (want.architecture.as_str(), have.architecture.as_str()) {
            (a, b) if a == b && want.variant == have.variant => Some(0),
            (a, b) if a == b => want_level?.checked_sub(have_level?).filter(|&gap| gap > 0),
            ("arm64", "arm") => Some(100 + 8u32.checked_sub(have_level?)?),
            ("amd64", "386") => Some(200),
            _ => None,
        }
    }
}

/// A variant as a number, where variants of the architecture are ordered.
fn variant_level(architecture: &str, variant: Option<&str>) -> Option<u32> {
    match (architecture, variant) {
        ("amd64", None) => Some(1),
        ("arm64", None) => Some(8),
        ("amd64" | "arm" | "arm64", Some(variant)) => variant.strip_prefix('v')?.parse().ok(),
        _ => None,
    }
}

fn version_serves(want: &Platform, have: &Platform) -> bool {
    let build = |version: &str| {
        version
            .split('.')
            .take(3)
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    match (&want.os_version, &have.os_version) {
        (Some(want), Some(have)) => build(want) == build(have),
        _ => true,
    }
}

/// Splits `windows(10.0.17763)`; `None` if the parenthesis is not closed.
fn split_version(os: &str) -> Option<(&str, Option<&str>)> {
    match os.split_once('(') {
        None => Some((os, None)),
        Some((os, version)) => Some((os, Some(version.strip_suffix(')')?))),
    }
}

fn is_component(part: &str) -> bool {
    let ok = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    !part.is_empty() && part.bytes().all(ok)
}

/// A single word: a system (with the host's architecture) or an architecture (on the host's system).
fn single(word: &str) -> Option<Platform> {
    let host = Platform::host();
    let as_os = Platform {
        os: word.into(),
        ..host.clone()
    }
    .normalized();
    if SYSTEMS.contains(&as_os.os.as_str()) {
        return Some(as_os);
    }
    let as_arch = Platform::new(&host.os, word);
    ARCHITECTURES
        .contains(&as_arch.architecture.as_str())
        .then_some(as_arch)
}

/// Go's name of an architecture, and the variant as it is written beside it.
fn normalize_architecture(architecture: &str, variant: String) -> (String, String) {
    let unless = |default: &[&str]| match default.contains(&variant.as_str()) {
        true => String::new(),
        false => variant.clone(),
    };
    let (architecture, variant) = match architecture {
        "i386" | "x86" => ("386", String::new()),
        "x86_64" | "x86-64" | "amd64" => ("amd64", unless(&["v1"])),
        "aarch64" | "arm64" => ("arm64", unless(&["8", "v8"])),
        "armhf" => ("arm", "v7".to_owned()),
        "armel" => ("arm", "v6".to_owned()),
        "arm" => match variant.as_str() {
            "" | "7" => ("arm", "v7".to_owned()),
            "5" | "6" | "8" => ("arm", format!("v{variant}")),
            _ => ("arm", variant),
        },
        "loongarch64" => ("loong64", variant),
        "powerpc64le" => ("ppc64le", variant),
        other => (other, variant),
    };
    (architecture.to_owned(), variant)
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.os)?;
        if let Some(version) = &self.os_version {
            write!(f, "({version})")?;
        }
        write!(f, "/{}", self.architecture)?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}

impl FromStr for Platform {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parse_normalises() {
        let check = |text: &str, wanted: &str| {
            let platform = Platform::parse(text).unwrap();
            assert_eq!(platform.to_string(), wanted, "{text}");
            assert_eq!(platform.normalized(), platform, "{text}");
            assert_eq!(Platform::parse(wanted).unwrap(), platform, "{text}");
        };
        check("linux/amd64", "linux/amd64");
        check("linux/x86_64", "linux/amd64");
        check("Linux/AArch64", "linux/arm64");
        check("linux/arm64/v8", "linux/arm64");
        check("linux/arm64/v9", "linux/arm64/v9");
        check("linux/arm", "linux/arm/v7");
        check("linux/arm/6", "linux/arm/v6");
        check("linux/armhf", "linux/arm/v7");
        check("linux/armel", "linux/arm/v6");
        check("linux/amd64/v1", "linux/amd64");
        check("linux/amd64/v3", "linux/amd64/v3");
        check("linux/i386", "linux/386");
        check("macos/arm64", "darwin/arm64");
        check("windows(10.0.17763)/amd64", "windows(10.0.17763)/amd64");
        check("linux/unheard-of", "linux/unheard-of");
    }

    #[test]
    fn one_word_is_a_system_or_an_architecture() {
        let host = Platform::host();
        assert_eq!(
            Platform::parse("windows").unwrap().architecture,
            host.architecture
        );
        assert_eq!(
            Platform::parse("s390x").unwrap(),
            Platform::new(&host.os, "s390x")
        );
        assert_eq!(
            Platform::parse("armhf").unwrap().variant.as_deref(),
            Some("v7")
        );
    }

    #[test]
    fn bad_text_is_refused() {
        for text in [
            "",
            "/",
            "linux/",
            "linux//v7",
            "nope",
            "linux/amd64/v1/x",
            "li nux/amd64",
            "windows(1/amd64",
        ] {
            let message = Platform::parse(text).unwrap_err().to_string();
            assert!(
                message.starts_with(&format!("failed to parse target platform {text}")),
                "{message}"
            );
        }
    }

    #[test]
    fn the_reason_names_the_part_that_is_wrong() {
        let check = |text: &str, wanted: &str| {
            let message = Platform::parse(text).unwrap_err().to_string();
            let start = format!("failed to parse target platform {text}: ");
            assert_eq!(message, format!("{start}{wanted}: invalid argument"));
        };
        check(
            "linux/",
            r#""" is an invalid component of "linux/": platform specifier component must match "^[A-Za-z0-9_.-]+$""#,
        );
        check(
            "nope",
            r#""nope": unknown operating system or architecture"#,
        );
        check("a/b/c/d", r#""a/b/c/d": cannot parse platform specifier"#);
        check(
            "w(1/amd64",
            "\"w(1\" is an invalid OS component of \"w(1/amd64\": only letters, digits, '_', '.' and '-' may stand in it",
        );
    }

    #[test]
    fn rank_prefers_the_nearest() {
        let rank = |want: &str, have: &str| {
            Platform::parse(want)
                .unwrap()
                .rank(&Platform::parse(have).unwrap())
        };
        assert_eq!(rank("linux/amd64", "linux/amd64"), Some(0));
        assert_eq!(rank("linux/arm64", "linux/arm64/v8"), Some(0));
        assert_eq!(rank("linux/arm/v7", "linux/arm/v6"), Some(1));
        assert_eq!(rank("linux/arm/v7", "linux/arm/v5"), Some(2));
        assert_eq!(rank("linux/arm/v6", "linux/arm/v7"), None);
        assert_eq!(rank("linux/amd64", "linux/amd64/v2"), None);
        assert_eq!(rank("linux/amd64/v3", "linux/amd64"), Some(2));
        assert_eq!(rank("linux/amd64", "linux/arm64"), None);
        assert_eq!(rank("linux/amd64", "windows/amd64"), None);
        assert!(rank("linux/arm64", "linux/arm/v7") < rank("linux/arm64", "linux/arm/v6"));
        assert_eq!(rank("linux/amd64", "linux/386"), Some(200));
        assert_eq!(
            rank("windows(10.0.1.5)/amd64", "windows(10.0.1.9)/amd64"),
            Some(0)
        );
        assert_eq!(rank("windows(10.0.1)/amd64", "windows(10.0.2)/amd64"), None);
    }

    #[test]
    fn serde_form_is_that_of_an_index() {
        let text = r#"{"architecture":"arm","os":"linux","variant":"v7"}"#;
        let platform: Platform = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&platform).unwrap(), text);
    }
}
