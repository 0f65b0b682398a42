//! `rbuild explain`.

use std::path::Path;

use jiff::Timestamp;
use rbuild::{
    CarriedRun, Compared, ComparedStep, Engine, How, Reason, Run, RunStep, difference_lines,
    reason_lines, steps_named,
};
use serde_json::{Value, json};

use super::build::write_file;
use super::images::{NONE, ago};
use super::table::Table;
use super::{CommandError, CommandResult, open, print};
use crate::args::{ExplainArgs, TableFormat};
use crate::exit::Exit;
use crate::render::{clean, fit};
use crate::style::Look;

/// Columns of a step in the table.
const STEP_COLUMNS: usize = 50;

/// Says why the steps of a build were not found, or how two builds differ.
pub fn run(args: &ExplainArgs, root: Option<&Path>) -> CommandResult {
    let engine = open(root)?;
    if args.runs {
        return list(&engine.runs()?, args.format);
    }
    let now = chosen(&engine, args.run.as_deref())?;
    if let Some(path) = &args.export {
        write_file(path, &now.encode()?)?;
        return Ok(Exit::Success);
    }
    let steps = match &args.step {
        None => now.run.steps.iter().collect(),
        Some(what) => named(&now.run, what)?,
    };
    match &args.against {
        None => explain(&now.run, &steps, args),
        Some(against) => {
            let then = carried(&engine, against)?;
            let names: Vec<&str> = steps.iter().map(|step| step.name.as_str()).collect();
            let mut compared = engine.compare_runs(&now, &then);
            compared.retain(|step| names.contains(&step.name.as_str()));
            compare((&now.run, &then.run), &compared, args)
        }
    }
}

/// The build that is explained.
fn chosen(engine: &Engine, what: Option<&str>) -> Result<CarriedRun, CommandError> {
    let Some(what) = what else {
        let here = std::env::current_dir().map_err(anyhow::Error::from)?;
        return Ok(engine.carry_run(&engine.last_run(&here)?)?);
    };
    carried(engine, what)
}

/// A build by its name, or in a file.
fn carried(engine: &Engine, what: &str) -> Result<CarriedRun, CommandError> {
    if !Path::new(what).is_file() {
        return Ok(engine.carry_run(&engine.run_named(what)?)?);
    }
    let bytes = std::fs::read(what).map_err(|error| {
        let place = format!("read {what}");
        anyhow::Error::from(error).context(place)
    })?;
    Ok(CarriedRun::decode(what, &bytes)?)
}

fn named<'r>(run: &'r Run, what: &str) -> Result<Vec<&'r RunStep>, CommandError> {
    let found = steps_named(run, what);
    if found.is_empty() {
        return Err(CommandError::Usage(format!(
            "build {} has no step {what:?}; without a step all are listed",
            clean(&run.id)
        )));
    }
    Ok(found)
}

fn list(runs: &[Run], format: TableFormat) -> CommandResult {
    if format == TableFormat::Json {
        return print(
            &runs
                .iter()
                .map(|run| line(&summary(run)))
                .collect::<String>(),
        );
    }
    let now = Timestamp::now();
    let mut table = Table::new(&["RUN", "ENDED", "MADE", "RESULT", "DOCKERFILE", "TARGET"]);
    for run in runs {
        table.row(vec![
            clean(&run.id),
            ended(run, now),
            made(run),
            result(run).to_owned(),
            clean(&run.dockerfile),
            clean(run.target.as_deref().unwrap_or(NONE)),
        ]);
    }
    print(&table.text())
}

fn explain(run: &Run, steps: &[&RunStep], args: &ExplainArgs) -> CommandResult {
    if args.format == TableFormat::Json {
        let mut record = summary(run);
        record["steps"] = json!(steps);
        return print(&line(&record));
    }
    if args.step.is_some() {
        return print(&steps.iter().map(|step| paragraph(step)).collect::<String>());
    }
    let mark = Look::of(&std::io::stdout()).symbols.ellipsis();
    let mut table = Table::new(&["#", "STEP", "RESULT", "TIME", "WHY"]);
    for (at, step) in steps.iter().enumerate() {
        table.row(vec![
            (at + 1).to_string(),
            fit(&clean(&step.name), STEP_COLUMNS, mark),
            word(step.how).to_owned(),
            spent(step),
            clean(step.why.as_deref().unwrap_or_default()),
        ]);
    }
    print(&format!("Build {}\n\n{}", head(run), table.text()))
}

/// All about a step.
fn paragraph(step: &RunStep) -> String {
    let mut text = format!(
        "{}\n  {} {}\n",
        clean(&step.name),
        word(step.how),
        spent(step)
    );
    if let Some(Reason::Changed { then, run, .. }) = &step.reason {
        let (then, run) = (clean(then), clean(run));
        text.push_str(&format!("  compared with {then} of build {run}\n"));
    }
    for line in step.reason.iter().flat_map(reason_lines) {
        text.push_str(&format!("  {}\n", clean(&line)));
    }
    text.push('\n');
    text
}

fn compare((now, then): (&Run, &Run), steps: &[ComparedStep], args: &ExplainArgs) -> CommandResult {
    if args.format == TableFormat::Json {
        let record = json!({ "run": now.id, "against": then.id, "steps": steps });
        return print(&line(&record));
    }
    let mut text = format!("Build {}\nagainst {}\n\n", head(now), head(then));
    for step in steps {
        let outcome = match step.outcome {
            Compared::Same => "same",
            Compared::Different => "differs",
            Compared::OnlyHere => "only in the first",
            Compared::Forgotten => "differs, and what it was made of is forgotten",
        };
        text.push_str(&format!("{}: {outcome}\n", clean(&step.name)));
        let then = step.other.as_deref().unwrap_or_default();
        for line in difference_lines(&step.differences, then) {
            text.push_str(&format!("  {}\n", clean(&line)));
        }
    }
    print(&text)
}

/// A run without its steps.
fn summary(run: &Run) -> Value {
    let mut record = json!(run);
    if let Some(fields) = record.as_object_mut() {
        fields.remove("steps");
        fields.insert("made".to_owned(), json!(count(run, How::Made)));
        fields.insert("cached".to_owned(), json!(count(run, How::Cached)));
    }
    record
}

fn line(record: &Value) -> String {
    format!("{record}\n")
}

fn head(run: &Run) -> String {
    let dockerfile = clean(&run.dockerfile);
    let target = run.target.as_deref().map(clean);
    let target = target.map_or_else(String::new, |target| format!(" --target {target}"));
    let now = Timestamp::now();
    format!(
        "{}, {}, {dockerfile}{target}: {}, {} steps made",
        clean(&run.id),
        ended(run, now),
        result(run),
        made(run)
    )
}

fn ended(run: &Run, now: Timestamp) -> String {
    let stamp = i64::try_from(run.ended_ms).ok();
    let stamp = stamp.and_then(|ms| Timestamp::from_millisecond(ms).ok());
    ago(stamp.map(|stamp| stamp.to_string()).as_deref(), now)
}

fn made(run: &Run) -> String {
    format!("{} of {}", count(run, How::Made), run.steps.len())
}

fn count(run: &Run, how: How) -> usize {
    run.steps.iter().filter(|step| step.how == how).count()
}

fn result(run: &Run) -> &'static str {
    if run.succeeded { "succeeded" } else { "failed" }
}

fn word(how: How) -> &'static str {
    match how {
        How::Cached => "cached",
        How::Made => "made",
        How::Failed => "failed",
        How::NotReached => "not reached",
    }
}

/// How long a step took, where it was made.
fn spent(step: &RunStep) -> String {
    match step.how {
        How::Made => format!("{}.{}s", step.spent_ms / 1000, step.spent_ms % 1000 / 100),
        How::Cached | How::Failed | How::NotReached => String::new(),
    }
}
