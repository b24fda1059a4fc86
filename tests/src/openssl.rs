//! The openssl command: certificates of kinds that nothing else makes, and a TLS server of another make.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Runs `openssl` in `directory`.
pub fn run(directory: &Path, arguments: &[&str]) {
    let output = Command::new("openssl").current_dir(directory).args(arguments).output().expect("openssl runs");
    assert!(output.status.success(), "openssl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// `openssl s_server` on a free port of the loopback. It ends with this value.
pub struct Server {
    child: Child,
    port: u16,
}

impl Server {
    /// Starts it with the superserver's certificate in `directory`, unless `arguments` name another.
    pub fn start(directory: &Path, arguments: &[&str]) -> Server {
        let mut command = Command::new("openssl");
        command.current_dir(directory).args(["s_server", "-accept", "127.0.0.1:0"]);
        if !arguments.contains(&"-cert") {
            command.args(["-cert", "superserver.pem", "-key", "superserver.key"]);
        }
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("openssl runs");
        let mut output = BufReader::new(child.stdout.take().expect("its output"));
        let mut line = String::new();
        let port = loop {
            line.clear();
            assert_ne!(output.read_line(&mut line).expect("its output"), 0, "s_server {arguments:?} does not start");
            if let Some(place) = line.strip_prefix("ACCEPT ") {
                break place.trim().rsplit_once(':').and_then(|(_, port)| port.parse().ok()).expect("a port");
            }
        };
        // Read on, so that it never waits for a reader.
        std::thread::spawn(move || std::io::copy(&mut output.take(u64::MAX), &mut std::io::sink()));
        Server { child, port }
    }

    pub fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
