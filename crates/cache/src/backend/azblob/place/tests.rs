use super::*;

fn env() -> AzblobEnv {
    AzblobEnv {
        account_url: Some("https://team.blob.example/".to_owned()),
        container: Some("from-env".to_owned()),
        prefix: Some("ci".to_owned()),
        ..AzblobEnv::default()
    }
}

fn parse(words: &str, env: &AzblobEnv) -> Result<AzblobPlace> {
    let pairs = words.split_whitespace().map(|word| {
        let (key, value) = word.split_once('=').unwrap();
        (key.to_owned(), value.to_owned())
    });
    let mut attrs = Attrs::new("azblob", pairs)?;
    let place = AzblobPlace::parse(&mut attrs, env)?;
    attrs.finish()?;
    Ok(place)
}

#[test]
fn attributes_win_over_the_environment() {
    let place = parse("", &env()).unwrap();
    assert_eq!(place.url(), "https://team.blob.example");
    assert_eq!(place.name(), "azblob team/from-env/ci/rbuild");
    assert!(place.key.is_none() && !place.is_plain());
    let words = "account_url=http://127.0.0.1:10000/me account_name=me container=other prefix=/a/ \
                 name=x;y blobs_prefix=bl manifests_prefix=ma secret_access_key=aHVudGVyMg==";
    let place = parse(words, &env()).unwrap();
    assert_eq!(place.url(), "http://127.0.0.1:10000/me");
    assert_eq!(place.name(), "azblob me/other/a/x;y");
    assert_eq!(place.key.as_ref().unwrap().expose(), "aHVudGVyMg==");
    assert!(place.is_plain());
    let mut with_key = env();
    with_key.key = Some(Secret::new("ZW52"));
    let key = |words: &str| parse(words, &with_key).unwrap().key.unwrap();
    assert_eq!(key("").expose(), "ZW52");
    assert_eq!(key("secret_access_key=eA==").expose(), "eA==");
    let bare = AzblobEnv::default();
    let place = parse("account_url=https://team.blob.example", &bare).unwrap();
    assert_eq!(place.name(), "azblob team/rbuild-cache/rbuild");
}

#[test]
fn what_cannot_be_meant_is_an_error_that_says_so() {
    let check = |words: &str, wanted: &str| {
        let error = parse(words, &env()).unwrap_err().to_string();
        assert!(error.starts_with(wanted), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    };
    let nothing = parse("", &AzblobEnv::default()).unwrap_err().to_string();
    assert!(
        nothing.starts_with("type=azblob needs account_url="),
        "{nothing}"
    );
    check(
        "account_url=https://u:hunter2@x.y",
        "account_url: it must be an http: or",
    );
    check(
        "account_url=ftp://x.y",
        "account_url: it must be an http: or",
    );
    for url in ["http://127.0.0.1:1/x", "http://localhost", "http://[::1]/"] {
        let words = format!("account_url={url}");
        check(
            &words,
            "account_url= does not begin with the account's name",
        );
    }
    check("account_name=Team", "account_name=Team: it must be");
    for container in ["ab", "A-b", "-ab", "a/b", "a?b"] {
        let words = format!("container={container}");
        check(&words, &format!("container={container}: it must be"));
    }
    check("prefix=a/../b", "prefix=a/../b: it must be a path");
    check("name=;", "name=;: it must be a name");
    check(
        "secret_access_key=hunter2!",
        "secret_access_key= (or AZURE_STORAGE_KEY) must be",
    );
}

#[test]
fn no_key_is_shown() {
    let mut env = env();
    env.identity.client_secret = Some(Secret::new("hunter3"));
    let place = parse("secret_access_key=aHVudGVyMg==", &env).unwrap();
    let shown = format!("{place:?} {env:?} {} {:?}", place.name(), place.settled());
    assert!(
        !shown.contains("aHVudGVy") && !shown.contains("hunter"),
        "{shown}"
    );
}
