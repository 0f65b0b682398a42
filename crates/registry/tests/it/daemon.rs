//! Docker's API against an engine of the test's own that answers what it is told to.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rbuild_oci::{Digest, Platform, Reference};
use rbuild_progress::CancelToken;
use rbuild_registry::{Daemon, DaemonAddress, DaemonInfo, Error, ImageStore};

/// What the engine does once it has read the head of a request.
#[derive(Clone)]
enum Act {
    /// Sends this and closes.
    Say(String),
    /// Sends this and neither goes on nor closes.
    Hang(String),
    /// Reads the body, so many bytes, before it says this.
    Read(usize, String),
}

struct Engine {
    daemon: Daemon,
    heads: Arc<Mutex<Vec<String>>>,
    _dir: tempfile::TempDir,
}

/// Starts an engine that does the same for every request.
fn engine(act: Act) -> Engine {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("docker.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let heads: Arc<Mutex<Vec<String>>> = Arc::default();
    let seen = Arc::clone(&heads);
    // It ends with the test's process: nothing else waits for it.
    std::thread::spawn(move || {
        let mut hanging = Vec::new();
        for stream in listener.incoming().flatten() {
            hanging.extend(serve(stream, &act, &seen));
        }
    });
    Engine {
        daemon: Daemon::new(DaemonAddress::Unix(path)),
        heads,
        _dir: dir,
    }
}

/// Serves one request; returns the connection if it is to stay open.
fn serve(mut stream: UnixStream, act: &Act, seen: &Mutex<Vec<String>>) -> Option<UnixStream> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if stream.read(&mut byte).unwrap_or(0) == 0 {
            return None;
        }
        head.push(byte[0]);
    }
    seen.lock().unwrap().push(String::from_utf8(head).unwrap());
    let said = match act {
        Act::Say(text) | Act::Hang(text) => text,
        Act::Read(bytes, text) => {
            let mut body = vec![0; *bytes];
            stream.read_exact(&mut body).ok()?;
            text
        }
    };
    stream.write_all(said.as_bytes()).ok();
    matches!(act, Act::Hang(_)).then_some(stream)
}

impl Engine {
    fn head(&self) -> String {
        self.heads.lock().unwrap()[0].clone()
    }

    fn pull(&self) -> Result<Vec<String>, Error> {
        let digest = Digest::sha256_of(b"manifest");
        let mut told = Vec::new();
        let source = ("127.0.0.1:5000/name", &digest);
        self.daemon.pull(
            source,
            None,
            &mut |step| told.push(step.status),
            &CancelToken::new(),
        )?;
        Ok(told)
    }
}

fn answer(status: u16, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status} Answer\r\nContent-Length: {length}\r\n\r\n{body}")
}

fn chunks(parts: &[&str]) -> String {
    let mut text = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned();
    for part in parts {
        text.push_str(&format!("{:x}\r\n{part}\r\n", part.len()));
    }
    text
}

/// The error's text and what caused it.
fn words(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

#[test]
fn a_pull_asks_for_the_digest_and_tells_its_steps() {
    let parts = [
        "{\"status\":\"Pulling from name\"}\r\n{\"sta",
        "tus\":\"Downloading\",\"progressDetail\":{\"current\":1,\"total\":2},\"id\":\"ab\"}\r\n",
        "",
    ];
    let engine = engine(Act::Say(chunks(&parts)));
    assert_eq!(engine.pull().unwrap(), ["Pulling from name", "Downloading"]);
    let digest = Digest::sha256_of(b"manifest");
    let line = format!(
        "POST /images/create?fromImage=127.0.0.1:5000/name&tag={digest}&tlsVerify=false HTTP/1.1\r\n"
    );
    assert!(engine.head().starts_with(&line), "{}", engine.head());
}

#[test]
fn an_error_in_the_middle_of_the_stream_is_a_failure() {
    let parts = [
        "{\"status\":\"Downloading\",\"id\":\"ab\"}\r\n",
        "{\"errorDetail\":{\"message\":\"no space left on device\"},\"error\":\"x\"}\r\n",
        "",
    ];
    let error = engine(Act::Say(chunks(&parts))).pull().unwrap_err();
    assert!(matches!(error, Error::DaemonRefused { status: 200, .. }));
    let text = words(&error);
    assert!(
        text.contains("could not pull: no space left on device"),
        "{text}"
    );
}

#[test]
fn answers_that_are_no_success_carry_the_engines_words() {
    let check = |said: String, expected: &str| {
        let text = words(&engine(Act::Say(said)).pull().unwrap_err());
        assert!(text.contains(expected), "{text}");
    };
    check(
        answer(404, "{\"message\":\"manifest unknown\"}"),
        "could not pull: manifest unknown",
    );
    check(answer(500, "plain words"), "could not pull: plain words");
    check(answer(200, "{]"), "broke off a request to pull");
    check("SSH-2.0-x\r\n\r\n".to_owned(), "the answer is no HTTP");
    check(String::new(), "without an answer");
}

#[test]
fn a_stream_that_dies_or_never_ends_a_line_is_a_failure() {
    let dies = chunks(&["{\"status\":\"Downloading\"}\r\n"]);
    let text = words(&engine(Act::Say(dies)).pull().unwrap_err());
    assert!(text.contains("in the middle of the answer"), "{text}");
    let long = chunks(&[&"x".repeat(2 << 20), ""]);
    let text = words(&engine(Act::Say(long)).pull().unwrap_err());
    assert!(text.contains("a line has no end"), "{text}");
}

#[test]
fn an_engine_that_falls_silent_is_given_up() {
    for said in [String::new(), chunks(&["{\"status\":\"Waiting\"}\r\n"])] {
        let mut engine = engine(Act::Hang(said));
        engine.daemon.silence = Duration::from_millis(100);
        let text = words(&engine.pull().unwrap_err());
        assert!(text.contains("silent for 0.1 s"), "{text}");
    }
}

#[test]
fn a_pull_ends_with_the_token() {
    let engine = engine(Act::Hang(chunks(&["{\"status\":\"Waiting\"}\r\n"])));
    let cancel = CancelToken::new();
    let digest = Digest::sha256_of(b"manifest");
    let begin = Instant::now();
    let error = engine
        .daemon
        .pull(("name", &digest), None, &mut |_| cancel.cancel(), &cancel)
        .unwrap_err();
    assert!(error.is_cancelled(), "{error}");
    assert!(begin.elapsed() < Duration::from_secs(30));
}

#[test]
fn where_none_listens_that_is_said() {
    let address = DaemonAddress::Unix(PathBuf::from("/nowhere/docker.sock"));
    let error = Daemon::new(address).info(&CancelToken::new()).unwrap_err();
    assert!(matches!(error, Error::NoDaemon { .. }));
    assert!(words(&error).contains("unix:///nowhere/docker.sock"));
}

#[test]
fn engines_say_how_they_keep_images() {
    let ask = |info: &str| {
        let engine = engine(Act::Say(answer(200, info)));
        engine.daemon.info(&CancelToken::new()).unwrap()
    };
    let platform = Platform::new("linux", "amd64");
    assert_eq!(
        ask("{\"OSType\":\"linux\",\"Architecture\":\"x86_64\",\
             \"DriverStatus\":[[\"Backing Filesystem\",\"extfs\"]]}"),
        DaemonInfo {
            platform: platform.clone(),
            images: ImageStore::Unpacked
        }
    );
    assert_eq!(
        ask("{\"OSType\":\"linux\",\"Architecture\":\"x86_64\",\
             \"DriverStatus\":[[\"driver-type\",\"io.containerd.snapshotter.v1\"]]}"),
        DaemonInfo {
            platform,
            images: ImageStore::Containerd
        }
    );
    assert_eq!(ask("{\"DriverStatus\":null}").images, ImageStore::Unpacked);
}

#[test]
fn names_are_given_looked_up_and_forgotten() {
    let cancel = CancelToken::new();
    let made = engine(Act::Say(answer(201, "")));
    let name = Reference::parse("app:1").unwrap();
    made.daemon.tag("sha256:00", &name, &cancel).unwrap();
    let line = "POST /images/sha256:00/tag?repo=docker.io/library/app&tag=1 HTTP/1.1\r\n";
    assert!(made.head().starts_with(line), "{}", made.head());
    let missing = engine(Act::Say(answer(404, "{\"message\":\"No such image\"}")));
    missing.daemon.forget("x@sha256:00", &cancel).unwrap();
    assert_eq!(missing.daemon.image("x", &cancel).unwrap(), None);
    let busy = engine(Act::Say(answer(409, "{\"message\":\"in use\"}")));
    let error = busy.daemon.forget("x", &cancel).unwrap_err();
    assert!(words(&error).contains("could not remove a name: in use"));
}

#[test]
fn an_archive_goes_in_and_a_refusal_tells_why() {
    let cancel = CancelToken::new();
    let archive = vec![b'x'; 1 << 20];
    let taken = engine(Act::Read(
        archive.len(),
        chunks(&["{\"stream\":\"Loaded image: a\\n\"}\r\n", ""]),
    ));
    let stream = taken.daemon.load(archive.len() as u64, &cancel).unwrap();
    stream.writer().unwrap().write_all(&archive).unwrap();
    let mut told = String::new();
    stream
        .finish(&mut |step| told.push_str(&step.stream))
        .unwrap();
    assert_eq!(told, "Loaded image: a\n");
    // It closes without reading: writing fails, and what it said is told.
    let refuses = engine(Act::Say(answer(500, "{\"message\":\"disk full\"}")));
    let stream = refuses.daemon.load(64 << 20, &cancel).unwrap();
    let mut writer = stream.writer().unwrap();
    let piece = vec![0; 64 << 20];
    assert!(writer.write_all(&piece).is_err());
    let error = stream.finish(&mut |_| {}).unwrap_err();
    let text = words(&error);
    assert!(text.contains("could not load: disk full"), "{text}");
}

#[test]
fn an_archive_that_is_not_taken_can_be_broken_off() {
    let cancel = CancelToken::new();
    let hangs = engine(Act::Hang(String::new()));
    let stream = hangs.daemon.load(64 << 20, &cancel).unwrap();
    let mut writer = stream.writer().unwrap();
    std::thread::scope(|scope| {
        let writing = scope.spawn(move || writer.write_all(&vec![0; 64 << 20]));
        cancel.wait(Duration::from_millis(100)).unwrap();
        stream.end();
        assert!(writing.join().unwrap().is_err());
    });
}
