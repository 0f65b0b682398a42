//! Which findings a Dockerfile wants to hear of: what its directive says, and comments above instructions.

use rbuild_dockerfile::check::{CheckError, CheckOptions, Selection};
use rbuild_dockerfile::suggest::with_suggestion;
use rbuild_dockerfile::{Header, LineRange, Parsed, Span};

use crate::lint::{Found, is_wanted};
use crate::places::Places;
use crate::rule::{Rule, nearest_rule};

/// The options of a file, and of single instructions in it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wishes {
    /// For the whole file.
    pub(crate) options: CheckOptions,
    /// For instructions, by their lines, with the place of the comment that says so.
    local: Vec<(LineRange, Span, CheckOptions)>,
}

impl Wishes {
    /// Reads `text`, what is said of the whole file, and the comments above instructions.
    ///
    /// Errors: `text` says something that is no option. A comment that does is a comment.
    pub(crate) fn read(parsed: &Parsed, text: &str) -> Result<Self, CheckError> {
        let options = CheckOptions::parse(text)?;
        let dockerfile = &parsed.dockerfile;
        let stages = dockerfile.stages.iter();
        let headers = stages.flat_map(|stage| {
            let instructions = stage.instructions.iter().map(|one| &one.header);
            std::iter::once(&stage.from).chain(instructions)
        });
        let globals = dockerfile.meta_args.iter().map(|one| &one.header);
        let local = globals.chain(headers).filter_map(|header| {
            let (span, options) = said_above(header)?;
            Some((header.lines, span, options))
        });
        Ok(Self {
            options,
            local: local.collect(),
        })
    }

    /// Whether the file wants to hear of a finding.
    pub(crate) fn want(&self, found: &Found) -> bool {
        let line = found.lines.first;
        let covers = |lines: &LineRange| lines.first <= line && line <= lines.last;
        let local = self.local.iter().find(|(lines, ..)| covers(lines));
        match local {
            Some((_, _, more)) => is_wanted(&merged(&self.options, more), found.rule),
            None => is_wanted(&self.options, found.rule),
        }
    }

    /// Finds names that are no rule, so that nothing comes of them; `place` is where the file's options stand.
    pub(crate) fn misspelt(&self, place: Option<Span>, places: &Places) -> Vec<Found> {
        let local = self.local.iter().map(|(_, span, more)| (Some(*span), more));
        let said = std::iter::once((place, &self.options)).chain(local);
        let mut found: Vec<Found> = Vec::new();
        for (span, options) in said {
            let names = [&options.skip, &options.experimental].map(named);
            let unknown = names.into_iter().flatten();
            let unknown = unknown.filter(|name| Rule::named(name).is_none());
            let told = unknown.filter_map(|name| misspelt(name, span, places));
            // The directive may stand right above the first instruction, and is a comment of it then.
            let new = |one: &Found| !found.iter().any(|known| known.message == one.message);
            let told: Vec<Found> = told.filter(new).collect();
            found.extend(told);
        }
        found
    }
}

fn named(selection: &Selection) -> &[String] {
    match selection {
        Selection::All => &[],
        Selection::Rules(names) => names,
    }
}

fn misspelt(name: &str, span: Option<Span>, places: &Places) -> Option<Found> {
    let message = format!("There is no rule '{name}' to skip or to ask for");
    Some(Found {
        rule: Rule::named("UnknownRule")?,
        message: with_suggestion(message, nearest_rule(name)),
        help: None,
        lines: span.map(|span| places.lines_of(span)).unwrap_or_default(),
        span,
    })
}

/// What the first `check=` among the comments above says about rules; what it says about errors does not count.
fn said_above(header: &Header) -> Option<(Span, CheckOptions)> {
    header.comments.iter().find_map(|comment| {
        let (name, value) = comment.text.split_once('=')?;
        let value = value.trim().split(' ').next().unwrap_or_default();
        let is_check = name.trim().eq_ignore_ascii_case("check");
        is_check.then(|| (comment.span, CheckOptions::parse(value).unwrap_or_default()))
    })
}

fn merged(file: &CheckOptions, more: &CheckOptions) -> CheckOptions {
    CheckOptions {
        skip: both(&file.skip, &more.skip),
        experimental: both(&file.experimental, &more.experimental),
        error: file.error,
    }
}

fn both(one: &Selection, other: &Selection) -> Selection {
    match (one, other) {
        (Selection::All, _) | (_, Selection::All) => Selection::All,
        (Selection::Rules(one), Selection::Rules(other)) => {
            Selection::Rules(one.iter().chain(other).cloned().collect())
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::lint::of_parser;

    fn wishes(text: &str, options: &str) -> (Vec<Found>, Wishes) {
        let parsed = rbuild_dockerfile::parse(text);
        let wishes = Wishes::read(&parsed, options).unwrap();
        (of_parser(&parsed), wishes)
    }

    /// Rule and line of what is left.
    fn kept(text: &str, options: &str) -> Vec<(&'static str, u32)> {
        let (found, wishes) = wishes(text, options);
        let kept = found.iter().filter(|found| wishes.want(found));
        kept.map(|found| (found.rule.name, found.lines.first))
            .collect()
    }

    #[test]
    fn a_comment_above_an_instruction_is_for_it_alone() {
        let text =
            |comment: &str| format!("FROM a\n{comment}\nMAINTAINER me\nRUN x\nMAINTAINER you\n");
        let rule = "MaintainerDeprecated";
        let second = [(rule, 5)];
        assert_eq!(kept(&text("# else"), ""), [(rule, 3), (rule, 5)]);
        assert_eq!(kept(&text("#check=skip=MaintainerDeprecated"), ""), second);
        assert_eq!(kept(&text("# Check = skip=all because of x"), ""), second);
        assert_eq!(
            kept(&text("# check=skip=all"), "skip=MaintainerDeprecated"),
            []
        );
        for other in [
            "# check=skip=Other",
            "# check=nonsense",
            "# check=skip=all\n#",
        ] {
            assert_eq!(kept(&text(other), "").len(), 2, "{other}");
        }
    }

    #[test]
    fn names_that_are_no_rules_are_told_with_the_nearest() {
        let text = "FROM a\n# check=skip=Stagenamecasing\nRUN x\n";
        let options = "skip=JSONArgRecommended,StageNameCasing;experimental=all";
        let (_, wishes) = wishes(text, options);
        let found = wishes.misspelt(None, &Places::new("Dockerfile", text));
        let told: Vec<_> = found
            .iter()
            .map(|found| (found.message.as_str(), found.lines.first))
            .collect();
        assert_eq!(
            told,
            [
                (
                    "There is no rule 'JSONArgRecommended' to skip or to ask for (did you mean JSONArgsRecommended?)",
                    0
                ),
                (
                    "There is no rule 'Stagenamecasing' to skip or to ask for (did you mean StageNameCasing?)",
                    2
                ),
            ]
        );
        let (_, other) = super::tests::wishes(text, "skip=SomethingElseAltogether");
        let found = other.misspelt(None, &Places::new("Dockerfile", text));
        assert_eq!(
            found[0].message,
            "There is no rule 'SomethingElseAltogether' to skip or to ask for"
        );
    }
}
