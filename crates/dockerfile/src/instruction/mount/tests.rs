//! Option lists by cases: list, and the mount in short or the error.

use super::*;

fn check(raw: &str, expected: &str) {
    let mut upper = |value: &str| Ok(value.replace("$T", "tmpfs"));
    let found = match Mount::parse(raw, &mut upper) {
        Ok(mount) => {
            let access = if mount.read_only { "ro" } else { "rw" };
            format!(
                "{} {}:{}->{} {access}",
                mount.kind.as_str(),
                mount.from,
                mount.source,
                mount.target
            )
        }
        Err(error) => error.to_string(),
    };
    assert_eq!(found, expected, "{raw}");
}

#[test]
fn types_have_their_defaults() {
    check("target=/a", "bind :->/a ro");
    check("TYPE=cache,dst=/a", "cache :->/a rw");
    check(
        "type=bind,from=b,src=/c,destination=/d,rw",
        "bind b:/c->/d rw",
    );
    check("type=$T,target=/t", "tmpfs :->/t rw");
    check("type=cache,target=/a,ro=true", "cache :->/a ro");
}

#[test]
fn options_belong_to_types() {
    check(
        "target=/a,required",
        "unexpected key 'required' for mount type 'bind'",
    );
    check(
        "type=tmpfs,mode=0755,target=/a",
        "mode not allowed for \"tmpfs\" type mounts",
    );
    check(
        "type=bind,sharing=locked",
        "invalid cache sharing set for bind mount",
    );
    check(
        "type=secret",
        "invalid secret mount. one of source, target required",
    );
    check(
        "type=secret,id=a,source=b",
        "both source and id can't be set",
    );
}

#[test]
fn wrong_options_name_the_near_ones() {
    check(
        "tgt=/x",
        "unexpected key 'tgt' in 'tgt=/x' (did you mean dst?)",
    );
    check(
        "type=tmp",
        "unsupported mount type \"tmp\" (did you mean tmpfs?)",
    );
    check("z", "invalid field 'z' must be a key=value pair");
    check("type=cache,uid=x", "invalid value x for uid");
    check("ro=maybe", "invalid value for ro: maybe");
}

#[test]
fn from_is_known_before_expansion() {
    let flag = |text: &str| MountFlag::new(Word::new(text, Default::default()));
    let found = flag("type=$T,from=base,target=$X").expect("valid");
    assert_eq!(found.from.as_deref(), Some("base"));
    let error = flag("from=$B").expect_err("variable");
    assert_eq!(
        error.message,
        "'from' doesn't support variable expansion, define alias stage instead"
    );
}
