use super::*;
use proptest::prelude::*;

fn testdata(name: &str) -> String {
    let path = format!(
        "{}/../../testdata/reference/{name}",
        env!("CARGO_MANIFEST_DIR")
    );
    std::fs::read_to_string(path).unwrap()
}

/// `ok.tsv`: as written, canonical, familiar.
#[test]
fn good_names_have_the_listed_forms() {
    let mut count = 0;
    for line in testdata("ok.tsv")
        .lines()
        .filter(|line| !line.starts_with('#'))
    {
        let [text, canonical, familiar] = line.split('\t').collect::<Vec<_>>()[..] else {
            panic!("three columns: {line}");
        };
        let reference = Reference::parse(text).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(reference.to_string(), canonical, "{text}");
        assert_eq!(reference.familiar(), familiar, "{text}");
        assert_eq!(Reference::parse(canonical).unwrap(), reference, "{text}");
        assert_eq!(Reference::parse(familiar).unwrap(), reference, "{text}");
        count += 1;
    }
    assert!(count > 15);
}

/// `err.tsv`: as written, the reason.
#[test]
fn bad_names_have_the_listed_reason() {
    let mut count = 0;
    for line in testdata("err.tsv")
        .lines()
        .filter(|line| !line.starts_with('#'))
    {
        let (text, wanted) = line.split_once('\t').unwrap();
        let Err(Error::Reference { reason, .. }) = Reference::parse(text) else {
            panic!("{text:?} is not refused");
        };
        assert_eq!(reason, wanted, "{text}");
        count += 1;
    }
    assert!(count > 15);
}

#[test]
fn long_names_and_tags_are_refused() {
    let tag = |n: usize| format!("a:{}", "t".repeat(n));
    assert!(Reference::parse(&tag(TAG_LIMIT)).is_ok());
    assert!(Reference::parse(&tag(TAG_LIMIT + 1)).is_err());
    let name = |n: usize| format!("r.io/{}", "p".repeat(n - 5));
    assert!(Reference::parse(&name(NAME_LIMIT)).is_ok());
    assert!(Reference::parse(&name(NAME_LIMIT + 1)).is_err());
}

#[test]
fn tag_and_digest_can_be_replaced() {
    let reference = Reference::parse("alpine").unwrap();
    let pinned = reference.with_digest(Digest::sha256_of(b"m"));
    assert_eq!(pinned.tag(), Some("latest"));
    assert_eq!(
        pinned.with_tag("3").unwrap().to_string(),
        "docker.io/library/alpine:3"
    );
    assert!(reference.with_tag("a b").is_err());
}

proptest! {
    #[test]
    fn printing_and_parsing_agree(
        domain in "([a-z][a-z0-9]{0,5}\\.[a-z]{2,3}|localhost)(:[0-9]{1,5})?",
        path in "[a-z0-9]{1,4}([._-][a-z0-9]{1,3})?(/[a-z0-9]{1,4}(__[a-z]|--[0-9])?){0,3}",
        tag in prop::option::of("[A-Za-z0-9_][A-Za-z0-9_.-]{0,12}"),
        pinned in any::<bool>(),
    ) {
        let mut text = format!("{domain}/{path}");
        if let Some(tag) = &tag {
            text = format!("{text}:{tag}");
        }
        if pinned {
            text = format!("{text}@{}", Digest::sha256_of(b"x"));
        }
        let reference = Reference::parse(&text).unwrap();
        prop_assert_eq!(Reference::parse(&reference.to_string()).unwrap(), reference.clone());
        prop_assert_eq!(Reference::parse(&reference.familiar()).unwrap(), reference);
    }

    #[test]
    fn no_text_panics(text in ".{0,80}") {
        let _ = Reference::parse(&text);
    }
}
