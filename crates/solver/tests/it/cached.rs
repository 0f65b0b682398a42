//! What is found again, and what is not.

use std::sync::Arc;

use rbuild_solver::{Origin, Part};

use crate::build::Build;
use crate::fake::{Fake, Files, Index, Shelf};

fn context(text: &str) -> Files {
    Files::from([("main.c".to_owned(), text.to_owned())])
}

/// `FROM a; COPY main.c; RUN make; FROM b; COPY --from=0 out`.
struct TwoStages {
    build: Build,
    make: rbuild_graph::VertexIx,
    last: rbuild_graph::VertexIx,
}

fn two_stages(make_text: &str) -> TwoStages {
    let mut build = Build::default();
    let (a, b, local) = (build.image("a"), build.image("b"), build.local());
    let copy = build.copy((local, "main.c"), a, "/main.c");
    let make = build.exec([make_text, "/out", "binary"], copy, &[]);
    let copied = build.copy((make, "/out"), b, "/bin");
    let last = build.exec(["strip", "/stripped", "s"], copied, &[]);
    TwoStages { build, make, last }
}

#[test]
fn second_solve_finds_all_on_the_calling_thread() {
    let (shelf, index) = (Arc::new(Shelf::default()), Index::default());
    let two = two_stages("make");
    let mut first = Fake::over(&shelf);
    first.context = context("1");
    let answer = two.build.solve(&[two.last], &first, &index);
    assert_eq!(answer.result.unwrap().count(Origin::Made), 4);

    let mut second = Fake::over(&shelf);
    second.context = context("1");
    let answer = two.build.solve(&[two.last], &second, &index);
    assert_eq!(answer.result.as_ref().unwrap().count(Origin::Cached), 4);
    assert!(second.ran().is_empty());
    let threads = second.threads.lock().unwrap().clone();
    assert!(threads.iter().eq([&std::thread::current().id()]));
    // Only the context's file: behind chain keys no content is digested.
    assert_eq!(second.digested.into_inner(), 1);
}

#[test]
fn rebuilt_stage_with_equal_files_keeps_its_consumers() {
    let (shelf, index) = (Arc::new(Shelf::default()), Index::default());
    let worker = Fake::over(&shelf);
    let before = two_stages("make");
    before
        .build
        .solve(&[before.last], &worker, &index)
        .result
        .unwrap();

    let after = two_stages("make -j");
    for expected in [vec!["make -j"], vec![]] {
        let worker = Fake::over(&shelf);
        let answer = after.build.solve(&[after.last], &worker, &index);
        assert_eq!(answer.text(after.last, "/stripped"), "s#2");
        assert_eq!(worker.ran(), expected);
    }
}

#[test]
fn changed_file_changes_what_reads_it() {
    let (shelf, index) = (Arc::new(Shelf::default()), Index::default());
    let two = two_stages("make");
    for text in ["1", "2"] {
        let mut worker = Fake::over(&shelf);
        worker.context = context(text);
        let answer = two.build.solve(&[two.make], &worker, &index);
        assert_eq!(answer.text(two.make, "/main.c"), text);
        assert_eq!(worker.ran(), ["/main.c", "make"]);
    }
}

#[test]
fn forced_vertex_runs_and_takes_along_what_stands_on_it() {
    let (shelf, index) = (Arc::new(Shelf::default()), Index::default());
    let mut build = Build::default();
    let a = build.image("a");
    let below = build.exec(["below", "/x", "x"], a, &[]);
    let fetch = build.exec(["fetch", "/y", "y"], below, &[]);
    let above = build.exec(["above", "/z", "z"], fetch, &[]);
    let reader = build.copy((fetch, "/y"), a, "/copied");
    let targets = [above, reader];
    build
        .solve(&targets, &Fake::over(&shelf), &index)
        .result
        .unwrap();

    build.no_cache.insert(fetch);
    let worker = Fake::over(&shelf);
    build.solve(&targets, &worker, &index).result.unwrap();
    // The copy reads equal files and is found; the step that stands on the whole result is not.
    assert_eq!(worker.ran(), ["above", "fetch"]);

    build.no_cache.clear();
    let worker = Fake::over(&shelf);
    build.solve(&targets, &worker, &index).result.unwrap();
    assert!(worker.ran().is_empty(), "forced results are recorded");
}

#[test]
fn result_that_is_gone_is_made_again() {
    let (shelf, index) = (Arc::new(Shelf::default()), Index::default());
    let two = two_stages("make");
    two.build
        .solve(&[two.last], &Fake::over(&shelf), &index)
        .result
        .unwrap();
    shelf.layers.lock().unwrap().clear();
    let worker = Fake::over(&shelf);
    two.build
        .solve(&[two.last], &worker, &index)
        .result
        .unwrap();
    assert_eq!(worker.ran(), ["/bin", "/main.c", "make", "strip"]);
}

#[test]
fn damaged_record_is_a_miss() {
    let (shelf, index) = (Arc::new(Shelf::default()), Index::default());
    let two = two_stages("make");
    two.build
        .solve(&[two.last], &Fake::over(&shelf), &index)
        .result
        .unwrap();
    for bytes in index.records.lock().unwrap().values_mut() {
        bytes.truncate(10);
    }
    let worker = Fake::over(&shelf);
    two.build
        .solve(&[two.last], &worker, &index)
        .result
        .unwrap();
    assert_eq!(worker.ran().len(), 4);
}

#[test]
fn linked_copy_is_found_over_another_base_but_what_follows_is_not() {
    let (shelf, index) = (Arc::new(Shelf::default()), Index::default());
    for (base, expected) in [
        ("a", vec!["/app", "run"]),
        ("b", vec!["run"]),
        ("b", vec![]),
    ] {
        let mut build = Build::default();
        let (image, local) = (build.image(base), build.local());
        let link = build.link((local, "main.c"), image, "/app");
        let run = build.exec(["run", "/r", "r"], link, &[]);
        let mut worker = Fake::over(&shelf);
        worker.context = context("1");
        let answer = build.solve(&[run], &worker, &index);
        assert_eq!(answer.text(run, "base"), base);
        assert_eq!(answer.text(run, "/app"), "1");
        assert_eq!(worker.ran(), expected);
    }
}

#[test]
fn equal_keys_of_different_vertices_run_once() {
    let (shelf, index) = (Arc::new(Shelf::default()), Index::default());
    let mut build = Build::default();
    let (image, local) = (build.image("a"), build.local());
    // Only the directory of the source differs, which is in no key.
    let copies =
        ["/one/f", "/two/f", "/three/f"].map(|from| build.copy((local, from), image, "/f"));
    let mut worker = Fake::over(&shelf);
    worker.context = ["/one/f", "/two/f", "/three/f"]
        .map(|path| (path.to_owned(), "same".to_owned()))
        .into();
    let answer = build.solve(&copies, &worker, &index);
    assert_eq!(copies.map(|ix| answer.text(ix, "/f")), ["same"; 3]);
    assert_eq!(worker.ran(), ["/f"]);
    assert_eq!(answer.result.unwrap().count(Origin::Cached), 2);
}

#[test]
fn forced_vertices_with_equal_keys_run_once() {
    let (shelf, index) = (Arc::new(Shelf::default()), Index::default());
    let mut build = Build::default();
    let (image, local) = (build.image("a"), build.local());
    let copies = ["/one/f", "/two/f"].map(|from| build.copy((local, from), image, "/f"));
    build.no_cache.extend(copies);
    for _ in 0..2 {
        let worker = Fake::over(&shelf);
        build.solve(&copies, &worker, &index).result.unwrap();
        assert_eq!(worker.ran(), ["/f"]);
    }
}

#[test]
fn inputs_of_a_key_are_kept_without_proxies() {
    let index = Index::default();
    let two = two_stages("make");
    two.build
        .solve(&[two.last], &Fake::default(), &index)
        .result
        .unwrap();
    let notes = index.notes.lock().unwrap();
    let bin = notes.iter().find(|note| note.name == "/bin").unwrap();
    let labels: Vec<&str> = bin
        .inputs
        .iter()
        .map(|input| input.label.as_str())
        .collect();
    assert_eq!(labels, ["b", "make"]);
    assert!(matches!(bin.inputs[0].part, Part::Identity(_)));
    assert!(matches!(bin.inputs[1].part, Part::Content(_)));
    let make = notes.iter().find(|note| note.name == "make").unwrap();
    assert!(
        make.fields
            .iter()
            .any(|(name, value)| name == "arguments" && value.contains("binary"))
    );
    assert!(!format!("{notes:?}").contains("secret"));
}

#[test]
fn vertices_are_announced_in_order_and_end_once() {
    let two = two_stages("make");
    let answer = two
        .build
        .solve(&[two.last], &Fake::default(), &Index::default());
    let mut known = std::collections::BTreeSet::new();
    for update in answer.updates() {
        assert!(update.inputs.iter().all(|input| known.contains(input)));
        known.insert(update.key.clone());
    }
    let ends = answer.updates().filter(|update| update.completed.is_some());
    assert_eq!(ends.count(), known.len());
    assert!(answer.ends().values().all(|end| end == "made"));
}

#[test]
fn what_a_known_result_was_made_from_is_not_made() {
    let shelf = Arc::new(Shelf::default());
    let index = Index {
        is_partial: true,
        ..Index::default()
    };
    let two = two_stages("make");
    let mut worker = Fake::over(&shelf);
    worker.context = context("1");
    two.build
        .solve(&[two.last], &worker, &index)
        .result
        .unwrap();
    // The records of the last stage stay: what its two steps add.
    let kept: Vec<String> = {
        let layers = shelf.layers.lock().unwrap();
        let of_last = |files: &Files| files.contains_key("/bin") || files.contains_key("/stripped");
        let kept = layers.iter().filter(|(_, files)| of_last(files));
        kept.map(|(number, _)| format!("\n{number}")).collect()
    };
    let mut records = index.records.lock().unwrap();
    records.retain(|_, bytes| {
        let text = String::from_utf8(bytes.clone()).unwrap();
        kept.iter().any(|end| text.ends_with(end))
    });
    drop(records);
    for is_partial in [false, true] {
        let index = Index {
            is_partial,
            records: Arc::new(std::sync::Mutex::new(index.records.lock().unwrap().clone())),
            ..Index::default()
        };
        let mut worker = Fake::over(&shelf);
        worker.context = context("1");
        let answer = two.build.solve(&[two.last], &worker, &index);
        assert_eq!(answer.text(two.last, "/stripped"), "s#2");
        let ends = answer.ends();
        assert_eq!(ends["strip"], "cached");
        if is_partial {
            assert!(worker.ran().is_empty());
            // Announced and never begun.
            assert_eq!((&*ends["make"], &*ends["/main.c"]), ("open", "open"));
        } else {
            assert_eq!(worker.ran(), ["/main.c", "make"]);
        }
    }
}
