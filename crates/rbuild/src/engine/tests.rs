use std::sync::Mutex;

use rbuild_progress::{Event, NullSink, Sink};
use rbuild_store::Object;

use super::*;
use crate::{ContextInput, DockerfileInput};

fn engine(root: &Path) -> Engine {
    Engine::open(EngineConfig::new(root.to_owned())).unwrap()
}

fn request(dockerfile: &str) -> BuildRequest {
    let mut request = BuildRequest::new(ContextInput::Empty);
    request.dockerfile = DockerfileInput::Text(dockerfile.into());
    request
}

fn is_leased(store: &Store, object: &Object) -> bool {
    let lock = store.gc_lock(&CancelToken::new()).unwrap();
    lock.is_leased(object)
}

#[test]
fn what_is_committed_is_kept_until_the_last_build_ends() {
    let dir = tempfile::tempdir().unwrap();
    let engine = engine(dir.path());
    let (first, second) = (engine.running(), engine.running());
    let blob = Object::Blob(engine.store().put_blob(b"x").unwrap());
    drop(first);
    assert!(is_leased(engine.store(), &blob));
    drop(second);
    assert!(!is_leased(engine.store(), &blob));
}

/// Looks at every event whether some objects are leased.
struct Watch {
    store: Store,
    objects: Vec<Object>,
    seen: Mutex<Vec<bool>>,
}

impl Sink for Watch {
    fn send(&self, event: Event) {
        if let Event::Vertex(vertex) = event
            && vertex.name.starts_with("exporting")
        {
            let leased = self.objects.iter().all(|it| is_leased(&self.store, it));
            self.seen.lock().unwrap().push(leased);
        }
    }
}

#[test]
fn layers_from_the_cache_are_leased_while_a_build_uses_them() {
    let dir = tempfile::tempdir().unwrap();
    let engine = engine(dir.path());
    let cancel = CancelToken::new();
    let first = request("FROM scratch\nCOPY <<f /f\nx\nf\n");
    let built = engine.build(&first, &NullSink, &cancel).unwrap();
    let image = engine
        .image(&built.image_id.unwrap().to_string(), None)
        .unwrap();
    let objects = engine.layers().objects(&image.layers[0]).unwrap();
    assert!(!objects.iter().any(|it| is_leased(engine.store(), it)));
    let watch = Watch {
        store: Store::open(dir.path()).unwrap(),
        objects,
        seen: Mutex::default(),
    };
    let second = request("FROM scratch\nCOPY <<f /f\nx\nf\nCOPY <<g /g\ny\ng\n");
    engine.build(&second, &watch, &cancel).unwrap();
    let seen = watch.seen.into_inner().unwrap();
    assert!(
        !seen.is_empty() && seen.iter().all(|leased| *leased),
        "{seen:?}"
    );
    assert!(!watch.objects.iter().any(|it| is_leased(engine.store(), it)));
}

#[test]
fn files_without_an_image_leave_no_image() {
    let dir = tempfile::tempdir().unwrap();
    let engine = engine(&dir.path().join("store"));
    let mut request = request("FROM scratch\nCOPY <<f /f\nx\nf\n");
    let dest = dir.path().join("out");
    let output = format!("type=local,dest={}", dest.display());
    request.outputs = vec![rbuild_exporter::Export::parse(&output).unwrap()];
    let built = engine
        .build(&request, &NullSink, &CancelToken::new())
        .unwrap();
    assert_eq!(built.image_id, None);
    assert_eq!(std::fs::read(dest.join("f")).unwrap(), b"x\n");
    assert!(engine.images().unwrap().is_empty());
}
