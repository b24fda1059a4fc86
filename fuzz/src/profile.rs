//! Feeds the reader and the editor of CSP.ini with mutations of the files in `corpus/profile`, for a while.
//!
//! `fuzz-profile SECONDS [SEED]`. What must hold: nothing panics; what is not edited is written back as it was; an edit
//! changes only its line, and what was set is read again. The first input for which it does not hold is kept in
//! `target/fuzz-profile-failed`, and the exit code is 1. The same seed makes the same inputs.
//!
//! It is not guided by coverage, which stable Rust does not offer; the words below lead it to the places that matter.

use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use fastrand::Rng;
use sclera::profile::edit::{Change, Document};
use sclera::profile::{Profile, Secret};

/// Pieces that mean something to the reader.
const WORDS: &[&str] = &[
    "[",
    "]",
    "=",
    "\n",
    "\r\n",
    "\r",
    "#",
    ";",
    "\0",
    "\t",
    " ",
    "\u{feff}",
    "[SYSTEM]\n",
    "[SYSTEM_INDEX]\n",
    "[APP_PATH_INDEX]\n",
    "[APP_PATH:/csp]\n",
    "[app_path:/CSP]\n",
    "[A]\n",
    "[a]\n",
    "A=Enabled\n",
    "A=Disabled\n",
    "/csp=Enabled\n",
    "//host/csp=Enabled\n",
    "//=Enabled\n",
    "k=1\n",
    "K = 2\n",
    "TCP_Port=",
    "-1",
    "99999999999999999999",
    "Connection_Security_Level=10\n",
    "SSLCC_Protocol=48@\n",
    "Password=]]]",
    "Password={",
    "}",
    "U1lT",
    "]]]",
    "Default_Server=A\n",
    "Alternative_Server_0=1~~~~~~A\n",
    "Alternative_Server_99999999999=1~A\n",
    "No_Activity_Timeout=\n",
    "\u{fc}",
    "/",
    "//",
    "..",
    "%2f",
];

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse::<u64>());
    let Some(Ok(seconds)) = arguments.next() else {
        eprintln!("usage: fuzz-profile SECONDS [SEED]");
        return ExitCode::from(2);
    };
    let seed = arguments.next().and_then(Result::ok).unwrap_or_else(|| fastrand::u64(..));
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let corpus: Vec<Vec<u8>> = std::fs::read_dir(root.join("corpus/profile"))
        .expect("the corpus")
        .map(|file| std::fs::read(file.expect("the corpus").path()).expect("the corpus"))
        .collect();
    let mut rng = Rng::with_seed(seed);
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut count = 0u64;
    // A panic is told below, with the input; one message a time is enough.
    std::panic::set_hook(Box::new(|_| {}));
    for input in &corpus {
        if let Err(reason) = holds(input, "v") {
            return report(input, &reason, seed);
        }
    }
    while Instant::now() < end {
        for _ in 0..100 {
            let input = mutated(&corpus, &mut rng);
            let value: String = (0..rng.usize(..6)).map(|_| rng.char(' '..'\u{100}')).collect();
            if let Err(reason) = holds(&input, &value) {
                return report(&input, &reason, seed);
            }
            count += 1;
        }
    }
    println!("fuzz-profile: {count} inputs from {} files, seed {seed}: all well", corpus.len());
    ExitCode::SUCCESS
}

fn report(input: &[u8], reason: &str, seed: u64) -> ExitCode {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/fuzz-profile-failed");
    let kept = std::fs::File::create(&path).and_then(|mut file| file.write_all(input));
    eprintln!("fuzz-profile: {reason} (seed {seed}); the input is {}: {kept:?}", path.display());
    ExitCode::FAILURE
}

/// A file of the corpus, changed a few times.
fn mutated(corpus: &[Vec<u8>], rng: &mut Rng) -> Vec<u8> {
    let mut input = corpus[rng.usize(..corpus.len())].clone();
    for _ in 0..rng.usize(1..8) {
        let at = rng.usize(..=input.len());
        let end = (at + rng.usize(..40)).min(input.len());
        match rng.u8(..6) {
            0 if at < input.len() => input[at] = rng.u8(..),
            1 => drop(input.drain(at..end)),
            2 => {
                let piece = input[at..end].to_vec();
                let to = rng.usize(..=input.len());
                input.splice(to..to, piece);
            }
            3 => {
                let other = &corpus[rng.usize(..corpus.len())];
                let from = rng.usize(..=other.len());
                let to = (from + rng.usize(..80)).min(other.len());
                input.splice(at..end, other[from..to].iter().copied());
            }
            _ => {
                let word = WORDS[rng.usize(..WORDS.len())];
                input.splice(at..at, word.bytes());
            }
        }
    }
    input
}

/// Whether everything that must hold does, for this input and a value to set.
fn holds(input: &[u8], value: &str) -> Result<(), String> {
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        read(input);
        edit(input, value)
    }));
    match outcome {
        Ok(result) => result.map_err(str::to_owned),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            Err(format!("panicked: {}", text.unwrap_or_default()))
        }
    }
}

fn read(input: &[u8]) {
    match Profile::parse(Path::new("CSP.ini"), input) {
        Ok(loaded) => {
            for path in ["/", "/csp/a", "", "/csp/bin/Systems/Module.cxw"] {
                for host in [None, Some("host"), Some("www.host")] {
                    let _ = loaded.profile.route(host, path).failure(&loaded.profile);
                }
                let _ = loaded.profile.explain(path);
            }
            loaded.profile.servers.iter().for_each(|server| drop(server.unusable()));
            loaded.notices.iter().for_each(|finding| drop(finding.to_string()));
        }
        Err(findings) => findings.iter().for_each(|finding| drop(finding.to_string())),
    }
    let _ = Secret::from_stored(&String::from_utf8_lossy(input)).is_empty();
}

fn edit(input: &[u8], value: &str) -> Result<(), &'static str> {
    let before = Document::new(input.to_vec());
    if before.bytes() != input {
        return Err("what was not edited is not as it was");
    }
    for (section, key) in [("A", "k"), ("SYSTEM", "RELOAD"), ("APP_PATH_INDEX", "/csp")] {
        let mut after = before.clone();
        if let Ok(change) = after.set(section, key, value) {
            if after.get(section, key).is_none_or(|found| found.as_str() != value) {
                return Err("what was set is not read again");
            }
            let (old, new) = (lines(before.bytes()), lines(after.bytes()));
            let same_start = old.iter().zip(&new).take_while(|(old, new)| old == new).count();
            let same_end = old[same_start..].iter().rev().zip(new[same_start..].iter().rev());
            let same_end = same_end.take_while(|(old, new)| old == new).count();
            let (changed, added) = (old.len() - same_start - same_end, new.len() - same_start - same_end);
            let expected = match change {
                Change::Nothing => changed == 0 && added == 0,
                Change::Replaced => changed <= 1 && added <= 1,
                Change::Added => changed == 0 && added <= 3,
                Change::Removed => false,
            };
            if !expected {
                return Err("an edit changed more than its line");
            }
        }
        if after.unset(section, key).is_ok() && after.get(section, key).is_some() {
            return Err("what was removed is still there");
        }
        let _ = after.remove_section(section);
    }
    Ok(())
}

/// The lines without their ends.
fn lines(bytes: &[u8]) -> Vec<&[u8]> {
    let mut lines: Vec<&[u8]> =
        bytes.split(|&byte| byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line)).collect();
    if bytes.is_empty() || bytes.ends_with(b"\n") {
        lines.pop();
    }
    lines
}
