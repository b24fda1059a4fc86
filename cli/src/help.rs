//! `sclera completions` and `sclera man`: from the same source as `--help`.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::{Arguments, Outcome, complain};

/// For which shell.
#[derive(Debug, Args)]
pub struct Completions {
    /// The shell.
    pub shell: Shell,
}

/// Where to.
#[derive(Debug, Args)]
pub struct Man {
    /// The directory; made if it does not exist.
    pub directory: PathBuf,
}

/// Prints completions.
pub fn completions(options: &Completions, out: &mut dyn Write) -> io::Result<Outcome> {
    clap_complete::generate(options.shell, &mut Arguments::command(), "sclera", out);
    Ok(Outcome::Well)
}

/// Writes a man page for `sclera` and for each of its commands.
pub fn man(options: &Man, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<Outcome> {
    let directory = &options.directory;
    let written =
        std::fs::create_dir_all(directory).and_then(|()| clap_mangen::generate_to(Arguments::command(), directory));
    match written {
        Ok(()) => writeln!(out, "{}: written", directory.display()).map(|()| Outcome::Well),
        Err(error) => complain(err, [format!("cannot write to {}: {error}", directory.display())]),
    }
}
