//! Images into a Docker of the test's own that does not always do as it is told.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::time::Duration;

use rbuild_testkit::{Finished, WebAsked, WebReply, WebServer, run};

use crate::interrupt::ends_when_interrupted;
use crate::place::{LIMIT, Place};

/// A place with an image `app`.
fn built() -> Place {
    let place = Place::new("FROM busybox\nLABEL a=b\n");
    place.build(&["-t", "app"]).expect_success();
    place
}

#[test]
fn an_engine_that_is_not_there_is_said_before_the_build_begins() {
    let place = Place::new("FROM busybox\nRUN echo never\n");
    for words in [["--load", "-t"], ["-otype=docker", "-t"]] {
        let mut command = place.build_command(&[&words[..], &["app"]].concat());
        command.env("DOCKER_HOST", "unix:///nowhere/docker.sock");
        let refused = run(&mut command, LIMIT)
            .expect_code(3)
            .expect_text(
                "cannot connect to the container engine at unix:///nowhere/docker.sock: \
                 No such file or directory",
            )
            .expect_text("help: start Docker");
        assert!(!refused.text().contains("never"), "{refused}");
    }
    let mut command = place.build_command(&["--load", "-t", "app"]);
    command.env("DOCKER_HOST", "http://nonsense");
    run(&mut command, LIMIT)
        .expect_code(2)
        .expect_text("`http://nonsense` is no address of a Docker engine");
}

/// A Docker that has nothing, and does this when it is told to pull or load.
fn docker(work: impl Fn(&WebAsked) -> WebReply + Send + Sync + 'static) -> WebServer {
    WebServer::start(move |asked| match asked.method.as_str() {
        "GET" if asked.target == "/info" => {
            WebReply::of("{\"OSType\":\"linux\",\"Architecture\":\"x86_64\"}")
        }
        "GET" => WebReply {
            status: 404,
            ..WebReply::of("{\"message\":\"No such image\"}")
        },
        _ => work(asked),
    })
}

fn host(docker: &WebServer) -> String {
    docker.url("").replace("http://", "tcp://")
}

fn load(place: &Place, docker: &WebServer) -> Finished {
    let mut command = place.rbuild(&["load-into", "docker", "app"]);
    run(command.env("DOCKER_HOST", host(docker)), LIMIT)
}

/// Methods and paths of the requests that change something, queries left out.
fn changes(docker: &WebServer) -> Vec<String> {
    let asked = docker.asked().into_iter();
    asked
        .filter(|asked| asked.method != "GET")
        .map(|asked| {
            let path = asked.target.split('?').next().unwrap_or_default();
            // The loopback's name is another each time.
            let path = match path.contains("127.0.0.1") {
                true => path.rsplit('/').next().map_or("", |last| match last {
                    "tag" => "LOOPBACK/tag",
                    _ => "LOOPBACK",
                }),
                false => path,
            };
            format!("{} {path}", asked.method)
        })
        .collect()
}

/// Fetches the manifest that a pull names, as an engine does; returns the answer.
fn fetch(asked: &WebAsked) -> String {
    let query = asked.target.split_once('?').expect("a pull has a query").1;
    let value = |name: &str| {
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        let mut found = pairs.filter(|(key, _)| *key == name);
        found.next().expect("the pull says it").1.to_owned()
    };
    let from = value("fromImage");
    let (host, name) = from.split_once('/').expect("host and name");
    let mut stream = TcpStream::connect(host).expect("connect to the loopback registry");
    let path = format!("/v2/{name}/manifests/{}", value("tag"));
    write!(stream, "GET {path} HTTP/1.0\r\n\r\n").expect("ask");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("hear the answer");
    answer
}

#[test]
fn docker_is_asked_to_pull_and_names_the_image_afterwards() {
    let place = built();
    let engine = docker(|asked| match asked.target.starts_with("/images/create") {
        true => {
            let answer = fetch(asked);
            assert!(answer.contains("200 OK"), "{answer}");
            WebReply::of("{\"status\":\"Pulling\"}\r\n{\"status\":\"done\"}\r\n")
        }
        false => WebReply::of(""),
    });
    load(&place, &engine)
        .expect_success()
        .expect_text("Loaded image: app:latest (docker pulled 0B)");
    assert_eq!(
        changes(&engine),
        [
            "POST /images/create",
            "POST LOOPBACK/tag",
            "DELETE LOOPBACK"
        ]
    );
}

#[test]
fn an_engine_that_fails_in_the_middle_is_quoted_and_tidied() {
    let place = built();
    let engine = docker(|asked| match asked.target.starts_with("/images/create") {
        true => {
            fetch(asked);
            let said = "{\"status\":\"Downloading\",\"id\":\"ab\"}\r\n\
                        {\"errorDetail\":{\"message\":\"no space left on device\"}}\r\n";
            WebReply::of(said)
        }
        false => WebReply::of(""),
    });
    load(&place, &engine)
        .expect_code(1)
        .expect_text("could not pull: no space left on device");
    assert_eq!(changes(&engine), ["POST /images/create", "DELETE LOOPBACK"]);
}

#[test]
fn an_engine_that_does_not_reach_us_gets_an_archive() {
    let place = built();
    let engine = docker(|asked| match asked.target.starts_with("/images/create") {
        true => WebReply::of("{\"errorDetail\":{\"message\":\"connection refused\"}}\r\n"),
        false => WebReply::of("{\"stream\":\"Loaded\"}\r\n"),
    });
    load(&place, &engine)
        .expect_success()
        .expect_text("Loaded image: app:latest (docker got all of ")
        .expect_text("connection refused");
    assert_eq!(
        changes(&engine),
        [
            "POST /images/create",
            "DELETE LOOPBACK",
            "POST /images/load"
        ]
    );
    let asked = engine.asked();
    let archive = &asked.last().expect("it was loaded").body;
    let tar = place.dir().join("sent.tar");
    fs::write(&tar, archive).expect("write the archive");
    let mut list = Command::new("tar");
    let listed = run(list.arg("-tf").arg(&tar), LIMIT).expect_success();
    assert!(listed.stdout.contains("manifest.json"), "{listed}");
}

#[test]
fn an_engine_that_refuses_the_archive_is_quoted() {
    let place = built();
    let engine = docker(|asked| match asked.target.starts_with("/images/create") {
        true => WebReply::of("{\"errorDetail\":{\"message\":\"connection refused\"}}\r\n"),
        false => WebReply {
            status: 500,
            ..WebReply::of("{\"message\":\"invalid archive\"}")
        },
    });
    load(&place, &engine)
        .expect_code(1)
        .expect_text("could not load: invalid archive");
}

#[test]
fn an_interrupted_load_takes_its_name_back() {
    let place = built();
    let (pulls, pulling) = channel();
    let pulls = Mutex::new(pulls);
    let engine = docker(
        move |asked| match asked.target.starts_with("/images/create") {
            true => {
                fetch(asked);
                let told = pulls.lock().expect("one at a time").send(());
                told.expect("the test waits for it");
                WebReply {
                    delay: Duration::from_secs(60),
                    ..WebReply::of("{\"status\":\"never\"}")
                }
            }
            false => WebReply::of(""),
        },
    );
    let mut command = place.rbuild(&["load-into", "docker", "app"]);
    command.env("DOCKER_HOST", host(&engine));
    let mut child = command
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("start rbuild");
    pulling.recv_timeout(LIMIT).expect("the engine pulls");
    ends_when_interrupted(&mut child);
    assert_eq!(changes(&engine), ["POST /images/create", "DELETE LOOPBACK"]);
}
