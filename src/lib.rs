//! Sclera: a memory-safe Web Gateway for InterSystems IRIS.

pub mod connection;
pub mod doctor;
pub mod event_log;
pub mod exchange;
pub mod failure;
pub mod ffi;
pub mod identity;
pub mod ledger;
pub mod manage;
pub mod pool;
pub mod privileges;
pub mod profile;
pub mod status;
pub mod terminal;
pub mod threads;
pub mod trial;
pub mod wire;
