//! `rbuild run`.

use clap::Args;
use rbuild::oci::Address;
use rbuild::{NetworkMode, Volume};

use super::value::{self, Pair, PlatformArg};

/// Options of `rbuild run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Keep standard input open
    #[arg(short, long)]
    pub interactive: bool,

    /// Give the process a terminal
    #[arg(short, long)]
    pub tty: bool,

    /// Environment variable; without a value it comes from the environment; repeatable
    #[arg(short, long = "env", value_name = "NAME[=VALUE]")]
    pub env: Vec<Pair>,

    /// Directory or file to mount, as SOURCE:TARGET[:ro]; repeatable
    #[arg(short, long = "volume", value_name = "VOLUME", value_parser = volume)]
    pub volumes: Vec<Volume>,

    /// Working directory
    #[arg(short, long, value_name = "DIR")]
    pub workdir: Option<String>,

    /// User, as NAME|ID[:GROUP|ID]
    #[arg(short, long, value_name = "USER")]
    pub user: Option<String>,

    /// Program in place of the image's entrypoint; empty for none
    #[arg(long, value_name = "PROGRAM")]
    pub entrypoint: Option<String>,

    /// Network of the process
    #[arg(long, value_name = "MODE", default_value = "default", value_parser = value::network)]
    pub network: NetworkMode,

    /// Which image of several platforms [default: that of this machine]
    #[arg(long, value_name = "OS/ARCH[/VARIANT]", value_parser = value::platform)]
    pub platform: Option<PlatformArg>,

    /// Host name
    #[arg(long, value_name = "NAME")]
    pub hostname: Option<String>,

    /// Nothing of the process is kept anyway
    #[arg(long, hide = true)]
    pub rm: bool,

    /// Name, id, beginning of an id, or address
    #[arg(value_name = "IMAGE", value_parser = value::address)]
    pub image: Address,

    /// Command and arguments in place of the image's
    #[arg(
        value_name = "COMMAND",
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    pub command: Vec<String>,
}

/// Reads `SOURCE:TARGET[:ro|:rw]`; the source is a path, not a name.
fn volume(text: &str) -> Result<Volume, String> {
    let refuse = || format!("`{text}` is no volume; write SOURCE:TARGET[:ro]");
    let mut parts = text.split(':');
    let source = parts
        .next()
        .filter(|part| !part.is_empty())
        .ok_or_else(refuse)?;
    let target = parts
        .next()
        .filter(|part| part.starts_with('/'))
        .ok_or_else(refuse)?;
    let read_only = match (parts.next(), parts.next()) {
        (None | Some("rw"), None) => false,
        (Some("ro"), None) => true,
        _ => return Err(refuse()),
    };
    if !source.contains('/') && source != "." && source != ".." {
        return Err(format!(
            "volume source `{source}` is a name; write ./{source} for a path"
        ));
    }
    Ok(Volume {
        source: source.into(),
        target: target.to_owned(),
        read_only,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volumes_are_paths() {
        assert!(volume("/a:/b:ro").is_ok_and(|v| v.read_only && v.target == "/b"));
        assert!(volume("./a:/b").is_ok_and(|v| !v.read_only));
        for text in ["a:/b", "/a", "/a:b", "/a:/b:x", "/a:/b:ro:z", ":/b"] {
            assert!(volume(text).is_err(), "{text}");
        }
    }
}
