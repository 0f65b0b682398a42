//! The commands about registries.

use clap::Args;

/// Options of `rbuild login`.
#[derive(Debug, Args)]
pub struct LoginArgs {
    /// Registry, as HOST[:PORT]
    #[arg(value_name = "REGISTRY", default_value = "docker.io", value_parser = registry)]
    pub registry: String,

    /// User name [default: asked for]
    #[arg(short, long, value_name = "NAME")]
    pub username: Option<String>,

    /// Password or access token; everybody on this machine can read it there
    #[arg(short, long, value_name = "PASSWORD")]
    pub password: Option<String>,

    /// Read the password from standard input
    #[arg(long, conflicts_with = "password", requires = "username")]
    pub password_stdin: bool,
}

/// Options of `rbuild logout`.
#[derive(Debug, Args)]
pub struct LogoutArgs {
    /// Registry, as HOST[:PORT]
    #[arg(value_name = "REGISTRY", default_value = "docker.io", value_parser = registry)]
    pub registry: String,
}

/// Options of `rbuild doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Registry, as HOST[:PORT], or image
    #[arg(value_name = "REGISTRY|IMAGE", value_parser = rbuild::patient)]
    pub patient: rbuild::Patient,

    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

fn registry(text: &str) -> Result<String, String> {
    rbuild::registry_name(text).ok_or_else(|| {
        "a registry is HOST[:PORT], as images name it: with a dot or a port, or localhost"
            .to_owned()
    })
}
