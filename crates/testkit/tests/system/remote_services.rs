//! Caches in S3 and in GitHub Actions' service, with the real binary: each machine is a store of its own.

use std::fs;
use std::path::Path;

use rbuild_testkit::{
    ACTIONS_TOKEN, Actions, ActionsFault, Finished, Moto, Privilege, granted, run,
};

use crate::machines::{STEPS, machine};
use crate::place::{LIMIT, Place, cached_steps, shell_in};

const KEY: &str = "hunter2-secret-key";

/// Builds with these words, and variables in the environment.
fn build(place: &Place, words: &[&str], variables: &[(&str, &str)]) -> Finished {
    let mut command = place.build_command(&["-t", "x"]);
    command.args(words);
    for (name, value) in variables {
        command.env(name, value);
    }
    let done = run(&mut command, LIMIT).expect_success();
    for secret in [KEY, ACTIONS_TOKEN, "hunter2-signature", "sig="] {
        assert!(!done.text().contains(secret), "{done}");
        assert!(!holds(place.dir(), secret), "{secret} is in the store");
    }
    done
}

/// Whether any file below `dir` holds a text.
fn holds(dir: &Path, text: &str) -> bool {
    let entries = fs::read_dir(dir).expect("list a folder").flatten();
    entries.into_iter().any(|entry| {
        let kind = entry.file_type().expect("look");
        match kind.is_dir() {
            true => holds(&entry.path(), text),
            false if kind.is_file() => {
                let bytes = fs::read(entry.path()).expect("read a file");
                bytes
                    .windows(text.len())
                    .any(|part| part == text.as_bytes())
            }
            false => false,
        }
    })
}

/// One machine writes, an empty one reads: nothing is made again, and the bytes come when they are wanted.
fn travels(to: &str, from: &str, variables: &[(&str, &str)]) {
    let (a, b) = (machine(), machine());
    let to = ["--cache-to", to];
    let from = ["--cache-from", from];
    let made = build(&a, &to, variables);
    assert!(!made.text().contains("RemoteCache"), "{made}");
    let found = build(&b, &from, variables);
    assert_eq!(cached_steps(&found).len(), 4, "{found}");
    b.write("Dockerfile", &format!("{STEPS}RUN md5sum /out > /again\n"));
    let next = build(&b, &from, variables);
    assert_eq!(cached_steps(&next).len(), 4, "{next}");
    assert_eq!(
        shell_in(&b, "x", "cat /again"),
        shell_in(&a, "x", "cat /sum")
    );
    b.assert_intact();
}

#[test]
fn results_travel_through_a_bucket() {
    if !granted(Privilege::Root) {
        return;
    }
    let Some(moto) = Moto::start("bucket") else {
        return;
    };
    let url = moto.url();
    let variables = [
        ("AWS_BUCKET", "bucket"),
        ("AWS_REGION", "eu-west-1"),
        ("AWS_ENDPOINT_URL", url.as_str()),
        ("AWS_ACCESS_KEY_ID", "AK"),
        ("AWS_SECRET_ACCESS_KEY", KEY),
    ];
    travels(
        "type=s3,prefix=ci,mode=max",
        "type=s3,prefix=ci",
        &variables,
    );
    assert!(
        moto.requests()
            .iter()
            .any(|asked| asked.contains("/bucket/ci/blobs/sha256/"))
    );
}

#[test]
fn results_travel_through_the_service_of_actions() {
    if !granted(Privilege::Root) {
        return;
    }
    let actions = Actions::start();
    let (first, second) = (actions.url("/first/abc/"), actions.url("/results"));
    let variables = [
        ("ACTIONS_CACHE_URL", first.as_str()),
        ("ACTIONS_RESULTS_URL", second.as_str()),
        ("ACTIONS_RUNTIME_TOKEN", ACTIONS_TOKEN),
    ];
    for words in [
        "type=gha,version=1,scope=one",
        "type=gha,version=2,scope=two",
    ] {
        travels(&format!("{words},mode=max"), words, &variables);
    }
}

#[test]
fn a_service_that_fails_warns_and_the_steps_run() {
    if !granted(Privilege::Root) {
        return;
    }
    let actions = Actions::start();
    let broken = ActionsFault::Status(401, "{\"message\":\"expired\"}");
    actions.state().habits.push((String::new(), broken));
    let gha = format!(
        "type=gha,url_v2={},token={ACTIONS_TOKEN}",
        actions.url("/results")
    );
    // Nobody listens on this port: it is reserved.
    let s3 = format!(
        "type=s3,bucket=b,endpoint_url=http://127.0.0.1:1,access_key_id=AK,secret_access_key={KEY},\
         retry_max_attempts=1"
    );
    for (words, said) in [
        (gha.as_str(), "does not accept the token, or it has expired"),
        (s3.as_str(), "cannot reach http://127.0.0.1:1"),
    ] {
        let place = machine();
        let built = build(&place, &["--cache-from", words, "--cache-to", words], &[]);
        assert!(cached_steps(&built).is_empty(), "{built}");
        assert!(built.text().contains(said), "{built}");
    }
}

#[test]
fn options_that_make_no_sense_are_told_without_their_keys() {
    for (words, said) in [
        ("type=gha,token=hunter2", "type=gha needs url_v2="),
        (
            "type=s3,bucket=b,secret_access_key=hunter2",
            "type=s3 needs region=",
        ),
        (
            "type=s3,secret_access_key=hun,ter2",
            "it must be NAME=VALUE",
        ),
        (
            "type=s3,\"secret_access_key=hunter2",
            "it must be NAME=VALUE",
        ),
    ] {
        let wrong = machine().build(&["--cache-to", words]).expect_code(2);
        assert!(wrong.text().contains(said), "{wrong}");
        assert!(!wrong.text().contains("ter2"), "{wrong}");
    }
}
