//! Many processes on one store, some of them killed: the short form of `cargo xtask stress`.

use std::time::Duration;

use rbuild_testkit::{Privilege, StressOptions, granted, rbuild_binary, stress};

#[test]
fn many_processes_and_kills_on_one_store() {
    if !granted(Privilege::Root) {
        return;
    }
    let options = StressOptions {
        binary: rbuild_binary().to_owned(),
        processes: 12,
        length: Duration::from_secs(20),
        seed: 7,
    };
    let report = stress(&options, &|line| println!("{line}"));
    assert!(report.faults.is_empty(), "{:#?}", report.faults);
    assert!(
        report.built > 20 && report.killed > 2 && report.steps_done > 20,
        "{report:?}"
    );
}
