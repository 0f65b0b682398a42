//! BuildKit's build rules as warnings tell of them: name, page, one sentence.

/// Where the pages about the rules are.
const PAGES: &str = "https://docs.docker.com/go/dockerfile/rule/";

/// A rule that a warning is about.
#[derive(Debug)]
pub(crate) struct Rule {
    /// As in front of the message.
    pub(crate) name: &'static str,
    /// Last part of the page's address; `None` where BuildKit has no page.
    slug: Option<&'static str>,
    /// Why it is a rule.
    pub(crate) reason: &'static str,
}

const RULES: [Rule; 10] = [
    Rule {
        name: "NoEmptyContinuation",
        slug: Some("no-empty-continuation"),
        reason: "Empty lines inside a continued instruction will be an error in a later version.",
    },
    Rule {
        name: "UndefinedVar",
        slug: Some("undefined-var"),
        reason: "A variable should be set by ARG or ENV before it is used.",
    },
    Rule {
        name: "UndefinedArgInFrom",
        slug: Some("undefined-arg-in-from"),
        reason: "FROM can only use arguments that are declared before the first FROM.",
    },
    Rule {
        name: "InvalidDefaultArgInFrom",
        slug: Some("invalid-default-arg-in-from"),
        reason: "The defaults of the arguments alone should give FROM a valid image name.",
    },
    Rule {
        name: "WorkdirRelativePath",
        slug: Some("workdir-relative-path"),
        reason: "What a relative WORKDIR means depends on the base image.",
    },
    Rule {
        name: "InvalidBaseImagePlatform",
        slug: None,
        reason: "The base image is for another platform than the build.",
    },
    Rule {
        name: "JSONArgsRecommended",
        slug: Some("json-args-recommended"),
        reason: "In shell form a shell stands between the runtime and the program and does not pass \
                 signals on.",
    },
    Rule {
        name: "MultipleInstructionsDisallowed",
        slug: Some("multiple-instructions-disallowed"),
        reason: "Of several CMD, ENTRYPOINT or HEALTHCHECK in a stage only the last counts.",
    },
    Rule {
        name: "ExposeProtoCasing",
        slug: Some("expose-proto-casing"),
        reason: "Protocols in EXPOSE are written in lower case.",
    },
    Rule {
        name: "ExposeInvalidFormat",
        slug: Some("expose-invalid-format"),
        reason: "EXPOSE takes the container's port only, no address and no port of the host.",
    },
];

impl Rule {
    /// The rule of this name.
    pub(crate) fn named(name: &str) -> Option<&'static Rule> {
        RULES.iter().find(|rule| rule.name == name)
    }

    /// Where to read about it.
    pub(crate) fn url(&self) -> Option<String> {
        self.slug.map(|slug| format!("{PAGES}{slug}/"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_made_of_the_names() {
        for rule in &RULES {
            let Some(slug) = rule.slug else { continue };
            let letters = slug.replace('-', "");
            assert_eq!(letters, rule.name.to_ascii_lowercase());
        }
        let url = Rule::named("UndefinedVar").and_then(Rule::url);
        assert_eq!(
            url.as_deref(),
            Some("https://docs.docker.com/go/dockerfile/rule/undefined-var/")
        );
        assert!(Rule::named("unknown-flag").is_none());
    }
}
