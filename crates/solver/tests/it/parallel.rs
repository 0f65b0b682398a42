//! What happens at the same time, in one solve and in two.

use std::sync::{Arc, Barrier};

use crate::build::Build;
use crate::fake::{Fake, Index, Shelf};

#[test]
fn independent_vertices_overlap() {
    let mut build = Build::default();
    let image = build.image("a");
    let steps: Vec<_> = (0..8)
        .map(|n| build.exec([&format!("step {n}"), "/x", "x"], image, &[]))
        .collect();
    // Each waits for all the others: passes only if they run at the same time.
    let barrier = Barrier::new(8);
    let worker = Fake {
        hook: Some(Box::new(move |_, _| {
            barrier.wait();
            Ok(())
        })),
        ..Fake::default()
    };
    build
        .solve(&steps, &worker, &Index::default())
        .result
        .unwrap();
    assert_eq!(worker.ran().len(), 8);
}

#[test]
fn sources_in_the_network_are_waited_for_at_the_same_time() {
    let mut build = Build::default();
    let image = build.image("a");
    let mut top = image;
    for n in 0..4 {
        let name = format!("f{n}");
        let file = build.http(&name);
        top = build.copy((file, &name), top, &format!("/{n}"));
    }
    let barrier = Barrier::new(4);
    let worker = Fake {
        hook: Some(Box::new(move |label, _| {
            if label.starts_with('f') {
                barrier.wait();
            }
            Ok(())
        })),
        ..Fake::default()
    };
    let index = Index::default();
    build.solve(&[top], &worker, &index).result.unwrap();
    assert_eq!(worker.ran().len(), 4);
    // Its content is its identity: the same content makes nothing again.
    let again = Fake::over(&worker.shelf);
    build.solve(&[top], &again, &index).result.unwrap();
    assert_eq!(again.ran(), [""; 0]);
}

#[test]
fn two_solves_over_one_index_run_each_step_once() {
    let (shelf, index) = (Arc::new(Shelf::default()), Index::default());
    let mut build = Build::default();
    let image = build.image("a");
    let mut step = image;
    for n in 0..20 {
        step = build.exec([&format!("step {n}"), &format!("/{n}"), "x"], step, &[]);
    }
    let workers = [Fake::over(&shelf), Fake::over(&shelf)];
    std::thread::scope(|scope| {
        for worker in &workers {
            scope.spawn(|| build.solve(&[step], worker, &index).result.unwrap());
        }
    });
    let total: usize = workers.iter().map(|worker| worker.ran().len()).sum();
    assert_eq!(total, 20);
}

#[test]
fn vertex_that_no_target_needs_is_left_alone() {
    let mut build = Build::default();
    let image = build.image("a");
    let wanted = build.exec(["wanted", "/x", "x"], image, &[]);
    build.exec(["idle", "/y", "y"], image, &[]);
    let worker = Fake::default();
    let answer = build.solve(&[wanted], &worker, &Index::default());
    assert_eq!(answer.text(wanted, "/x"), "x#1");
    assert_eq!(worker.ran(), ["wanted"]);
    assert!(!answer.ends().contains_key("idle"));
}

#[test]
fn nothing_to_solve_is_no_error() {
    let answer = Build::default().solve(&[], &Fake::default(), &Index::default());
    assert_eq!(answer.result.unwrap().iter().count(), 0);
}
