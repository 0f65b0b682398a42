//! `mounts=`: cache mounts that go through a cache elsewhere to other machines.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use rbuild_testkit::{Finished, Privilege, TempDir, granted, need_tool, run};

use crate::host::{Grant, User};
use crate::place::{LIMIT, Place};

/// Shows what is in the mount, and adds to it; a link and a time that must survive.
const COUNTING: &str = "FROM busybox\nARG N\n\
    RUN --mount=type=cache,id=c,target=/c,mode=0711 \
    cat /c/runs; stat -c 'found %a %h %Y' /c /c/runs; \
    echo \"run $N\" >> /c/runs; ln -f /c/runs /c/link; touch -d @1000000000 /c/runs\n";

fn build(place: &Place, n: &str, words: &[String]) -> Finished {
    let n = format!("--build-arg=N={n}");
    let mut all = vec![n.as_str()];
    all.extend(words.iter().map(String::as_str));
    place.build(&all).expect_success()
}

fn to(dir: &Path, more: &str) -> String {
    format!("--cache-to=type=local,dest={}{more}", dir.display())
}

fn from(dir: &Path, more: &str) -> String {
    format!("--cache-from=type=local,src={}{more}", dir.display())
}

#[test]
fn a_mount_of_a_cached_step_goes_where_none_is_and_displaces_none() {
    if !granted(Privilege::Root) {
        return;
    }
    let shared = TempDir::new();
    let cache = shared.join("cache");
    let write = to(&cache, ",mode=max,mounts=all");
    let old = Place::new(COUNTING);
    build(&old, "1", &[]);
    let cached = build(&old, "1", std::slice::from_ref(&write));
    assert!(!cached.text().contains("found 7"), "{cached}");
    let next = build(
        &Place::new(COUNTING),
        "2",
        &[from(&cache, ",mounts=all"), write.clone()],
    );
    assert!(next.text().contains("run 1"), "{next}");
    // What the first machine has is older now.
    build(&old, "1", &[write]);
    let last = build(&Place::new(COUNTING), "3", &[from(&cache, ",mounts=all")]);
    assert!(last.text().contains("run 2"), "{last}");
}

#[test]
fn a_mount_goes_from_machine_to_machine() {
    if !granted(Privilege::Root) {
        return;
    }
    let shared = TempDir::new();
    let cache = shared.join("cache");
    let (write, read) = (to(&cache, ",mounts=all"), from(&cache, ",mounts=c"));
    let first = build(&Place::new(COUNTING), "1", std::slice::from_ref(&write));
    assert!(!first.text().contains("importing cache mount"), "{first}");
    let second = build(&Place::new(COUNTING), "2", &[read.clone(), write]);
    assert!(
        second.text().contains("importing cache mount c"),
        "{second}"
    );
    assert!(second.text().contains("found 711 2 "), "{second}");
    assert!(second.text().contains("found 644 2 1000000000"), "{second}");
    let machine = Place::new(COUNTING);
    let third = build(&machine, "3", std::slice::from_ref(&read));
    let at = |text: &str| third.text().find(text);
    assert!(
        at("run 1").is_some() && at("run 1") < at("run 2"),
        "{third}"
    );
    // What it has now is its own.
    let fourth = build(&machine, "4", &[read]);
    assert!(fourth.text().contains("run 3"), "{fourth}");
    assert!(!fourth.text().contains("importing cache mount"), "{fourth}");
    machine.assert_intact();
}

#[test]
fn a_mount_that_lay_idle_is_as_old_as_its_last_use() {
    if !granted(Privilege::Root) {
        return;
    }
    let shared = TempDir::new();
    let cache = shared.join("cache");
    let old = Place::new(COUNTING);
    build(&old, "1", &[]);
    // Ages are counted in seconds.
    thread::sleep(Duration::from_millis(1100));
    let main = to(&cache, ",mode=max,mounts=all,scope=main");
    build(&Place::new(COUNTING), "2", &[main]);
    let request = to(&cache, ",mode=max,mounts=all,scope=pr");
    build(&old, "1", &[request]);
    let both = ["pr", "main"].map(|scope| from(&cache, &format!(",mounts=all,scope={scope}")));
    let reader = build(&Place::new(COUNTING), "3", &both);
    assert!(reader.text().contains("run 2"), "{reader}");
    assert!(!reader.text().contains("run 1"), "{reader}");
    let own = build(&Place::new(COUNTING), "4", &both[..1]);
    assert!(own.text().contains("run 1"), "{own}");
}

#[test]
fn several_mounts_of_a_step_come_at_once_and_one_that_is_damaged_alone_is_empty() {
    if !granted(Privilege::Root) {
        return;
    }
    let mounts = "FROM busybox\nARG N\nRUN --mount=type=cache,id=a,target=/a \
        --mount=type=cache,id=b,target=/b,sharing=locked --mount=type=cache,id=c,target=/c,sharing=private \
        for d in a b c; do cat /$d/runs; echo \"of $d: run $N\" >> /$d/runs; done; true\n";
    let shared = TempDir::new();
    let cache = shared.join("cache");
    let read = from(&cache, ",mounts=all");
    build(&Place::new(mounts), "1", &[to(&cache, ",mounts=all")]);
    let place = Place::new(mounts);
    let all = build(&place, "2", std::slice::from_ref(&read));
    for id in ["a", "b", "c"] {
        let imported = format!("importing cache mount {id}");
        assert_eq!(all.text().matches(&imported).count(), 1, "{all}");
        assert!(all.text().contains(&format!("of {id}: run 1")), "{all}");
    }
    place.assert_intact();
    let blobs = fs::read_dir(cache.join("blobs/sha256")).expect("list blobs");
    let pack = blobs.flatten().map(|entry| entry.path()).find(|path| {
        let bytes = fs::read(path).expect("read a blob");
        bytes.len() < 64 && bytes.windows(5).any(|part| part == b"of b:")
    });
    fs::remove_file(pack.expect("there is a pack")).expect("remove the pack");
    let place = Place::new(mounts);
    let rest = build(&place, "3", &[read]);
    for (id, is_there) in [("a", true), ("b", false), ("c", true)] {
        let there = rest.text().contains(&format!("of {id}: run 1"));
        assert_eq!(there, is_there, "{rest}");
    }
    rest.expect_text("the cache mount b is not restored");
    place.assert_intact();
}

#[test]
fn mounts_that_are_not_asked_for_or_too_large_stay() {
    if !granted(Privilege::Root) {
        return;
    }
    let shared = TempDir::new();
    let cache = shared.join("cache");
    build(&Place::new(COUNTING), "1", &[to(&cache, "")]);
    let without = build(&Place::new(COUNTING), "2", &[from(&cache, ",mounts=all")]);
    assert!(
        !without.text().contains("importing cache mount"),
        "{without}"
    );
    let large = build(
        &Place::new(COUNTING),
        "3",
        &[to(&cache, ",mounts=all,mounts-max=5")],
    );
    large
        .expect_text("the cache mount c was not sent")
        .expect_text("mounts-max=5");
    build(&Place::new(COUNTING), "4", &[to(&cache, ",mounts=all")]);
    for more in ["", ",mounts=other", ",mounts=all,scope=other"] {
        let without = build(&Place::new(COUNTING), "5", &[from(&cache, more)]);
        assert!(!without.text().contains("run 4"), "{without}");
    }
    let small = from(&cache, ",mounts=all,mounts-max=5");
    let without = build(&Place::new(COUNTING), "6", &[small]);
    assert!(!without.text().contains("run 4"), "{without}");
    without.expect_text("is not restored");
}

#[test]
fn what_is_lost_on_the_way_makes_an_empty_mount_and_a_warning() {
    if !granted(Privilege::Root) {
        return;
    }
    let shared = TempDir::new();
    let cache = shared.join("cache");
    build(&Place::new(COUNTING), "1", &[to(&cache, ",mounts=all")]);
    // The pack is the blob with the plain text of the file in it: too little to be compressed.
    let blobs = fs::read_dir(cache.join("blobs/sha256")).expect("list blobs");
    let pack = blobs.flatten().map(|entry| entry.path()).find(|path| {
        let bytes = fs::read(path).expect("read a blob");
        bytes.len() < 64 && bytes.windows(5).any(|part| part == b"run 1")
    });
    let pack = pack.expect("there is a pack");
    let bytes = fs::read(&pack).expect("read the pack");
    for damage in [Some(&bytes[1..]), None] {
        match damage {
            Some(bytes) => fs::write(&pack, bytes).expect("damage the pack"),
            None => fs::remove_file(&pack).expect("remove the pack"),
        }
        let place = Place::new(COUNTING);
        let done = build(&place, "2", &[from(&cache, ",mounts=all")]);
        assert!(!done.text().contains("run 1"), "{done}");
        assert!(done.text().contains("found 711 2 "), "{done}");
        done.expect_text("is not restored");
        place.assert_intact();
    }
}

#[test]
fn an_ordinary_user_takes_and_gives_mounts_too() {
    if !(granted(Privilege::Root) && granted(Privilege::UserNamespaces)) {
        return;
    }
    need_tool("newuidmap");
    let dockerfile = "FROM busybox\\nARG N\\n\
         RUN --mount=type=cache,target=/c,uid=65534,mode=0700 \
         stat -c \"found %%u:%%g:%%a %%n\" /c /c/mine; mkdir -p -m 700 /c/mine; echo \"run $N\" >> /c/mine/runs; \
         chown -R 65534:7 /c/mine; cat /c/mine/runs\\n";
    for (grant, owners) in [(Grant::Ranges, "65534:7:700"), (Grant::Nothing, "0:0:700")] {
        let user = User::new(grant);
        let script = format!(
            "printf '{dockerfile}' > Dockerfile; for n in 1 2; do rbuild --root ~/store$n build --progress plain \
             --build-context \"$BASE\" --build-arg N=$n --cache-from type=local,src=cache,mounts=all \
             --cache-to type=local,dest=cache,mounts=all . || exit; done"
        );
        let done = run(&mut user.shell(&script), LIMIT).expect_success();
        // Only a mount that came from the first store has it at that time.
        done.expect_text("importing cache mount /c")
            .expect_text(&format!("found {owners} /c/mine"));
    }
}
