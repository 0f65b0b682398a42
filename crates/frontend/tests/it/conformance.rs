//! The shared conformance cases, where they are at hand: config and history of each image, names
//! of its steps, and texts of errors that lowering can find.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use rbuild_dockerfile::SourceFile;
use rbuild_frontend::{
    Code, ImageAnswer, ImagePlace, ImageQuestion, LowerRequest, NamedContext, Plan,
};
use rbuild_graph::{ImageOrigin, Op, Ulimit};
use rbuild_oci::{Digest, ImageConfig, Platform};
use rbuild_pattern::IgnoreSet;
use serde_json::Value;

use crate::world::{lower_with, made_up, request};

/// Images that must come out equal, of those that BuildKit builds.
const IMAGES: usize = 642;
/// Cases whose steps must have equal names; in the rest the recorded build found a step that an
/// earlier build had named otherwise.
const NAMES: usize = 619;
/// Cases with equal warnings.
const WARNINGS: usize = 642;
/// Failing cases whose error must have an equal text.
const ERRORS: usize = 65;

/// Rules that BuildKit lacks.
const OWN: [Code; 5] = [
    Code::ArgOutOfScope,
    Code::HeredocWithoutErrexit,
    Code::SourcesToOneFile,
    Code::UnknownOwner,
    Code::DeviceLeftOut,
];

#[derive(Default)]
struct Tally {
    built: usize,
    equal: usize,
    named: usize,
    warned: usize,
    failing: usize,
    same_error: usize,
    notes: Vec<String>,
}

#[test]
fn cases_give_equal_images() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/conformance/build");
    let Ok(entries) = fs::read_dir(&root) else {
        println!("no conformance cases at {}", root.display());
        return;
    };
    let bases = bases(&root.join("bases"));
    let mut folders: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    folders.sort();
    let mut tally = Tally::default();
    for folder in folders {
        if let Some(case) = Case::read(&folder) {
            case.judge(&bases, &mut tally);
        }
    }
    for note in &tally.notes {
        println!("{note}");
    }
    println!(
        "equal: {} of {} images, {} step names, {} warnings; {} of {} errors",
        tally.equal, tally.built, tally.named, tally.warned, tally.same_error, tally.failing
    );
    assert!(tally.warned >= WARNINGS, "fewer equal warnings than before");
    assert!(tally.equal >= IMAGES, "fewer equal images than before");
    assert!(tally.named >= NAMES, "fewer equal step names than before");
    assert!(tally.same_error >= ERRORS, "fewer equal errors than before");
}

/// Whatever people write, lowering ends, and ends the same way twice.
#[test]
fn any_file_is_lowered_or_refused() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/conformance");
    let (mut fine, mut refused) = (0, 0);
    for folder in [
        "real",
        "parser/buildkit-recorded",
        "parser/buildkit-inline",
        "parser/synth",
    ] {
        let Ok(entries) = fs::read_dir(root.join(folder)) else {
            println!("no files at {}", root.join(folder).display());
            continue;
        };
        for path in entries.flatten().map(|entry| entry.path()) {
            let file = if path.is_dir() {
                path.join("Dockerfile")
            } else {
                path
            };
            let Ok(bytes) = fs::read(&file) else {
                continue;
            };
            let text = rbuild_dockerfile::decode(&bytes);
            let lowered = lower_with(&text, &request(), &made_up);
            assert_eq!(
                lowered,
                lower_with(&text, &request(), &made_up),
                "{}",
                file.display()
            );
            match lowered {
                Ok(_) => fine += 1,
                Err(errors) => {
                    refused += 1;
                    println!("{}: {}", file.display(), errors.join("; "));
                }
            }
        }
    }
    println!("lowered: {fine}, refused: {refused}");
}

struct Case {
    name: String,
    text: String,
    request: LowerRequest,
    expect: Value,
}

impl Case {
    fn read(folder: &Path) -> Option<Self> {
        let json = |name: &str| -> Option<Value> {
            serde_json::from_slice(&fs::read(folder.join(name)).ok()?).ok()
        };
        let bytes = fs::read(folder.join("Dockerfile")).ok()?;
        let mut request = case_request(&json("case.json")?);
        request.ignored = ["Dockerfile.dockerignore", "context/.dockerignore"]
            .iter()
            .find_map(|name| fs::read_to_string(folder.join(name)).ok())
            .and_then(|text| IgnoreSet::parse(&text).ok());
        Some(Self {
            name: folder.file_name()?.to_string_lossy().into_owned(),
            text: rbuild_dockerfile::decode(&bytes).into_owned(),
            request,
            expect: json("expect.json")?,
        })
    }

    fn judge(&self, bases: &BTreeMap<String, ImageConfig>, tally: &mut Tally) {
        let answer = |question: &ImageQuestion| answer(question, bases);
        let lowered = lower_with(&self.text, &self.request, &answer);
        if self.expect["ok"] == Value::Bool(true) {
            tally.built += 1;
            self.judge_image(lowered, tally);
        } else {
            self.judge_error(lowered, tally);
        }
    }

    fn judge_image(&self, lowered: Result<Plan, Vec<String>>, tally: &mut Tally) {
        let name = &self.name;
        let plan = match lowered {
            Ok(plan) => plan,
            Err(errors) => return tally.notes.push(format!("{name}: {}", errors.join("; "))),
        };
        let (got, wanted) = (image(&plan), expected(&self.expect));
        if got == wanted {
            tally.equal += 1;
        } else {
            tally
                .notes
                .push(format!("{name}:\n  got    {got}\n  wanted {wanted}"));
        }
        self.judge_warnings(&plan, tally);
        let (got, wanted) = (step_names(&plan), expected_names(&self.expect));
        if got == wanted {
            tally.named += 1;
        } else {
            tally
                .notes
                .push(format!("{name}:\n  got    {got}\n  wanted {wanted}"));
        }
    }

    fn judge_warnings(&self, plan: &Plan, tally: &mut Tally) {
        let source = SourceFile::new("Dockerfile", self.text.clone());
        let mut got: Vec<String> = plan
            .warnings
            .iter()
            .filter(|found| !OWN.contains(&found.code))
            .map(|found| {
                let line = found
                    .spans
                    .first()
                    .map_or(0, |span| source.line_of(span.start));
                format!("{}: {found} (line {line})", found.code.as_str())
            })
            .collect();
        let parsed = rbuild_dockerfile::parse(&self.text);
        let experimental = rbuild_dockerfile::Code::InvalidDefinitionDescription;
        let of_text = parsed
            .lint
            .iter()
            .filter(|found| found.code != experimental);
        got.extend(of_text.map(|found| {
            let (code, line) = (found.code.as_str(), found.lines.first);
            format!("{code}: {} (line {line})", found.message)
        }));
        got.sort();
        let shorts = self.expect["warnings"].as_array().into_iter().flatten();
        let shorts = shorts.filter_map(|warning| warning["short"].as_str());
        let mut wanted: Vec<String> = shorts.map(str::to_owned).collect();
        wanted.sort();
        if got == wanted {
            tally.warned += 1;
        } else {
            let note = format!("{}:\n  got    {got:?}\n  wanted {wanted:?}", self.name);
            tally.notes.push(note);
        }
    }

    /// Errors of the run time are none of lowering's business and are not counted.
    fn judge_error(&self, lowered: Result<Plan, Vec<String>>, tally: &mut Tally) {
        let wanted = self.expect["error"].as_str().unwrap_or_default();
        match lowered {
            Ok(_) if is_late(wanted) => {}
            Ok(_) => {
                tally.failing += 1;
                tally
                    .notes
                    .push(format!("{}: no error, wanted {wanted}", self.name));
            }
            Err(errors) => {
                tally.failing += 1;
                if errors.iter().any(|error| error == wanted) {
                    tally.same_error += 1;
                } else {
                    let got = errors.join("; ");
                    tally
                        .notes
                        .push(format!("{}: got {got}, wanted {wanted}", self.name));
                }
            }
        }
    }
}

/// Errors that show only when steps run or files are read.
fn is_late(error: &str) -> bool {
    let starts = [
        "process ",
        "failed to compute cache key",
        "cannot replace to directory",
        "cannot copy to non-directory",
        "secret ",
        "illegal exclusion pattern",
    ];
    starts.iter().any(|start| error.starts_with(start))
}

fn case_request(case: &Value) -> LowerRequest {
    let mut request = LowerRequest::new(Platform::new("linux", "amd64"));
    let texts = |value: &Value| -> BTreeMap<String, String> {
        let pairs = value.as_object().into_iter().flatten();
        pairs
            .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
            .collect()
    };
    request.build_args = texts(&case["args"]);
    request.labels = texts(&case["labels"]);
    request.target = case["target"]
        .as_str()
        .filter(|t| !t.is_empty())
        .map(str::to_owned);
    for (name, role) in texts(&case["bases"]) {
        request.contexts.insert(name, stand_in(&role));
    }
    for (name, context) in case["contexts"].as_object().into_iter().flatten() {
        let kind = match context["base"].as_str() {
            Some(role) => stand_in(role),
            None => NamedContext::Local,
        };
        request.contexts.insert(name.clone(), kind);
    }
    let options = texts(&case["opts"]);
    if let Some(platform) = options.get("platform") {
        request.platforms = vec![Platform::parse(platform).expect("a platform")];
    }
    if let Some(hostname) = options.get("hostname") {
        hostname.clone_into(&mut request.hostname);
    }
    if let Some(size) = options.get("shm-size") {
        request.shm_size = size.parse().expect("a size");
    }
    if options.contains_key("ulimit") {
        let (name, soft, hard) = ("nofile".to_owned(), 1062, 1062);
        request.ulimits = vec![Ulimit { name, soft, hard }];
    }
    request
}

fn stand_in(role: &str) -> NamedContext {
    NamedContext::Image(format!("stand-in.invalid/{role}"))
}

fn bases(folder: &Path) -> BTreeMap<String, ImageConfig> {
    let mut found = BTreeMap::new();
    for role in ["busybox", "alpine", "debian"] {
        let Ok(bytes) = fs::read(folder.join(format!("{role}.json"))) else {
            continue;
        };
        let value: Value = serde_json::from_slice(&bytes).expect("a base");
        let document = serde_json::json!({
            "architecture": value["platform"]["architecture"],
            "os": value["platform"]["os"],
            "config": value["config"],
            "history": value["history"],
            "rootfs": {"type": "layers", "diff_ids": value["diff_ids"]},
        });
        let config = serde_json::from_value(document).expect("a config");
        found.insert(role.to_owned(), config);
    }
    found
}

fn answer(question: &ImageQuestion, bases: &BTreeMap<String, ImageConfig>) -> ImageAnswer {
    let role = match &question.place {
        ImagePlace::Reference(reference) => reference.path().to_owned(),
        ImagePlace::Layout { dir, .. } => dir.clone(),
        ImagePlace::Address(address) => address.to_string(),
    };
    let config = bases.get(&role).cloned().unwrap_or_default();
    ImageAnswer {
        manifest: Digest::sha256_of(role.as_bytes()),
        pinned: None,
        diff_ids: config.diff_ids().to_vec(),
        config,
        origin: ImageOrigin::Registry,
    }
}

fn image(plan: &Plan) -> Value {
    let result = &plan.results[0];
    let history: Vec<Value> = result
        .history
        .iter()
        .map(|item| {
            let mut entry = serde_json::json!({
                "created_by": item.created_by,
                "comment": item.comment,
            });
            if item.layer.is_none() {
                entry["empty_layer"] = true.into();
            }
            entry
        })
        .collect();
    serde_json::json!({
        "author": result.config.author,
        "config": result.config.config,
        "history": history,
        "platform": result.platform,
    })
}

fn expected(expect: &Value) -> Value {
    let image = &expect["image"];
    serde_json::json!({
        "author": image["author"].as_str().unwrap_or_default(),
        "config": image["config"],
        "history": image["history"].as_array().cloned().unwrap_or_default(),
        "platform": image["platform"],
    })
}

/// Without the second step that BuildKit makes of a linked copy.
fn expected_names(expect: &Value) -> Value {
    let names = expect["steps"].as_array().into_iter().flatten();
    let kept = names.filter(|name| !name.as_str().is_some_and(|name| name.contains("] LINK ")));
    kept.cloned().collect()
}

fn step_names(plan: &Plan) -> Value {
    let mut names: Vec<&str> = plan
        .names
        .iter()
        .filter(|(ix, _)| matches!(plan.graph.vertex(**ix).op, Op::Exec(_) | Op::File(_)))
        .map(|(_, name)| name.as_str())
        .filter(|name| !name.starts_with("[internal]"))
        .collect();
    names.sort_unstable();
    names.into()
}
