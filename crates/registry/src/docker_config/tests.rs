use super::*;

fn parse(text: &str) -> Result<DockerConfig, CredentialError> {
    DockerConfig::parse(text.as_bytes(), Path::new("config.json"))
}

fn password(username: &str, password: &str) -> Option<Credential> {
    let (username, password) = (username.to_owned(), Secret::new(password));
    Some(Credential::Password { username, password })
}

fn lookup(config: &DockerConfig, host: &str, repository: &str) -> Option<Credential> {
    config
        .lookup(host, repository, &CancelToken::new())
        .unwrap()
}

#[test]
fn entries_are_found_under_any_spelling_of_the_key() {
    for key in [
        "https://index.docker.io/v1/",
        "index.docker.io",
        "docker.io",
        "registry-1.docker.io",
        "https://registry-1.docker.io/v2/",
    ] {
        let config = parse(&format!(r#"{{"auths":{{"{key}":{{"auth":"dTpwOnc="}}}}}}"#)).unwrap();
        assert_eq!(
            lookup(&config, "docker.io", "library/x"),
            password("u", "p:w"),
            "{key}"
        );
        assert_eq!(lookup(&config, "ghcr.io", "a/b"), None);
    }
    let config = parse(r#"{"auths":{"http://localhost:5000":{"auth":"dTpw"}}}"#).unwrap();
    assert_eq!(lookup(&config, "localhost:5000", "x"), password("u", "p"));
    assert_eq!(lookup(&config, "localhost", "x"), None);
}

#[test]
fn the_longest_fitting_key_wins() {
    let config = parse(
        r#"{"auths":{"q.io":{"username":"a","password":"1"},"q.io/org":{"username":"b","password":"2"}}}"#,
    )
    .unwrap();
    assert_eq!(lookup(&config, "q.io", "org/x"), password("b", "2"));
    assert_eq!(lookup(&config, "q.io", "organ/x"), password("a", "1"));
}

#[test]
fn tokens_win_over_passwords_and_empty_entries_are_none() {
    let config = parse(
        r#"{"auths":{"a":{"auth":"dTpw","identitytoken":"i"},"b":{"registrytoken":"r"},"c":{},"d":{"auth":"dTpwAAA"}}}"#,
    )
    .unwrap();
    assert_eq!(
        lookup(&config, "a", "x"),
        Some(Credential::IdentityToken(Secret::new("i")))
    );
    assert_eq!(
        lookup(&config, "b", "x"),
        Some(Credential::RegistryToken(Secret::new("r")))
    );
    assert_eq!(lookup(&config, "c", "x"), None);
    assert_eq!(lookup(&config, "d", "x"), password("u", "p"));
}

#[test]
fn broken_files_are_errors_without_content() {
    let error = parse(r#"{"auths":{"a":{"auth":"!!secret!!"}}}"#).unwrap_err();
    assert!(matches!(&error, CredentialError::Entry { key, .. } if key == "a"));
    assert!(!error.to_string().contains("secret"));
    assert!(matches!(parse("{"), Err(CredentialError::Parse { .. })));
    let error = parse("{\"auths\":\n{\"a\": \"hunter2\"}}").unwrap_err();
    assert!(
        error.to_string().contains("config.json: line 2, column"),
        "{error}"
    );
    assert!(!format!("{error} {error:?}").contains("hunter2"));
    assert!(parse("{}").is_ok());
    let missing = DockerConfig::load(Path::new("/nonexistent/config.json")).unwrap();
    assert_eq!(lookup(&missing, "a", "x"), None);
}

#[test]
fn helper_names_cannot_be_paths() {
    let config = parse(r#"{"credHelpers":{"a":"../../tmp/x"}}"#).unwrap();
    let error = config.lookup("a", "x", &CancelToken::new()).unwrap_err();
    assert!(matches!(error, CredentialError::Start { .. }));
}

#[test]
fn a_helper_that_is_not_there_is_named() {
    let config = parse(r#"{"credsStore":"rbuild-no-such-helper"}"#).unwrap();
    let error = config.lookup("a", "x", &CancelToken::new()).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("docker-credential-rbuild-no-such-helper"),
        "{error}"
    );
}
