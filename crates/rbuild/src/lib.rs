//! The library: a build request in, an outcome out
