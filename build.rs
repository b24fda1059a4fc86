//! Gives the shared library its soname and keeps it mapped once loaded.
//!
//! Apache unloads and reloads its modules at every restart; the library's thread must not find its code gone.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libsclera.so.0");
    println!("cargo::rustc-cdylib-link-arg=-Wl,-z,nodelete");
}
