//! CSP.log of one process: what is in force, and the way of an event into the file.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Instant, SystemTime};

use parking_lot::{Mutex, RwLock};

use super::file::{LogFile, News, Place};
use super::format::{self, Context, Format};
use super::level::Levels;
use super::limit::{Limit, Repeats};
use super::settings::Settings;
use super::{Event, Level, kinds, trace};
use crate::failure::Code;
use crate::privileges::Hands;

pub(super) struct Journal {
    build: String,
    in_force: RwLock<InForce>,
    desk: Mutex<Desk>,
    /// There is something for the host's log; looked at without the lock.
    has_news: AtomicBool,
    /// The last request that was to be traced could not be.
    trace_failed: AtomicBool,
}

#[derive(Default)]
struct InForce {
    settings: Option<Arc<Settings>>,
    /// The dangerous part has ended, and the log has said so.
    expired: bool,
}

struct Desk {
    /// Events that came before the settings.
    waiting: VecDeque<Kept>,
    file: Option<LogFile>,
    format: Format,
    limit: Limit,
    line: Vec<u8>,
}

/// An event that owns its texts.
struct Kept {
    level: Level,
    name: &'static str,
    text: String,
    details: String,
    server: String,
    code: Option<Code>,
    when: SystemTime,
}

/// The most events that wait for the settings.
const MOST_WAITING: usize = 250;

impl Journal {
    pub(super) fn new(host: &str) -> Journal {
        let version = env!("CARGO_PKG_VERSION");
        let build = match host {
            "" => format!("Sclera {version} ({})", std::env::consts::OS),
            host => format!("Sclera {version} ({}/{host})", std::env::consts::OS),
        };
        Journal {
            build,
            in_force: RwLock::default(),
            desk: Mutex::new(Desk {
                waiting: VecDeque::new(),
                file: None,
                format: Format::default(),
                limit: Limit::default(),
                line: Vec::new(),
            }),
            has_news: AtomicBool::new(false),
            trace_failed: AtomicBool::new(false),
        }
    }

    pub(super) fn configure(&self, settings: &Settings, hands: Option<&Hands>, now: (Instant, SystemTime)) {
        let before = {
            let mut in_force = self.in_force.write();
            let before = in_force.settings.replace(Arc::new(settings.clone()));
            if before
                .as_ref()
                .is_none_or(|before| (before.levels, before.debug_until()) != (settings.levels, settings.debug_until()))
            {
                in_force.expired = false;
            }
            before
        };
        if !settings.trace.wanted.is_empty() {
            // A worker that needs it tells what is wrong with it.
            let directory = &settings.trace.directory;
            let hands = hands.cloned().unwrap_or_default();
            let hands = match &settings.keeping.place {
                Place::Usual(usual) if *directory == usual.join(trace::NAME) => hands.at_usual_place(usual),
                _ => hands,
            };
            let _ = trace::prepare(directory, &hands);
        }
        let mut desk = self.desk.lock();
        desk.format = settings.format;
        if before.is_none_or(|before| before.keeping != settings.keeping) {
            let hands = hands.or_else(|| desk.file.as_ref().map(LogFile::given_hands)).cloned().unwrap_or_default();
            let news = desk.file.take().map(|file| file.news).unwrap_or_default();
            let mut file = LogFile::new(settings.keeping.clone(), hands);
            file.open();
            file.news.splice(0..0, news);
            desk.file = Some(file);
        }
        while let Some(kept) = desk.waiting.pop_front() {
            let when = kept.when;
            self.put(&mut desk, &kept.event(), (now.0, when));
        }
        self.note_news(&desk);
    }

    pub(super) fn record(&self, event: &Event, now: (Instant, SystemTime)) {
        let mut desk = self.desk.lock();
        if desk.file.is_none() {
            if desk.waiting.len() < MOST_WAITING {
                desk.waiting.push_back(Kept::of(event, now.1));
            }
            return;
        }
        for repeats in desk.limit.due(now.0) {
            self.put_repeats(&mut desk, &repeats, now);
        }
        if desk.limit.admits(event, now.0) {
            self.put(&mut desk, event, now);
        }
        self.note_news(&desk);
    }

    /// What is recorded now. The clock is asked only if there is something that ends.
    pub(super) fn levels(&self, now: impl FnOnce() -> SystemTime) -> Levels {
        self.levels_for(None, now)
    }

    pub(super) fn levels_for(&self, own: Option<Levels>, now: impl FnOnce() -> SystemTime) -> Levels {
        let in_force = self.in_force.read();
        let Some(settings) = &in_force.settings else { return Levels::default() };
        let levels = own.map_or(settings.levels, |own| settings.levels.for_server(own));
        match levels.is_dangerous() && (in_force.expired || settings.debug_until().is_some_and(|end| now() >= end)) {
            true => levels.safe(),
            false => levels,
        }
    }

    pub(super) fn settings(&self) -> Option<Arc<Settings>> {
        self.in_force.read().settings.clone()
    }

    /// The clock is asked only if there is something to trace.
    pub(super) fn traces(&self, path: &[u8], client: &[u8], now: impl FnOnce() -> SystemTime) -> bool {
        let in_force = self.in_force.read();
        let Some(settings) = &in_force.settings else { return false };
        !in_force.expired && settings.trace.wants(path, client) && settings.debug_until().is_none_or(|end| now() < end)
    }

    /// The failure, unless the last attempt failed too.
    pub(super) fn first_trace_failure(&self, failure: Option<io::Error>) -> Option<io::Error> {
        let failed_before = self.trace_failed.swap(failure.is_some(), Ordering::Relaxed);
        failure.filter(|_| !failed_before)
    }

    /// Sums repeats up, and ends what has expired; gives what the host should know of that.
    pub(super) fn tick(&self, now: (Instant, SystemTime)) -> Option<String> {
        let ended = self.expire(now.1);
        let mut desk = self.desk.lock();
        if desk.file.is_some() {
            for repeats in desk.limit.due(now.0) {
                self.put_repeats(&mut desk, &repeats, now);
            }
            if let Some(text) = &ended {
                let event = Event::new(Level::Warning, kinds::EVENT_LOG, "Debugging has expired").details(text);
                self.put(&mut desk, &event, now);
            }
            self.note_news(&desk);
        }
        ended
    }

    /// Whether the dangerous part of the settings has just ended, in words.
    fn expire(&self, now: SystemTime) -> Option<String> {
        let is_due = |in_force: &InForce| {
            let settings = in_force.settings.as_ref()?;
            let dangerous = !in_force.expired && !settings.dangerous.is_empty();
            (dangerous && settings.debug_until().is_some_and(|end| now >= end)).then(|| settings.clone())
        };
        is_due(&self.in_force.read())?;
        let mut in_force = self.in_force.write();
        let settings = is_due(&in_force)?;
        in_force.expired = true;
        Some(format!(
            "what records bodies or keys has ended after {} seconds (Sclera_Debug_Expiry): {}; changing CSP.ini begins it \
             again, and removing it is better",
            settings.debug_expiry.as_secs(),
            settings.dangerous.join(", ")
        ))
    }

    /// What is to be told to the host.
    pub(super) fn news(&self) -> Vec<(Level, String)> {
        if !self.has_news.swap(false, Ordering::Relaxed) {
            return Vec::new();
        }
        let news = self.desk.lock().file.as_mut().map(|file| std::mem::take(&mut file.news)).unwrap_or_default();
        let told = news.into_iter().map(|news| match news {
            News::Trouble(text) => (Level::Warning, format!("event log: {text}")),
            News::Recovered(lost) => (Level::Notice, format!("event log: it is written again; {lost} lines were lost")),
        });
        told.collect()
    }

    fn put_repeats(&self, desk: &mut Desk, repeats: &Repeats, now: (Instant, SystemTime)) {
        let details = repeats.summary();
        let event = Event::new(repeats.level, repeats.name, &repeats.text).details(&details).server(&repeats.server);
        self.put(desk, &Event { code: repeats.code, ..event }, now);
    }

    /// Makes a line of the event and writes it.
    fn put(&self, desk: &mut Desk, event: &Event, now: (Instant, SystemTime)) {
        let Desk { file: Some(file), format, line, .. } = desk else { return };
        let number = self.in_force.read().settings.as_ref().map_or(0, |settings| settings.levels.verbose.number);
        let context = |when| Context {
            when,
            build: &self.build,
            number,
            process: rustix::process::getpid().as_raw_nonzero().get().unsigned_abs(),
            thread: rustix::thread::gettid().as_raw_nonzero().get().unsigned_abs().into(),
        };
        line.clear();
        format::write(*format, event, &context(now.1), line);
        let before = file.news.len();
        file.append(line, now);
        let recovered = file.news[before..].iter().find_map(|news| match news {
            News::Recovered(lost) => Some(*lost),
            News::Trouble(_) => None,
        });
        if let Some(lost) = recovered {
            line.clear();
            let details = format!("{lost} lines were lost while it could not be written");
            let event = Event::new(Level::Warning, kinds::EVENT_LOG, "Lines were lost").details(&details);
            format::write(*format, &event, &context(now.1), line);
            file.append(line, now);
        }
        // A line may have been huge.
        if line.capacity() > 64 * 1024 {
            *line = Vec::new();
        }
    }

    fn note_news(&self, desk: &Desk) {
        if desk.file.as_ref().is_some_and(|file| !file.news.is_empty()) {
            self.has_news.store(true, Ordering::Relaxed);
        }
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        let now = (Instant::now(), SystemTime::now());
        let mut desk = self.desk.lock();
        for repeats in desk.limit.all() {
            self.put_repeats(&mut desk, &repeats, now);
        }
    }
}

impl Kept {
    fn of(event: &Event, when: SystemTime) -> Kept {
        Kept {
            level: event.level,
            name: event.name,
            text: event.text.to_owned(),
            details: event.details.to_owned(),
            server: event.server.to_owned(),
            code: event.code,
            when,
        }
    }

    fn event(&self) -> Event<'_> {
        let event = Event::new(self.level, self.name, &self.text).details(&self.details).server(&self.server);
        Event { code: self.code, ..event }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event_log::file::{Keeping, Place};
    use crate::event_log::settings::Trace;
    use std::path::Path;
    use std::time::Duration;

    fn settings(path: &Path, levels: &str) -> Settings {
        Settings {
            keeping: Keeping { place: Place::File(path.to_owned()), rotation: 1 << 20, retain: false },
            format: Format::Native,
            levels: Levels::parse(levels).levels,
            largest_body: 1 << 18,
            debug_expiry: Duration::from_secs(3600),
            debug_since: None,
            dangerous: Vec::new(),
            trace: Trace::default(),
        }
    }

    fn lines(path: &Path) -> Vec<String> {
        std::fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect()
    }

    #[test]
    fn events_from_before_the_settings_are_written_when_they_come() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("CSP.log");
        let journal = Journal::new("test/1");
        let now = (Instant::now(), SystemTime::now());
        journal.record(&Event::new(Level::Info, kinds::START_UP, "Initialization"), now);
        journal.configure(&settings(&path, "e"), None, now);
        journal.record(&Event::new(Level::Info, kinds::GATEWAY, "Second"), now);
        let lines = lines(&path);
        assert_eq!(lines.len(), 2);
        assert!(lines[0].contains("event=WebGateway.StartUp") && lines[1].contains("text=Second"), "{lines:?}");
        assert!(lines[0].contains("(linux/test/1)\""));
    }

    #[test]
    fn dangerous_levels_end_with_a_line_and_begin_again_with_a_change() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("CSP.log");
        let journal = Journal::new("");
        let start = SystemTime::now();
        let at = |seconds| (Instant::now(), start + Duration::from_secs(seconds));
        let armed = |since| Settings {
            debug_since: Some(start + Duration::from_secs(since)),
            dangerous: vec!["Env_Parameters of [SYSTEM]".to_owned(), "Sclera_Key_Log_File of [LOCAL]".to_owned()],
            ..settings(&path, "ev9rT")
        };
        journal.configure(&armed(0), None, at(0));
        let levels = |seconds| journal.levels(|| at(seconds).1);
        assert_eq!(levels(3599), Levels::parse("ev9rT").levels);
        assert_eq!(journal.tick(at(3599)), None);
        assert_eq!(levels(3600), Levels::parse("ev3").levels, "even before the caretaker has looked");
        let own = Some(Levels::parse("T").levels);
        assert_eq!(journal.levels_for(own, || at(3600).1).raw, Levels::default().raw);
        let says = journal.tick(at(3601)).unwrap_or_default();
        assert!(says.contains("3600 seconds (Sclera_Debug_Expiry): Env_Parameters of [SYSTEM], Sclera_Key"), "{says}");
        assert_eq!(journal.tick(at(3602)), None);
        assert_eq!(lines(&path).len(), 1);
        journal.configure(&armed(4000), None, at(4000));
        assert_eq!(levels(4000), Levels::parse("ev9rT").levels);
    }

    #[test]
    fn repeats_are_summed_up_and_a_full_disk_is_told_to_the_host() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("CSP.log");
        let journal = Journal::new("");
        let start = (Instant::now(), SystemTime::now());
        journal.configure(&settings(&path, "e"), None, start);
        let event = Event::new(Level::Error, kinds::ERROR, "refused").server("A").code(Code::ConnectRefused);
        (0..100).for_each(|_| journal.record(&event, start));
        let later = (start.0 + Duration::from_secs(10), start.1);
        journal.tick(later);
        let written = lines(&path);
        assert_eq!(written.len(), 21);
        assert!(written[20].contains("repeated 80 more times within 10 seconds") && written[20].contains("server=A"));

        journal.configure(&settings(Path::new("/dev/full"), "e"), None, later);
        (0..10).for_each(|_| journal.record(&Event::new(Level::Info, kinds::REQUEST, "x"), later));
        let news = journal.news();
        assert_eq!(news.len(), 1, "{news:?}");
        assert!(news[0].1.contains("/dev/full cannot be written"), "{news:?}");
        assert_eq!(journal.news(), []);
    }
}
