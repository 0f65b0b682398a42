//! What archives do to an index.
