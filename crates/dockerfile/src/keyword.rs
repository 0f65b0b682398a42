//! The eighteen keywords, and how the arguments of each are split.

/// An instruction's keyword.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)] // The names are the documentation.
pub enum Keyword {
    Add,
    Arg,
    Cmd,
    Copy,
    Entrypoint,
    Env,
    Expose,
    From,
    Healthcheck,
    Label,
    Maintainer,
    Onbuild,
    Run,
    Shell,
    Stopsignal,
    User,
    Volume,
    Workdir,
}

/// How the rest of a line becomes arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// A JSON array, else the whole rest.
    JsonOrString,
    /// A JSON array, else blank-separated words.
    JsonOrWords,
    /// Blank-separated words.
    Words,
    /// The whole rest.
    String,
    /// `name=value` pairs or the legacy form.
    NameValues,
    /// Quote-aware words.
    QuotedWords,
    /// A type word, then as `JsonOrString`.
    Health,
    /// Another instruction.
    Nested,
}

/// All keywords in alphabetical order.
pub const KEYWORDS: [Keyword; 18] = [
    Keyword::Add,
    Keyword::Arg,
    Keyword::Cmd,
    Keyword::Copy,
    Keyword::Entrypoint,
    Keyword::Env,
    Keyword::Expose,
    Keyword::From,
    Keyword::Healthcheck,
    Keyword::Label,
    Keyword::Maintainer,
    Keyword::Onbuild,
    Keyword::Run,
    Keyword::Shell,
    Keyword::Stopsignal,
    Keyword::User,
    Keyword::Volume,
    Keyword::Workdir,
];

impl Keyword {
    /// Finds the keyword in any case.
    ///
    /// Grammar: dockerfile.ebnf#keyword
    pub fn find(text: &str) -> Option<Keyword> {
        KEYWORDS
            .into_iter()
            .find(|keyword| keyword.as_str().eq_ignore_ascii_case(text))
    }

    /// Returns the keyword in upper case.
    pub fn as_str(self) -> &'static str {
        match self {
            Keyword::Add => "ADD",
            Keyword::Arg => "ARG",
            Keyword::Cmd => "CMD",
            Keyword::Copy => "COPY",
            Keyword::Entrypoint => "ENTRYPOINT",
            Keyword::Env => "ENV",
            Keyword::Expose => "EXPOSE",
            Keyword::From => "FROM",
            Keyword::Healthcheck => "HEALTHCHECK",
            Keyword::Label => "LABEL",
            Keyword::Maintainer => "MAINTAINER",
            Keyword::Onbuild => "ONBUILD",
            Keyword::Run => "RUN",
            Keyword::Shell => "SHELL",
            Keyword::Stopsignal => "STOPSIGNAL",
            Keyword::User => "USER",
            Keyword::Volume => "VOLUME",
            Keyword::Workdir => "WORKDIR",
        }
    }

    /// Returns how the arguments are split.
    pub(crate) fn shape(self) -> Shape {
        match self {
            Keyword::Cmd | Keyword::Entrypoint | Keyword::Run | Keyword::Shell => {
                Shape::JsonOrString
            }
            Keyword::Add | Keyword::Copy | Keyword::Volume => Shape::JsonOrWords,
            Keyword::From | Keyword::Expose => Shape::Words,
            Keyword::User | Keyword::Workdir | Keyword::Stopsignal | Keyword::Maintainer => {
                Shape::String
            }
            Keyword::Env | Keyword::Label => Shape::NameValues,
            Keyword::Arg => Shape::QuotedWords,
            Keyword::Healthcheck => Shape::Health,
            Keyword::Onbuild => Shape::Nested,
        }
    }

    /// Says whether here-documents may stand in the arguments.
    pub(crate) fn takes_heredocs(self) -> bool {
        matches!(self, Keyword::Add | Keyword::Copy | Keyword::Run)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keywords_come_in_any_case() {
        assert_eq!(Keyword::find("Run"), Some(Keyword::Run));
        assert_eq!(Keyword::find("HealthCheck"), Some(Keyword::Healthcheck));
        assert_eq!(Keyword::find("RUNN"), None);
    }
}
