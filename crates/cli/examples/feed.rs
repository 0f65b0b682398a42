//! Plays a made-up build, to look at how builds are shown.
//!
//! `cargo run -p rbuild-cli --example feed -- tty|plain|rawjson [ok|fail]`

use std::io::Write;
use std::thread::sleep;
use std::time::{Duration, SystemTime};

use rbuild::progress::{
    ChannelSink, Event, LogChunk, Meter, Sink, Stream, VertexKey, VertexUpdate, WarningNote,
    channel,
};
use rbuild::{ErrorKind, Excerpt, Report};
use rbuild_cli::render::{Display, Ending, Mode, Work, failed_steps, warnings};
use rbuild_cli::style::Look;

const DOCKERFILE: &str = "FROM rust:1.90 AS build\nWORKDIR /src\nCOPY . .\nRUN cargo build --release\n\n\
                          FROM debian:12\nCOPY --from=build /src/target/release/app /usr/bin/app\n\
                          ENTRYPOINT [\"app\"]\n";

struct Step {
    key: VertexKey,
    name: &'static str,
    started: SystemTime,
}

fn step(name: &'static str) -> Step {
    Step {
        key: VertexKey::new(format!("sha256:{name}")),
        name,
        started: SystemTime::now(),
    }
}

impl Step {
    fn send(&self, sink: &ChannelSink, started: bool, end: Option<(bool, Option<&str>)>) {
        sink.send(Event::Vertex(VertexUpdate {
            started: started.then_some(self.started),
            completed: end.map(|_| SystemTime::now()),
            cached: end.is_some_and(|(cached, _)| cached),
            error: end.and_then(|(_, error)| error.map(str::to_owned)),
            ..VertexUpdate::planned(self.key.clone(), self.name, vec![])
        }));
    }

    fn say(&self, sink: &ChannelSink, text: &str) {
        sink.send(Event::Log(LogChunk {
            vertex: self.key.clone(),
            stream: Stream::Stdout,
            data: text.as_bytes().to_vec(),
            at: SystemTime::now(),
        }));
    }
}

fn ms(count: u64) {
    sleep(Duration::from_millis(count));
}

fn quick(sink: &ChannelSink, name: &'static str, cached: bool) {
    let step = step(name);
    step.send(sink, true, None);
    ms(if cached { 0 } else { 120 });
    step.send(sink, true, Some((cached, None)));
}

fn pull(sink: &ChannelSink) {
    let step = step("[stage-1 1/2] FROM docker.io/library/debian:12@sha256:0123456789abcdef");
    step.send(sink, true, None);
    let layer = Meter::new(sink, &step.key, "sha256:5f70bf18a086", Some(48_000_000));
    for _ in 0..48 {
        ms(50);
        layer.add(1_000_000);
    }
    layer.finish();
    step.send(sink, true, Some((false, None)));
}

fn compile(sink: &ChannelSink, ok: bool) {
    let step = step("[build 4/4] RUN cargo build --release");
    step.send(sink, true, None);
    for n in 0..60 {
        ms(60);
        step.say(
            sink,
            &format!(
                "   Compiling crate-{n} v0.{n}.0 with a rather long line about 日本語 things\n"
            ),
        );
    }
    step.say(sink, "\x1b[31merror\x1b[0m: something is missing\n");
    let error = "process \"/bin/sh -c cargo build --release\" did not complete successfully: exit code: 101";
    step.send(sink, true, Some((false, (!ok).then_some(error))));
}

fn play(sink: &ChannelSink, ok: bool) {
    for name in [
        "[internal] load build definition from Dockerfile",
        "[internal] load metadata for docker.io/library/rust:1.90",
        "[internal] load metadata for docker.io/library/debian:12",
        "[internal] load .dockerignore",
        "[build 1/4] FROM docker.io/library/rust:1.90",
        "[build 2/4] WORKDIR /src",
        "[build 3/4] COPY . .",
        "[build 4/4] RUN cargo build --release",
        "[stage-1 1/2] FROM docker.io/library/debian:12@sha256:0123456789abcdef",
        "[stage-1 2/2] COPY --from=build /src/target/release/app /usr/bin/app",
        "exporting to image",
    ] {
        step(name).send(sink, false, None);
    }
    quick(
        sink,
        "[internal] load build definition from Dockerfile",
        false,
    );
    sink.send(Event::Warning(WarningNote {
        vertex: None,
        short: "JSONArgsRecommended: JSON arguments recommended for CMD".to_owned(),
        detail: vec![],
        url: Some("https://docs.docker.com/go/dockerfile/rule/json-args-recommended/".to_owned()),
        file: Some("Dockerfile".to_owned()),
        line: Some(8),
        end_line: Some(8),
    }));
    quick(
        sink,
        "[internal] load metadata for docker.io/library/rust:1.90",
        false,
    );
    quick(
        sink,
        "[internal] load metadata for docker.io/library/debian:12",
        false,
    );
    quick(sink, "[internal] load .dockerignore", true);
    quick(sink, "[build 1/4] FROM docker.io/library/rust:1.90", true);
    quick(sink, "[build 2/4] WORKDIR /src", true);
    quick(sink, "[build 3/4] COPY . .", false);
    std::thread::scope(|scope| {
        scope.spawn(|| pull(sink));
        compile(sink, ok);
    });
    if ok {
        quick(
            sink,
            "[stage-1 2/2] COPY --from=build /src/target/release/app /usr/bin/app",
            false,
        );
        quick(sink, "exporting to image", false);
    }
}

fn main() -> std::io::Result<()> {
    let words: Vec<String> = std::env::args().collect();
    let mode = match words.get(1).map(String::as_str) {
        Some("plain") => Mode::Plain,
        Some("rawjson") => Mode::RawJson,
        _ => Mode::Tty,
    };
    let ok = words.get(2).is_none_or(|word| word == "ok");
    let (sink, events) = channel();
    let display = Display::start(mode, Work::Build, events)?;
    play(&sink, ok);
    drop(sink);
    let ending = if ok { Ending::Finished } else { Ending::Failed };
    let trace = display.finish(ending);
    let mut err = std::io::stderr();
    let look = Look::of(&err);
    err.write_all(&failed_steps(&trace, mode, look))?;
    err.write_all(warnings(&trace, look).as_bytes())?;
    if !ok {
        let at = DOCKERFILE.find("cargo build").unwrap_or_default();
        let report = Report {
            kind: ErrorKind::Build,
            message:
                "process \"/bin/sh -c cargo build --release\" did not complete successfully: exit \
                      code: 101"
                    .to_owned(),
            excerpts: vec![Excerpt {
                file: "Dockerfile".to_owned(),
                text: DOCKERFILE.to_owned(),
                first_line: 4,
                last_line: 4,
                span: Some(at..at + 21),
                label: Some("exit code: 101".to_owned()),
            }],
            help: vec![
                "Run `rbuild build --target build .` to build up to the step before.".to_owned(),
            ],
            vertex: None,
            log: Some("/var/lib/rbuild/logs/8d2f/4.log".into()),
        };
        err.write_all(rbuild_cli::failure(&report, "failed to solve: ", look).as_bytes())?;
    }
    Ok(())
}
