//! Tagged requests: what each looks like, the application that answers and counts them, and how many have been run.
//!
//! Everything about a request follows from the seed and its tag: method, sizes, delay, whether its client leaves. Both
//! sides know it, so a request or an answer that belongs to another tag is noticed at its first byte.

use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sclera_superserver::application::{Application, Exchange, Handling, Request, Stop};

use crate::fault::{dice, reset};

/// Where the application is mounted.
pub const PATH: &str = "/csp/count";

/// The header of request and answer that holds the tag.
pub const TAG: &str = "X-Tag";

/// What the request with a tag looks like.
#[derive(Clone, Debug, PartialEq)]
pub struct Shape {
    pub post: bool,
    /// Bytes of the request's body.
    pub body: usize,
    /// The body goes in chunks.
    pub chunked: bool,
    /// Bytes of the answer's body.
    pub answer: usize,
    /// The answer goes without a length.
    pub unmeasured: bool,
    /// How long the application takes.
    pub delay: Duration,
    /// The client leaves.
    pub cut: Option<Cut>,
    /// The client's connection ends after this request.
    pub last: bool,
    /// How long the connection rests before it.
    pub rest: Duration,
}

/// When a client leaves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cut {
    pub place: Place,
    /// With a reset, not in good order.
    pub reset: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Place {
    /// When this share of the request has been sent.
    Sending(f64),
    /// When the whole request has been sent.
    Sent,
    /// When so many bytes of the answer have come.
    Receiving(usize),
}

/// How often clients leave: of a thousand requests so many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Manners {
    pub cuts: u32,
}

impl Shape {
    pub fn of(seed: u64, tag: u64, manners: Manners) -> Shape {
        let mut dice = dice(seed ^ 0x7a67, tag);
        let post = dice.u32(0..100) < 40;
        let body = match dice.u32(0..1000) {
            _ if !post => 0,
            0..=799 => dice.usize(0..2_000),
            800..=969 => dice.usize(2_000..32_768),
            // Beyond what goes with the call: the application pulls it.
            _ => dice.usize(32_769..200_000),
        };
        let answer = match dice.u32(0..1000) {
            0..=899 => dice.usize(0..2_000),
            900..=989 => dice.usize(2_000..40_000),
            _ => dice.usize(40_000..300_000),
        };
        let delay = Duration::from_millis(match dice.u32(0..1000) {
            0..=969 => 0,
            970..=997 => dice.u64(1..30),
            _ => dice.u64(100..400),
        });
        let rest = Duration::from_millis(if dice.u32(0..100) < 10 { dice.u64(1..60) } else { 0 });
        let place = match dice.u32(0..3) {
            0 => Place::Sending(dice.f64()),
            1 => Place::Sent,
            _ => Place::Receiving(dice.usize(0..answer + 200)),
        };
        let cut = Cut { place, reset: dice.bool() };
        Shape {
            post,
            body,
            chunked: post && dice.u32(0..10) == 0,
            answer,
            unmeasured: dice.u32(0..10) == 0,
            delay,
            cut: (dice.u32(0..1000) < manners.cuts).then_some(cut),
            last: dice.u32(0..100) < 4,
            rest,
        }
    }
}

/// The sixteen letters that a tag is written in; bodies repeat them.
pub fn letters(tag: u64) -> [u8; 16] {
    std::array::from_fn(|at| b"0123456789abcdef"[(tag >> (60 - 4 * at)) as usize & 15])
}

/// Whether `bytes` are those of the tag's pattern from the `at`-th on.
pub fn fits(tag: &[u8; 16], at: usize, bytes: &[u8]) -> bool {
    bytes.iter().enumerate().all(|(offset, byte)| *byte == tag[(at + offset) % 16])
}

/// Appends bytes of the tag's pattern from its `at`-th on.
pub fn fill(tag: &[u8; 16], at: usize, count: usize, out: &mut Vec<u8>) {
    out.extend((at..at + count).map(|at| tag[at % 16]));
}

/// What has been run of each tag.
pub struct Tally {
    /// Of each tag: executions (8 bits), the server's incarnation (24), the peer's port (16) of the last one.
    tags: Box<[AtomicU64]>,
    /// Requests whose target, header and body did not belong together.
    mixed: AtomicU64,
    /// Counts the superserver's starts.
    incarnation: AtomicU64,
}

/// What has been run of one tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Executions {
    pub count: u8,
    /// During the superserver's so-manieth life, from 0.
    pub incarnation: u64,
    /// The other end of the connection of the last one.
    pub port: u16,
}

impl Tally {
    /// For tags below `capacity`.
    pub fn new(capacity: usize) -> Arc<Tally> {
        let tags = (0..capacity).map(|_| AtomicU64::new(0)).collect();
        Arc::new(Tally { tags, mixed: AtomicU64::new(0), incarnation: AtomicU64::new(0) })
    }

    pub fn capacity(&self) -> u64 {
        self.tags.len() as u64
    }

    pub fn executions(&self, tag: u64) -> Executions {
        let word = self.tags[tag as usize].load(Ordering::SeqCst);
        Executions { count: word as u8, incarnation: (word >> 24) & 0xff_ffff, port: (word >> 8) as u16 }
    }

    /// Requests whose parts did not belong together.
    pub fn mixed(&self) -> u64 {
        self.mixed.load(Ordering::SeqCst)
    }

    /// The superserver has been started anew.
    pub fn next_incarnation(&self) {
        self.incarnation.fetch_add(1, Ordering::SeqCst);
    }

    pub fn incarnation(&self) -> u64 {
        self.incarnation.load(Ordering::SeqCst)
    }

    fn note(&self, tag: u64, port: u16) {
        let incarnation = self.incarnation() & 0xff_ffff;
        let _ = self.tags[tag as usize].fetch_update(Ordering::SeqCst, Ordering::SeqCst, |word| {
            Some(u64::from((word as u8).saturating_add(1)) | u64::from(port) << 8 | incarnation << 24)
        });
    }
}

/// The application. Clones count together.
#[derive(Clone)]
pub struct Counting {
    pub seed: u64,
    pub manners: Manners,
    pub tally: Arc<Tally>,
}

impl Application for Counting {
    fn handle<'a>(&'a self, request: &'a Request<'_>, exchange: &'a mut Exchange<'_>) -> Handling<'a> {
        Box::pin(async move {
            let letters_asked = request.path().get(PATH.len() + 1..).unwrap_or_default();
            let asked = std::str::from_utf8(letters_asked).ok().and_then(|text| u64::from_str_radix(text, 16).ok());
            let Some(tag) = asked.filter(|&tag| tag < self.tally.capacity()) else {
                return exchange.respond(404, "text/plain", b"no such tag\n").await;
            };
            self.tally.note(tag, request.connection.peer.port());
            let (letters, shape) = (letters(tag), Shape::of(self.seed, tag, self.manners));
            let method: &[u8] = if shape.post { b"POST" } else { b"GET" };
            let mut whole = *request.method == *method && request.variable("HTTP_X_TAG") == Some(&letters[..]);
            let mut length = 0;
            loop {
                let piece = exchange.read().await?;
                if piece.is_empty() {
                    break;
                }
                whole &= fits(&letters, length, &piece);
                length += piece.len();
            }
            if !(whole && length == shape.body) {
                self.tally.mixed.fetch_add(1, Ordering::SeqCst);
                return Err(Stop::Error(format!("the request of tag {tag:x} is mixed with another: {length} bytes")));
            }
            if !shape.delay.is_zero() {
                tokio::time::sleep(shape.delay).await;
            }
            let text = std::str::from_utf8(&letters).expect("letters");
            let length = shape.answer.to_string();
            let headers = [("Content-Type", "text/plain"), (TAG, text), ("Content-Length", &length)];
            exchange.head(200, if shape.unmeasured { &headers[..2] } else { &headers }).await?;
            let mut piece = Vec::with_capacity(shape.answer.min(16_384));
            let mut at = 0;
            while at < shape.answer {
                piece.clear();
                fill(&letters, at, (shape.answer - at).min(16_384), &mut piece);
                exchange.write(&piece).await?;
                at += piece.len();
            }
            Ok(())
        })
    }
}

/// Leaves a connection as a client does that has had enough.
pub fn leave(stream: TcpStream, cut: Cut) {
    if cut.reset {
        reset(&stream);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_follows_from_seed_and_tag_alone() {
        let manners = Manners { cuts: 20 };
        let shapes = |seed| (0..1000).map(|tag| Shape::of(seed, tag, manners)).collect::<Vec<_>>();
        assert_eq!(shapes(1), shapes(1));
        assert_ne!(shapes(1), shapes(2));
        let cut = shapes(1).iter().filter(|shape| shape.cut.is_some()).count();
        assert!((5..60).contains(&cut), "{cut} of 1000 clients leave");
        assert!(shapes(1).iter().any(|shape| shape.body > 32_768) && shapes(1).iter().any(|shape| !shape.post));
    }

    #[test]
    fn bytes_of_another_tag_do_not_fit() {
        let (one, other) = (letters(0x1234), letters(0x1235));
        assert_eq!(&one, b"0000000000001234");
        let mut bytes = Vec::new();
        fill(&one, 5, 100, &mut bytes);
        assert!(fits(&one, 5, &bytes) && !fits(&one, 6, &bytes) && !fits(&other, 5, &bytes));
    }

    #[test]
    fn every_execution_of_a_tag_is_counted() {
        let tally = Tally::new(4);
        tally.note(2, 4000);
        tally.next_incarnation();
        tally.note(2, 5000);
        assert_eq!(tally.executions(2), Executions { count: 2, incarnation: 1, port: 5000 });
        assert_eq!(tally.executions(1).count, 0);
    }
}
