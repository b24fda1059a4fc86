//! A superserver with mutual TLS in this process, and the CSP.ini of a gateway that it logs in as `gateway`.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use sclera_superserver::{Options, Running, Superserver};
use tempfile::TempDir;

use crate::certificates::{Ca, Leaf};

pub struct Backend {
    directory: TempDir,
    pub server: Running,
}

impl Backend {
    /// Its files are readable for the user that a web server started by root runs as.
    pub fn start() -> Backend {
        let directory = tempfile::Builder::new().prefix("sclera-test.").tempdir_in("/tmp").expect("a directory");
        fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).expect("opening the directory");
        let ca = Ca::new(directory.path(), "ca");
        let superserver = ca.issue("superserver", &Leaf::server());
        let gateway = ca.issue("gateway", &Leaf::gateway("gateway"));
        let actions = format!(
            "CreateSSLConfig:Name=S,Type=1,Enabled=1,VerifyPeer=3,CAFile={},CertificateFile={},PrivateKeyFile={}\n\
             CreateServer:Port=0,BindAddress=127.0.0.1,EnableCSP=1,EnableClients=1,SSLSupportLevel=2,SSLConfig=S\n\
             ModifyService:Name=%Service_WebGateway,Enabled=1,AutheEnabled=$$$AutheMutualTLS\n\
             CreateUser:Name=gateway\n",
            ca.file.display(),
            superserver.certificate.display(),
            superserver.key.display(),
        );
        let server = Superserver::start(Options::actions(&actions)).expect("the superserver starts");
        let backend = Backend { directory, server };
        let text = format!(
            "[SYSTEM]\nDefault_Server=LOCAL\n[SYSTEM_INDEX]\nLOCAL=Enabled\n[LOCAL]\nIp_Address=127.0.0.1\nTCP_Port={}\n\
             Connection_Security_Level=10\nSSLCC_Verify_Peer=1\nSSLCC_Certificate_File={}\nSSLCC_Certificate_Key_File={}\n\
             SSLCC_CA_Certificate_File={}\n[APP_PATH_INDEX]\n/=Enabled\n[APP_PATH:/]\nDefault_Server=LOCAL\n",
            backend.server.port(),
            gateway.certificate.display(),
            gateway.key.display(),
            ca.file.display(),
        );
        fs::write(backend.config(), text).expect("writing CSP.ini");
        backend
    }

    /// Where CSP.ini, the certificates and the keys (`gateway.key`) are.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    pub fn config(&self) -> PathBuf {
        self.path().join("CSP.ini")
    }
}
