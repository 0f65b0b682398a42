//! Pulling from and pushing to a registry that misbehaves on demand.

#![cfg(test)]

mod auth;
mod cache;
mod daemon;
mod faults;
mod fetch;
mod push;
mod push_faults;
mod resolve;
mod serve;
mod server;
mod tls;
mod uploads;
