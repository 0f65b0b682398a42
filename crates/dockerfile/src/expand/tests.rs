//! Expansion by cases: word, expected text or error.

use super::*;

fn env(name: &str) -> Option<String> {
    let value = match name {
        "A" => "abcabc",
        "EMPTY" => "",
        "BLANKS" => "x  y",
        "PATHS" => "/usr/lib/libz.so.1",
        _ => return None,
    };
    Some(value.to_owned())
}

fn check(word: &str, expected: &str) {
    let found = match expand(word, '\\', &env, ExpandMode::default()) {
        Ok(done) => done.text,
        Err(error) => format!("error: {}", error.cause),
    };
    assert_eq!(found, expected, "{word}");
}

#[test]
fn quotes_and_escapes() {
    check(r#"a'$A'"$A"b"#, "a$Aabcabcb");
    check(r#"a\nb "\n\$\"""#, r#"anb \n$""#);
    check(r"end\", "end");
    check(
        r#"'a"#,
        "error: unexpected end of statement while looking for matching single-quote",
    );
}

#[test]
fn a_byte_order_mark_is_dropped_in_front_only() {
    check("\u{feff}a\u{feff}$A", "a\u{feff}abcabc");
    check("\u{feff}\u{feff}", "\u{feff}");
    check("${A/\u{feff}a/-}${A%c\u{feff}}", "-bcabcabcab");
    let keep = ExpandMode {
        raw_quotes: true,
        raw_escapes: true,
        skip_unset: true,
        ignore_quotes: false,
    };
    for (word, kept) in [
        ("\u{feff}\u{feff}\"t \"t ϐ9\\", "\u{feff}\"t \"t ϐ9\\"),
        ("\u{feff}\u{feff}\"t\"", "\u{feff}\"t\""),
        ("\u{feff}\u{feff}t", "\u{feff}t"),
    ] {
        let done = expand(word, '`', &|_| None, keep).unwrap();
        assert_eq!(done.text, kept, "{word:?}");
    }
}

#[test]
fn names() {
    check("$A.$1x$$$.", "abcabc.x$.");
    check("${A}${NOPE}", "abcabc");
    check("${}", "error: syntax error: bad substitution");
    check(
        "${A",
        "error: unsupported modifier (\u{fffd}) in substitution",
    );
    check("${A=1}", "error: unsupported modifier (=) in substitution");
}

#[test]
fn defaults_and_alternates() {
    check("${NOPE:-a b}${NOPE-c}", "a bc");
    check("${EMPTY:-d}${EMPTY-e}", "d");
    check("${A:+y}${EMPTY:+n}${EMPTY+y}", "yy");
    check("${A:-${NOPE:-x}", "error: syntax error: missing '}'");
    check("${NOPE:?}", "error: NOPE: is not allowed to be unset");
    check("${EMPTY:?}", "error: EMPTY: is not allowed to be empty");
    check("${NOPE?say ${A}}", "error: NOPE: say abcabc");
}

#[test]
fn patterns() {
    check("${A#*b}|${A##*b}|${A%b*}|${A%%b*}", "cabc|c|abca|a");
    check("${A/b?/-}|${A//b/}|${A//*/z}", "a-abc|acac|z");
    check("${PATHS##*/}|${PATHS/\\//}", "libz.so.1|usr/lib/libz.so.1");
    check("${A/b}", "error: syntax error: missing '/' in ${}");
    check(
        r"${A#\n}",
        r"error: invalid pattern (\n) in substitution: invalid escape '\n'",
    );
    check(
        "${A:#a}",
        "error: unsupported modifier (:#) in substitution",
    );
}

#[test]
fn replacements_are_literal() {
    check("${A//a/\\$x}", "\\$xbc\\$xbc");
}

#[test]
fn words_split_where_values_have_blanks() {
    let done = expand("a$BLANKS\"$BLANKS\" c", '\\', &env, ExpandMode::default());
    let words = done.expect("valid").words;
    assert_eq!(words, ["ax", "yx  y", "c"]);
}

#[test]
fn unset_variables_can_stay() {
    let mode = ExpandMode {
        skip_unset: true,
        ..ExpandMode::default()
    };
    let done = expand("$X ${X} ${X:-d} ${X/a/b}", '\\', &env, mode).expect("valid");
    assert_eq!(done.text, "$X ${X} ${X:-d} ${X/a/b}");
    assert!(done.unmatched.contains("X"));
}

#[test]
fn results_are_limited() {
    let long = |_: &str| Some("x".repeat(1 << 19));
    let error = expand("$A$B$C", '\\', &long, ExpandMode::default()).expect_err("too long");
    assert_eq!(error.cause, ExpandCause::TooLarge);
}
