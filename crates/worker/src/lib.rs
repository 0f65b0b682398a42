//! Carries out exec and file ops
