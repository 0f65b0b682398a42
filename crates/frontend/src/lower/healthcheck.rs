//! HEALTHCHECK: how a container is asked whether it is well.

use rbuild_dockerfile::instruction::{CommandForm, HealthTest, HealthcheckInstruction};
use rbuild_oci::Healthcheck;

use super::Outcome;
use super::stage::StageCx;
use crate::go_text::{duration, plain_list};
use crate::stage::Command;

pub(super) fn lower(
    stage: &mut StageCx<'_, '_>,
    command: &Command<'_>,
    check: &HealthcheckInstruction,
) -> Outcome {
    stage.only_last(command, |last| &mut last.healthcheck);
    let test = test(&check.test);
    stage.state.note(format!(
        "HEALTHCHECK {{Test:{} Interval:{} Timeout:{} StartPeriod:{} StartInterval:{} Retries:{}}}",
        plain_list(&test),
        duration(check.interval_ns),
        duration(check.timeout_ns),
        duration(check.start_period_ns),
        duration(check.start_interval_ns),
        check.retries,
    ));
    let signed = |ns: u64| i64::try_from(ns).unwrap_or(i64::MAX);
    stage.state.run_config().healthcheck = Some(Healthcheck {
        test,
        interval_ns: signed(check.interval_ns),
        timeout_ns: signed(check.timeout_ns),
        start_period_ns: signed(check.start_period_ns),
        start_interval_ns: signed(check.start_interval_ns),
        retries: i64::from(check.retries),
    });
    Ok(())
}

fn test(test: &HealthTest) -> Vec<String> {
    let command = match test {
        HealthTest::None => return vec!["NONE".to_owned()],
        HealthTest::Cmd(command) => command,
    };
    let kind = match command.form {
        CommandForm::Shell => "CMD-SHELL",
        CommandForm::Exec => "CMD",
    };
    let args = command.args.iter().map(|arg| arg.text.clone());
    std::iter::once(kind.to_owned()).chain(args).collect()
}
