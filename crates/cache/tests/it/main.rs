//! Places for caches: what every one of them must do, and each with what can go wrong there.

#![cfg(test)]

mod azblob;
mod azblob_azurite;
mod bucket;
mod container;
mod contract;
mod faulty;
mod foreign;
mod gha;
mod gha_faults;
mod local;
mod memory;
mod registry;
mod s3;
mod s3_faults;
mod s3_moto;
mod s3_s3s;
