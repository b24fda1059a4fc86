//! The C host of `examples/host.c`, compiled with all warnings as errors and run as a program: the library as any C
//! program meets it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::{library_directory, root};

/// What one run of the host showed.
#[derive(Debug)]
pub struct Run {
    pub stdout: String,
    pub stderr: String,
    pub success: bool,
}

/// The compiled host.
pub fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let library = library_directory();
        assert!(library.join("libsclera.so").exists(), "no libsclera.so in {}: run `make build`", library.display());
        let soname = library.join("libsclera.so.0");
        if !soname.exists() {
            // Another test process may be quicker; then it is there.
            let _ = std::os::unix::fs::symlink("libsclera.so", &soname);
        }
        let program = library.join(format!("host-{}", std::process::id()));
        let status = Command::new("cc")
            .args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-pedantic", "-g", "-O1", "-I"])
            .arg(root().join("include"))
            .arg("-o")
            .arg(&program)
            .arg(root().join("examples/host.c"))
            .arg("-L")
            .arg(&library)
            .arg("-lsclera")
            .arg(format!("-Wl,-rpath,{}", library.display()))
            .status()
            .expect("cc runs");
        assert!(status.success(), "examples/host.c does not compile");
        program
    })
}

/// Sends one GET through the gateway of this CSP.ini.
pub fn get(config: &Path, target: &str) -> Run {
    run(Command::new(program()).arg(config).arg("GET").arg(target))
}

/// Runs a command and collects what it shows.
pub fn run(command: &mut Command) -> Run {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    Run {
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        success: output.status.success(),
    }
}

impl Run {
    /// The status of the answer, such as 502.
    pub fn status(&self) -> u16 {
        let status = self.stdout.split_whitespace().next().and_then(|status| status.parse().ok());
        status.unwrap_or_else(|| panic!("no status in {self:?}"))
    }

    /// The codes of the log lines, such as `SCLERA-303`, in their order.
    pub fn codes(&self) -> Vec<&str> {
        let words = self.stderr.split(|character: char| !(character.is_ascii_alphanumeric() || character == '-'));
        words.filter(|word| word.starts_with("SCLERA-")).collect()
    }
}
