use rbuild_solver::{CacheKey, NOTE_FORM};

use super::*;
use crate::explain::words;

/// Nothing is known besides the notes; the second input was made again.
struct Bare;

impl Surroundings for Bare {
    fn listing(&self, _: &Digest) -> Option<Arc<Listing>> {
        None
    }

    fn was_made(&self, at: usize) -> bool {
        at == 1
    }

    fn is_argument(&self, name: &str) -> bool {
        name == "VERSION"
    }
}

fn digest(text: &str) -> Digest {
    Digest::sha256_of(text.as_bytes())
}

fn identity(text: &str) -> Part {
    Part::Identity(CacheKey::parse(digest(text).as_str()).unwrap())
}

fn input(label: &str, part: Part, source: Option<SourceNote>, is_base: bool) -> InputNote {
    InputNote {
        label: label.to_owned(),
        part,
        source,
        files: None,
        is_base,
    }
}

fn image(reference: &str, manifest: &str, platform: &str) -> InputNote {
    let source = SourceNote::Image {
        reference: reference.to_owned(),
        manifest: digest(manifest),
        platform: platform.to_owned(),
    };
    let text = format!("{manifest} {platform}");
    input("[1/2] FROM x", identity(&text), Some(source), true)
}

fn note(fields: &[(&str, &str)], inputs: Vec<InputNote>) -> KeyInputs {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    KeyInputs {
        name: "[2/2] RUN now".to_owned(),
        op: digest(&format!("{fields:?}")),
        fields: fields.iter().map(owned).collect(),
        inputs,
        form: NOTE_FORM,
    }
}

#[track_caller]
fn check(then: &KeyInputs, now: &KeyInputs, lines: &[&str]) {
    let found = differences(then, now, &Bare);
    let found: Vec<String> = found
        .iter()
        .map(|it| words::difference(it, "[2/2] RUN then"))
        .collect();
    assert_eq!(found, lines);
}

#[test]
fn fields_are_told_by_their_names() {
    let then = note(
        &[
            ("arguments", "[\"a\"]"),
            ("env A", "1"),
            ("env VERSION", "1"),
            ("mount /m", "bind ro"),
            ("order of variables", "A VERSION"),
            ("secret s", "x"),
            ("user", ""),
        ],
        Vec::new(),
    );
    let now = note(
        &[
            ("arguments", "[\"b\"]"),
            ("env A", "2"),
            ("env B", "1"),
            ("env VERSION", "2"),
            ("order of variables", "A B VERSION"),
            ("secret t", "x"),
            ("user", "u\u{1b}[2J"),
        ],
        Vec::new(),
    );
    check(
        &then,
        &now,
        &[
            "instruction changed, was [2/2] RUN then",
            "mount /m is gone",
            "secret s is gone",
            "secret t is new",
            "user changed from nothing to u\\x1b[2J",
            "ENV A changed",
            "ENV B is new",
            "build-arg VERSION changed",
        ],
    );
    check(&now, &now, &[]);
}

#[test]
fn platform_goes_before_what_follows_from_it() {
    let of = |platform, arch| {
        note(
            &[("env TARGETARCH", arch), ("platform", platform)],
            vec![image("docker.io/library/x:1", "m", platform)],
        )
    };
    check(
        &of("linux/amd64", "1"),
        &of("linux/arm64", "2"),
        &[
            "platform changed from linux/amd64 to linux/arm64",
            "base docker.io/library/x:1 is for linux/arm64, was for linux/amd64",
            "ENV TARGETARCH changed",
        ],
    );
}

#[test]
fn bases_move_or_are_others() {
    let of = |reference, manifest| note(&[], vec![image(reference, manifest, "linux/amd64")]);
    let (a, b) = (digest("a").to_string(), digest("b").to_string());
    check(
        &of("x:1", "a"),
        &of("x:1", "b"),
        &[&format!("base x:1 moved from {} to {}", &a[..19], &b[..19])],
    );
    check(
        &of("x:1", "a"),
        &of("x:2", "b"),
        &[&format!(
            "base is x:2 ({}), was x:1 ({})",
            &b[..19],
            &a[..19]
        )],
    );
}

#[test]
fn what_follows_is_told_as_such() {
    let base = || image("x:1", "a", "p");
    let step = |label: &str, text: &str| input(label, identity(text), None, false);
    let of = |other: InputNote| note(&[], vec![base(), other]);
    check(
        &of(step("[1/2] RUN a", "1")),
        &of(step("[1/2] RUN a", "2")),
        &["because [1/2] RUN a was made again"],
    );
    let first = |label: &str, text: &str| InputNote {
        is_base: true,
        ..step(label, text)
    };
    check(
        &note(&[], vec![first("[2/3] RUN gone", "1")]),
        &note(&[], vec![first("[1/2] RUN a", "2")]),
        &["stands on [1/2] RUN a now, then on [2/3] RUN gone"],
    );
    check(
        &note(&[], vec![first("[1/2] RUN a", "1")]),
        &note(&[], vec![first("[1/2] RUN a", "2")]),
        &["[1/2] RUN a has another result than then"],
    );
}

#[test]
fn inputs_come_and_go() {
    let base = || image("x:1", "a", "p");
    let url = SourceNote::Url {
        url: "https://h/f".to_owned(),
    };
    let file = |text: &str| input("https://h/f", identity(text), Some(url.clone()), false);
    check(
        &note(&[], vec![base()]),
        &note(&[], vec![base(), file("1")]),
        &["https://h/f changed"],
    );
    check(
        &note(&[], vec![base(), file("1")]),
        &note(&[], vec![base()]),
        &["https://h/f changed"],
    );
    check(
        &note(&[], vec![base(), file("1")]),
        &note(&[], vec![base(), file("2")]),
        &["https://h/f changed"],
    );
    let context = SourceNote::Local {
        name: "context".to_owned(),
    };
    let files = |text: &str| {
        let part = Part::Content(digest(text));
        input("load", part, Some(context.clone()), false)
    };
    let of = |text: &str| note(&[], vec![files(text)]);
    check(&of("1"), &of("2"), &["files differ"]);
}

#[test]
fn a_key_that_differs_is_never_without_a_difference() {
    let mut now = note(&[("user", "a")], Vec::new());
    let then = now.clone();
    now.op = digest("of another kind");
    check(&then, &now, &["instruction changed, was [2/2] RUN then"]);
}
