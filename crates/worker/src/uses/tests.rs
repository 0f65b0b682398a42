use rbuild_graph::{
    CopyAction, ExecOp, FileAction, FileOp, GraphBuilder, LocalOp, NetworkMode, SecurityMode,
};
use rbuild_oci::Platform;

use super::*;

/// A graph in a line of words: `c` is a copy from the context, `r` a RUN, `<` a copy from the stage
/// before onto nothing, `/` begins the next stage.
fn graph(text: &str) -> (Graph, Vec<VertexIx>) {
    let mut builder = GraphBuilder::new();
    let context = builder.add(
        Op::Local(LocalOp {
            name: "context".into(),
        }),
        vec![],
    );
    let (mut base, mut before, mut steps) = (None, None, Vec::new());
    for (at, step) in text.chars().enumerate() {
        let dest = format!("/{at}");
        let made = match (step, base) {
            ('/', _) => {
                before = base.take();
                continue;
            }
            ('r', Some(base)) => builder.add(run(&dest), vec![base]),
            ('c', Some(base)) => builder.add(copy(Some(0), 1, &dest), vec![base, context]),
            ('c', None) => builder.add(copy(None, 0, &dest), vec![context]),
            ('<', Some(base)) => builder.add(copy(Some(0), 1, &dest), vec![base, before.unwrap()]),
            ('<', None) => builder.add(copy(None, 0, &dest), vec![before.unwrap()]),
            other => unreachable!("no step: {other:?}"),
        };
        steps.push(made);
        base = Some(made);
    }
    let last = *steps.last().unwrap();
    (builder.finish(&[last]), steps)
}

fn copy(base: Option<usize>, input: usize, dest: &str) -> Op {
    let action = FileAction::Copy(CopyAction {
        input,
        sources: vec!["/a".into()],
        dest: dest.into(),
        dest_is_dir: false,
        owner: None,
        chmod: None,
        excludes: vec![],
        parents: false,
        unpack: false,
        local: true,
    });
    Op::File(FileOp {
        base,
        link: false,
        actions: vec![action],
    })
}

fn run(name: &str) -> Op {
    Op::Exec(ExecOp {
        args: vec![name.to_owned()],
        env: vec![],
        proxy_env: vec![],
        cwd: "/".into(),
        user: String::new(),
        network: NetworkMode::Default,
        security: SecurityMode::Sandbox,
        hostname: String::new(),
        base: Some(0),
        mounts: vec![],
        platform: Platform::new("linux", "amd64"),
        extra_hosts: vec![],
        shm_size: 0,
        ulimits: vec![],
    })
}

/// Says of each step its form (`b`lob, `t`ree, `z`: compressed at once) and what is made early (`d`iff
/// id, compressed forms `z`, or nothing).
#[track_caller]
fn check(text: &str, asked: &Asked, expected: &str) {
    let (graph, steps) = graph(text);
    let uses = layer_uses(&graph, &steps[steps.len() - 1..], asked);
    let words: Vec<String> = steps
        .iter()
        .map(|ix| {
            let found = &uses[&graph.vertex(*ix).id];
            let form = match found.form {
                MadeAs::Blob => "b",
                MadeAs::Compressed(_) => "z",
                MadeAs::Tree => "t",
            };
            let early = match &found.early {
                None => "",
                Some(early) if early.compressions.is_empty() => "d",
                Some(_) => "z",
            };
            format!("{form}{early}")
        })
        .collect();
    assert_eq!(words.join(" "), expected, "{text}");
}

fn tag() -> Asked {
    Asked {
        image: ImageAsked::Yes,
        compressions: BTreeSet::new(),
        files: FilesAsked::No,
        cached: Cached::default(),
    }
}

fn archive() -> Asked {
    Asked {
        compressions: BTreeSet::from([Compression::ZSTD]),
        ..tag()
    }
}

fn directory() -> Asked {
    Asked {
        image: ImageAsked::No,
        files: FilesAsked::Yes,
        cached: Cached::default(),
        ..tag()
    }
}

#[test]
fn a_copy_that_runs_stand_on_is_a_tree() {
    check("cr", &tag(), "t b");
    check("ccr", &tag(), "t t b");
    check("crcr/<", &tag(), "t b t b b");
}

#[test]
fn a_copy_that_nothing_runs_on_is_a_blob() {
    check("c", &tag(), "b");
    check("crc", &tag(), "t bd b");
    check("c/<r", &tag(), "b t b");
    check("c/<", &directory(), "b b");
}

#[test]
fn what_is_exported_is_a_blob() {
    check("cr", &archive(), "bz b");
    check("cr", &directory(), "b b");
    check("cr/<", &archive(), "t b z");
    check("cr/<", &directory(), "t b b");
}

#[test]
fn only_the_results_own_layers_are_made_ready() {
    check("crr", &tag(), "t bd b");
    check("crr/<r", &tag(), "t b b t b");
    check("crr", &directory(), "b b b");
    check("crr/<cr", &archive(), "t b b bz bz b");
}

#[test]
fn a_copy_is_compressed_at_once_if_only_the_output_waits() {
    check("c", &archive(), "z");
    check("cc", &archive(), "z z");
    check("crcc", &archive(), "bz bz z z");
}
