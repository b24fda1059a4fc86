//! Keys and certificates of every kind that openssl makes: accepted or refused as documented, by superservers of rustls and
//! of OpenSSL, in TLS 1.2 and 1.3.

use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::Signal;
use sclera::failure::Code;
use sclera::profile::{Environment, Profile};
use sclera::trial;
use sclera_superserver::{Options, Running, Superserver};
use sclera_tests::openssl;
use sclera_tests::process::{Server, wait_until};
use sclera_tests::scene::{Scene, free_port};

/// A kind of key: how openssl makes it, and whether it is accepted.
struct Kind {
    name: &'static str,
    /// Commands that leave the key in `NAME.key`.
    make: &'static [&'static [&'static str]],
    password: &'static str,
    refused: Option<Code>,
}

const fn kind(name: &'static str, make: &'static [&'static [&'static str]]) -> Kind {
    Kind { name, make, password: "", refused: None }
}

/// A PKCS#8 key is made first, and then put into another form.
const RSA: &[&str] = &["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", "base.key"];
const P256: &[&str] = &["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", "base.key"];
const PASSWORD: &str = "a word with spaces";

fn kinds() -> Vec<Kind> {
    let locked = |kind: Kind| Kind { password: PASSWORD, ..kind };
    let refused = |code: Code, kind: Kind| Kind { refused: Some(code), ..kind };
    vec![
        kind("rsa-2048", &[RSA, &["pkey", "-in", "base.key", "-out", "rsa-2048.key"]]),
        kind(
            "rsa-4096",
            &[&["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:4096", "-out", "rsa-4096.key"]],
        ),
        kind("rsa-pkcs1", &[RSA, &["rsa", "-traditional", "-in", "base.key", "-out", "rsa-pkcs1.key"]]),
        kind("p256", &[P256, &["pkey", "-in", "base.key", "-out", "p256.key"]]),
        kind("p256-sec1", &[&["ecparam", "-genkey", "-name", "prime256v1", "-noout", "-out", "p256-sec1.key"]]),
        kind("p256-sec1-params", &[&["ecparam", "-genkey", "-name", "prime256v1", "-out", "p256-sec1-params.key"]]),
        kind("p384", &[&["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384", "-out", "p384.key"]]),
        kind("p521", &[&["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-521", "-out", "p521.key"]]),
        kind("ed25519", &[&["genpkey", "-algorithm", "ED25519", "-out", "ed25519.key"]]),
        locked(kind(
            "aes256",
            &[
                P256,
                &[
                    "pkcs8",
                    "-topk8",
                    "-v2",
                    "aes-256-cbc",
                    "-passout",
                    "file:word",
                    "-in",
                    "base.key",
                    "-out",
                    "aes256.key",
                ],
            ],
        )),
        locked(kind(
            "aes128-sha1",
            &[
                RSA,
                &[
                    "pkcs8",
                    "-topk8",
                    "-v2",
                    "aes-128-cbc",
                    "-v2prf",
                    "hmacWithSHA1",
                    "-passout",
                    "file:word",
                    "-in",
                    "base.key",
                    "-out",
                    "aes128-sha1.key",
                ],
            ],
        )),
        locked(kind(
            "des3",
            &[RSA, &["pkcs8", "-topk8", "-v2", "des3", "-passout", "file:word", "-in", "base.key", "-out", "des3.key"]],
        )),
        locked(kind(
            "scrypt",
            &[P256, &["pkcs8", "-topk8", "-scrypt", "-passout", "file:word", "-in", "base.key", "-out", "scrypt.key"]],
        )),
        locked(kind(
            "dek-aes128",
            &[
                RSA,
                &[
                    "rsa",
                    "-traditional",
                    "-aes128",
                    "-passout",
                    "file:word",
                    "-in",
                    "base.key",
                    "-out",
                    "dek-aes128.key",
                ],
            ],
        )),
        locked(kind(
            "dek-des3",
            &[
                RSA,
                &["rsa", "-traditional", "-des3", "-passout", "file:word", "-in", "base.key", "-out", "dek-des3.key"],
            ],
        )),
        locked(kind(
            "dek-ec",
            &[P256, &["ec", "-aes256", "-passout", "file:word", "-in", "base.key", "-out", "dek-ec.key"]],
        )),
        refused(
            Code::KeyNotPem,
            kind(
                "rsa-1024",
                &[&["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024", "-out", "rsa-1024.key"]],
            ),
        ),
        refused(
            Code::KeyNotPem,
            kind(
                "secp256k1",
                &[&["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:secp256k1", "-out", "secp256k1.key"]],
            ),
        ),
        refused(Code::KeyNotPem, kind("ed448", &[&["genpkey", "-algorithm", "ED448", "-out", "ed448.key"]])),
        refused(
            Code::KeyEncryptionUnsupported,
            locked(kind(
                "pbes1",
                &[
                    RSA,
                    &[
                        "pkcs8",
                        "-topk8",
                        "-v1",
                        "PBE-SHA1-3DES",
                        "-passout",
                        "file:word",
                        "-in",
                        "base.key",
                        "-out",
                        "pbes1.key",
                    ],
                ],
            )),
        ),
        refused(
            Code::KeyEncrypted,
            kind(
                "locked",
                &[P256, &["pkcs8", "-topk8", "-passout", "file:word", "-in", "base.key", "-out", "locked.key"]],
            ),
        ),
        refused(
            Code::KeyPasswordWrong,
            Kind {
                password: "other",
                ..kind(
                    "wrong",
                    &[P256, &["pkcs8", "-topk8", "-passout", "file:word", "-in", "base.key", "-out", "wrong.key"]],
                )
            },
        ),
    ]
}

/// Makes the key, and has an intermediate CA issue the certificate; chain and key go into one file.
fn make(directory: &Path, kind: &Kind) {
    for command in kind.make {
        openssl::run(directory, command);
    }
    let file = |ending: &str| format!("{}.{ending}", kind.name);
    let password = if kind.password.is_empty() { "pass:" } else { "file:word" };
    let password = if kind.refused.is_some() { "file:word" } else { password };
    let request = ["req", "-new", "-subj", "/CN=WebUser", "-passin", password];
    openssl::run(directory, &[&request[..], &["-key", &file("key"), "-out", &file("csr")]].concat());
    let sign = ["x509", "-req", "-CA", "middle.pem", "-CAkey", "middle.key", "-CAcreateserial", "-days", "9"];
    let files = ["-in", &file("csr"), "-out", &file("pem"), "-extfile", "leaf.ext"];
    openssl::run(directory, &[&sign[..], &files].concat());
    let read = |name: &str| fs::read_to_string(directory.join(name)).unwrap();
    let all = [read(&file("pem")), read("middle.pem"), read(&file("key"))].concat();
    fs::write(directory.join(file("all")), all).unwrap();
}

/// An intermediate CA below the scene's.
fn make_intermediate(directory: &Path) {
    fs::write(directory.join("middle.ext"), "basicConstraints=critical,CA:TRUE\nkeyUsage=keyCertSign\n").unwrap();
    fs::write(directory.join("leaf.ext"), "extendedKeyUsage=clientAuth\n").unwrap();
    fs::write(directory.join("word"), PASSWORD).unwrap();
    let key = ["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", "middle.key"];
    openssl::run(directory, &key);
    openssl::run(directory, &["req", "-new", "-key", "middle.key", "-subj", "/CN=Middle", "-out", "middle.csr"]);
    let sign = ["x509", "-req", "-CA", "root.pem", "-CAkey", "root.key", "-CAcreateserial", "-days", "9"];
    openssl::run(
        directory,
        &[&sign[..], &["-in", "middle.csr", "-out", "middle.pem", "-extfile", "middle.ext"]].concat(),
    );
}

/// A root that may have CAs below it, which that of a scene may not.
fn make_root(directory: &Path) {
    let root = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=Root", "-days", "9"];
    openssl::run(directory, &[&root[..], &["-keyout", "root.key", "-out", "root.pem"]].concat());
}

/// A superserver of OpenSSL's making: nginx ends TLS, judges the gateway's certificate, and passes on to a plain one.
struct ByOpenssl {
    nginx: Server,
    port: u16,
    _plain: Running,
}

impl ByOpenssl {
    fn start(directory: &Path, protocol: &str) -> ByOpenssl {
        let actions = "CreateServer:Port=0,BindAddress=127.0.0.1,EnableCSP=1\n\
                       ModifyService:Name=%Service_WebGateway,Enabled=1,AutheEnabled=$$$AutheUnauthenticated";
        let plain = Superserver::start(Options::actions(actions)).expect("the superserver starts");
        let (port, to, home) = (free_port(), plain.port(), directory.join(format!("openssl-{protocol}")));
        fs::create_dir(&home).unwrap();
        let home = home.display();
        let directory = directory.display();
        let text = format!(
            "load_module /usr/lib/nginx/modules/ngx_stream_module.so;\ndaemon off;\npid {home}/pid;\n\
             error_log {home}/error.log info;\nevents {{}}\nstream {{ server {{\nlisten 127.0.0.1:{port} ssl;\n\
             ssl_certificate {directory}/superserver.pem;\nssl_certificate_key {directory}/superserver.key;\n\
             ssl_client_certificate {directory}/root.pem;\nssl_verify_client on;\nssl_verify_depth 3;\n\
             ssl_protocols {protocol};\nproxy_pass 127.0.0.1:{to};\n}} }}\n"
        );
        let file = format!("{home}/nginx.conf");
        fs::write(&file, text).unwrap();
        let mut command = Command::new("/usr/sbin/nginx");
        command.args(["-c", &file, "-e", &format!("{home}/error.log")]).stdin(Stdio::null()).stderr(Stdio::null());
        let nginx = Server::start(&mut command);
        let listens = || TcpStream::connect(("127.0.0.1", port)).is_ok().then_some(());
        assert!(wait_until(listens).is_some(), "nginx does not start: {home}");
        ByOpenssl { nginx, port, _plain: plain }
    }
}

impl Drop for ByOpenssl {
    fn drop(&mut self) {
        self.nginx.stop(Signal::TERM);
    }
}

#[test]
fn keys_of_every_kind_log_in_or_are_refused_as_documented() {
    let scene = Scene::new();
    let directory = scene.directory();
    make_root(directory);
    make_intermediate(directory);
    let merge = directory.join("root.cpf");
    fs::write(&merge, "[Actions]\nModifySSLConfig:Name=ScleraSuperserver,CAFile=root.pem\n").unwrap();
    sclera_superserver::merge_into(Some(directory), &merge).unwrap_or_else(|error| panic!("{error}"));
    let (older, newer) = (ByOpenssl::start(directory, "TLSv1.2"), ByOpenssl::start(directory, "TLSv1.3"));
    let rustls = scene.superserver().port();
    for kind in kinds() {
        make(directory, &kind);
        for (port, version, number) in
            [(rustls, "TLS 1.2", 16), (rustls, "TLS 1.3", 32), (older.port, "TLS 1.2", 16), (newer.port, "TLS 1.3", 32)]
        {
            let text = format!(
                "[SYSTEM_INDEX]\nA=Enabled\n[A]\nIp_Address=127.0.0.1\nTCP_Port={port}\nConnection_Security_Level=10\n\
                 SSLCC_Verify_Peer=1\nSSLCC_CA_Certificate_File=ca.pem\nSSLCC_Protocol_Min={number}\n\
                 SSLCC_Protocol_Max={number}\nSSLCC_Certificate_File={name}.all\nSSLCC_Certificate_Key_File={name}.all\n\
                 SSLCC_Private_Key_Password={password}\n",
                name = kind.name,
                password = kind.password,
            );
            let file = directory.join("keys.ini");
            fs::write(&file, text).unwrap();
            let mut profile = Profile::load(&file, &Environment::none()).expect("a good CSP.ini").profile;
            let report = trial::run(profile.servers.remove(0));
            let what =
                format!("{} {version} at {}\n{report}", kind.name, if port == rustls { "rustls" } else { "OpenSSL" });
            // OpenSSL wants the curve of a TLS 1.2 certificate among the groups offered, and rustls has no P-521 exchange.
            let refused = if kind.name == "p521" && port == older.port { Some(Code::TlsFailed) } else { kind.refused };
            assert_eq!(report.failure.as_ref().map(|failure| failure.code), refused, "{what}");
            if refused.is_none() {
                assert_eq!(report.negotiated.as_ref().unwrap()[0], version, "{what}");
                let user = &report.user.as_ref().unwrap().0;
                assert_eq!(user, if port == rustls { "WebUser" } else { "UnknownUser" }, "{what}");
                assert_eq!(report.gateway.len(), 2, "the intermediate is sent: {what}");
            }
        }
    }
}
