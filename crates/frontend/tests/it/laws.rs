//! What holds for every file: lowering is a function, and ids depend on what is done alone.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use rbuild_frontend::Plan;
use rbuild_graph::VertexId;

use crate::world::{last, lower_with, made_up, plan_of, request};

const PLAIN: &str = "FROM a AS one\nRUN x\nFROM b\nWORKDIR /w\nCOPY --from=one f /\nCOPY g /\n";

fn target_id(plan: &Plan) -> VertexId {
    plan.graph.vertex(last(plan)).id.clone()
}

fn ids(plan: &Plan) -> BTreeSet<VertexId> {
    let order = plan.graph.topological().into_iter();
    order.map(|ix| plan.graph.vertex(ix).id.clone()).collect()
}

#[test]
fn lowering_twice_gives_equal_plans() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/graph");
    for entry in fs::read_dir(folder).expect("testdata/graph") {
        let path = entry.expect("an entry").path();
        if path
            .extension()
            .is_some_and(|extension| extension == "dockerfile")
        {
            let text = fs::read_to_string(&path).expect("a file");
            let once = lower_with(&text, &request(), &made_up);
            assert_eq!(
                once,
                lower_with(&text, &request(), &made_up),
                "{}",
                path.display()
            );
        }
    }
}

#[test]
fn ids_do_not_depend_on_how_it_is_written() {
    let check = |text: &str| {
        assert_eq!(
            ids(&plan_of(text, &request())),
            ids(&plan_of(PLAIN, &request())),
            "{text}"
        );
    };
    check(
        "# a comment\n\n\nFROM   a  AS one\n# another\nRUN    x\nFROM b\nworkdir /w\nCOPY --from=one f /\nCOPY g /\n",
    );
    check(
        "FROM a AS renamed\nRUN x\nFROM b AS last\nWORKDIR /w\nCOPY --from=renamed f /\nCOPY g /\n",
    );
    check(
        "FROM a AS one\nRUN \\\n x\nFROM b\nLABEL l=m\nEXPOSE 80\nWORKDIR /w\nCOPY --from=0 f /\nCOPY g /\n",
    );
    check(
        "FROM z AS unused\nRUN u\nFROM a AS one\nRUN x\nFROM b\nWORKDIR /w\nCOPY --from=one f /\nCOPY g /\n",
    );
    check(
        "ARG G=a\nFROM $G AS one\nRUN x\nFROM b\nARG W\nWORKDIR /w\nCOPY --from=one f /\nCOPY g /\n",
    );
}

#[test]
fn ids_do_depend_on_what_is_done() {
    let plain = target_id(&plan_of(PLAIN, &request()));
    let check = |from: &str, to: &str| {
        let text = PLAIN.replace(from, to);
        assert_ne!(text, PLAIN);
        assert_ne!(target_id(&plan_of(&text, &request())), plain, "{text}");
    };
    check("RUN x", "RUN x  y");
    check("FROM a", "FROM a:2");
    check("COPY g /", "COPY g /g/");
    check("COPY --from=one f", "COPY --from=one --chmod=1 f");
    check("RUN x", "ENV A=1\nRUN x");
}

#[test]
fn a_rebuilt_target_shares_what_did_not_change() {
    let before = plan_of(PLAIN, &request());
    let after = plan_of(&PLAIN.replace("COPY g /", "COPY h /"), &request());
    assert_eq!(
        ids(&before).intersection(&ids(&after)).count(),
        ids(&before).len() - 1
    );
}
