//! What is built: few Dockerfiles with steps in common, so that processes meet.

use std::path::Path;

use crate::Tree;

/// Names of the context directories.
pub(super) const RECIPES: [&str; 8] = [
    "plain", "locked", "stages", "private", "shared", "files", "left", "right",
];

/// What a step does: it tells the witness its name, whose it is, and that it is done; in between it
/// writes a file and makes sure that nobody else is in a mount that it should have alone.
const STEP: &str = r#"#!/bin/sh
name=$WAVE-$1
me="$name $(cat /run/secrets/who)"
work() {
    echo "$me"
    case $2 in
        alone) echo "$me" > /cache/owner ;;
        shared) echo "$me" >> /cache/log ;;
    esac
    head -c 700k /dev/urandom > /made-$1
    usleep $((100000 + $(head -c 2 /dev/urandom | od -An -tu2) * 3))
    case $2 in
        alone) owner=$(cat /cache/owner); [ "$owner" = "$me" ] || echo "fault the mount is used by $owner" ;;
        shared) grep -qx "$me" /cache/log || echo "fault the line is gone" ;;
    esac
    echo done
}
work "$@" | nc 127.0.0.1 $PORT
"#;

const HEAD: &str = "FROM busybox AS base\nCOPY step /step\nARG PORT\nARG WAVE\n";
const RUN: &str = "RUN --network=host --mount=type=secret,id=who";

/// Writes a context for each recipe below `place`.
pub(super) fn write(place: &Path) {
    let cache = |sharing: &str| {
        format!(
            "{RUN} --mount=type=cache,id=stress-{sharing},sharing={sharing},target=/cache /step"
        )
    };
    let (locked, private, shared) = (cache("locked"), cache("private"), cache("shared"));
    let both = |first: &str, second: &str| {
        let mount = |id, target| {
            format!("--mount=type=cache,id=stress-{id},sharing=locked,target={target}")
        };
        let (cache, other) = (mount(first, "/cache"), mount(second, "/other"));
        format!("{RUN} {cache} {other} /step")
    };
    // The same two, in another order.
    let (left, right) = (both("locked", "second"), both("second", "locked"));
    let text = |recipe: &str| match recipe {
        "left" => format!("{HEAD}{left} m alone\n"),
        "right" => format!("{HEAD}{right} n alone\n"),
        "plain" => format!("{HEAD}{RUN} /step a\n{RUN} /step b\n"),
        "locked" => format!("{HEAD}{RUN} /step a\n{locked} c alone\n{locked} d alone\n"),
        "stages" => format!(
            "{HEAD}{RUN} /step a\n\
             FROM busybox AS other\nCOPY step /other/step\nARG PORT\nARG WAVE\n{RUN} /other/step e\n\
             FROM base\nCOPY --from=other /made-e /e\n{RUN} /step f\n"
        ),
        "private" => format!("{HEAD}{private} g alone\n{private} h alone\n{locked} i alone\n"),
        "shared" => format!("{HEAD}{shared} j shared\n{RUN} /step k\n"),
        _ => format!("{HEAD}COPY . /all\nADD step /added\n{RUN} /step l\nWORKDIR /work\n"),
    };
    for recipe in RECIPES {
        let mut tree = Tree::new()
            .file("Dockerfile", text(recipe))
            .file("step", STEP)
            .mode(0o755);
        for number in 0..40_u8 {
            tree = tree.file(&format!("many/f{number}"), vec![number; 5000]);
        }
        tree.write_to(place.join(recipe));
    }
}
