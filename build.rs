//! Gives the shared library its soname and keeps it mapped once loaded.
//!
//! Apache unloads and reloads its modules at every restart; the library's thread must not find its code gone.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // Not as an argument for cdylibs alone: that one is passed on to the libraries of packages that depend on this one,
    // which have names of their own.
    println!("cargo::rustc-link-arg=-Wl,-soname,libsclera.so.0");
    println!("cargo::rustc-cdylib-link-arg=-Wl,-z,nodelete");
}
