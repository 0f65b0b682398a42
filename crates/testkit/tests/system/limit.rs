//! `--cache-max`: within a build, and in configuration files.

use std::fs;

use rbuild_testkit::{Finished, Privilege, granted, run};

use crate::place::{LIMIT, Place};
use crate::pruning::{SmallDisk, taken};

#[test]
fn a_limit_is_kept_within_a_build() {
    if !granted(Privilege::Root) {
        return;
    }
    const MIB: u64 = 1 << 20;
    let noise = |name: &str| -> String {
        let step = |n| format!("RUN head -c 6m /dev/urandom > /{name}-{n}\n");
        (0..7).map(step).collect()
    };
    let place = Place::new(&format!("FROM busybox\n{}", noise("old")));
    let (store, image) = (place.store(), place.dir().join("disk"));
    // For one of the builds, but not for both.
    let _disk = SmallDisk::mount(&store, &image, 80 * MIB);
    let words = ["--cache-max", "50m"];
    place.build(&words).expect_success();
    place.write("Dockerfile", &format!("FROM busybox\n{}", noise("new")));
    place.build(&words).expect_success();
    assert!(taken(&store) <= 50 * MIB);
    place.assert_intact();
}

#[test]
fn a_limit_stands_in_a_file_as_well() {
    let place = Place::new("FROM busybox\nCOPY Dockerfile /\n");
    let (home, etc) = (place.dir().join("home"), place.dir().join("etc/rbuild"));
    fs::create_dir_all(home.join("rbuild")).expect("make a folder");
    fs::create_dir_all(&etc).expect("make a folder");
    let build = |words: &[&str], variable: &str| {
        let mut build = place.build_command(words);
        build.env("XDG_CONFIG_HOME", &home);
        build.env("RBUILD_HOSTS_ROOT", place.dir());
        build.env("RBUILD_CACHE_MAX", variable);
        run(&mut build, LIMIT)
    };
    let is_told = |done: Finished| done.expect_success().text().contains("CacheMax");
    assert!(!is_told(build(&["-t", "big"], "")));
    fs::write(etc.join("config.toml"), "cache-max = \"1k\"\n").expect("write");
    assert!(is_told(build(&["-t", "big"], "")));
    let own = home.join("rbuild/config.toml");
    fs::write(&own, "# mine\ncache-max = \"1g\"\n").expect("write");
    assert!(!is_told(build(&["-t", "big"], "")));
    assert!(is_told(build(&["-t", "big"], "1k")));
    assert!(!is_told(build(&["-t", "big", "--cache-max", "1g"], "1k")));
    fs::write(&own, "\ncache-mux = 1\n").expect("write");
    let wrong = format!("{}:2: `cache-mux` is not known", own.display());
    build(&[], "").expect_code(2).expect_text(&wrong);
}
