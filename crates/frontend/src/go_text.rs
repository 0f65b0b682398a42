//! Values written the way Go's `fmt` writes them: history is compared text by text.

use rbuild_dockerfile::quote::go_quote;

/// A list of strings as `%q`: `["a" "b"]`.
pub(crate) fn quoted_list(items: &[String]) -> String {
    let quoted: Vec<String> = items.iter().map(|item| go_quote(item)).collect();
    format!("[{}]", quoted.join(" "))
}

/// A list of strings as `%v`: `[a b]`.
pub(crate) fn plain_list<T: AsRef<str>>(items: &[T]) -> String {
    let items: Vec<&str> = items.iter().map(AsRef::as_ref).collect();
    format!("[{}]", items.join(" "))
}

/// A duration in nanoseconds as Go prints it: `1h0m30s`, `1.5s`, `20ms`, `0s`.
///
/// Source: Go, package time, Duration.String.
pub(crate) fn duration(ns: u64) -> String {
    const SECOND: u64 = 1_000_000_000;
    if ns == 0 {
        return "0s".to_owned();
    }
    if ns < SECOND {
        let (unit, size) = match ns {
            0..1_000 => ("ns", 1),
            1_000..1_000_000 => ("µs", 1_000),
            _ => ("ms", 1_000_000),
        };
        return format!("{}{unit}", decimal(ns, size));
    }
    let (minutes, rest) = (ns / (60 * SECOND), ns % (60 * SECOND));
    let seconds = format!("{}s", decimal(rest, SECOND));
    match (minutes / 60, minutes % 60) {
        (0, 0) => seconds,
        (0, minutes) => format!("{minutes}m{seconds}"),
        (hours, minutes) => format!("{hours}h{minutes}m{seconds}"),
    }
}

/// `value / size` without superfluous zeros; `size` is a power of ten.
fn decimal(value: u64, size: u64) -> String {
    let whole = value / size;
    let digits = size.ilog10() as usize;
    let fraction = format!("{:0digits$}", value % size);
    match fraction.trim_end_matches('0') {
        "" => whole.to_string(),
        fraction => format!("{whole}.{fraction}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_those_of_go() {
        let check = |ns, wanted| assert_eq!(duration(ns), wanted);
        check(0, "0s");
        check(1, "1ns");
        check(1_500, "1.5µs");
        check(20_000_000, "20ms");
        check(1_000_000_000, "1s");
        check(1_500_000_000, "1.5s");
        check(60_000_000_000, "1m0s");
        check(3_630_500_000_000, "1h0m30.5s");
    }

    #[test]
    fn lists_are_those_of_go() {
        let items = ["a".to_owned(), "b\"c".to_owned()];
        assert_eq!(quoted_list(&items), r#"["a" "b\"c"]"#);
        assert_eq!(plain_list(&items), "[a b\"c]");
        assert_eq!(quoted_list(&[]), "[]");
    }
}
