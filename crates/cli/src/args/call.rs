//! `--call` and `--check`: what is asked instead of a build.

use std::collections::BTreeMap;

use clap::Args;

use super::csv::{fields, switch};

/// What is asked of a Dockerfile.
#[derive(Debug, Args)]
#[command(next_help_heading = "Instead of a build")]
pub struct CallArgs {
    /// Answer a question about the Dockerfile: check, outline, targets or subrequests.describe, with
    /// ,format=text|json (check also sarif) and ,ignorestatus=BOOL
    #[arg(
        long,
        alias = "print",
        value_name = "METHOD",
        value_parser = call,
        default_value = "build",
        hide_default_value = true
    )]
    pub call: Call,

    /// Check the Dockerfile, as --call=check
    #[arg(
        long,
        num_args = 0..=1,
        require_equals = true,
        value_name = "BOOL",
        value_parser = super::value::switch,
        action = clap::ArgAction::Set,
        default_value = "false",
        default_missing_value = "true",
        hide_default_value = true
    )]
    pub check: bool,
}

impl CallArgs {
    /// What is asked, both options taken together.
    pub fn call(&self) -> Call {
        if self.check && self.call.method == Method::Build {
            return Call {
                method: Method::Check,
                ..self.call
            };
        }
        self.call
    }
}

/// A question and the form of its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call {
    /// The question.
    pub method: Method,
    /// The form of the answer.
    pub format: Format,
    /// What the answer does to the exit code.
    pub status: Status,
}

/// What can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Nothing: build.
    Build,
    /// What the rules find.
    Check,
    /// What a target takes from outside.
    Outline,
    /// Which targets there are.
    Targets,
    /// What can be asked.
    Describe,
}

/// The form of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// BuildKit's.
    Json,
    /// For code hosts.
    Sarif,
}

/// What findings do to the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// They make it 1.
    Counts,
    /// Nothing.
    Ignored,
}

/// Reads `METHOD[,format=FORMAT][,ignorestatus=BOOL]`, or the same with `method=METHOD`.
fn call(text: &str) -> Result<Call, String> {
    let (first, rest) = text.split_once(',').unwrap_or((text, ""));
    let (name, rest) = match first.contains('=') {
        true => (None, text),
        false => (Some(first.to_owned()), rest),
    };
    let mut fields = match rest {
        "" => BTreeMap::new(),
        rest => fields(rest)?,
    };
    let name = name.or_else(|| fields.remove("method"));
    let method = method(name.as_deref().unwrap_or_default())?;
    let format = match fields.remove("format").as_deref() {
        None | Some("" | "text") => Format::Text,
        Some("json") => Format::Json,
        Some("sarif") if method == Method::Check => Format::Sarif,
        Some(other) => {
            let known = match method {
                Method::Check => "text, json, sarif",
                _ => "text, json",
            };
            return Err(format!("format `{other}` is none of {known}"));
        }
    };
    let ignored = match fields.remove("ignorestatus") {
        Some(value) => switch("ignorestatus", &value)?,
        None => false,
    };
    if let Some(name) = fields.keys().next() {
        return Err(format!("--call has no setting `{name}`"));
    }
    Ok(Call {
        method,
        format,
        status: match ignored {
            true => Status::Ignored,
            false => Status::Counts,
        },
    })
}

fn method(name: &str) -> Result<Method, String> {
    match name.strip_prefix("frontend.").unwrap_or(name) {
        "" | "build" => Ok(Method::Build),
        "check" | "lint" => Ok(Method::Check),
        "outline" => Ok(Method::Outline),
        "targets" => Ok(Method::Targets),
        "subrequests.describe" => Ok(Method::Describe),
        other => Err(format!(
            "`{other}` is none of build, check, outline, targets, subrequests.describe"
        )),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn methods_have_formats() {
        let of = |text| call(text).unwrap();
        let asked = of("check,format=json,ignorestatus=1");
        assert_eq!(
            (asked.method, asked.format, asked.status),
            (Method::Check, Format::Json, Status::Ignored)
        );
        assert_eq!(of("").method, Method::Build);
        assert_eq!(of("lint").method, Method::Check);
        assert_eq!(of("method=targets,format=text").method, Method::Targets);
        assert_eq!(of("check,format=sarif").format, Format::Sarif);
        for text in [
            "nope",
            "check,format=xml",
            "outline,format=sarif",
            "check,x=y",
            "check,ignorestatus=2",
        ] {
            assert!(call(text).is_err(), "{text}");
        }
        let told = |text| call(text).unwrap_err();
        assert!(told("check,format=xml").ends_with("text, json, sarif"));
        assert!(told("outline,format=xml").ends_with("text, json"));
    }
}
