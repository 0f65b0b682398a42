//! Dockerfile text to a spanned tree plus diagnostics; no meaning, no I/O
