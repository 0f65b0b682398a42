//! What differs between what two keys were made of. Pure but for the lists of files, which are asked for.

use std::sync::Arc;

use rbuild_oci::Digest;
use rbuild_solver::{InputNote, KeyInputs, Part, SourceNote};
use rbuild_source::Listing;
use serde::{Deserialize, Serialize};

use super::files::{FileChanges, changes};

/// Something that differs between an earlier step and one of now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum Difference {
    /// A part of the instruction or of what holds where it stands, by the name that people have for it.
    Field {
        /// `arguments`, `workdir`, `--chown`, `mount /src`.
        name: String,
        /// What it was; `None` if it was not there.
        then: Option<String>,
        /// What it is; `None` if it is not there any more.
        now: Option<String>,
    },
    /// A variable of the environment.
    Variable {
        /// Its name. Values are not kept.
        name: String,
        /// Whether it is a build argument.
        argument: bool,
        /// What became of it.
        change: Change,
    },
    /// An image.
    Image {
        /// Whether it is the base of the step; else files of it are used.
        base: bool,
        /// What it was: reference, digest of the manifest, platform.
        then: [String; 3],
        /// What it is.
        now: [String; 3],
    },
    /// Another source.
    Source {
        /// What people call it.
        name: String,
    },
    /// Files that the step reads.
    Files {
        /// Where they come from; `None` for the build context.
        from: Option<String>,
        /// Whether that is a step that was made again in the same build.
        made_again: bool,
        /// Which; `None` where no list was kept.
        changes: Option<FileChanges>,
    },
    /// The result of a step that it stands on.
    Step {
        /// The step that it stood on.
        then: String,
        /// The step that it stands on.
        now: String,
        /// Whether that was made again in the same build.
        made_again: bool,
    },
}

/// What became of something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// It was not there.
    New,
    /// It is not there any more.
    Gone,
    /// It is another.
    Other,
}

/// What telling two keys apart needs besides them.
pub(super) trait Surroundings {
    /// A list of files.
    fn listing(&self, name: &Digest) -> Option<Arc<Listing>>;

    /// Whether input number `at` of the step of now was made again in its build.
    fn was_made(&self, at: usize) -> bool;

    /// Whether a variable is a build argument.
    fn is_argument(&self, name: &str) -> bool;
}

/// What differs, what weighs most first; empty only if the two keys are made of the same.
pub(super) fn differences(
    then: &KeyInputs,
    now: &KeyInputs,
    around: &dyn Surroundings,
) -> Vec<Difference> {
    let mut found = fields(then, now, around);
    for (at, input) in now.inputs.iter().enumerate() {
        match counterpart(then, now, at) {
            Some(before) if before.part == input.part => {}
            Some(before) => inputs((before, input), at, around, &mut found),
            None => found.push(Difference::Source {
                name: input.label.clone(),
            }),
        }
    }
    if now.inputs.len() < then.inputs.len() {
        let gone = then.inputs.iter().skip(now.inputs.len());
        found.extend(gone.map(|input| Difference::Source {
            name: input.label.clone(),
        }));
    }
    found.sort_by_key(weight);
    if found.is_empty() && then.op != now.op {
        found.push(Difference::Field {
            name: "instruction".to_owned(),
            then: None,
            now: None,
        });
    }
    found
}

/// The place of a difference in the order of telling: what people change first, what follows last.
fn weight(difference: &Difference) -> u8 {
    match difference {
        Difference::Field { name, .. } if name == "platform" => 0,
        Difference::Field { name, .. } if name == "instruction" || name == "arguments" => 1,
        Difference::Field { .. } => 2,
        Difference::Image { base: true, .. } => 3,
        Difference::Variable { .. } => 4,
        Difference::Files { .. } => 5,
        Difference::Image { base: false, .. } | Difference::Source { .. } => 6,
        Difference::Step { .. } => 7,
    }
}

fn fields(then: &KeyInputs, now: &KeyInputs, around: &dyn Surroundings) -> Vec<Difference> {
    let value = |of: &KeyInputs, name: &str| {
        let found = of.fields.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.clone())
    };
    let mut names: Vec<&str> = then
        .fields
        .iter()
        .chain(&now.fields)
        .map(|(name, _)| name.as_str())
        .collect();
    names.sort_unstable();
    names.dedup();
    let mut found = Vec::new();
    let mut order = None;
    for name in names {
        let (before, after) = (value(then, name), value(now, name));
        if before == after {
            continue;
        }
        if let Some(variable) = name.strip_prefix("env ") {
            found.push(Difference::Variable {
                name: variable.to_owned(),
                argument: around.is_argument(variable),
                change: match (before, after) {
                    (None, _) => Change::New,
                    (_, None) => Change::Gone,
                    _ => Change::Other,
                },
            });
            continue;
        }
        let difference = Difference::Field {
            name: name.to_owned(),
            then: before,
            now: after,
        };
        if name == "order of variables" {
            order = Some(difference);
        } else {
            found.push(difference);
        }
    }
    // A variable that came or went changes the order as well.
    let variables = |it: &Difference| matches!(it, Difference::Variable { .. });
    if !found.iter().any(variables) {
        found.extend(order);
    }
    found
}

/// The input of then that belongs to input number `at` of now: the base to the base, the others in order.
fn counterpart<'a>(then: &'a KeyInputs, now: &KeyInputs, at: usize) -> Option<&'a InputNote> {
    let is_base = now.inputs.get(at)?.is_base;
    let place = now.inputs.iter().take(at);
    let place = place.filter(|input| input.is_base == is_base).count();
    let mut same = then.inputs.iter().filter(|it| it.is_base == is_base);
    same.nth(place)
}

fn inputs(
    (then, now): (&InputNote, &InputNote),
    at: usize,
    around: &dyn Surroundings,
    found: &mut Vec<Difference>,
) {
    let made_again = around.was_made(at);
    if let (Part::Content(_), Part::Content(_)) = (&then.part, &now.part) {
        let list = |input: &InputNote| input.files.as_ref().and_then(|name| around.listing(name));
        let changes = list(then)
            .zip(list(now))
            .map(|(then, now)| changes(&then, &now));
        found.push(Difference::Files {
            from: place_of(now),
            made_again,
            changes,
        });
    }
    match (&then.source, &now.source) {
        (Some(before @ SourceNote::Image { .. }), Some(after @ SourceNote::Image { .. })) => {
            if before != after {
                found.push(Difference::Image {
                    base: now.is_base,
                    then: image(before),
                    now: image(after),
                });
            }
        }
        _ if matches!(now.part, Part::Content(_)) => {}
        (_, Some(_)) => found.push(Difference::Source {
            name: place_of(now).unwrap_or_else(|| now.label.clone()),
        }),
        _ => found.push(Difference::Step {
            then: then.label.clone(),
            now: now.label.clone(),
            made_again,
        }),
    }
}

/// What people call the place of files; `None` for the build context.
fn place_of(input: &InputNote) -> Option<String> {
    match &input.source {
        Some(SourceNote::Local { name }) if name == "context" => None,
        Some(SourceNote::Local { name }) => Some(format!("context {name}")),
        Some(SourceNote::Image { reference, .. }) => Some(reference.clone()),
        Some(SourceNote::Url { url }) => Some(url.clone()),
        Some(SourceNote::Git { remote, reference }) if reference.is_empty() => Some(remote.clone()),
        Some(SourceNote::Git { remote, reference }) => Some(format!("{remote}#{reference}")),
        None => Some(input.label.clone()),
    }
}

fn image(source: &SourceNote) -> [String; 3] {
    match source {
        SourceNote::Image {
            reference,
            manifest,
            platform,
        } => [reference.clone(), manifest.to_string(), platform.clone()],
        _ => Default::default(),
    }
}

#[cfg(test)]
mod tests;
