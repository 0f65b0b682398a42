//! Trees of words.

use super::*;

fn names(source: &str) -> Vec<(String, std::ops::Range<usize>)> {
    pieces(source, Reading::new('\\'))
        .into_iter()
        .filter_map(|piece| match piece {
            Piece::Variable(variable) => Some((variable.name, variable.at)),
            _ => None,
        })
        .collect()
}

#[test]
fn variables_know_their_place() {
    assert_eq!(
        names("a$b-${c:-${d}}"),
        vec![("b".to_owned(), 1..3), ("c".to_owned(), 4..14)]
    );
}

#[test]
fn escaped_dollars_are_text() {
    assert!(names(r"\$a'$b'").is_empty());
}

#[test]
fn digits_end_a_positional_name() {
    assert_eq!(names("$12ab")[0], ("12".to_owned(), 0..3));
}

#[test]
fn nesting_is_limited() {
    let deep = "${a:-".repeat(10_000);
    let tree = pieces(&deep, Reading::new('\\'));
    assert!(tree.last().is_some_and(is_faulty));
}

#[test]
fn a_mark_keeps_the_blanks_of_a_heredoc_word() {
    let reading = Reading {
        raw_quotes: true,
        raw_escapes: true,
        ..Reading::new('\\')
    };
    let tree = pieces("a <<  EOF", reading);
    assert_eq!(
        tree[1],
        Piece::Raw {
            text: "<<  ".to_owned(),
            at: 2..6
        }
    );
}
