//! ARG and ENV: which value is seen where.

use crate::world::{
    check, check_errors, check_warnings, check_with, last_exec, plan_of, request, with_args,
};

#[test]
fn arg_before_from_is_global_only() {
    check("ARG V=1\nFROM a:$V\nWORKDIR /x$V\n", "FROM a:1; WORKDIR /x");
    check(
        "ARG V=1\nFROM a:$V\nARG V\nWORKDIR /x$V\n",
        "FROM a:1; ARG V=1; WORKDIR /x1",
    );
    check("ARG A=1\nARG B=$A-2\nFROM a:$B\n", "FROM a:1-2");
    check("ARG A=1\nARG A=${A}2\nFROM a:$A\n", "FROM a:12");
    check("ARG A\nFROM a:${A:-d}\n", "FROM a:d");
}

#[test]
fn build_arguments_go_before_defaults() {
    let args = with_args(&[("V", "9")]);
    check_with(&args, "ARG V=1\nFROM a:$V\n", "FROM a:9");
    check_with(
        &args,
        "FROM a\nARG V=1\nUSER $V\n",
        "FROM a; ARG V=9; USER 9",
    );
    check_with(&args, "FROM a\nARG V\nUSER $V\n", "FROM a; ARG V=9; USER 9");
    // Not declared, so not seen.
    check_with(&args, "FROM a\nUSER x$V\n", "FROM a; USER x");
    check_with(
        &args,
        "ARG V=1\nFROM a\nARG V=2\nUSER $V\n",
        "FROM a; ARG V=9; USER 9",
    );
}

#[test]
fn a_default_in_the_stage_goes_before_the_global_value() {
    check(
        "ARG V=1\nFROM a\nARG V=2\nUSER $V\n",
        "FROM a; ARG V=2; USER 2",
    );
    // Unlike ENV, each argument sees the one before it.
    check(
        "FROM a\nARG A=1 B=$A C\nUSER $A$B\n",
        "FROM a; ARG A=1 B=1 C; USER 11",
    );
}

#[test]
fn automatic_arguments_are_global() {
    check(
        "FROM a\nARG TARGETPLATFORM\nARG TARGETVARIANT\nARG TARGETSTAGE\n",
        "FROM a; ARG TARGETPLATFORM=linux/amd64; ARG TARGETVARIANT=; ARG TARGETSTAGE=default",
    );
    check(
        "FROM a AS x\nARG TARGETSTAGE\n",
        "FROM a; ARG TARGETSTAGE=x",
    );
    check("FROM a\nUSER x$TARGETOS\n", "FROM a; USER x");
    let args = with_args(&[("TARGETOS", "plan9")]);
    check_with(&args, "FROM a:$TARGETOS\n", "FROM a:plan9");
}

#[test]
fn the_last_to_set_a_name_wins() {
    let config_env = |text: &str| {
        plan_of(text, &request()).results[0]
            .config
            .config
            .env
            .clone()
    };
    let run_env = |text: &str| last_exec(&plan_of(text, &request())).env.clone();
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());

    let arg_last = "FROM a\nENV X=env\nARG X=arg\nRUN x\n";
    assert_eq!(config_env(arg_last), ["PATH=/bin", "X=env"]);
    assert_eq!(run_env(arg_last), [pair("PATH", "/bin"), pair("X", "arg")]);

    let env_last = "FROM a\nARG X=arg\nENV X=env\nRUN x\n";
    assert_eq!(run_env(env_last), [pair("PATH", "/bin"), pair("X", "env")]);
    check(
        env_last,
        "FROM a; ARG X=arg; ENV X=env; RUN |1 X=env /bin/sh -c x",
    );
}

#[test]
fn one_instruction_sees_the_state_before_it() {
    check(
        "FROM a\nENV A=1\nENV A=2 B=$A\n",
        "FROM a; ENV A=1; ENV A=2 B=1",
    );
    check("FROM a\nENV A=1 B=$A\n", "FROM a; ENV A=1 B=");
}

#[test]
fn env_keeps_the_place_of_a_known_name() {
    let plan = plan_of("FROM a\nENV A=1 B=2\nENV A=3\nENV E=\n", &request());
    assert_eq!(
        plan.results[0].config.config.env,
        ["PATH=/bin", "A=3", "B=2", "E="]
    );
}

#[test]
fn stages_inherit_what_their_base_stage_has_set() {
    check(
        "FROM a AS x\nARG V=1\nENV E=2\nFROM x\nUSER $V$E\nRUN y\n",
        "FROM a; ARG V=1; ENV E=2; USER 12; RUN |1 V=1 /bin/sh -c y",
    );
    check("FROM a AS x\nARG V=1\nFROM a\nUSER u$V\n", "FROM a; USER u");
}

#[test]
fn run_history_lists_arguments_once() {
    check(
        "FROM a\nARG A=1\nARG B\nARG A=2\nRUN x\n",
        "FROM a; ARG A=1; ARG B; ARG A=2; RUN |2 A=2 B= /bin/sh -c x",
    );
}

#[test]
fn proxies_need_no_declaration_and_leave_no_trace() {
    let plain = plan_of("FROM a\nRUN x\n", &request());
    let args = with_args(&[("http_proxy", "p"), ("NO_PROXY", "n")]);
    let plan = plan_of("FROM a\nRUN x\n", &args);
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let wanted = [
        pair("HTTP_PROXY", "p"),
        pair("http_proxy", "p"),
        pair("NO_PROXY", "n"),
        pair("no_proxy", "n"),
    ];
    assert_eq!(last_exec(&plan).proxy_env, wanted);
    assert_eq!(last_exec(&plan).env, last_exec(&plain).env);
    let key = |plan: &rbuild_frontend::Plan| {
        rbuild_graph::op_key(&rbuild_graph::Op::Exec(last_exec(plan).clone()))
    };
    assert_eq!(key(&plan), key(&plain));
}

#[test]
fn engine_arguments_stay_out_of_the_environment() {
    let plan = plan_of(
        "FROM a\nARG BUILDKIT_SBOM_SCAN_STAGE=true\nRUN x\n",
        &request(),
    );
    assert_eq!(last_exec(&plan).env.len(), 1);
}

#[test]
fn expansion_errors_name_the_word() {
    check_errors(
        "FROM a\nUSER ${X:?no user}\nENV A=1\nLABEL l=${Y?}\n",
        &[
            "failed to process \"${X:?no user}\": X: no user",
            "failed to process \"${Y?}\": Y: is not allowed to be unset",
        ],
    );
    check_errors(
        "ARG V=${X:?global}\nFROM a:$V\n",
        &["failed to process \"${X:?global}\": X: global"],
    );
}

#[test]
fn undefined_variables_are_warned_of() {
    check_warnings(
        "FROM a\nARG FOO\nENV BAR=1\nUSER $BAZ$FOO$BAR\n",
        &["UndefinedVar: Usage of undefined variable '$BAZ' (did you mean $BAR?)"],
    );
    check_warnings("FROM a\nRUN echo $NOPE\n", &[]);
    check_warnings(
        "ARG VERSION=1\nFROM a:${VERSON:-2}\n",
        &["UndefinedArgInFrom: FROM argument 'VERSON' is not declared (did you mean VERSION?)"],
    );
    check_warnings("ARG V\nFROM ${V:+a}b${V}\n", &[]);
    let given = with_args(&[("V", "1")]);
    let plan = plan_of("ARG V\nFROM $V\n", &given);
    let found: Vec<&str> = plan.warnings.iter().map(|w| w.code.as_str()).collect();
    assert_eq!(found, ["InvalidDefaultArgInFrom"]);
}
