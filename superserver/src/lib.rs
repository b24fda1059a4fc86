//! The embedded superserver: a small real server for Sclera's demo, tests and applications.

#![forbid(unsafe_code)]

pub mod audit;
pub mod login;
pub mod merge;
pub mod password;
pub mod security;
pub mod store;
