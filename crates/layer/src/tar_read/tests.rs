//! Hostile and old archives.
