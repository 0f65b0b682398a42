//! `rbuild login` and `rbuild logout`.

use std::io::{self, IsTerminal, Read, Write};

use rbuild::progress::CancelToken;
use rbuild::{EngineConfig, Kept, Login, LoginCheck, Secret};

use super::credentials::file_to_keep;
use super::{CommandError, CommandResult, of_environment, print};
use crate::args::{LoginArgs, LogoutArgs};
use crate::prompt::{Echo, prompt};
use crate::render::clean;
use crate::signal;
use crate::style::{Look, Role};

/// Most bytes of a password on standard input.
const LIMIT: u64 = 64 * 1024;

/// Asks for what is missing, has the registry check it, and keeps it.
pub fn login(args: &LoginArgs) -> CommandResult {
    let cancel = signal::listen(|| {}).map_err(anyhow::Error::from)?;
    let file = file_to_keep()?;
    let config = settings()?;
    if args.password.is_some() {
        warn("--password shows the password to everybody on this machine; use --password-stdin");
    }
    let Some((username, password)) = pair(args, &cancel)? else {
        return Ok(crate::Exit::Interrupted);
    };
    let login = Login {
        registry: args.registry.clone(),
        username,
        password,
        file,
    };
    let done = rbuild::login(&config, &login, &cancel)?;
    if let Kept::File(path) = &done.kept {
        let path = path.display();
        warn(&format!(
            "the password is kept unencrypted in {path}; a credential helper, named there as credsStore, \
             would keep it safer"
        ));
    }
    if let Some(other) = &done.shadowed_by {
        warn(&format!(
            "another login counts before this one: that of {other}"
        ));
    }
    if done.check == LoginCheck::NotAsked {
        let registry = &args.registry;
        warn(&format!(
            "{registry} asks for no login, so the password is not checked"
        ));
    }
    print("Login Succeeded\n")
}

/// Forgets a login.
pub fn logout(args: &LogoutArgs) -> CommandResult {
    let cancel = signal::listen(|| {}).map_err(anyhow::Error::from)?;
    let config = settings()?;
    let done = rbuild::logout(&config, (&args.registry, file_to_keep()?), &cancel)?;
    if let Some(other) = &done.left_in {
        warn(&format!("there is a login left: that of {other}"));
    }
    match done.was_logged_in {
        true => print(&format!(
            "Removing login credentials for {}\n",
            args.registry
        )),
        false => print(&format!("Not logged in to {}\n", args.registry)),
    }
}

/// Settings without a store: a login needs none.
pub fn settings() -> Result<EngineConfig, CommandError> {
    let mut config = EngineConfig::new("/");
    of_environment(&mut config)?;
    Ok(config)
}

/// User name and password; `None` if the user gave up.
fn pair(args: &LoginArgs, cancel: &CancelToken) -> Result<Option<(String, Secret)>, CommandError> {
    let asked = |question: &str, echo| {
        if !io::stdin().is_terminal() {
            let message =
                "standard input is no terminal to ask on: give --username and --password-stdin";
            return Err(CommandError::Usage(message.to_owned()));
        }
        Ok(prompt(question, echo, cancel).map_err(anyhow::Error::from)?)
    };
    let username = match &args.username {
        Some(name) => Some(name.clone()),
        None => asked("Username: ", Echo::On)?,
    };
    let Some(username) = username else {
        return Ok(None);
    };
    let password = match &args.password {
        Some(password) => Some(password.clone()),
        None if args.password_stdin => Some(from_stdin()?),
        None => asked("Password: ", Echo::Off)?,
    };
    let Some(password) = password else {
        return Ok(None);
    };
    if username.is_empty() || password.is_empty() {
        return Err(CommandError::Usage(
            "user name and password must not be empty".to_owned(),
        ));
    }
    if username.contains(':') {
        return Err(CommandError::Usage(
            "a user name cannot hold a colon".to_owned(),
        ));
    }
    Ok(Some((username, Secret::new(password))))
}

fn from_stdin() -> Result<String, CommandError> {
    let mut text = String::new();
    let read = io::stdin().take(LIMIT + 1).read_to_string(&mut text);
    read.map_err(|error| anyhow::Error::from(error).context("read the password"))?;
    if text.len() as u64 > LIMIT {
        return Err(CommandError::Usage(
            "standard input holds more than a password".to_owned(),
        ));
    }
    // Only the end that `echo` adds: a password may well end with a blank.
    let text = text.strip_suffix('\n').unwrap_or(&text);
    Ok(text.strip_suffix('\r').unwrap_or(text).to_owned())
}

fn warn(message: &str) {
    let label = Look::of(&io::stderr()).paint(Role::Warning, "WARNING:");
    writeln!(io::stderr(), "{label} {}", clean(message)).ok();
}
