//! Pushing to a registry that behaves: what is asked, in which order, and with which bytes.

use std::sync::Arc;

use rbuild_oci::media_type::{OCI_CONFIG, OCI_LAYER_GZIP, OCI_MANIFEST};
use rbuild_oci::{Descriptor, Manifest, Reference};
use rbuild_progress::{CancelToken, CollectSink, Event, NullSink, VertexKey};
use rbuild_registry::{
    Client, ClientConfig, Credential, CredentialError, CredentialSource, Error, InStore, PushBlob,
    PushContext, Pushed, Secret, Supply,
};
use rbuild_store::Store;

use crate::server::{Login, PASSWORD, Server, USER, client, config};

/// A store in a directory of its own.
pub struct Here {
    pub store: Store,
    _dir: tempfile::TempDir,
}

impl Here {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self {
            store: Store::open(dir.path()).unwrap(),
            _dir: dir,
        }
    }

    pub fn blob(&self, bytes: &[u8]) -> PushBlob {
        self.store.put_blob(bytes).unwrap();
        PushBlob {
            descriptor: Descriptor::of(OCI_LAYER_GZIP, bytes),
            mount_from: Vec::new(),
        }
    }

    pub fn push(
        &self,
        client: &Client,
        reference: &Reference,
        blobs: &[PushBlob],
    ) -> Result<Vec<Pushed>, Error> {
        self.push_until(client, reference, blobs, &CancelToken::new())
    }

    pub fn push_until(
        &self,
        client: &Client,
        reference: &Reference,
        blobs: &[PushBlob],
        cancel: &CancelToken,
    ) -> Result<Vec<Pushed>, Error> {
        let cx = PushContext {
            store: &self.store,
            supply: &InStore,
            sink: &NullSink,
            vertex: &VertexKey::new("v"),
            cancel,
        };
        client.push_blobs(reference, blobs, &cx)
    }
}

/// Bytes that differ everywhere, so that none can stand for others.
pub fn noise(length: usize) -> Vec<u8> {
    let mut state = 1u64;
    let next = |_| {
        state = state
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (state >> 56) as u8
    };
    (0..length).map(next).collect()
}

struct Fixed(Credential);

impl CredentialSource for Fixed {
    fn lookup(
        &self,
        _: &str,
        _: &str,
        _: &CancelToken,
    ) -> Result<Option<Credential>, CredentialError> {
        Ok(Some(self.0.clone()))
    }
}

pub fn logged_in(password: &str) -> Client {
    let credential = Credential::Password {
        username: USER.into(),
        password: Secret::new(password),
    };
    Client::new(ClientConfig {
        credentials: Arc::new(Fixed(credential)),
        ..config()
    })
}

pub fn bearer() -> Login {
    Login::Bearer {
        realm: None,
        anonymous: false,
    }
}

#[test]
fn a_blob_goes_in_one_request_and_only_once() {
    let (server, here) = (Server::start(), Here::new());
    let bytes = noise(300_000);
    let (blob, reference) = (here.blob(&bytes), server.reference("a/b:1"));
    let (first, again) = (std::slice::from_ref(&blob), std::slice::from_ref(&blob));
    assert_eq!(
        here.push(&client(), &reference, first).unwrap(),
        [Pushed::Sent]
    );
    assert_eq!(
        here.push(&client(), &reference, again).unwrap(),
        [Pushed::Present]
    );
    let state = server.state();
    assert!(state.uploads.has("a/b", &bytes));
    assert_eq!(state.uploads.log, ["HEAD", "POST", "PUT 300000", "HEAD"]);
    let put = state.seen.iter().find(|seen| seen.method == "PUT").unwrap();
    assert_eq!(put.header("content-length"), Some("300000"));
    assert_eq!(put.header("content-type"), Some("application/octet-stream"));
}

#[test]
fn an_empty_blob_and_relative_addresses() {
    let (server, here) = (Server::start(), Here::new());
    server.state().uploads.relative = true;
    let blobs = [here.blob(b""), here.blob(b"x")];
    here.push(&client(), &server.reference("a/b:1"), &blobs)
        .unwrap();
    let state = server.state();
    assert!(state.uploads.has("a/b", b"") && state.uploads.has("a/b", b"x"));
}

#[test]
fn mounts_move_no_bytes() {
    let (server, here) = (Server::start(), Here::new());
    let mut blob = here.blob(b"shared");
    here.push(
        &client(),
        &server.reference("a/b:1"),
        std::slice::from_ref(&blob),
    )
    .unwrap();
    let received = server.state().uploads.received;
    blob.mount_from = vec!["nobody".into(), "a/b".into()];
    let pushed = here
        .push(&client(), &server.reference("c:1"), &[blob])
        .unwrap();
    assert_eq!(pushed, [Pushed::Mounted { from: "a/b".into() }]);
    let state = server.state();
    assert!(state.uploads.has("c", b"shared"));
    assert_eq!(state.uploads.received, received);
    let tail = &state.uploads.log[3..];
    assert_eq!(tail, ["HEAD", "POST mount nobody", "POST mount a/b"]);
}

#[test]
fn a_refused_mount_becomes_the_upload() {
    let (server, here) = (Server::start(), Here::new());
    server.state().uploads.refuses_mounts = true;
    let mut blob = here.blob(b"content");
    blob.mount_from = vec!["x".into(), "y".into()];
    let pushed = here
        .push(&client(), &server.reference("a/b:1"), &[blob])
        .unwrap();
    assert_eq!(pushed, [Pushed::Sent]);
    let state = server.state();
    assert!(state.uploads.has("a/b", b"content"));
    // Of two sessions one is given back.
    let wanted = ["HEAD", "POST mount x", "POST mount y", "DELETE", "PUT 7"];
    assert_eq!(state.uploads.log, wanted);
    assert!(state.uploads.sessions.is_empty());
}

/// Has nothing until it is asked.
struct Later<'a>(&'a Store, &'a [u8]);

impl Supply for Later<'_> {
    fn provide(
        &self,
        _: &Descriptor,
        _: &CancelToken,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        Ok(self.0.put_blob(self.1).map(drop)?)
    }
}

#[test]
fn what_the_store_lacks_is_brought_only_if_the_registry_lacks_it_too() {
    let (server, here) = (Server::start(), Here::new());
    let bytes = b"far away";
    let descriptor = Descriptor::of(OCI_LAYER_GZIP, bytes);
    let blob = PushBlob {
        descriptor: descriptor.clone(),
        mount_from: Vec::new(),
    };
    let push = |supply: &dyn Supply| {
        let cx = PushContext {
            store: &here.store,
            supply,
            sink: &NullSink,
            vertex: &VertexKey::new("v"),
            cancel: &CancelToken::new(),
        };
        client().push_blob(&server.reference("a/b:1"), &blob, &cx)
    };
    let error = push(&InStore).unwrap_err();
    assert!(error.to_string().contains("store blob"), "{error}");
    let key = ("a/b".to_owned(), descriptor.digest.to_string());
    server
        .state()
        .uploads
        .blobs
        .insert(key.clone(), bytes.to_vec());
    assert_eq!(push(&InStore).unwrap(), Pushed::Present);
    assert!(!here.store.has_blob(&descriptor.digest));
    server.state().uploads.blobs.remove(&key);
    assert_eq!(push(&Later(&here.store, bytes)).unwrap(), Pushed::Sent);
    let error = push(&Later(&here.store, b"other")).unwrap();
    assert_eq!(error, Pushed::Present);
}

#[test]
fn a_blob_for_two_repositories_of_a_registry_is_sent_once() {
    let (server, here) = (Server::start(), Here::new());
    let bytes = noise(200_000);
    let blob = here.blob(&bytes);
    let push = |name: &str| {
        let pushed = here.push(
            &client(),
            &server.reference(name),
            std::slice::from_ref(&blob),
        );
        pushed.unwrap().remove(0)
    };
    let (app, cache) = std::thread::scope(|scope| {
        let app = scope.spawn(|| push("app:1"));
        let cache = scope.spawn(|| push("cache:1"));
        (app.join().unwrap(), cache.join().unwrap())
    });
    let from = |path: &str| Pushed::Mounted { from: path.into() };
    let outcomes = [(Pushed::Sent, from("app")), (from("cache"), Pushed::Sent)];
    assert!(outcomes.contains(&(app, cache)));
    assert_eq!(server.state().uploads.received, bytes.len() as u64);
    // Known from then on, also where the registry forgot it.
    assert!(matches!(push("third:1"), Pushed::Mounted { .. }));
    server.state().uploads.blobs.clear();
    assert_eq!(push("fourth:1"), Pushed::Sent);
}

#[test]
fn a_failure_ends_the_wait_for_a_blob_that_another_process_sends() {
    let (server, here) = (Server::start(), Here::new());
    let (sent_by_another, absent) = (here.blob(b"busy"), Here::new().blob(b"absent"));
    let digest = &sent_by_another.descriptor.digest;
    let key = format!("push {} {digest}", server.host());
    let held = here.store.work_lock(&key, &CancelToken::new()).unwrap();
    let (reference, blobs) = (server.reference("a/b:1"), [sent_by_another, absent]);
    let (ended, end) = std::sync::mpsc::channel();
    let pushed = std::thread::scope(|scope| {
        scope.spawn(|| ended.send(here.push(&client(), &reference, &blobs)));
        let pushed = end.recv_timeout(std::time::Duration::from_secs(20));
        drop(held);
        pushed
    });
    let error = pushed.expect("it does not wait").unwrap_err();
    assert!(error.to_string().contains("store blob"), "{error}");
}

#[test]
fn tokens_ask_for_what_is_done() {
    let (server, here) = (Server::start(), Here::new());
    server.state().login = bearer();
    let mut blob = here.blob(b"x");
    blob.mount_from = vec!["base".into()];
    let client = logged_in(PASSWORD);
    here.push(&client, &server.reference("a/b:1"), &[blob])
        .unwrap();
    let state = server.state();
    let tokens = state.seen.iter().filter(|seen| seen.path == "/token");
    let queries: Vec<&str> = tokens.map(|seen| seen.query.as_str()).collect();
    let push = "scope=repository%3Aa%2Fb%3Apull%2Cpush";
    assert_eq!(
        queries,
        [
            format!("{push}&service=test&account=user"),
            format!("{push}&scope=repository%3Abase%3Apull&service=test&account=user"),
        ]
    );
}

#[test]
fn manifests_name_what_is_there_and_get_their_tag_last() {
    let (server, here) = (Server::start(), Here::new());
    let config = Descriptor::of(OCI_CONFIG, b"{}");
    let layer = here.blob(b"layer");
    let manifest = Manifest::new(OCI_MANIFEST, config.clone(), vec![layer.descriptor.clone()]);
    let bytes = manifest.to_bytes();
    let descriptor = Descriptor::of(OCI_MANIFEST, &bytes);
    let reference = server.reference("a/b:1.0");
    let put = |reference: &Reference| {
        client().push_manifest(reference, &descriptor, &bytes, &CancelToken::new())
    };
    let error = put(&reference).unwrap_err().to_string();
    let host = server.host();
    assert_eq!(
        error,
        format!(
            "{host}/a/b does not take manifest 1.0: status 404 (the registry says: MANIFEST_BLOB_UNKNOWN)"
        )
    );
    let config = PushBlob {
        descriptor: here.blob(b"{}").descriptor,
        mount_from: Vec::new(),
    };
    here.push(&client(), &reference, &[layer, config]).unwrap();
    put(&reference.with_digest(descriptor.digest.clone())).unwrap();
    put(&reference).unwrap();
    let state = server.state();
    let names: Vec<&str> = state
        .uploads
        .manifests
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(
        names,
        [format!("a/b:{}", descriptor.digest), "a/b:1.0".to_owned()]
    );
    let seen = state.seen.last().unwrap();
    assert_eq!(seen.header("content-type"), Some(OCI_MANIFEST));
}

#[test]
fn progress_counts_each_byte_once() {
    let (server, here) = (Server::start(), Here::new());
    let blob = here.blob(&noise(500_000));
    let sink = CollectSink::new();
    let cx = PushContext {
        store: &here.store,
        supply: &InStore,
        sink: &sink,
        vertex: &VertexKey::new("v"),
        cancel: &CancelToken::new(),
    };
    let fault = crate::uploads::UploadFault::Status(500, "");
    server.state().uploads.faults.push(("PUT", fault));
    client()
        .push_blob(&server.reference("a/b:1"), &blob, &cx)
        .unwrap();
    let Some(Event::Status(last)) = sink.take().pop() else {
        panic!("no status");
    };
    assert_eq!(last.name, format!("pushing {}", blob.descriptor.digest));
    assert_eq!((last.current, last.total), (500_000, Some(500_000)));
    assert!(last.completed.is_some());
}

#[test]
fn whether_a_push_would_be_let_in_is_found_out_and_leaves_nothing() {
    let server = Server::start();
    let reference = server.reference("a/b:1");
    client()
        .check_push(&reference, &CancelToken::new())
        .unwrap();
    assert_eq!(server.state().uploads.log, ["POST", "DELETE"]);
    assert!(server.state().uploads.sessions.is_empty());
    server.state().login = bearer();
    let denied = client().check_push(&reference, &CancelToken::new());
    assert!(
        matches!(denied, Err(Error::PushDenied { .. })),
        "{denied:?}"
    );
}
