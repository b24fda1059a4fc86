//! The vendor's own client driver talks to the embedded superserver, plain and over mutual TLS with host verification.

use std::fs;
use std::path::Path;
use std::process::Command;

use sclera_superserver::{Options, Superserver};
use sclera_tests::certificates::{Ca, Leaf};
use sclera_tests::host::run;
use sclera_tests::root;

/// The Python that has the driver; `make test` sets it up.
fn python() -> Command {
    let python = root().join("build/venv/bin/python");
    assert!(python.exists(), "{} is missing: run `make test-setup`", python.display());
    let mut command = Command::new(python);
    command.arg(root().join("tests/driver/driver.py"));
    command
}

#[test]
fn the_driver_calls_with_every_type_plain() {
    let actions = "CreateServer:Port=0,BindAddress=127.0.0.1,EnableClients=1";
    let server = Superserver::start(Options::actions(actions).class_test()).expect("the superserver starts");
    let run = run(python().arg(server.port().to_string()));
    assert!(run.success && run.stdout.contains("driver: 48 checks"), "{run:?}");
}

#[test]
fn the_driver_calls_with_every_type_over_mutual_tls() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let ca = Ca::new(directory.path(), "ca");
    let server = ca.issue("server", &Leaf::server());
    let client = ca.issue("client", &Leaf::gateway("driver"));
    let show = |path: &Path| path.display().to_string();
    let actions = format!(
        "CreateSSLConfig:Name=S,Type=1,Enabled=1,VerifyPeer=3,CAFile={},CertificateFile={},PrivateKeyFile={}\n\
         CreateServer:Port=0,BindAddress=127.0.0.1,EnableClients=1,SSLSupportLevel=2,SSLConfig=S",
        show(&ca.file),
        show(&server.certificate),
        show(&server.key),
    );
    let server = Superserver::start(Options::actions(&actions).class_test()).expect("the superserver starts");
    let settings = directory.path().join("SSLDefs.ini");
    let text = format!(
        "[S]\nTLSMinVersion=16\nTLSMaxVersion=32\nKeyType=3\nVerifyPeer=1\nVerifyHost=1\nCAfile={}\nCertFile={}\nKeyFile={}\n",
        show(&ca.file),
        show(&client.certificate),
        show(&client.key),
    );
    fs::write(&settings, text).expect("writing the settings");
    let run = run(python().env("ISC_SSLconfigurations", &settings).arg(server.port().to_string()).arg("S"));
    assert!(run.success && run.stdout.contains("driver: 48 checks"), "{run:?}");
}
