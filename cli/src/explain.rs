//! `sclera explain`: which server answers for a URL, and why.

use std::io::{self, Write};

use clap::Args;
use sclera::profile::{Environment, Profile};

use crate::{Config, Outcome, complain};

/// What to explain.
#[derive(Debug, Args)]
pub struct Options {
    #[command(flatten)]
    pub config: Config,
    /// A path, or a whole URL whose host counts too.
    pub url: String,
}

/// Prints the steps of the decision. The outcome is a warning if the request would fail.
pub fn run(options: &Options, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<Outcome> {
    let profile = match Profile::load(&options.config.path(), &Environment::of_process()) {
        Ok(loaded) => loaded.profile,
        Err(findings) => return complain(err, findings),
    };
    let is_url = |scheme: &str| options.url.get(..scheme.len()).is_some_and(|it| it.eq_ignore_ascii_case(scheme));
    if !options.url.starts_with('/') && !is_url("http://") && !is_url("https://") {
        return complain(err, [format!("{:?} is neither a path nor a URL; begin it with / or http://", options.url)]);
    }
    let explanation = profile.explain(&options.url);
    for step in &explanation.steps {
        writeln!(out, "{step}")?;
    }
    Ok(if explanation.failure.is_none() { Outcome::Well } else { Outcome::Warned })
}
