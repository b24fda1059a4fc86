//! What tries a gateway hard: streams, delays, sizes, statuses, breaks.

use crate::application::{Application, Exchange, Handling, Request, Stop};
use crate::link::PIECE;
use std::sync::LazyLock;
use std::time::Duration;
use tokio::time::sleep;

/// `stream?n=&bytes=&delay_ms=`: n pieces of so many bytes, each flushed, with a delay between them. Without length.
pub struct Stream;

/// `slow?ms=`: 12 bytes after so many milliseconds.
pub struct Slow;

/// `big?bytes=`: a body of any size; byte k is k mod 256. `&nolength=1` leaves Content-Length out.
pub struct Big;

/// `status/NNN`: answers with this status, 200 to 599.
pub struct Status;

/// `fail?after=`: so many bytes of a body that was to be longer, then the connection breaks.
pub struct Fail;

/// Longest delay of one step.
const LONGEST_DELAY: Duration = Duration::from_secs(3600);

impl Application for Stream {
    fn handle<'a>(&'a self, request: &'a Request<'_>, exchange: &'a mut Exchange<'_>) -> Handling<'a> {
        Box::pin(async move {
            let pieces = request.number("n").unwrap_or(10);
            let bytes = request.number("bytes").unwrap_or(100);
            let delay = milliseconds(request.number("delay_ms").unwrap_or(0));
            exchange.head(200, &[("Content-Type", "text/plain")]).await?;
            exchange.flush().await?;
            for piece in 0..pieces {
                if piece > 0 && !delay.is_zero() {
                    sleep(delay).await;
                }
                repeat(exchange, &LETTERS, bytes).await?;
                exchange.flush().await?;
            }
            Ok(())
        })
    }
}

impl Application for Slow {
    fn handle<'a>(&'a self, request: &'a Request<'_>, exchange: &'a mut Exchange<'_>) -> Handling<'a> {
        Box::pin(async move {
            sleep(milliseconds(request.number("ms").unwrap_or(1000))).await;
            exchange.respond(200, "text/plain", b"slow answer\n").await
        })
    }
}

impl Application for Big {
    fn handle<'a>(&'a self, request: &'a Request<'_>, exchange: &'a mut Exchange<'_>) -> Handling<'a> {
        Box::pin(async move {
            let bytes = request.number("bytes").unwrap_or(0);
            let length = bytes.to_string();
            let headers = [("Content-Type", "application/octet-stream"), ("Content-Length", length.as_str())];
            let told = if request.number("nolength") == Some(1) { 1 } else { 2 };
            exchange.head(200, &headers[..told]).await?;
            repeat(exchange, &COUNTING, bytes).await
        })
    }
}

impl Application for Status {
    fn handle<'a>(&'a self, request: &'a Request<'_>, exchange: &'a mut Exchange<'_>) -> Handling<'a> {
        Box::pin(async move {
            let digits = request.path().strip_prefix(b"/csp/demo/status/").unwrap_or_default();
            let status = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok());
            match status {
                // These have no body.
                Some(status @ (204 | 304)) => exchange.head(status, &[]).await,
                Some(status @ 200..=599) => {
                    exchange.respond(status, "text/plain", format!("status {status}\n").as_bytes()).await
                }
                _ => exchange.respond(400, "text/plain", b"Ask for /csp/demo/status/NNN, 200 to 599.\n").await,
            }
        })
    }
}

impl Application for Fail {
    fn handle<'a>(&'a self, request: &'a Request<'_>, exchange: &'a mut Exchange<'_>) -> Handling<'a> {
        Box::pin(async move {
            let after = request.number("after").unwrap_or(0);
            if after > 0 {
                let promised = after.saturating_add(1).to_string();
                let headers = [("Content-Type", "text/plain"), ("Content-Length", promised.as_str())];
                exchange.head(200, &headers).await?;
                repeat(exchange, &LETTERS, after).await?;
                exchange.flush().await?;
            }
            Err(Stop::Break)
        })
    }
}

/// The alphabet in lines.
static LETTERS: LazyLock<Vec<u8>> = LazyLock::new(|| b"abcdefghijklmnopqrstuvwxyz01234\n".repeat(PIECE / 32));

/// Bytes 0 to 255, again and again.
static COUNTING: LazyLock<Vec<u8>> = LazyLock::new(|| (0..PIECE).map(|k| k as u8).collect());

/// Writes `count` bytes of a pattern that fits [`PIECE`] a whole number of times.
async fn repeat(exchange: &mut Exchange<'_>, pattern: &[u8], count: u64) -> Result<(), Stop> {
    let mut left = count;
    while left > 0 {
        let piece = usize::try_from(left).unwrap_or(usize::MAX).min(pattern.len());
        exchange.write(&pattern[..piece]).await?;
        left -= piece as u64;
    }
    Ok(())
}

fn milliseconds(count: u64) -> Duration {
    Duration::from_millis(count).min(LONGEST_DELAY)
}
