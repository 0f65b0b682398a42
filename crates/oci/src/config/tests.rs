use super::*;
use crate::{Digest, Healthcheck};
use proptest::prelude::*;

fn text(config: &ImageConfig) -> String {
    String::from_utf8(config.to_bytes()).unwrap()
}

/// A full config in canonical spelling must come back byte for byte.
fn check_round_trip(canonical: &str) {
    let config = ImageConfig::from_bytes(canonical.as_bytes()).unwrap();
    assert_eq!(text(&config), canonical);
}

#[test]
fn scratch_image_has_null_created_and_null_diff_ids() {
    let config = ImageConfig::new(&Platform::parse("linux/amd64").unwrap());
    assert_eq!(
        text(&config),
        r#"{"architecture":"amd64","config":{},"created":null,"history":[],"os":"linux","rootfs":{"type":"layers","diff_ids":null}}"#
    );
}

#[test]
fn every_inner_field_in_order() {
    let inner = RunConfig {
        user: "u".into(),
        exposed_ports: ["80/tcp".to_owned(), "443/tcp".to_owned()].into(),
        env: vec!["B=1".into(), "A=<&>".into()],
        entrypoint: Some(vec!["e".into()]),
        cmd: Some(vec!["c".into()]),
        volumes: ["/v".to_owned()].into(),
        working_dir: "/w".into(),
        labels: [
            ("z".to_owned(), "1".to_owned()),
            ("a".to_owned(), "\u{2028}".to_owned()),
        ]
        .into(),
        stop_signal: "SIGTERM".into(),
        args_escaped: true,
        healthcheck: Some(Healthcheck {
            test: vec!["NONE".into()],
            interval_ns: 1,
            timeout_ns: 2,
            start_period_ns: 3,
            start_interval_ns: 4,
            retries: 5,
        }),
        on_build: vec!["RUN x".into()],
        shell: Some(vec!["/bin/sh".into(), "-c".into()]),
        other: BTreeMap::new(),
    };
    let config = ImageConfig {
        config: inner,
        ..ImageConfig::default()
    };
    let wanted = r#""config":{"User":"u","ExposedPorts":{"443/tcp":{},"80/tcp":{}},"Env":["B=1","A=\u003c\u0026\u003e"],"Entrypoint":["e"],"Cmd":["c"],"Volumes":{"/v":{}},"WorkingDir":"/w","Labels":{"a":"\u2028","z":"1"},"StopSignal":"SIGTERM","ArgsEscaped":true,"Healthcheck":{"Test":["NONE"],"Interval":1,"Timeout":2,"StartPeriod":3,"StartInterval":4,"Retries":5},"OnBuild":["RUN x"],"Shell":["/bin/sh","-c"]}"#;
    let text = text(&config);
    assert!(text.contains(wanted), "{text}");
    check_round_trip(&text);
}

#[test]
fn empty_lists_are_left_out() {
    let mut config = ImageConfig::default();
    config.config.cmd = Some(Vec::new());
    config.config.entrypoint = Some(Vec::new());
    config.config.shell = Some(Vec::new());
    assert!(text(&config).contains(r#""config":{}"#));
}

#[test]
fn unknown_keys_are_kept_and_sorted_in() {
    check_round_trip(
        r#"{"architecture":"arm64","config":{"User":"u","Hostname":"h","Image":""},"container":"c","created":"2020-01-02T03:04:05.678Z","docker_version":"1","history":[{"created":"x","created_by":"RUN a \u0026\u0026 b","author":"me","comment":"c","empty_layer":true},{}],"moby.buildkit.cache.v0":{"b":1,"a":[1.5,null]},"os":"windows","os.features":["win32k"],"os.version":"10.0","rootfs":{"type":"layers","diff_ids":[]},"variant":"v8"}"#,
    );
}

#[test]
fn nulls_everywhere_are_read_as_nothing() {
    let all_null = r#"{"author":null,"architecture":null,"os":null,"variant":null,"os.version":null,
        "os.features":null,"config":null,"rootfs":null,"history":null}"#;
    assert_eq!(
        ImageConfig::from_bytes(all_null.as_bytes()).unwrap(),
        ImageConfig::default()
    );
    let inner = r#"{"config":{"User":null,"ExposedPorts":null,"Env":null,"Entrypoint":null,"Cmd":null,
        "Volumes":null,"WorkingDir":null,"Labels":null,"StopSignal":null,"ArgsEscaped":null,
        "Healthcheck":null,"OnBuild":null,"Shell":null}}"#;
    assert_eq!(
        ImageConfig::from_bytes(inner.as_bytes()).unwrap(),
        ImageConfig::default()
    );
}

#[test]
fn broken_documents_name_the_noun() {
    let error = ImageConfig::from_bytes(b"{").unwrap_err();
    assert_eq!(error.to_string(), "parse image config");
    let wrong = format!(r#"{{"rootfs":{{"diff_ids":["{}"]}}}}"#, "sha256:zz");
    assert!(ImageConfig::from_bytes(wrong.as_bytes()).is_err());
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(
        env in prop::collection::vec(".*", 0..4),
        labels in prop::collection::btree_map(".*", ".*", 0..4),
        cmd in prop::option::of(prop::collection::vec(".*", 1..3)),
        ports in prop::collection::btree_set("[0-9]{1,5}/(tcp|udp)", 0..3),
        created in prop::option::of("[0-9TZ:.-]{0,30}"),
        layers in prop::option::of(prop::collection::vec(any::<u8>(), 0..3)),
        unknown in "x-[a-z]{1,5}",
        value in ".*",
    ) {
        let diff_ids =
            layers.map(|seeds| seeds.iter().map(|seed| DiffId(Digest::sha256_of(&[*seed]))).collect());
        let config = ImageConfig {
            created,
            config: RunConfig { env, labels, cmd, exposed_ports: ports, ..RunConfig::default() },
            rootfs: RootFs { diff_ids, ..RootFs::default() },
            other: [(unknown, Value::from(value))].into(),
            ..ImageConfig::default()
        };
        let bytes = config.to_bytes();
        let back = ImageConfig::from_bytes(&bytes).unwrap();
        prop_assert_eq!(&back, &config);
        prop_assert_eq!(back.to_bytes(), bytes);
    }
}
