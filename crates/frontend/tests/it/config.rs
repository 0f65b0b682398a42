//! What instructions leave in the config and in the history.

use rbuild_frontend::LowerRequest;

use crate::world::{check, check_errors, check_warnings, plan_of, request, with_args};

fn config(text: &str) -> rbuild_oci::RunConfig {
    plan_of(text, &request()).results[0].config.config.clone()
}

fn list(items: &[&str]) -> Option<Vec<String>> {
    Some(items.iter().map(|item| (*item).to_owned()).collect())
}

#[test]
fn commands_are_wrapped_in_the_shell() {
    check(
        "FROM a\nCMD x  y\n",
        "FROM a; CMD [\"/bin/sh\" \"-c\" \"x  y\"]",
    );
    check(
        "FROM a\nSHELL [\"/bin/sh\", \"-ec\"]\nENTRYPOINT x \"y\"\n",
        "FROM a; SHELL [/bin/sh -ec]; ENTRYPOINT [\"/bin/sh\" \"-ec\" \"x \\\"y\\\"\"]",
    );
    check(
        "FROM a\nCMD [\"x\", \"$y\"]\n",
        "FROM a; CMD [\"x\" \"$y\"]",
    );
    check("FROM a\nCMD\n", "FROM a; CMD [\"/bin/sh\" \"-c\" \"\"]");
    assert!(config("FROM a\nCMD [\"x\"]\n").args_escaped);
}

#[test]
fn entrypoint_clears_a_cmd_that_was_not_set_here() {
    assert_eq!(config("FROM a\nENTRYPOINT [\"e\"]\n").cmd, None);
    assert_eq!(
        config("FROM a AS x\nCMD [\"c\"]\nFROM x\nENTRYPOINT [\"e\"]\n").cmd,
        None
    );
    assert_eq!(
        config("FROM a\nCMD [\"c\"]\nENTRYPOINT [\"e\"]\n").cmd,
        list(&["c"])
    );
    assert_eq!(
        config("FROM a\nENTRYPOINT [\"e\"]\nCMD [\"c\"]\n").cmd,
        list(&["c"])
    );
}

#[test]
fn workdir_joins_and_is_made() {
    check(
        "FROM a\nWORKDIR /a\nWORKDIR b\nWORKDIR ../c\n",
        "FROM a; WORKDIR /a; WORKDIR /a/b; WORKDIR /a/c",
    );
    let plan = plan_of("FROM a\nWORKDIR /\n", &request());
    assert_eq!(plan.results[0].history[0].layer, None);
    assert_eq!(config("FROM a\nWORKDIR /a/\n").working_dir, "/a/");
    check_warnings(
        "FROM a\nWORKDIR a\nWORKDIR b\n",
        &[
            "WorkdirRelativePath: Relative workdir \"a\" can have unexpected results \
           if the base image changes",
        ],
    );
}

#[test]
fn ports_are_normalised() {
    check(
        "FROM a\nENV P=\"8080 8081/udp\"\nEXPOSE 443 80-81/TCP $P\n",
        "FROM a; ENV P=8080 8081/udp; EXPOSE [8080/tcp 8081/udp 443/tcp 80/tcp 81/tcp]",
    );
    check_errors("FROM a\nEXPOSE 70000\n", &["invalid containerPort: 70000"]);
    check_errors(
        "FROM a\nEXPOSE 1 ${X:?none}\n",
        &["failed to process \"${X:?none}\": X: none"],
    );
}

#[test]
fn ports_that_look_wrong_are_warned_of() {
    check_warnings(
        "FROM a\nEXPOSE 80/TCP 1.2.3.4:5:6\n",
        &[
            "ExposeInvalidFormat: EXPOSE instruction should not define an IP address or \
             host-port mapping, found '1.2.3.4:5:6'",
            "ExposeProtoCasing: Defined protocol '80/TCP' in EXPOSE instruction should be \
             lowercase",
        ],
    );
}

#[test]
fn simple_settings() {
    check(
        "FROM a\nMAINTAINER me <m@x>\n",
        "FROM a; MAINTAINER me <m@x>",
    );
    check(
        "FROM a\nENV S=TERM\nSTOPSIGNAL SIG$S\n",
        "FROM a; ENV S=TERM; STOPSIGNAL SIGTERM",
    );
    check_errors("FROM a\nSTOPSIGNAL FOO\n", &["invalid signal: FOO"]);
    check("FROM a\nVOLUME /a /b\n", "FROM a; VOLUME [/a /b]");
    check_errors(
        "FROM a\nVOLUME $X\n",
        &["VOLUME specified can not be an empty string"],
    );
    check("FROM a\nLABEL a=b c=\"d e\"\n", "FROM a; LABEL a=b c=d e");
    check("FROM a\nUSER a b\n", "FROM a; USER a b");
}

#[test]
fn health_checks_are_written_as_go_writes_them() {
    check(
        "FROM a\nHEALTHCHECK --interval=5s --start-period=1m --retries=4 CMD x\n",
        "FROM a; HEALTHCHECK {Test:[CMD-SHELL x] Interval:5s Timeout:0s StartPeriod:1m0s \
         StartInterval:0s Retries:4}",
    );
    let health = config("FROM a\nHEALTHCHECK --interval=5s CMD [\"x\"]\n").healthcheck;
    let health = health.expect("a health check");
    assert_eq!(
        (health.test, health.interval_ns),
        (vec!["CMD".into(), "x".into()], 5_000_000_000)
    );
    let none = config("FROM a\nHEALTHCHECK NONE\n")
        .healthcheck
        .expect("a health check");
    assert_eq!(none.test, ["NONE"]);
    check(
        "FROM a\nENV C=x\nHEALTHCHECK CMD $C\n",
        "FROM a; ENV C=x; HEALTHCHECK {Test:[CMD-SHELL $C] Interval:0s Timeout:0s StartPeriod:0s \
         StartInterval:0s Retries:0}",
    );
    check_errors(
        "FROM a\nENV I=5s\nHEALTHCHECK --interval=$I CMD x\n",
        &["dockerfile parse error on line 3: time: invalid duration \"$I\""],
    );
}

#[test]
fn a_path_is_always_there() {
    let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    assert_eq!(config("FROM bare\n").env, [path]);
    assert_eq!(config("FROM scratch\n").env, [path]);
    assert_eq!(config("FROM a\n").env, ["PATH=/bin"]);
    assert_eq!(config("FROM scratch\n").working_dir, "/");
}

#[test]
fn what_is_overridden_is_warned_of() {
    check_warnings(
        "FROM a\nCMD [\"a\"]\nCMD b\n",
        &[
            "MultipleInstructionsDisallowed: Multiple CMD instructions should not be used in the \
             same stage because only the last one will be used",
            "JSONArgsRecommended: JSON arguments recommended for CMD to prevent unintended \
             behavior related to OS signals",
        ],
    );
    check_warnings("FROM a AS x\nCMD [\"a\"]\nFROM x\nCMD [\"b\"]\n", &[]);
}

#[test]
fn epoch_comes_from_argument_file_or_request() {
    let epoch = |text: &str, request: &LowerRequest| plan_of(text, request).source_epoch;
    let file = "ARG SOURCE_DATE_EPOCH=7\nFROM scratch\n";
    assert_eq!(epoch(file, &request()), Some(7));
    assert_eq!(
        epoch(file, &with_args(&[("SOURCE_DATE_EPOCH", "8")])),
        Some(8)
    );
    assert_eq!(epoch(file, &with_args(&[("SOURCE_DATE_EPOCH", "")])), None);
    let asked = LowerRequest {
        source_epoch: Some(9),
        ..request()
    };
    assert_eq!(epoch("FROM scratch\n", &asked), Some(9));
    assert_eq!(epoch(file, &asked), Some(7));
    check_errors(
        "ARG SOURCE_DATE_EPOCH=abc\nFROM scratch\n",
        &["invalid SOURCE_DATE_EPOCH: abc"],
    );
}

#[test]
fn a_stage_sees_the_time_that_a_name_stands_for() {
    let text = "ARG SOURCE_DATE_EPOCH=s\nFROM scratch AS s\nADD https://x/y /\nFROM scratch\n\
                ARG SOURCE_DATE_EPOCH\nENV AT=$SOURCE_DATE_EPOCH\n";
    let check = |asked: &LowerRequest, time: Option<i64>, at: &str| {
        let plan = plan_of(text, asked);
        assert_eq!(plan.source_epoch, time);
        let env = &plan.results[0].config.config.env;
        assert!(env.contains(&format!("AT={at}")), "{env:?}");
    };
    let mut asked = request();
    check(&asked, None, "");
    asked.named_epoch = Some(5);
    check(&asked, Some(5), "5");
    let mut asked = with_args(&[("SOURCE_DATE_EPOCH", "context")]);
    check(&asked, None, "");
    asked.context_epoch = Some(6);
    check(&asked, Some(6), "6");
}
