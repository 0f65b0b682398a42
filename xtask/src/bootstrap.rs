//! A Debian base image from the machine's own package mirror, for where no registry is in reach.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use rbuild_testkit::{Image, TempDir, find_tool, write_layout};
use serde_json::json;

use crate::apt::AptConfig;
use crate::{packages, shell};

const CERTIFICATES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// How much the base holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// Essential packages and apt, without documentation and translations.
    Apt,
    /// Everything of priority "required", as `debootstrap --variant=minbase` makes it.
    MinBase,
}

/// Writes the base as an OCI layout into `layout` (tag `latest`, Cmd bash); does nothing if it is there.
///
/// The machine's apt sources and proxies go into the image, so that `apt-get` works inside as outside.
pub fn debian(layout: &Path, extent: Extent) -> Result<()> {
    if layout.join("index.json").exists() {
        return Ok(());
    }
    packages::ensure(&["mmdebstrap"])?;
    let apt = machine_apt()?;
    let work = TempDir::new();
    let archive = work.join("root.tar");
    make_root(&apt, extent, &work, &archive)?;
    // Written beside and renamed: a layout that is there is complete.
    let staged = layout.with_extension("part");
    let _ = fs::remove_dir_all(&staged);
    let mut image = Image::new("latest", &archive, &["bash"]);
    // As a builder writes them, so that images on this base compare with those on an official one.
    image.more_config = json!({ "WorkingDir": "/", "ArgsEscaped": true });
    write_layout(&staged, &image)
        .with_context(|| format!("write the base image to {}", staged.display()))?;
    let _ = fs::remove_dir_all(layout);
    fs::rename(&staged, layout).with_context(|| format!("move it to {}", layout.display()))
}

/// Reads apt's configuration, making its index first on a machine that has none.
fn machine_apt() -> Result<AptConfig> {
    AptConfig::of_this_machine().or_else(|_| {
        let mut update = packages::as_root("apt-get")?;
        shell::output(update.args(["update", "-q"]).stdin(Stdio::null()))?;
        AptConfig::of_this_machine()
    })
}

fn make_root(apt: &AptConfig, extent: Extent, work: &Path, archive: &Path) -> Result<()> {
    let Some(program) = find_tool("mmdebstrap") else {
        bail!("mmdebstrap is not installed");
    };
    let extra = work.join("extra");
    write_machine_settings(apt, &extra)?;
    let sources = work.join("sources.list");
    shell::write(&sources, apt.sources.join("\n") + "\n")?;
    let mut make = Command::new(program);
    make.arg("--quiet")
        .arg(match extent {
            Extent::Apt => "--variant=apt",
            Extent::MinBase => "--variant=minbase",
        })
        .arg(format!("--setup-hook=sync-in '{}' /", extra.display()))
        .arg("--dpkgopt=force-unsafe-io");
    if extent == Extent::Apt {
        for path in [
            "/usr/share/man/*",
            "/usr/share/locale/*",
            "/usr/share/doc/*",
        ] {
            make.arg(format!("--dpkgopt=path-exclude={path}"));
        }
        make.arg("--dpkgopt=path-include=/usr/share/doc/*/copyright");
    }
    make.arg(&apt.suite).arg(archive).arg(&sources);
    println!("$ {}", shell::line(&make));
    shell::output(
        make.stdin(Stdio::null())
            .env("DEBIAN_FRONTEND", "noninteractive"),
    )
    .context("bootstrap Debian from this machine's package mirror")?;
    Ok(())
}

/// Writes what apt inside needs beyond the source lines, as a tree to lay over the root.
fn write_machine_settings(apt: &AptConfig, extra: &Path) -> Result<()> {
    fs::create_dir_all(extra).with_context(|| format!("make {}", extra.display()))?;
    // Translated descriptions are a third of what an update fetches, and nobody reads them in a build.
    let mut text = "Acquire::Languages \"none\";\n".to_owned();
    text.extend(apt.options.iter().map(|option| format!("{option}\n")));
    shell::write(&extra.join("etc/apt/apt.conf.d/80machine"), text)?;
    if apt.needs_certificates() {
        let bundle = fs::read(CERTIFICATES).with_context(|| format!("read {CERTIFICATES}"))?;
        shell::write(&extra.join(&CERTIFICATES[1..]), bundle)?;
    }
    Ok(())
}
