//! BuildKit's build rules as warnings tell of them: name, page, one sentence.

use rbuild_dockerfile::suggest::nearest;

/// Where the pages about the rules are.
const PAGES: &str = "https://docs.docker.com/go/dockerfile/rule/";

/// A rule that a warning is about.
#[derive(Debug)]
pub(crate) struct Rule {
    /// As in front of the message.
    pub(crate) name: &'static str,
    /// Last part of the page's address; `None` where BuildKit has no page.
    slug: Option<&'static str>,
    /// Whose rule it is, and whether it must be asked for.
    pub(crate) standing: Standing,
    /// Why it is a rule.
    pub(crate) reason: &'static str,
}

/// Whose rule it is, and whether it must be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// BuildKit's, and checked unless it is skipped.
    Usual,
    /// BuildKit's, and checked where it is asked for.
    Experimental,
    /// One that BuildKit lacks: checked unless it is skipped, and never an error of a build.
    Own,
}

/// A rule of BuildKit's with a page of its own.
const fn usual(name: &'static str, slug: &'static str, reason: &'static str) -> Rule {
    Rule {
        name,
        slug: Some(slug),
        standing: Standing::Usual,
        reason,
    }
}

/// A rule that BuildKit lacks; its page is with rbuild's documents.
const fn own(name: &'static str, reason: &'static str) -> Rule {
    Rule {
        name,
        slug: None,
        standing: Standing::Own,
        reason,
    }
}

/// In the order of BuildKit's own list, then rbuild's own.
const RULES: [Rule; 28] = [
    usual(
        "StageNameCasing",
        "stage-name-casing",
        "Stage names are compared in lower case, so they are written so.",
    ),
    usual(
        "FromAsCasing",
        "from-as-casing",
        "FROM and AS belong together and are written in one case.",
    ),
    usual(
        "NoEmptyContinuation",
        "no-empty-continuation",
        "Empty lines inside a continued instruction will be an error in a later version.",
    ),
    usual(
        "ConsistentInstructionCasing",
        "consistent-instruction-casing",
        "The keywords of a file are written in one case.",
    ),
    usual(
        "DuplicateStageName",
        "duplicate-stage-name",
        "Of several stages with one name only the last can be meant by it.",
    ),
    usual(
        "ReservedStageName",
        "reserved-stage-name",
        "The name means something else wherever a stage can be named.",
    ),
    usual(
        "JSONArgsRecommended",
        "json-args-recommended",
        "In shell form a shell stands between the runtime and the program and does not pass signals on.",
    ),
    usual(
        "MaintainerDeprecated",
        "maintainer-deprecated",
        "MAINTAINER is out of use; a label says the same and more.",
    ),
    usual(
        "UndefinedArgInFrom",
        "undefined-arg-in-from",
        "FROM can only use arguments that are declared before the first FROM.",
    ),
    usual(
        "WorkdirRelativePath",
        "workdir-relative-path",
        "What a relative WORKDIR means depends on the base image.",
    ),
    usual(
        "UndefinedVar",
        "undefined-var",
        "A variable should be set by ARG or ENV before it is used.",
    ),
    usual(
        "MultipleInstructionsDisallowed",
        "multiple-instructions-disallowed",
        "Of several CMD, ENTRYPOINT or HEALTHCHECK in a stage only the last counts.",
    ),
    usual(
        "LegacyKeyValueFormat",
        "legacy-key-value-format",
        "Without an equals sign the rest of the line is the value, which is seldom seen at a glance.",
    ),
    Rule {
        name: "InvalidBaseImagePlatform",
        slug: None,
        standing: Standing::Usual,
        reason: "The base image is for another platform than the build.",
    },
    usual(
        "RedundantTargetPlatform",
        "redundant-target-platform",
        "A stage is for the target platform anyway.",
    ),
    usual(
        "SecretsUsedInArgOrEnv",
        "secrets-used-in-arg-or-env",
        "Values of ARG and ENV stay in the image, for everyone who has it to read.",
    ),
    usual(
        "InvalidDefaultArgInFrom",
        "invalid-default-arg-in-from",
        "The defaults of the arguments alone should give FROM a valid image name.",
    ),
    usual(
        "FromPlatformFlagConstDisallowed",
        "from-platform-flag-const-disallowed",
        "A stage with a fixed platform cannot be built for another one.",
    ),
    usual(
        "CopyIgnoredFile",
        "copy-ignored-file",
        "What the ignore file leaves out is not in the build context.",
    ),
    Rule {
        name: "InvalidDefinitionDescription",
        slug: Some("invalid-definition-description"),
        standing: Standing::Experimental,
        reason: "Comments directly above ARG and FROM are what lists of targets and arguments show.",
    },
    usual(
        "ExposeProtoCasing",
        "expose-proto-casing",
        "Protocols in EXPOSE are written in lower case.",
    ),
    usual(
        "ExposeInvalidFormat",
        "expose-invalid-format",
        "EXPOSE takes the container's port only, no address and no port of the host.",
    ),
    own(
        "ArgOutOfScope",
        "What is declared before the first FROM is for FROM lines; a stage sees it once it repeats the ARG.",
    ),
    own(
        "HeredocWithoutErrexit",
        "Without `set -e` only the last command of a script decides whether the step fails.",
    ),
    own(
        "SourcesToOneFile",
        "A destination without a slash at its end is a file, which each source is written over.",
    ),
    own(
        "UnknownOwner",
        "Names of owners are looked up in the image; one that is not there becomes root, or fails the step where there are no accounts at all.",
    ),
    own(
        "DeviceLeftOut",
        "Steps are given no devices; one that is not required is left out without a word by other builders.",
    ),
    own(
        "UnknownRule",
        "A name that is no rule keeps nothing silent.",
    ),
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

/// The rule whose name a misspelt one is nearest to, whatever the case.
pub(crate) fn nearest_rule(name: &str) -> Option<&'static str> {
    let names = RULES.map(|rule| rule.name);
    let same = names.iter().find(|rule| rule.eq_ignore_ascii_case(name));
    same.copied().or_else(|| nearest(name, &names))
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
