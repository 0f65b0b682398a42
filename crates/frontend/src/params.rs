//! What a build takes from outside: arguments, secrets and agents, as `--call=outline` lists them.
//!
//! The list follows BuildKit: an argument counts once a stage declares it or FROM uses it, and brings
//! along the global ones that its default refers to.

use std::collections::{BTreeMap, BTreeSet};

use rbuild_dockerfile::Span;

use crate::lower::Done;
use crate::scope::Globals;
use crate::stage::{Base, Source, Table};

/// What the target and the stages that it needs take from outside.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TargetOutline {
    /// Name of the target; `None` if it has none.
    pub name: Option<String>,
    /// What the comment above it says.
    pub description: Option<String>,
    /// Build arguments, in the order of the file.
    pub args: Vec<Parameter>,
    /// Secrets of RUN, likewise.
    pub secrets: Vec<Access>,
    /// Agents of RUN, likewise.
    pub ssh: Vec<Access>,
}

/// A build argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter {
    /// Its name.
    pub name: String,
    /// Its value in this build, if it has one.
    pub value: Option<String>,
    /// What the comment above it says.
    pub description: Option<String>,
    /// The instruction that declares it.
    pub span: Span,
}

/// A secret or an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    /// Its id.
    pub name: String,
    /// Whether the step fails without it.
    pub required: bool,
    /// The first instruction that uses it.
    pub span: Span,
}

/// What one stage, with those that it is built on, takes from outside; each by name.
#[derive(Debug, Clone, Default)]
pub(crate) struct Params {
    /// Build arguments.
    pub(crate) args: BTreeMap<String, Parameter>,
    /// Secrets.
    pub(crate) secrets: BTreeMap<String, Access>,
    /// Agents.
    pub(crate) ssh: BTreeMap<String, Access>,
}

/// An argument before the first FROM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GlobalArg {
    /// As it is listed.
    pub(crate) parameter: Parameter,
    /// The arguments that its default refers to.
    pub(crate) needs: BTreeSet<String>,
}

impl Params {
    /// Counts global arguments, and those that their defaults refer to, as used.
    pub(crate) fn use_globals<'n>(
        &mut self,
        names: impl IntoIterator<Item = &'n String>,
        globals: &Globals,
    ) {
        let mut open: Vec<&String> = names.into_iter().collect();
        let mut seen = BTreeSet::new();
        while let Some(name) = open.pop() {
            if !seen.insert(name) {
                continue;
            }
            if let Some(found) = globals.args.get(name) {
                let entry = self.args.entry(name.clone());
                entry.or_insert_with(|| found.parameter.clone());
                open.extend(&found.needs);
            }
        }
    }

    fn add_missing(&mut self, other: &Params) {
        add_missing(&mut self.args, &other.args);
        add_missing(&mut self.secrets, &other.secrets);
        add_missing(&mut self.ssh, &other.ssh);
    }
}

fn add_missing<T: Clone>(all: &mut BTreeMap<String, T>, more: &BTreeMap<String, T>) {
    for (name, found) in more {
        all.entry(name.clone()).or_insert_with(|| found.clone());
    }
}

/// Puts together what a target needs; of two arguments with one name the nearer one counts.
pub(crate) fn outline(table: &Table<'_>, target: usize, done: &Done) -> TargetOutline {
    let mut all = Params::default();
    let mut open = vec![target];
    let mut seen = BTreeSet::new();
    while let Some(index) = open.pop() {
        let Some(state) = done.stages.get(&index).filter(|_| seen.insert(index)) else {
            continue;
        };
        all.add_missing(&state.params);
        let stage = &table.stages[index];
        let sources = stage.commands.iter().flat_map(|command| &command.sources);
        open.extend(sources.filter_map(|source| match source {
            Some(Source::Stage(index)) => Some(*index),
            Some(Source::Outside(_)) | None => None,
        }));
        if let Base::Stage(base) = stage.base {
            open.push(base);
        }
    }
    TargetOutline {
        name: table.stages[target].name.clone(),
        description: None,
        args: in_file_order(all.args, |found| found.span),
        secrets: in_file_order(all.secrets, |found| found.span),
        ssh: in_file_order(all.ssh, |found| found.span),
    }
}

fn in_file_order<T>(all: BTreeMap<String, T>, place: fn(&T) -> Span) -> Vec<T> {
    let mut list: Vec<T> = all.into_values().collect();
    list.sort_by_key(|found| place(found).start);
    list
}
