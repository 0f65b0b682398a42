//! Random graphs and changes against a model: whatever is found in the cache, results must be those
//! of doing everything.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rbuild_graph::{Graph, Op, VertexIx};
use rbuild_solver::Origin;

use crate::build::Build;
use crate::fake::{Fake, Files, Index, Shelf, base_of, exec_layer, file_layer};

/// A small generator of numbers (xorshift), so that a failing seed can be run again.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap() % limit
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

const PATHS: [&str; 4] = ["/a", "/b", "/one/c", "/two/c"];

fn random_context(dice: &mut Dice) -> Files {
    let text = |dice: &mut Dice| dice.pick(&["x", "y"]).to_owned();
    PATHS
        .iter()
        .map(|path| ((*path).to_owned(), text(dice)))
        .collect()
}

/// A graph over few names and texts, so that equal keys and equal files are frequent.
fn random_build(dice: &mut Dice) -> (Build, Vec<VertexIx>) {
    let mut build = Build::default();
    let local = build.local();
    let mut stacks = vec![build.image("a"), build.image("b")];
    for _ in 0..3 + dice.below(12) {
        let base = dice.pick(&stacks);
        let from = if dice.below(2) == 0 {
            local
        } else {
            dice.pick(&stacks)
        };
        let (source, dest) = (dice.pick(&PATHS), dice.pick(&PATHS));
        let added = match dice.below(4) {
            0 => build.copy((from, source), base, dest),
            1 => build.link((from, source), base, dest),
            2 => build.exec([dice.pick(&["p", "q"]), dest, "t"], base, &[]),
            _ => build.exec([dice.pick(&["p", "q"]), dest, "t"], base, &[(from, source)]),
        };
        stacks.push(added);
    }
    let targets = vec![dice.pick(&stacks), dice.pick(&stacks)];
    (build, targets)
}

/// Does everything, one after the other, without any cache.
fn model(graph: &Graph, context: &Files) -> BTreeMap<VertexIx, Files> {
    let mut results: BTreeMap<VertexIx, Files> = BTreeMap::new();
    for ix in graph.topological() {
        let op = &graph.vertex(ix).op;
        let inputs: Vec<&Files> = graph
            .inputs(ix)
            .iter()
            .map(|input| &results[input])
            .collect();
        let mut files = base_of(op).map_or_else(Files::new, |base| inputs[base].clone());
        files.extend(match op {
            Op::Image(image) => Files::from([("base".to_owned(), image.reference.clone())]),
            Op::Local(_) => context.clone(),
            Op::Http(_) | Op::Git(_) => Files::new(),
            Op::Exec(exec) => exec_layer(exec, &inputs),
            Op::File(file) => file_layer(file, &inputs),
        });
        results.insert(ix, files);
    }
    results
}

fn check(build: &Build, targets: &[VertexIx], worker: &Fake, index: &Index) {
    let graph = build.graph(targets);
    let solved = build.solve(targets, worker, index).result.unwrap();
    for (ix, expected) in model(&graph, &worker.context) {
        assert_eq!(solved.output(ix).unwrap().files, expected, "{ix}");
    }
    assert_eq!(solved.iter().count(), graph.len());
}

#[test]
fn random_changes_over_one_cache_agree_with_the_model() {
    for seed in 1..400 {
        let mut dice = Dice(0x9E37_79B9_7F4A_7C15_u64.wrapping_mul(seed));
        let (shelf, index) = (Arc::new(Shelf::default()), Index::default());
        for _ in 0..4 {
            let (mut build, targets) = random_build(&mut dice);
            let mut worker = Fake::over(&shelf);
            worker.context = random_context(&mut dice);
            let forced: BTreeSet<VertexIx> = build
                .graph(&targets)
                .topological()
                .into_iter()
                .filter(|_| dice.below(8) == 0)
                .collect();
            build.no_cache = forced;
            check(&build, &targets, &worker, &index);

            build.no_cache.clear();
            let again = Fake {
                context: worker.context.clone(),
                ..Fake::over(&shelf)
            };
            let answer = build.solve(&targets, &again, &index);
            assert_eq!(answer.result.unwrap().count(Origin::Made), 0, "seed {seed}");
            assert_eq!(again.threads.lock().unwrap().len(), 1, "seed {seed}");

            // Now and then a part of the results is lost.
            if dice.below(3) == 0 {
                shelf
                    .layers
                    .lock()
                    .unwrap()
                    .retain(|_, _| dice.below(2) == 0);
                check(&build, &targets, &again, &index);
            }
        }
    }
}

/// Solves with results of which some are known and others, below them, are not.
fn check_partial(build: &Build, targets: &[VertexIx], worker: &Fake, index: &Index) -> usize {
    let graph = build.graph(targets);
    let solved = build.solve(targets, worker, index).result.unwrap();
    let expected = model(&graph, &worker.context);
    for (ix, value, _) in solved.iter() {
        assert_eq!(value.files, expected[&ix], "{ix}");
    }
    for target in targets {
        assert!(solved.output(*target).is_some());
    }
    graph.len() - solved.iter().count()
}

#[test]
fn random_losses_agree_with_the_model_where_only_what_is_needed_is_made() {
    let (mut spared, mut unfounded) = (0, 0);
    for seed in 1..600 {
        let mut dice = Dice(0x9E37_79B9_7F4A_7C15_u64.wrapping_mul(seed));
        let shelf = Arc::new(Shelf::default());
        let index = Index {
            is_partial: true,
            ..Index::default()
        };
        for _ in 0..3 {
            let (build, targets) = random_build(&mut dice);
            let mut worker = Fake::over(&shelf);
            worker.context = random_context(&mut dice);
            check_partial(&build, &targets, &worker, &index);
            // Records of some results are lost, and the results of some records.
            let mut records = index.records.lock().unwrap();
            records.retain(|_, _| dice.below(3) > 0);
            drop(records);
            let again = Fake {
                context: worker.context.clone(),
                boasts: dice.below(2) == 0,
                ..Fake::over(&shelf)
            };
            if again.boasts {
                let mut layers = shelf.layers.lock().unwrap();
                layers.retain(|_, _| dice.below(4) > 0);
                unfounded += 1;
            }
            spared += check_partial(&build, &targets, &again, &index);
        }
    }
    assert!(spared > 100 && unfounded > 500, "{spared} {unfounded}");
}
