//! `make chaos`: rounds of chaos in every web server, for a chosen time or number of requests.
//!
//! Exit code 0 only if no request was lost without a cause, no answer crossed, no POST was run twice, the limit held, and
//! nothing was left behind.

use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};

use clap::Parser;
use sclera_tests::chaos::{Figures, Host, Round, Trouble, play};

/// Breaks everything around Apache and Nginx under load, and judges what they made of it.
#[derive(Parser)]
struct Arguments {
    /// How long, in seconds; rounds of a minute in turn.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// How many requests, in equal parts for each web server, instead of a time.
    #[arg(long)]
    requests: Option<u64>,
    /// What happens follows from it; by default another one each time.
    #[arg(long)]
    seed: Option<u64>,
    /// `Maximum_Server_Connections`.
    #[arg(long, default_value_t = 12)]
    limit: u32,
    /// Only this web server.
    #[arg(long, value_parser = ["prefork", "event", "nginx"])]
    host: Option<String>,
    /// Nothing breaks: how fast is it?
    #[arg(long)]
    calm: bool,
}

/// The longest round. Its tags stand in memory, so it has an end by number, too.
const ROUND: Duration = Duration::from_secs(60);
const TAGS: u64 = 1_500_000;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let seed = arguments.seed.unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("the clock is set");
        u64::from(now.subsec_nanos())
    });
    println!("seed {seed}: SEED={seed} does the same again");
    let hosts: Vec<Host> = Host::ALL
        .into_iter()
        .filter(|host| arguments.host.as_deref().is_none_or(|name| named(*host) == name))
        .collect();
    let (time, requests) = match arguments.requests {
        Some(requests) => (Duration::from_secs(24 * 3600), requests / hosts.len() as u64),
        None => (Duration::from_secs(arguments.seconds) / hosts.len() as u32, TAGS),
    };
    let trouble = if arguments.calm { Trouble::None } else { Trouble::Everything };
    let end = Instant::now() + Duration::from_secs(arguments.seconds);
    let mut total = Figures::default();
    for turn in 0.. {
        for &host in &hosts {
            let seed = seed.wrapping_add(turn);
            let time = if arguments.requests.is_some() { time } else { time.min(ROUND) };
            let round = Round { host, seed, requests, time, limit: arguments.limit, trouble };
            println!("{} (seed {seed})", host.name());
            let figures = play(&round);
            print!("{figures}");
            total.add(&figures);
        }
        if arguments.requests.is_some() || Instant::now() >= end {
            break;
        }
    }
    println!("all together, at most {} connections are allowed", arguments.limit);
    print!("{total}");
    let good = total.is_good();
    println!("{}", if good { "good" } else { "NOT GOOD" });
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn named(host: Host) -> &'static str {
    match host {
        Host::Prefork => "prefork",
        Host::Event => "event",
        Host::Nginx => "nginx",
    }
}
