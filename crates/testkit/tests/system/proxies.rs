//! Proxies of the environment: what goes through them, what does not, and that no password is shown.
//!
//! The names end in `.test` and stand for servers on loopback ports that only the proxy knows.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use rbuild_testkit::{Finished, ProxyAsked, ProxyServer, Tree, WebReply, WebServer, run};

use crate::add_git::Repository;
use crate::place::{LIMIT, Place};

/// `user:geheim` as a login.
const LOGIN: &str = "Basic dXNlcjpnZWhlaW0=";
const VARIABLES: [&str; 6] = [
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
];

/// Runs `rbuild` with these proxies and no others.
fn with_env(mut command: Command, env: &[(&str, &str)]) -> Finished {
    for name in VARIABLES {
        command.env_remove(name);
    }
    command.envs(env.iter().copied());
    run(&mut command, LIMIT)
}

/// Builds `FROM scratch` and these lines into a directory.
fn build(lines: &str, env: &[(&str, &str)]) -> (Place, PathBuf, Finished) {
    let place = Place::new(&format!("FROM scratch\n{lines}\n"));
    let out = place.dir().join("out");
    let spec = format!("type=local,dest={}", out.display());
    let finished = with_env(place.build_command(&["-o", &spec]), env);
    (place, out, finished)
}

fn address(proxy: &ProxyServer) -> String {
    format!("http://user:geheim@{}", proxy.address())
}

/// What was asked for with the login.
fn targets(proxy: &ProxyServer) -> Vec<String> {
    let is_known = |asked: &ProxyAsked| asked.authorization.as_deref() == Some(LOGIN);
    let show = |asked: ProxyAsked| format!("{} {}", asked.method, asked.target);
    proxy
        .asked()
        .into_iter()
        .filter(is_known)
        .map(show)
        .collect()
}

/// Nothing that was printed or kept has the password.
#[track_caller]
fn assert_secret(place: &Place, finished: &Finished) {
    assert!(!finished.text().contains("geheim"), "{finished}");
    let found = Command::new("grep")
        .args(["-rl", "geheim"])
        .arg(place.store())
        .output()
        .expect("start grep");
    let found = String::from_utf8_lossy(&found.stdout).into_owned();
    assert_eq!(found, "");
}

#[test]
fn downloads_go_through_the_proxy() {
    let web = WebServer::start(|_| WebReply::of("hello"));
    let proxy = ProxyServer::start(&[("files.test:80", web.address())]);
    let proxy_address = address(&proxy);
    for variable in ["HTTP_PROXY", "http_proxy"] {
        let before = targets(&proxy).len();
        let lines = "ADD http://files.test/x?y=1 /f";
        let (place, out, finished) = build(lines, &[(variable, &proxy_address)]);
        let finished = finished.expect_success();
        assert_eq!(fs::read(out.join("f")).unwrap(), b"hello");
        let asked = targets(&proxy).split_off(before);
        assert_eq!(asked, ["GET http://files.test/x?y=1"]);
        assert_secret(&place, &finished);
    }
}

#[test]
fn contexts_go_through_the_proxy() {
    let web = WebServer::start(|_| WebReply::of("FROM scratch\nCOPY context /copied\n"));
    let repository = Repository::new(Tree::new().file("Dockerfile", "FROM scratch\nCOPY . /\n"));
    let git = repository.serve();
    let proxy = ProxyServer::start(&[
        ("files.test:80", web.address()),
        ("git.test:80", git.address()),
    ]);
    let proxy_address = address(&proxy);
    for context in ["http://files.test/any", "http://git.test/r.git/.git#main"] {
        let place = Place::new("FROM nothing\n");
        let command = place.rbuild(&["build", "--progress", "plain", "-t", "x", context]);
        let finished = with_env(command, &[("HTTP_PROXY", &proxy_address)]).expect_success();
        assert_secret(&place, &finished);
    }
    assert!(
        targets(&proxy)
            .iter()
            .any(|asked| asked.contains("git-upload-pack"))
    );
}

#[test]
fn git_goes_through_the_proxy() {
    let repository = Repository::new(Tree::new().file("a", "one"));
    let git = repository.serve();
    let proxy = ProxyServer::start(&[("git.test:80", git.address())]);
    let proxy_address = address(&proxy);
    let lines = "ADD http://git.test/r.git/.git /s";
    let (place, out, finished) = build(lines, &[("HTTP_PROXY", &proxy_address)]);
    let finished = finished.expect_success();
    assert_eq!(fs::read(out.join("s/a")).unwrap(), b"one");
    let asked = targets(&proxy);
    let wanted = "GET http://git.test/r.git/.git/info/refs?service=git-upload-pack";
    assert!(asked.iter().any(|asked| asked == wanted), "{asked:?}");
    assert_secret(&place, &finished);
    // An exception holds for git as for downloads: nobody knows the name there.
    let exceptions = [
        ("HTTP_PROXY", proxy_address.as_str()),
        ("NO_PROXY", "x, git.test:80"),
    ];
    let before = proxy.asked().len();
    let (_, _, finished) = build(lines, &exceptions);
    finished
        .expect_code(1)
        .expect_text("Could not resolve host");
    assert_eq!(proxy.asked().len(), before);
}

#[test]
fn secure_addresses_and_registries_are_asked_for_with_connect() {
    let proxy = ProxyServer::start(&[]);
    let proxy_address = address(&proxy);
    let env = [("HTTPS_PROXY", proxy_address.as_str())];
    let check = |text: &str, asked: &str| {
        let before = targets(&proxy).len();
        let place = Place::new(text);
        let finished = with_env(place.build_command(&[]), &env).expect_code(1);
        let found = targets(&proxy).split_off(before);
        assert!(found.iter().any(|found| found == asked), "{found:?}");
        assert_secret(&place, &finished);
        finished
    };
    check(
        "FROM scratch\nADD https://files.test/x /\n",
        "CONNECT files.test:443",
    )
    .expect_text(&format!("through the proxy http://{}", proxy.address()));
    check(
        "FROM registry.test:5000/a/b\n",
        "CONNECT registry.test:5000",
    );
    check(
        "FROM scratch\nADD https://git.test/x.git /\n",
        "CONNECT git.test:443",
    );
}

#[test]
fn what_is_excepted_or_on_this_machine_is_asked_directly() {
    let web = WebServer::start(|_| WebReply::of("hello"));
    let proxy = ProxyServer::start(&[]);
    let proxy_address = address(&proxy);
    let local = format!("ADD {} /f", web.url("/x"));
    let (_place, out, finished) = build(&local, &[("HTTP_PROXY", &proxy_address)]);
    finished.expect_success();
    assert_eq!(fs::read(out.join("f")).unwrap(), b"hello");
    for exceptions in ["*", "files.test", ".test", "a,files.test:80 , b"] {
        let env = [
            ("HTTP_PROXY", proxy_address.as_str()),
            ("NO_PROXY", exceptions),
        ];
        let (_, _, finished) = build("ADD http://files.test/x /f", &env);
        finished
            .expect_code(1)
            .expect_text("cannot reach files.test: failed to lookup");
    }
    assert_eq!(proxy.asked(), []);
}

#[test]
fn a_proxy_that_is_none_is_said_without_its_password() {
    let check = |proxy: &str, wanted: &str| {
        let (place, _, finished) = build("ADD http://files.test/x /f", &[("HTTP_PROXY", proxy)]);
        let finished = finished.expect_code(1).expect_text(wanted);
        assert_secret(&place, &finished);
    };
    let none = "the proxy for http addresses is no address like http://HOST:PORT";
    check("ftp://user:geheim@host:1", none);
    check("http://user:geheim@", none);
    check(
        "user:geheim@127.0.0.1:1",
        "through the proxy http://127.0.0.1:1",
    );
    // What needs no network does not look at it.
    let (_, _, finished) = build("COPY Dockerfile /", &[("HTTP_PROXY", "nonsense://")]);
    finished.expect_success();
}
