//! Options of `docker build` and `docker buildx build` that mean nothing here, or that this version
//! cannot do: they are known, so that a script gets an answer in a sentence.
//!
//! `TABLE` lists them; docs/commands.md repeats it for readers.

use clap::{Arg, ArgAction, ArgMatches, Args, Command, Error, FromArgMatches};

use super::csv::{fields, switch};

/// What an option takes.
#[derive(Clone, Copy)]
enum Takes {
    /// Nothing, or `=true` or `=false`.
    Switch,
    /// A value.
    Value,
}

/// How an option is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    /// It asks for what is done anyway.
    Accept,
    /// Docker's builder ignores it as well.
    Ignore(&'static str),
    /// It cannot be done.
    Refuse(&'static str),
}

const LIMITS: &str = "resource limits for steps are not supported yet";
const LIMIT_IGNORED: &str = "steps are not limited, as in Docker's builder";
const ATTESTATIONS: &str =
    "attestations are not supported yet; leave the option out or set it to false";

type Entry = (&'static str, Option<char>, Takes);

/// Name, short name, and what follows.
const TABLE: [Entry; 23] = [
    ("attest", None, Takes::Value),
    ("builder", None, Takes::Value),
    ("cgroup-parent", None, Takes::Value),
    ("compress", None, Takes::Switch),
    ("cpu-period", None, Takes::Value),
    ("cpu-quota", None, Takes::Value),
    ("cpu-shares", Some('c'), Takes::Value),
    ("cpuset-cpus", None, Takes::Value),
    ("cpuset-mems", None, Takes::Value),
    ("debug", Some('D'), Takes::Switch),
    ("force-rm", None, Takes::Switch),
    ("invoke", None, Takes::Value),
    ("isolation", None, Takes::Value),
    ("memory", Some('m'), Takes::Value),
    ("memory-swap", None, Takes::Value),
    ("policy", None, Takes::Value),
    ("provenance", None, Takes::Value),
    ("resource", None, Takes::Value),
    ("rm", None, Takes::Switch),
    ("sbom", None, Takes::Value),
    ("server-config", None, Takes::Value),
    ("squash", None, Takes::Switch),
    ("stream", None, Takes::Switch),
];

fn answer(name: &str, value: &str) -> Answer {
    let off = switch(name, value) == Ok(false);
    match name {
        "builder" | "debug" | "force-rm" | "rm" | "server-config" | "stream" => Answer::Accept,
        "attest" | "provenance" | "sbom" if off || is_disabled(value) => Answer::Accept,
        "attest" | "provenance" | "sbom" => Answer::Refuse(ATTESTATIONS),
        "compress" | "squash" if off => Answer::Accept,
        "compress" => Answer::Ignore("the context is not sent anywhere"),
        "squash" => Answer::Ignore("a last stage with COPY --from gives one layer"),
        "isolation" if value.is_empty() || value == "default" => Answer::Accept,
        "isolation" => Answer::Refuse("there is one way of isolation, `default`"),
        "cgroup-parent" | "resource" => Answer::Refuse(LIMITS),
        "invoke" => Answer::Refuse("a build cannot be debugged yet; see `rbuild run`"),
        "policy" => Answer::Refuse("policies for sources are not supported yet"),
        // What is left are the limits of Docker's first builder.
        _ => Answer::Ignore(LIMIT_IGNORED),
    }
}

/// Whether the settings of an attestation say that it is not wanted.
fn is_disabled(value: &str) -> bool {
    let disabled = fields(value)
        .ok()
        .and_then(|mut all| all.remove("disabled"));
    disabled.is_some_and(|text| switch("disabled", &text) == Ok(true))
}

/// The options that were given, with what there is to say about them.
#[derive(Debug, Default)]
pub struct ForeignArgs {
    /// One sentence for each that is ignored.
    pub notes: Vec<String>,
    /// Why the first one that cannot be done is refused.
    pub refusal: Option<String>,
}

impl Args for ForeignArgs {
    fn augment_args(command: Command) -> Command {
        TABLE.iter().fold(command, |command, (name, short, takes)| {
            let arg = Arg::new(*name)
                .long(*name)
                .hide(true)
                .action(ArgAction::Append);
            let arg = match short {
                Some(short) => arg.short(*short),
                None => arg,
            };
            command.arg(match takes {
                Takes::Switch => arg
                    .num_args(0..=1)
                    .require_equals(true)
                    .default_missing_value("true"),
                Takes::Value => arg.num_args(1).allow_hyphen_values(true),
            })
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for ForeignArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let mut found = Self::default();
        for (name, ..) in TABLE {
            let values = matches.get_many::<String>(name).into_iter().flatten();
            for value in values {
                match answer(name, value) {
                    Answer::Accept => {}
                    Answer::Ignore(why) => {
                        found.notes.push(format!("--{name} is ignored: {why}"));
                    }
                    Answer::Refuse(why) => {
                        found.refusal.get_or_insert(format!("--{name}: {why}"));
                    }
                }
            }
        }
        found.notes.dedup();
        Ok(found)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_off_is_accepted() {
        for (name, value) in [
            ("provenance", "false"),
            ("provenance", "disabled=true"),
            ("sbom", "0"),
            ("attest", "type=sbom,disabled=true"),
            ("squash", "false"),
            ("isolation", "default"),
            ("builder", "any"),
        ] {
            assert_eq!(answer(name, value), Answer::Accept, "{name}={value}");
        }
    }

    #[test]
    fn what_cannot_be_done_is_refused() {
        for (name, value) in [
            ("provenance", "true"),
            ("provenance", "mode=max"),
            ("sbom", "true"),
            ("attest", "type=sbom"),
            ("isolation", "hyperv"),
            ("resource", "memory=1g"),
        ] {
            let refused = matches!(answer(name, value), Answer::Refuse(_));
            assert!(refused, "{name}={value}");
        }
        assert_eq!(answer("memory", "1g"), Answer::Ignore(LIMIT_IGNORED));
    }
}
