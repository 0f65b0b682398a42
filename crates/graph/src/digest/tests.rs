//! What counts in a key and what does not.
