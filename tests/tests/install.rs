//! What `make install` puts where.

use std::process::Command;

use sclera_tests::host::run;
use sclera_tests::root;

#[test]
fn installed_modules_find_the_installed_library_and_nothing_in_the_tree_they_were_built_in() {
    let directory = tempfile::tempdir().unwrap();
    let build = format!("BUILD={}", directory.path().join("build").display());
    let destination = format!("DESTDIR={}", directory.path().join("root").display());
    let targets = ["installable-modules", "install-files"];
    let mut make = Command::new("make");
    // What the test's own build has set is not meant for this one.
    make.env_remove("MAKEFLAGS").env_remove("BUILD").env_remove("LIB_DIR").current_dir(root());
    let made = run(make.args(["--no-print-directory", &build, &destination]).args(targets));
    assert!(made.success, "{made:?}");

    let installed = directory.path().join("root/usr/local");
    let there = |path: &str| installed.join(path).exists();
    for path in ["lib/libsclera.so.0", "bin/sclera", "include/sclera.h", "share/man/man1/sclera.1"] {
        assert!(there(path), "{path}: {made:?}");
    }
    for module in ["mod_sclera.so", "ngx_http_sclera_module.so"] {
        let module = installed.join("lib").join(module);
        let found = run(Command::new("readelf").arg("-d").arg(&module)).stdout;
        assert!(found.contains("runpath: [/usr/local/lib]"), "{found}");
        assert!(found.contains("[libsclera.so.0]"), "{found}");
    }
}
