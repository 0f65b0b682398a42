use super::*;

fn env() -> S3Env {
    S3Env {
        region: Some("eu-west-1".to_owned()),
        access_key_id: Some("AKENV".to_owned()),
        secret_access_key: Some(Secret::new("env-secret")),
        session_token: Some(Secret::new("env-token")),
        ..S3Env::default()
    }
}

fn parse(words: &str, env: &S3Env) -> Result<S3Place> {
    let pairs = words.split_whitespace().map(|word| {
        let (key, value) = word.split_once('=').unwrap();
        (key.to_owned(), value.to_owned())
    });
    let mut attrs = Attrs::new("s3", pairs)?;
    let place = S3Place::parse(&mut attrs, env)?;
    attrs.finish()?;
    Ok(place)
}

#[test]
fn attributes_win_over_the_environment() {
    let place = parse("bucket=b", &env()).unwrap();
    assert_eq!(place.region, "eu-west-1");
    assert_eq!(place.keys.as_ref().unwrap().id, "AKENV");
    assert_eq!(place.folders.names, ["rbuild"]);
    assert_eq!(place.name(), "s3 b/rbuild");
    let words = "bucket=b region=us-east-2 access_key_id=AK secret_access_key=SK prefix=/a/b/ \
                 name=x;y;x touch_refresh=1h30m upload_parallelism=9 retry_max_attempts=2 \
                 retry_mode=adaptive disable_accept_encoding=true blobs_prefix=bl/ manifests_prefix=ma";
    let place = parse(words, &env()).unwrap();
    let keys = place.keys.as_ref().unwrap();
    assert_eq!((keys.id.as_str(), keys.secret.expose()), ("AK", "SK"));
    // The environment's token belongs to the environment's keys.
    assert!(keys.token.is_none());
    assert_eq!(place.folders.names, ["x", "y"]);
    assert_eq!(place.name(), "s3 b/a/b/x;y");
    assert_eq!(place.touch_refresh, Duration::from_secs(5400));
    assert_eq!((place.upload_parallelism, place.attempts), (9, Some(2)));
    assert_eq!(
        (
            place.folders.blobs.as_str(),
            place.folders.manifests.as_str()
        ),
        ("bl", "ma")
    );
}

#[test]
fn addresses_are_of_the_right_style() {
    let url = |words: &str| parse(words, &env()).unwrap().bucket_url();
    assert_eq!(url("bucket=b"), "https://b.s3.eu-west-1.amazonaws.com");
    assert_eq!(
        url("bucket=b region=cn-north-1"),
        "https://b.s3.cn-north-1.amazonaws.com.cn"
    );
    assert_eq!(url("bucket=b.c"), "https://s3.eu-west-1.amazonaws.com/b.c");
    assert_eq!(
        url("bucket=b use_path_style=true"),
        "https://s3.eu-west-1.amazonaws.com/b"
    );
    assert_eq!(
        url("bucket=b endpoint_url=http://s3.lan:9000/"),
        "http://b.s3.lan:9000"
    );
    assert_eq!(
        url("bucket=b endpoint_url=http://s3.lan:9000/x/ use_path_style=1"),
        "http://s3.lan:9000/x/b"
    );
    for host in ["127.0.0.1:9000", "localhost", "[::1]:80"] {
        let words = format!("bucket=b endpoint_url=https://{host}");
        let place = parse(&words, &env()).unwrap();
        assert!(place.path_style && !place.is_plain(), "{host}");
    }
}

#[test]
fn what_cannot_be_meant_is_an_error_that_says_so() {
    let check = |words: &str, env: &S3Env, wanted: &str| {
        assert_eq!(parse(words, env).unwrap_err().to_string(), wanted);
    };
    let none = S3Env::default();
    check("region=x", &none, "type=s3 needs bucket= (or AWS_BUCKET)");
    check("bucket=b", &none, "type=s3 needs region= (or AWS_REGION)");
    check(
        "bucket=a/b",
        &env(),
        "bucket=a/b: it must be a bucket's name, of letters, digits, `-` and `.`",
    );
    check(
        "bucket=b endpoint_url=https://u:hunter2@host/",
        &env(),
        "endpoint_url: it must be an http: or https: address without user, query and fragment",
    );
    check(
        "bucket=b prefix=a/../b",
        &env(),
        "prefix=a/../b: it must be a path of letters, digits and -._+=@,!()",
    );
    check(
        "bucket=b access_key_id=A",
        &env(),
        "access_key_id= needs secret_access_key=",
    );
    check(
        "bucket=b name=;",
        &env(),
        "name=;: it must be a name, or several with `;`",
    );
    check(
        "bucket=b touch_refresh=soon",
        &env(),
        "touch_refresh=soon: it must be a time like 24h or 30m",
    );
    check(
        "bucket=b upload_parallelism=0",
        &env(),
        "upload_parallelism=0: it must be a positive number",
    );
    check(
        "bucket=b retry_max_attempts=0",
        &env(),
        "retry_max_attempts=0: it must be a number from 1 to 100",
    );
    check(
        "bucket=b retry_mode=often",
        &env(),
        "retry_mode=often: it must be standard or adaptive",
    );
    // Stores elsewhere have no regions.
    assert!(parse("bucket=b endpoint_url=http://host", &none).is_ok());
}

#[test]
fn no_key_is_shown() {
    let words = "bucket=b access_key_id=AK secret_access_key=hunter2 session_token=hunter3";
    let place = parse(words, &env()).unwrap();
    let shown = format!("{place:?} {:?} {} {:?}", env(), place.name(), place.keys);
    assert!(
        !shown.contains("hunter") && !shown.contains("env-"),
        "{shown}"
    );
}
