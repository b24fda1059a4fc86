//! The core of the gateway inside the test's process, driven as a host with threads drives it.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use sclera::event_log::Log;
use sclera::exchange::request::{BodyLength, Request};
use sclera::exchange::{Exchange, Step};
use sclera::failure::Code;
use sclera::pool::Counts;
use sclera::pool::configuration::Configuration;
use sclera::pool::names::Names;
use sclera::pool::worker::Worker;
use sclera::profile::{Environment, Profile};

/// A worker for one CSP.ini.
#[derive(Clone)]
pub struct Gateway {
    pub worker: Arc<Worker>,
}

/// What an exchange ended with.
#[derive(Debug, Default)]
pub struct Answer {
    pub status: u16,
    pub body: Vec<u8>,
    /// The answer was cut.
    pub aborted: bool,
    pub failure: Option<Code>,
}

fn local_profile(address: &str, lines: &str) -> Profile {
    let text = format!(
        "[SYSTEM_INDEX]\nLOCAL=Enabled\n[LOCAL]\nIp_Address={address}\n{lines}\n\
         [APP_PATH_INDEX]\n/=Enabled\n[APP_PATH:/]\nDefault_Server=LOCAL\n"
    );
    Profile::parse(Path::new("CSP.ini"), text.as_bytes()).expect("a good CSP.ini").profile
}

impl Gateway {
    /// A gateway whose only server is `[LOCAL]` at 127.0.0.1 with these further lines.
    pub fn local(lines: &str) -> Gateway {
        Gateway::with(local_profile("127.0.0.1", lines))
    }

    /// A gateway whose only server is `[LOCAL]` at an address that is looked up among these names.
    pub fn named(address: &str, lines: &str, names: Names, log: Log) -> Gateway {
        let configuration = Configuration::fixed(local_profile(address, lines)).expect("memory to share");
        let worker = Worker::start_with(&configuration, "test".to_owned(), log, names).expect("a worker");
        Gateway { worker: Arc::new(worker) }
    }

    /// A gateway as this CSP.ini describes it.
    pub fn of(config: &Path) -> Gateway {
        Gateway::with(Profile::load(config, &Environment::none()).expect("a good CSP.ini").profile)
    }

    fn with(profile: Profile) -> Gateway {
        let configuration = Configuration::fixed(profile).expect("memory to share");
        let worker = Worker::start(&configuration, "test".to_owned(), Log::silent()).expect("a worker");
        Gateway { worker: Arc::new(worker) }
    }

    pub fn get(&self, target: &str) -> Answer {
        self.send("GET", target, BodyLength::Known(0), &mut std::io::empty())
    }

    /// Sends a request whose body is read from `body` as it is asked for.
    pub fn send(&self, method: &str, target: &str, length: BodyLength, body: &mut dyn Read) -> Answer {
        let request = Request {
            method: method.as_bytes(),
            target: target.as_bytes(),
            protocol: b"HTTP/1.1",
            length,
            ..Request::default()
        };
        let mut exchange = Exchange::begin(self.worker.clone(), &request, b"", None, Instant::now());
        let mut answer = Answer::default();
        loop {
            match exchange.drive(Instant::now()) {
                Step::Wait => exchange.wait().expect("waiting"),
                Step::NeedBody => {
                    let mut piece = vec![0; exchange.body_wanted()];
                    let count = body.read(&mut piece).expect("the test's body");
                    exchange.give_body(&piece[..count], count == 0, Instant::now());
                }
                Step::Head => answer.status = exchange.response().expect("a head").status,
                Step::Body => {
                    answer.body.extend_from_slice(exchange.body());
                    exchange.consume(exchange.body().len(), Instant::now());
                }
                Step::Done => break,
                Step::Abort => {
                    answer.aborted = true;
                    break;
                }
            }
        }
        answer.failure = exchange.failure().map(|failure| failure.code);
        answer
    }

    /// Numbers of the pool.
    pub fn counts(&self) -> Counts {
        self.worker.pool_by_name("LOCAL").expect("the server").counts()
    }
}
