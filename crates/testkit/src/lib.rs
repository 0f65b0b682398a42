//! Temporary directories, trees and fixtures for tests; depends on no rbuild crate
