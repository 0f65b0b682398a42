//! A directory does what every place must.

use rbuild_cache::{LocalBackend, LocalPlace};
use rbuild_testkit::TempDir;

use crate::contract::{Habits, holds};

#[test]
fn a_directory_keeps_the_contract() {
    let dir = TempDir::new();
    let place = LocalPlace {
        dir: dir.join("cache"),
        tag: "latest".to_owned(),
        reset: false,
    };
    let habits = Habits {
        keeps_foreign: false,
        ..Habits::ALL
    };
    holds(&LocalBackend::new(place), habits);
}
