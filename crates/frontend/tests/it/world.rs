//! Lowering a text with images made up on the spot.

use rbuild_dockerfile::parse;
use rbuild_frontend::{
    Diagnostic, ImageAnswer, ImagePlace, ImageQuestion, Known, LowerRequest, Lowering, Plan, lower,
};
use rbuild_graph::{ExecOp, FileOp, ImageOrigin, Op, VertexIx};
use rbuild_oci::{DiffId, Digest, ImageConfig, Platform};

/// Rounds of questions after which a test gives up.
const ROUNDS: usize = 10;

/// The plain request of the tests: linux/amd64.
pub fn request() -> LowerRequest {
    LowerRequest::new(Platform::new("linux", "amd64"))
}

/// The same with build arguments.
pub fn with_args(args: &[(&str, &str)]) -> LowerRequest {
    let mut request = request();
    for (name, value) in args {
        request.build_args.insert((*name).into(), (*value).into());
    }
    request
}

/// Lowers `text`, answering every question with `answer`.
///
/// Errors of the parser come back as one text each, errors of lowering likewise.
pub fn lower_with(
    text: &str,
    request: &LowerRequest,
    answer: &dyn Fn(&ImageQuestion) -> ImageAnswer,
) -> Result<Plan, Vec<String>> {
    let parsed = parse(text);
    if let Some(error) = parsed.first_error() {
        return Err(vec![error.full_message()]);
    }
    let mut known = Known::new();
    for _ in 0..ROUNDS {
        match lower(&parsed.dockerfile, request, &known) {
            Ok(Lowering::Done(plan)) => return Ok(*plan),
            Ok(Lowering::Need(questions)) => {
                assert!(!questions.is_empty(), "a need must name something");
                for question in questions {
                    let answer = answer(&question.image);
                    known.images.insert(question.image, answer);
                }
            }
            Err(found) => {
                let errors = found.iter().filter(|found| found.is_error());
                return Err(errors.map(Diagnostic::to_string).collect());
            }
        }
    }
    Err(vec!["no end of questions".to_owned()])
}

/// Lowers `text`, which must be fine.
pub fn plan_of(text: &str, request: &LowerRequest) -> Plan {
    match lower_with(text, request, &made_up) {
        Ok(plan) => plan,
        Err(errors) => panic!("{}\n{text}", errors.join("\n")),
    }
}

/// An image by its name: `onbuild` has triggers, `empty` has no layer, `bare` no settings,
/// `arm` is for another architecture; any other has a PATH, a CMD and one layer.
pub fn made_up(question: &ImageQuestion) -> ImageAnswer {
    let name = match &question.place {
        ImagePlace::Reference(reference) => reference.to_string(),
        ImagePlace::Layout { dir, .. } => dir.clone(),
        ImagePlace::Address(address) => address.to_string(),
    };
    let mut config = ImageConfig::new(&question.platform);
    let run = &mut config.config;
    run.env.push("PATH=/bin".into());
    run.cmd = Some(vec!["sh".into()]);
    let mut diff_ids = vec![DiffId(Digest::sha256_of(name.as_bytes()))];
    if name.contains("onbuild") {
        run.on_build = vec!["RUN made".into(), "COPY --from=helper /h /".into()];
    } else if name.contains("empty") {
        diff_ids.clear();
    } else if name.contains("bare") {
        *run = Default::default();
    } else if name.contains("arm") {
        config.architecture = "arm64".into();
    }
    ImageAnswer {
        manifest: Digest::sha256_of(format!("manifest {name}").as_bytes()),
        pinned: None,
        config,
        diff_ids,
        origin: ImageOrigin::Registry,
    }
}

/// The plan's base and history, shortened: `FROM a:1; WORKDIR /x`.
pub fn summary(plan: &Plan) -> String {
    let result = &plan.results[0];
    let base = match &result.base {
        None => "scratch".to_owned(),
        Some(base) => {
            let name = base.reference.split('@').next().unwrap_or_default();
            let name = name.strip_prefix("docker.io/library/").unwrap_or(name);
            name.strip_suffix(":latest").unwrap_or(name).to_owned()
        }
    };
    let history = result.history.iter().map(|item| item.created_by.clone());
    let parts: Vec<String> = std::iter::once(format!("FROM {base}"))
        .chain(history)
        .collect();
    parts.join("; ").replace(" # buildkit", "")
}

/// Checks the summary of a text that must be fine.
#[track_caller]
pub fn check(text: &str, wanted: &str) {
    check_with(&request(), text, wanted);
}

/// The same with a request of one's own.
#[track_caller]
pub fn check_with(request: &LowerRequest, text: &str, wanted: &str) {
    assert_eq!(summary(&plan_of(text, request)), wanted, "{text}");
}

/// Checks the errors of a text, in order.
#[track_caller]
pub fn check_errors(text: &str, wanted: &[&str]) {
    check_errors_with(&request(), text, wanted);
}

/// The same with a request of one's own.
#[track_caller]
pub fn check_errors_with(request: &LowerRequest, text: &str, wanted: &[&str]) {
    match lower_with(text, request, &made_up) {
        Ok(plan) => panic!("no error, but {}\n{text}", summary(&plan)),
        Err(errors) => assert_eq!(errors, wanted, "{text}"),
    }
}

/// Checks code and message of the warnings.
#[track_caller]
pub fn check_warnings(text: &str, wanted: &[&str]) {
    let plan = plan_of(text, &request());
    let found = plan.warnings.iter();
    let found: Vec<String> = found.map(|w| format!("{}: {w}", w.code.as_str())).collect();
    assert_eq!(found, wanted, "{text}");
}

/// The last vertex of the first result.
pub fn last(plan: &Plan) -> VertexIx {
    plan.results[0].edge.expect("a layer")
}

/// The op that made the last layer of the first result, which must be an exec.
pub fn last_exec(plan: &Plan) -> &ExecOp {
    match &plan.graph.vertex(last(plan)).op {
        Op::Exec(exec) => exec,
        other => panic!("no exec: {other:?}"),
    }
}

/// The op that made the last layer of the first result, which must be a file op.
pub fn last_file(plan: &Plan) -> &FileOp {
    match &plan.graph.vertex(last(plan)).op {
        Op::File(file) => file,
        other => panic!("no file op: {other:?}"),
    }
}
