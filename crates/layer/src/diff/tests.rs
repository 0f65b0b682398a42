//! Comparisons as data.
