//! Texts that are kept in files beside the tests; `RBUILD_UPDATE=1` rewrites them.

use std::path::PathBuf;

/// Fails unless `text` is what the file holds.
pub fn check(file: &str, text: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/snapshots")
        .join(file);
    if std::env::var_os("RBUILD_UPDATE").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        return;
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        expected == text,
        "{} differs\n--- expected\n{expected}\n--- got\n{text}",
        path.display()
    );
}

/// Makes escape sequences readable: `␛[31m`.
pub fn readable(text: &str) -> String {
    text.replace('\x1b', "␛").replace('\r', "␍")
}
