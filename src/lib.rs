//! Sclera: a memory-safe Web Gateway for InterSystems IRIS.

pub mod failure;
pub mod identity;
pub mod profile;
pub mod wire;
