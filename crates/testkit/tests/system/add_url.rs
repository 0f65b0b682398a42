//! ADD of files behind URLs, from a real server on a loopback port.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rbuild_testkit::{Finished, WebLength, WebReply, WebServer};

use crate::interrupt::{ends_when_interrupted, start_until};
use crate::place::{Place, cached_steps};

const MODIFIED: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
/// SHA-256 of `hello`.
const HELLO: &str = "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
/// SHA-256 of `other`.
const OTHER: &str = "sha256:d9298a10d1b0735837dc4bd85dac641b0f3cef27a47e5d53a54f2f3f5b2fcffa";

/// Builds to a directory; returns it, and how the build went.
fn build(place: &Place, words: &[&str]) -> (PathBuf, Finished) {
    let out = place.dir().join("out");
    let spec = format!("type=local,dest={}", out.display());
    let mut all = vec!["-o", spec.as_str()];
    all.extend(words);
    let finished = place.build(&all);
    (out, finished)
}

fn built(place: &Place) -> PathBuf {
    let (out, finished) = build(place, &[]);
    finished.expect_success();
    out
}

fn place(text: &str, server: &WebServer) -> Place {
    Place::new(&text.replace("URL", &server.url("")))
}

#[test]
fn a_file_has_name_mode_and_time_as_the_rules_say() {
    let server = WebServer::start(|asked| match asked.target.as_str() {
        "/dated.txt?x=1" => WebReply::of("hello").header("Last-Modified", MODIFIED),
        _ => WebReply::of("plain"),
    });
    let place = place(
        "FROM scratch\nADD URL/dated.txt?x=1 /dir/\nADD URL/a%20b*[%5C.txt URL/ /dir/\n\
         ADD --chmod=755 --chown=1:2 URL/x /renamed\n",
        &server,
    );
    let out = built(&place);
    let meta = |name: &str| fs::metadata(out.join(name)).expect("the file is there");
    let dated = meta("dir/dated.txt");
    assert_eq!(dated.mode() & 0o7777, 0o600);
    assert_eq!(dated.mtime(), 784_111_777);
    assert_eq!(fs::read(out.join("dir/dated.txt")).unwrap(), b"hello");
    assert_eq!(meta("dir/a b*[\\.txt").mtime(), 0);
    assert_eq!(fs::read(out.join("dir/__unnamed__")).unwrap(), b"plain");
    assert_eq!(meta("renamed").mode() & 0o7777, 0o755);
    let agent = server.asked()[0].header("user-agent").map(str::to_owned);
    assert!(agent.is_some_and(|agent| agent.starts_with("rbuild/")));
    place.assert_intact();
}

#[test]
fn what_is_still_current_is_not_downloaded_again() {
    let server = WebServer::start(|asked| match asked.header("if-none-match") {
        Some("\"v1\"") => WebReply::status(304),
        _ => WebReply::of("hello").header("ETag", "\"v1\""),
    });
    let place = place("FROM scratch\nADD URL/f /f\n", &server);
    built(&place);
    let (_, second) = build(&place, &[]);
    let second = second.expect_success();
    assert!(!cached_steps(&second).is_empty(), "{second}");
    let asked = server.asked();
    assert_eq!(asked.len(), 2);
    assert_eq!(asked[1].header("if-none-match"), Some("\"v1\""));
    // Made again from what the store kept.
    let (out, third) = build(&place, &["--no-cache"]);
    third.expect_success();
    assert_eq!(fs::read(out.join("f")).unwrap(), b"hello");
}

#[test]
fn an_old_time_of_modification_is_a_validator_too() {
    let server = WebServer::start(|asked| match asked.header("if-modified-since") {
        Some(MODIFIED) => WebReply::status(304),
        _ => WebReply::of("hello")
            .header("Last-Modified", MODIFIED)
            .header("Date", "Sun, 06 Nov 1994 08:59:37 GMT"),
    });
    let place = place("FROM scratch\nADD URL/f /f\n", &server);
    built(&place);
    built(&place);
    assert_eq!(
        server.asked()[1].header("if-modified-since"),
        Some(MODIFIED)
    );
}

#[test]
fn other_content_is_another_build() {
    let count = std::sync::atomic::AtomicUsize::new(0);
    let server = WebServer::start(move |_| {
        let n = count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        WebReply::of(format!("v{n}")).header("ETag", &format!("\"{n}\""))
    });
    let place = place("FROM scratch\nADD URL/f /f\n", &server);
    assert_eq!(fs::read(built(&place).join("f")).unwrap(), b"v0");
    assert_eq!(fs::read(built(&place).join("f")).unwrap(), b"v1");
}

#[test]
fn a_pinned_file_is_not_asked_for_when_its_step_is_cached() {
    let server = WebServer::start(|_| WebReply::of("hello"));
    let text = format!("FROM scratch\nADD --checksum={HELLO} URL/f /f\n");
    let place = place(&text, &server);
    built(&place);
    assert_eq!(server.asked().len(), 1);
    built(&place);
    assert_eq!(server.asked().len(), 1);
    place.assert_intact();
}

#[test]
fn a_wrong_checksum_stops_the_build() {
    let server = WebServer::start(|_| WebReply::of("other"));
    let text = format!("FROM scratch\nADD --checksum={HELLO} URL/f /f\n");
    let place = place(&text, &server);
    let (_, finished) = build(&place, &[]);
    finished
        .expect_code(1)
        .expect_text(&format!("digest mismatch {OTHER}: {HELLO}"))
        .expect_text(">>> ADD");
    place.assert_intact();
}

#[test]
fn a_checksum_may_be_a_longer_hash() {
    let server = WebServer::start(|_| WebReply::of("hello"));
    let sum = |program: &str, text: &str| {
        let dir = rbuild_testkit::TempDir::new();
        fs::write(dir.join("f"), text).unwrap();
        let out = std::process::Command::new(program)
            .arg(dir.join("f"))
            .output()
            .expect("run a program of coreutils")
            .stdout;
        let hex = String::from_utf8(out).unwrap();
        let hex = hex.split(' ').next().unwrap_or_default().to_owned();
        format!("{}:{hex}", program.trim_end_matches("sum"))
    };
    for program in ["sha256sum", "sha384sum", "sha512sum"] {
        let (right, wrong) = (sum(program, "hello"), sum(program, "other"));
        let text = |checksum: &str| format!("FROM scratch\nADD --checksum={checksum} URL/f /f\n");
        let good = place(&text(&right), &server);
        assert_eq!(fs::read(built(&good).join("f")).unwrap(), b"hello");
        let asked = server.asked().len();
        built(&good);
        assert_eq!(server.asked().len(), asked, "{program}");
        good.assert_intact();
        let bad = place(&text(&wrong), &server);
        let (_, finished) = build(&bad, &[]);
        finished
            .expect_code(1)
            .expect_text(&format!("digest mismatch {right}: {wrong}"));
        bad.assert_intact();
    }
}

#[test]
fn flags_that_do_not_fit_are_refused() {
    let check = |text: &str, wanted: &str| {
        let (_, finished) = build(&Place::new(&format!("FROM scratch\n{text}\n")), &[]);
        finished.expect_code(1).expect_text(wanted);
    };
    let url = "http://127.0.0.1:1/x";
    check(
        &format!("ADD --checksum=sha256:00 {url} /"),
        "invalid checksum digest length",
    );
    check(
        &format!("ADD --checksum=md5:00 {url} /"),
        "unsupported digest algorithm",
    );
    check(
        &format!("ADD --checksum=md5:00 {url} /"),
        "write sha256:, sha384: or sha512:",
    );
    check(
        &format!("ADD --checksum={HELLO} {url} {url} /"),
        "checksum can't be specified for multiple sources",
    );
    check(
        &format!("ADD --checksum={HELLO} x /"),
        "checksum requires HTTP(S) or Git sources",
    );
    check(&format!("COPY {url} /"), "source can't be a URL for COPY");
    check(&format!("ADD {url} /"), "cannot reach 127.0.0.1:1");
}

#[test]
fn servers_that_fail_stop_the_build() {
    let server = WebServer::start(|asked| match asked.target.as_str() {
        "/cut" => WebReply {
            length: WebLength::Stated(100),
            ..WebReply::of("only this")
        },
        "/elsewhere" => WebReply::status(302).header("Location", "file:///etc/passwd"),
        "/circle" => WebReply::status(302).header("Location", "/circle"),
        "/broken" => WebReply::status(500),
        _ => WebReply::status(404),
    });
    let check = |path: &str, wanted: &str| {
        let place = place(&format!("FROM scratch\nADD URL{path} /\n"), &server);
        let (_, finished) = build(&place, &[]);
        finished.expect_code(1).expect_text(wanted);
        place.assert_intact();
    };
    check("/nothing", "invalid response status 404");
    check("/broken", "invalid response status 500");
    check("/cut", "broke off");
    check("/elsewhere", "unsupported protocol scheme \"file\"");
    check("/circle", "more than 10 redirects");
}

#[test]
fn a_redirect_is_followed_and_the_first_address_names_the_file() {
    let server = WebServer::start(|asked| match asked.target.as_str() {
        "/first" => WebReply::status(302).header("Location", "/second"),
        _ => WebReply::of("hello"),
    });
    let place = place("FROM scratch\nADD URL/first /\n", &server);
    let out = built(&place);
    assert_eq!(fs::read(out.join("first")).unwrap(), b"hello");
}

#[test]
fn a_login_comes_from_a_secret_and_stays_with_its_server() {
    let other = WebServer::start(|_| WebReply::of("hello"));
    let target = other.url("/x");
    let server = WebServer::start(move |_| WebReply::status(307).header("Location", &target));
    let place = place("FROM scratch\nADD URL/x /x\n", &server);
    let host = server.url("").replace("http://", "");
    fs::write(place.dir().join("token"), "abc\n").unwrap();
    let file = place.dir().join("token");
    let secret = format!("id=HTTP_AUTH_TOKEN_{host},src={}", file.display());
    build(&place, &["--secret", &secret]).1.expect_success();
    assert_eq!(
        server.asked()[0].header("authorization"),
        Some("Bearer abc")
    );
    assert_eq!(other.asked()[0].header("authorization"), None);
}

#[test]
fn sources_of_all_kinds_land_in_the_order_as_written() {
    let server = WebServer::start(|_| WebReply::of("from the net"));
    let place = place("FROM scratch\nADD a URL/x b /f\nADD b URL/x /g\n", &server);
    place.write("a", "a");
    place.write("b", "b");
    let out = built(&place);
    assert_eq!(fs::read(out.join("f")).unwrap(), b"b");
    assert_eq!(fs::read(out.join("g")).unwrap(), b"from the net");
}

#[test]
fn a_fetched_archive_is_unpacked_only_on_demand() {
    let dir = rbuild_testkit::TempDir::new();
    fs::write(dir.join("inside"), "x").unwrap();
    let tar = std::process::Command::new("tar")
        .args(["-C", dir.to_str().unwrap(), "-czf", "-", "inside"])
        .output()
        .expect("run tar")
        .stdout;
    let server = WebServer::start(move |_| WebReply::of(tar.clone()));
    let place = place(
        "FROM scratch\nADD URL/a.tgz /whole/\nADD --unpack URL/a.tgz /open/\n",
        &server,
    );
    let out = built(&place);
    assert!(out.join("whole/a.tgz").is_file());
    assert_eq!(fs::read(out.join("open/inside")).unwrap(), b"x");
}

#[test]
fn an_interrupt_does_not_wait_for_a_slow_server() {
    let server = WebServer::start(|_| WebReply {
        length: WebLength::Stated(5),
        delay: Duration::from_secs(20),
        ..WebReply::of("hello")
    });
    let place = place("FROM scratch\nADD URL/slow /\n", &server);
    let mut child = start_until(&place, &[], "/slow");
    let limit = Instant::now() + Duration::from_secs(10);
    while server.asked().is_empty() {
        assert!(Instant::now() < limit, "the server was never asked");
        std::thread::yield_now();
    }
    ends_when_interrupted(&mut child);
    place.assert_intact();
}
