//! A limit on repeats: the same warning again and again is counted, and summed up in one line.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::{Event, Level, kinds};
use crate::failure::Code;

/// How often the same event is written within [`WINDOW`].
const MOST: u32 = 20;
/// See [`MOST`].
const WINDOW: Duration = Duration::from_secs(10);
/// The most kinds of events that are counted; what is beyond is written.
const MOST_KINDS: usize = 256;

/// What has been written lately, by one process.
#[derive(Debug, Default)]
pub struct Limit(HashMap<Kind, Count>);

/// What makes two events the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Kind {
    name: &'static str,
    text: String,
    server: String,
    code: Option<Code>,
}

#[derive(Debug)]
struct Count {
    level: Level,
    since: Instant,
    seen: u32,
}

/// Events that were left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repeats {
    pub level: Level,
    pub name: &'static str,
    /// The text that was repeated.
    pub text: String,
    pub server: String,
    pub code: Option<Code>,
    /// How many were left out.
    pub count: u32,
}

impl Limit {
    /// Whether the event is to be written. What somebody has asked for by a verbose level always is, and so is what somebody
    /// did on the management pages: nobody may hide one deed behind others.
    pub fn admits(&mut self, event: &Event, now: Instant) -> bool {
        if event.level > Level::Notice || event.name == kinds::AUDIT {
            return true;
        }
        let kind =
            Kind { name: event.name, text: event.text.to_owned(), server: event.server.to_owned(), code: event.code };
        match self.0.get_mut(&kind) {
            Some(count) => {
                count.seen = count.seen.saturating_add(1);
                count.seen <= MOST
            }
            None => {
                if self.0.len() < MOST_KINDS {
                    self.0.insert(kind, Count { level: event.level, since: now, seen: 1 });
                }
                true
            }
        }
    }

    /// What was left out in windows that have ended; each is told once.
    pub fn due(&mut self, now: Instant) -> Vec<Repeats> {
        let ended = |_: &Kind, count: &mut Count| now.saturating_duration_since(count.since) >= WINDOW;
        self.0.extract_if(ended).filter_map(Limit::repeats).collect()
    }

    /// What has been left out so far, for a process that ends.
    pub fn all(&mut self) -> Vec<Repeats> {
        self.0.drain().filter_map(Limit::repeats).collect()
    }

    fn repeats((kind, count): (Kind, Count)) -> Option<Repeats> {
        let Kind { name, text, server, code } = kind;
        (count.seen > MOST).then(|| Repeats { level: count.level, name, text, server, code, count: count.seen - MOST })
    }
}

impl Repeats {
    /// The line that sums them up.
    pub fn summary(&self) -> String {
        format!("repeated {} more times within {} seconds", self.count, WINDOW.as_secs())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_event_is_counted_and_summed_up_once_while_others_pass() {
        let mut limit = Limit::default();
        let start = Instant::now();
        let event = Event::new(Level::Error, "WebGateway.Error", "no").server("A").code(Code::ConnectRefused);
        let written = (0..1000).filter(|_| limit.admits(&event, start)).count();
        assert_eq!(written, MOST as usize);
        assert!(limit.admits(&event.server("B"), start), "another server is another event");
        assert!(limit.admits(&event.code(Code::ConnectTimeout), start));
        assert_eq!(limit.due(start + WINDOW / 2), []);
        let due = limit.due(start + WINDOW);
        assert_eq!(due.iter().map(|it| (it.count, it.server.as_str())).collect::<Vec<_>>(), [(980, "A")]);
        assert_eq!(limit.due(start + WINDOW * 2), []);
        assert!(limit.admits(&event, start + WINDOW));
    }

    #[test]
    fn what_a_verbose_level_asks_for_is_never_left_out_and_memory_is_bounded() {
        let mut limit = Limit::default();
        let now = Instant::now();
        assert!((0..1000).all(|_| limit.admits(&Event::new(Level::Info, "x", "y"), now)));
        assert!((0..1000).all(|_| limit.admits(&Event::new(Level::Notice, kinds::AUDIT, "y"), now)), "deeds neither");
        for number in 0..2000 {
            assert!(limit.admits(&Event::new(Level::Error, "x", &number.to_string()), now));
        }
        assert!(limit.0.len() <= MOST_KINDS);
    }
}
