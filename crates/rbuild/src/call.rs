//! What can be asked about a Dockerfile instead of building it: its targets, and what one takes.

use rbuild_dockerfile::{LineRange, Parsed, SourceFile};
use rbuild_frontend::{Entitlements, Known, Lowering, TargetOutline, lower};

use crate::elsewhere::{Elsewhere, Fetching};
use crate::places::Places;
use crate::stand_in::made_up;
use crate::{Result, planning};

/// What a target takes from outside.
#[derive(Debug, Clone)]
pub struct OutlineReport {
    /// The Dockerfile.
    pub source: SourceFile,
    /// Arguments, secrets and agents.
    pub outline: TargetOutline,
}

/// The stages of a Dockerfile.
#[derive(Debug, Clone)]
pub struct TargetsReport {
    /// The Dockerfile.
    pub source: SourceFile,
    /// In file order; never empty, and the last one is what is built by default.
    pub targets: Vec<Target>,
}

/// A stage that can be built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Its name; `None` if it has none.
    pub name: Option<String>,
    /// What the comment above it says.
    pub description: Option<String>,
    /// What it is built on, as written.
    pub base: String,
    /// Its `--platform`, as written.
    pub platform: Option<String>,
    /// The lines of its FROM.
    pub lines: LineRange,
}

/// What the target of a request takes from outside. No image is looked up.
///
/// Errors: the Dockerfile cannot be read or is wrong.
pub(crate) fn outline(fetching: &Fetching<'_>) -> Result<OutlineReport> {
    let (source, parsed, elsewhere) = read(fetching)?;
    let places = Places::new(source.name(), source.text());
    let mut wanted = planning::lower_request(fetching.request, elsewhere.as_ref())?;
    wanted.entitlements = Entitlements {
        network_host: true,
        security_insecure: true,
    };
    let mut known = Known::new();
    loop {
        let step = lower(&parsed.dockerfile, &wanted, &known);
        match step.map_err(|found| places.lowering_error(&found))? {
            Lowering::Done(plan) => {
                let outline = plan.outline;
                return Ok(OutlineReport { source, outline });
            }
            Lowering::Need(questions) => {
                let answers = questions.into_iter().map(|asked| {
                    let answer = made_up(&asked.image);
                    (asked.image, answer)
                });
                known.images.extend(answers);
            }
        }
    }
}

/// The stages of the Dockerfile of a request.
///
/// Errors: the Dockerfile cannot be read or is wrong.
pub(crate) fn targets(fetching: &Fetching<'_>) -> Result<TargetsReport> {
    let (source, parsed, _) = read(fetching)?;
    let stages = parsed.dockerfile.stages.into_iter();
    let targets = stages.map(|stage| Target {
        name: stage.name.map(|name| name.text),
        description: stage.doc,
        base: stage.base.text,
        platform: stage.platform.map(|platform| platform.text),
        lines: stage.from.lines,
    });
    let targets = targets.collect();
    Ok(TargetsReport { source, targets })
}

fn read(fetching: &Fetching<'_>) -> Result<(SourceFile, Parsed, Option<Elsewhere>)> {
    let (dockerfile, elsewhere) = planning::definition(fetching)?;
    let parsed = rbuild_dockerfile::parse(&dockerfile.text);
    Places::new(&dockerfile.name, &dockerfile.text).check_parsed(&parsed)?;
    let source = SourceFile::new(dockerfile.name, dockerfile.text);
    Ok((source, parsed, elsewhere))
}
