//! Stages: targets, bases, order, what is asked, named contexts, ONBUILD.

use rbuild_dockerfile::parse;
use rbuild_frontend::{ImagePlace, Known, LowerRequest, Lowering, NamedContext, lower};
use rbuild_graph::Op;
use rbuild_oci::Platform;

use crate::world::{
    check, check_errors, check_errors_with, check_warnings, check_with, last, last_file, plan_of,
    request,
};

/// The names that the first round asks for.
fn asked(text: &str, request: &LowerRequest) -> Vec<String> {
    match lower(&parse(text).dockerfile, request, &Known::new()) {
        Ok(Lowering::Need(questions)) => {
            let places = questions
                .into_iter()
                .map(|question| match question.image.place {
                    ImagePlace::Reference(reference) => reference.familiar(),
                    ImagePlace::Layout { dir, .. } => dir,
                    ImagePlace::Address(address) => address.to_string(),
                });
            places.collect()
        }
        other => panic!("nothing asked: {other:?}"),
    }
}

fn target(name: &str) -> LowerRequest {
    LowerRequest {
        target: Some(name.into()),
        ..request()
    }
}

fn context(name: &str, kind: NamedContext) -> LowerRequest {
    let mut request = request();
    request.contexts.insert(name.into(), kind);
    request
}

#[test]
fn only_what_the_target_needs_is_asked_for() {
    let text = "FROM a AS x\nFROM b AS unused\nRUN --mount=from=c,target=/c x\n\
                FROM x AS y\nCOPY --from=d /f /\nFROM e AS z\n";
    assert_eq!(asked(text, &target("y")), ["a:latest", "d:latest"]);
    assert_eq!(asked(text, &request()), ["e:latest"]);
    assert_eq!(asked(text, &target("unused")), ["b:latest", "c:latest"]);
}

#[test]
fn targets_are_names_in_any_case() {
    let text = "FROM a AS one\nUSER 1\nFROM a AS two\nUSER 2\n";
    check_with(&target("ONE"), text, "FROM a; USER 1");
    check(text, "FROM a; USER 2");
    check_errors_with(
        &target("tow"),
        text,
        &["target stage \"tow\" could not be found (did you mean two?)"],
    );
    check_errors_with(
        &target("0"),
        text,
        &["target stage \"0\" could not be found"],
    );
}

#[test]
fn a_base_is_a_stage_only_by_its_exact_name() {
    check("FROM a AS Base\nUSER 1\nFROM base\n", "FROM a; USER 1");
    check_errors(
        "FROM a AS base\nFROM Base\n",
        &[
            "failed to parse stage name \"Base\": invalid reference format: \
           repository name (library/Base) must be lowercase",
        ],
    );
    check("FROM a\nUSER 1\nFROM 0\n", "FROM 0");
    check("FROM a AS x\nUSER 1\nFROM b AS x\nFROM x\n", "FROM b");
}

#[test]
fn bases_that_cannot_be() {
    check_errors("FROM $X\n", &["base name ($X) should not be blank"]);
    check_errors(
        "FROM a AS unused\nCOPY --from=7 /f /\nFROM scratch\n",
        &["invalid stage index 7"],
    );
    check_errors(
        "FROM --platform=$NOPE a\n",
        &["empty platform value from expression $NOPE"],
    );
    check_errors(
        "FROM --platform=$TARGETPLATFROM a\n",
        &["empty platform value from expression $TARGETPLATFROM (did you mean TARGETPLATFORM?)"],
    );
}

#[test]
fn stages_are_used_in_file_order() {
    check_errors(
        "FROM a AS one\nCOPY --from=two /f /\nFROM a AS two\nFROM one\n",
        &["cannot copy from stage \"two\", it needs to be defined before current stage \"one\""],
    );
    check_errors(
        "FROM a AS one\nRUN --mount=from=two,target=/x y\nFROM a AS two\nFROM one\n",
        &["cannot mount from stage \"two\" to \"/x\", \
           stage needs to be defined before current command"],
    );
    check_errors(
        "FROM a AS one\nCOPY --from=one /f /\n",
        &["circular dependency detected on stage: one"],
    );
    check_errors(
        "FROM a AS one\nCOPY --from=two /f /\nFROM a AS two\nCOPY --from=one /f /\n",
        &["circular dependency detected on stage: one"],
    );
}

#[test]
fn a_stage_without_layers_has_no_vertex() {
    let plan = plan_of("FROM scratch\nENV A=1\n", &request());
    assert_eq!(plan.results[0].edge, None);
    assert!(plan.graph.is_empty());
    let plan = plan_of("FROM empty\nLABEL a=b\n", &request());
    assert_eq!(plan.results[0].edge, None);
}

#[test]
fn copying_from_an_empty_stage_has_an_empty_input() {
    let plan = plan_of(
        "FROM scratch AS e\nFROM scratch\nCOPY --from=e /f /\n",
        &request(),
    );
    let input = plan.graph.inputs(last(&plan))[0];
    match &plan.graph.vertex(input).op {
        Op::File(file) => assert!(file.actions.is_empty()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn named_contexts_replace_images_and_stages() {
    let image = || NamedContext::Image("other:3".into());
    check_with(
        &context("a", image()),
        "FROM a:latest\nUSER 1\n",
        "FROM other:3; USER 1",
    );
    check_with(&context("a", image()), "FROM a:2\n", "FROM a:2");
    check_with(
        &context("x", image()),
        "FROM a AS x\nUSER 1\nRUN y\nFROM x\nUSER 2\n",
        "FROM other:3; USER 2",
    );
    check_with(
        &context("scratch", image()),
        "FROM scratch\n",
        "FROM scratch",
    );
    check_with(
        &context("a::linux/amd64", image()),
        "FROM a\n",
        "FROM other:3",
    );
    check_with(&context("a::linux/arm64", image()), "FROM a\n", "FROM a");
    let layout = NamedContext::Layout {
        dir: "/l".into(),
        digest: None,
    };
    assert_eq!(asked("FROM a\n", &context("a", layout)), ["/l"]);
}

#[test]
fn a_local_context_is_copied_from_as_it_is() {
    let request = context("files", NamedContext::Local);
    let plan = plan_of("FROM scratch\nCOPY --from=files /f /\n", &request);
    let names: Vec<&str> = plan.names.values().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "[context files] load from client",
            "[stage-0 1/1] COPY --from=files /f /"
        ]
    );
}

#[test]
fn a_local_context_as_base_is_copied_into_a_layer() {
    let request = context("files", NamedContext::Local);
    let plan = plan_of("FROM files\n", &request);
    assert_eq!(last_file(&plan).actions.len(), 1);
    assert_eq!(plan.graph.len(), 2);
    let replaced = plan_of("FROM a AS files\nRUN x\nFROM files\nUSER 1\n", &request);
    assert_eq!(last(&replaced), last(&plan));
}

#[test]
fn triggers_of_an_image_run_first_and_may_need_more() {
    let text = "FROM onbuild\nUSER 1\n";
    assert_eq!(asked(text, &request()), ["onbuild:latest"]);
    check(text, "FROM onbuild; RUN /bin/sh -c made; COPY /h /; USER 1");
    let plan = plan_of(text, &request());
    let names: Vec<&str> = plan.names.values().map(String::as_str).collect();
    assert!(
        names.contains(&"[stage-0 2/3] ONBUILD RUN made"),
        "{names:?}"
    );
    assert!(plan.results[0].config.config.on_build.is_empty());
}

#[test]
fn triggers_of_a_stage_are_for_its_children_only() {
    check(
        "FROM a AS x\nONBUILD ENV T=1\nFROM x AS y\nUSER $T\nFROM y\nUSER 2\n",
        "FROM a; ENV T=1; USER 1; USER 2",
    );
    let plan = plan_of("FROM a\nONBUILD RUN x\nONBUILD COPY f /\n", &request());
    assert_eq!(
        plan.results[0].config.config.on_build,
        ["RUN x", "COPY f /"]
    );
    assert!(plan.results[0].history.is_empty());
}

#[test]
fn each_platform_has_a_result() {
    let mut request = request();
    request.platforms = vec![
        Platform::new("linux", "amd64"),
        Platform::new("linux", "arm64"),
    ];
    let text = "FROM --platform=$BUILDPLATFORM a AS tool\nRUN make\n\
                FROM b\nCOPY --from=tool /f /\n";
    let plan = plan_of(text, &request);
    let platforms: Vec<String> = plan
        .results
        .iter()
        .map(|result| result.config.platform().to_string())
        .collect();
    assert_eq!(platforms, ["linux/amd64", "linux/arm64"]);
    let names: Vec<&str> = plan.names.values().map(String::as_str).collect();
    assert!(
        names.contains(&"[linux/amd64 tool 2/2] RUN make"),
        "{names:?}"
    );
    assert!(
        names.contains(&"[linux/arm64 stage-1 2/2] COPY --from=tool /f /"),
        "{names:?}"
    );
    // The tool is the same for both.
    assert_eq!(plan.graph.len(), 6);
}

#[test]
fn the_platform_is_the_base_image_s_unless_one_is_asked_for() {
    let plan = plan_of("FROM arm\n", &request());
    assert_eq!(plan.results[0].config.architecture, "arm64");
    let mut asked = request();
    asked.platforms = vec![Platform::new("linux", "amd64")];
    let plan = plan_of("FROM arm\n", &asked);
    assert_eq!(plan.results[0].config.architecture, "amd64");
    check_warnings(
        "FROM arm\n",
        &[
            "InvalidBaseImagePlatform: Base image docker.io/library/arm:latest was pulled with \
           platform \"linux/arm64\", expected \"linux/amd64\" for current build",
        ],
    );
}

#[test]
fn labels_of_the_request_go_last_and_leave_no_history() {
    let mut request = request();
    request.labels.insert("a".into(), "2".into());
    let plan = plan_of("FROM a\nLABEL a=1 b=1\n", &request);
    let labels = &plan.results[0].config.config.labels;
    assert_eq!(labels.get("a").map(String::as_str), Some("2"));
    assert_eq!(labels.get("b").map(String::as_str), Some("1"));
    assert_eq!(plan.results[0].history.len(), 1);
}
