//! Pulling from a registry that misbehaves on demand.

#![cfg(test)]

mod auth;
mod fetch;
mod resolve;
mod serve;
mod server;
mod tls;
