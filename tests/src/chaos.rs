//! Chaos: a web server under load while everything around it breaks, and the verdict on what it made of that.
//!
//! A round is one web server in front of one superserver, with a faulty network between them ([`crate::fault`]). Clients
//! send tagged requests ([`crate::counting`], [`crate::load`]), some leave in the middle, workers are killed, the network
//! and the superserver are restarted and stalled, the web server reloads. Then it becomes calm, and everything has to work
//! again. What happens, and in which order, follows from the seed; when exactly, depends on the machine.

mod causes;
mod figures;
pub mod leftovers;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use self::causes::{Causes, Killing, Span};
pub use self::figures::Figures;
use self::leftovers::{Leftovers, connections_of};
use crate::apache::{Apache, Mpm};
use crate::counting::{Counting, Manners, PATH, Tally};
use crate::fault::{Proxy, Weather, dice};
use crate::load::{Load, Report};
use crate::nginx::{Nginx, Settings};
use crate::process::{PATIENCE, has_ended, send, wait_until};
use crate::scene::Scene;
use crate::web_server::WebServer;

/// A web server that is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Host {
    Prefork,
    Event,
    Nginx,
}

impl Host {
    pub const ALL: [Host; 3] = [Host::Prefork, Host::Event, Host::Nginx];

    pub fn name(self) -> &'static str {
        match self {
            Host::Prefork => "Apache prefork",
            Host::Event => "Apache event",
            Host::Nginx => "Nginx",
        }
    }

    /// Clients at once: as many as it can serve at once, or many more where that costs it nothing.
    fn clients(self) -> usize {
        match self {
            Host::Prefork => 20,
            Host::Event => 120,
            Host::Nginx => 300,
        }
    }
}

/// What a round is to be.
#[derive(Clone, Copy, Debug)]
pub struct Round {
    pub host: Host,
    pub seed: u64,
    /// It ends after so many requests ...
    pub requests: u64,
    /// ... or after this time.
    pub time: Duration,
    /// `Maximum_Server_Connections`.
    pub limit: u32,
    pub trouble: Trouble,
}

/// What is done to the web server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Nothing.
    None,
    /// It reads its configuration again, this often.
    Reloads(Duration),
    /// Everything breaks.
    Everything,
}

/// What can happen to a web server.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Event {
    /// A worker gets this signal.
    Kill(Signal),
    /// Nothing passes between gateway and superserver for a while.
    Stall(Duration),
    /// All connections between them end, and none is made for a while.
    Cut(Duration),
    /// The superserver ends and starts again after a while.
    Restart(Duration),
    /// The web server reads its configuration again.
    Reload,
}

/// The `step`-th event, and how long after the one before it happens.
fn event(seed: u64, step: u64) -> (Duration, Event) {
    let mut dice = dice(seed ^ 0xe7e7, step);
    let mut between = |from, to| Duration::from_millis(dice.u64(from..to));
    let (pause, short, long) = (between(100, 700), between(10, 500), between(100, 1_500));
    let event = match dice.u32(0..20) {
        0..=3 => Event::Kill(Signal::KILL),
        4..=7 => Event::Kill(Signal::TERM),
        8..=11 => Event::Stall(long),
        12..=14 => Event::Cut(short),
        15..=16 => Event::Restart(short),
        _ => Event::Reload,
    };
    (pause, event)
}

const MANNERS: Manners = Manners { cuts: 15 };
const NO_MANNERS: Manners = Manners { cuts: 0 };

/// The share of a round's requests that are sent when it has become calm.
const CALM: u64 = 20;

/// Plays a round to its end.
pub fn play(round: &Round) -> Figures {
    let locations = "<Location /csp>\nCSP On\n</Location>\nTimeout 60\nKeepAliveTimeout 2\n";
    match round.host {
        Host::Prefork => play_with(round, |scene| {
            let processes = "StartServers 8\nMinSpareServers 4\nServerLimit 24\nMaxRequestWorkers 24\n\
                             MaxConnectionsPerChild 300\n";
            Apache::start_with(scene, Mpm::Prefork, &format!("{processes}{locations}"))
        }),
        Host::Event => play_with(round, |scene| {
            let processes = "StartServers 3\nServerLimit 6\nThreadsPerChild 48\nMaxRequestWorkers 144\n\
                             MinSpareThreads 48\nMaxSpareThreads 144\nMaxConnectionsPerChild 3000\n";
            Apache::start_with(scene, Mpm::Event, &format!("{processes}{locations}"))
        }),
        Host::Nginx => play_with(round, |scene| {
            Nginx::start_with(
                scene,
                Settings { main: "worker_processes 3;", locations: "location /csp { CSP on; }", ..Settings::default() },
            )
        }),
    }
}

fn play_with<S: WebServer>(round: &Round, start: impl FnOnce(&Scene) -> S) -> Figures {
    let rough = round.trouble == Trouble::Everything;
    let manners = if rough { MANNERS } else { NO_MANNERS };
    let tally = Tally::new(round.requests as usize);
    let counting = Counting { seed: round.seed, manners, tally: tally.clone() };
    let mut scene = Scene::with_application(PATH, counting.clone());
    let weather = if rough { Weather::ROUGH } else { Weather::CALM };
    let mut proxy = Proxy::start(scene.superserver_port(), round.seed, weather);
    proxy.watch_limit(round.limit as usize);
    let runtime = scene.directory().join("run");
    scene.edit_csp_ini(|text| {
        let lines = format!(
            "[LOCAL]\nMaximum_Server_Connections={}\nServer_Response_Timeout=5\nQueued_Request_Timeout=20\n\
             Sclera_Connect_Timeout=3",
            round.limit
        );
        let port = |port: u16| format!("TCP_Port={port}\n");
        let system = format!("[SYSTEM]\nSclera_Runtime_Directory={}", runtime.display());
        let text = text.replace(&port(scene.superserver_port()), &port(proxy.port()));
        text.replace("[LOCAL]", &lines).replace("[SYSTEM]", &system)
    });
    let leftovers = Leftovers::look(&runtime);
    let server = start(&scene);

    let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let next = Arc::new(AtomicU64::new(0));
    let load = Load {
        port: server.port(),
        seed: round.seed,
        manners,
        connections: round.host.clients(),
        next: next.clone(),
        limit: round.requests,
        stop: stop.clone(),
        answered: answered.clone(),
    };
    let began = Instant::now();
    // Unless everything breaks, nothing may fail from the beginning.
    let mut causes = Causes { calm_from: (!rough).then_some(began), ..Causes::default() };
    let report = thread::scope(|scope| {
        let load = scope.spawn(|| load.run());
        let storm = Storm { round, next: &next, began, ended: &|| load.is_finished() };
        match round.trouble {
            Trouble::None => storm.wait(round.time),
            Trouble::Reloads(pause) => {
                while !storm.over() {
                    server.ask_reload();
                    causes.reloads += 1;
                    storm.wait(pause);
                }
            }
            Trouble::Everything => {
                storm.rage(&server, &mut scene, &mut proxy, &counting, &mut causes);
                // All that is struck goes, and the gateway may find out that all is well.
                proxy.set_weather(Weather::CALM);
                proxy.close_all();
                let well = || (0..20).all(|_| server.get("/csp/demo/echo").status == 200);
                if wait_until(|| well().then_some(())).is_none() {
                    causes.problems.push("it did not recover when everything had become calm".to_owned());
                }
                causes.calm_from = Some(Instant::now());
                storm.subside(&answered);
            }
        }
        stop.store(true, Ordering::SeqCst);
        load.join().expect("the clients run to their end")
    });
    let time = began.elapsed();
    causes.strikes = proxy.strikes();
    let mut figures = judge(round, &report, &tally, manners, &causes);
    figures.time = time;
    figures.most = proxy.most();
    figures.gateway_connections = proxy.accepted();
    let excesses = proxy.excesses();
    if let Some((_, most)) = excesses.iter().max_by_key(|(_, open)| open) {
        let what = format!("{most} connections at once, but Maximum_Server_Connections={}", round.limit);
        let after_deaths = excesses.iter().filter(|(at, _)| causes.is_just_after_death(*at)).count();
        figures
            .violations
            .push(format!("{what} ({} times, {after_deaths} of them just after a death)", excesses.len()));
    }
    figures.violations.extend(clean_up(server, &scene, &proxy, &leftovers));
    if !figures.violations.is_empty() && std::env::var_os("SCLERA_KEEP").is_some() {
        figures.violations.push(format!("see the logs in {}", scene.keep().display()));
    }
    figures
}

/// The bad part of a round.
struct Storm<'r> {
    round: &'r Round,
    next: &'r AtomicU64,
    began: Instant,
    /// The clients have ended.
    ended: &'r dyn Fn() -> bool,
}

impl Storm<'_> {
    fn over(&self) -> bool {
        // The rest is for the calm after it.
        self.next.load(Ordering::Relaxed) >= self.round.requests - self.round.requests / CALM
            || self.began.elapsed() >= self.round.time
            || (self.ended)()
    }

    /// One event after the other.
    fn rage<S: WebServer>(
        &self,
        server: &S,
        scene: &mut Scene,
        proxy: &mut Proxy,
        counting: &Counting,
        causes: &mut Causes,
    ) {
        for step in 0.. {
            let (pause, event) = event(self.round.seed, step);
            self.wait(pause);
            if self.over() {
                return;
            }
            causes.events += 1;
            let from = Instant::now();
            match event {
                Event::Kill(signal) => {
                    // The children of the event MPM do not heed SIGTERM, with or without a module of ours.
                    let signal = if self.round.host == Host::Event { Signal::KILL } else { signal };
                    let workers = server.workers();
                    if let Some(&worker) = workers.get(step as usize % workers.len().max(1)) {
                        match kill(worker, signal, server.port()) {
                            Ok(killing) => causes.killings.push(killing),
                            Err(problem) => causes.problems.push(problem),
                        }
                    }
                }
                Event::Stall(time) => {
                    proxy.stall(true);
                    thread::sleep(time);
                    proxy.stall(false);
                    causes.stalls.push(Span::since(from));
                }
                Event::Cut(time) => {
                    proxy.restart(time);
                    causes.cuts.push(Span::since(from));
                }
                Event::Restart(time) => {
                    let incarnation = counting.tally.incarnation();
                    proxy.refuse();
                    scene.stop_superserver();
                    causes.stops.push((incarnation, Span::since(from)));
                    counting.tally.next_incarnation();
                    thread::sleep(time);
                    scene.resume_superserver(|options| options.application(PATH, counting.clone()));
                    proxy.listen();
                    causes.cuts.push(Span::since(from));
                }
                Event::Reload => {
                    server.ask_reload();
                    causes.reloads += 1;
                }
            }
        }
    }

    /// Lets this time pass, unless the end comes before.
    fn wait(&self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end && !self.over() {
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// The last requests, to which nothing may happen any more.
    fn subside(&self, answered: &AtomicUsize) {
        let enough = answered.load(Ordering::Relaxed) + (self.round.requests / CALM) as usize;
        let end = Instant::now() + self.round.time / CALM as u32;
        while Instant::now() < end
            && !(self.ended)()
            && self.next.load(Ordering::Relaxed) < self.round.requests
            && answered.load(Ordering::Relaxed) < enough
        {
            thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Ends a worker by a signal, and finds out which clients it was serving.
fn kill(worker: u32, signal: Signal, port: u16) -> Result<Killing, String> {
    let at = Instant::now();
    // While it stands still nothing changes.
    send(worker, Signal::STOP);
    let stopped = |pid| crate::process::state(pid).is_none_or(|state| matches!(state, 'T' | 'Z' | 'X'));
    wait_until(|| stopped(worker).then_some(()));
    let mut ports = connections_of(worker, port);
    send(worker, signal);
    send(worker, Signal::CONT);
    let gone = wait_until(|| {
        // At SIGTERM it may take further connections until it has heard of it.
        ports.extend(connections_of(worker, port));
        has_ended(worker).then(Instant::now)
    });
    match gone {
        Some(gone) => Ok(Killing { at, gone, ports }),
        None => Err(format!("worker {worker} did not end within {} s of {signal:?}", PATIENCE.as_secs())),
    }
}

/// Counts, and finds what has no explanation.
fn judge(round: &Round, report: &Report, tally: &Tally, manners: Manners, causes: &Causes) -> Figures {
    let mut figures = Figures::of(report, tally, round.seed, manners);
    figures.killed = causes.killings.len();
    figures.events = causes.events;
    figures.reloads = causes.reloads;
    figures.strikes = causes.strikes.iter().filter(|strike| strike.fault.is_some()).count();
    figures.violations.extend(causes.problems.iter().cloned());
    for exception in &report.exceptions {
        match causes.explain(exception, tally.executions(exception.tag)) {
            Ok(()) => {}
            Err(objection) => figures.object(exception, &objection, causes),
        }
    }
    figures
}

/// Ends the web server, and finds what is left of it.
fn clean_up<S: WebServer>(server: S, scene: &Scene, proxy: &Proxy, before: &Leftovers) -> Vec<String> {
    let mut problems = Vec::new();
    let port = server.port();
    if let Some(left) = leftovers::never_empty(|| leftovers::open_connections(port)) {
        problems.push(format!("{} client connections stay open without clients", left.len()));
    }
    let of_workers = || server.workers().iter().map(|&pid| leftovers::connections_to(pid, proxy.port())).sum::<usize>();
    if wait_until(|| (of_workers() == proxy.open()).then_some(())).is_none() {
        let (workers, open) = (of_workers(), proxy.open());
        problems.push(format!("the workers hold {workers} connections to the superserver, which has {open}"));
    }
    let log_is_sound = leftovers::faults_in(&server.error_log());
    problems.extend(log_is_sound);
    if !server.stop() {
        problems.push("the web server did not end in good order".to_owned());
    }
    if let Some(left) = leftovers::never_empty(|| leftovers::processes_in(scene.directory())) {
        problems.push(format!("processes are left: {left:?}"));
    }
    if wait_until(|| (proxy.open() == 0).then_some(())).is_none() {
        problems.push(format!("{} connections to the superserver are left", proxy.open()));
    }
    if let Some(left) = leftovers::never_empty(|| before.new_ones()) {
        problems.push(format!("shared segments are left: {left:?}"));
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happens_is_a_function_of_seed_and_step() {
        let events = |seed| (0..200).map(|step| event(seed, step)).collect::<Vec<_>>();
        assert_eq!(events(3), events(3));
        assert_ne!(events(3), events(4));
        let any = |wanted: fn(&Event) -> bool| events(3).iter().any(|(_, event)| wanted(event));
        assert!(any(|event| *event == Event::Kill(Signal::KILL)) && any(|event| *event == Event::Kill(Signal::TERM)));
        assert!(any(|event| matches!(event, Event::Restart(_))) && any(|event| *event == Event::Reload));
    }
}
