//! The `sclera` command. Everything it does is in the library, where tests can call it.

use std::process::ExitCode;

fn main() -> ExitCode {
    sclera_cli::run(std::env::args_os(), &mut std::io::stdout().lock(), &mut std::io::stderr().lock())
}
