//! Orders of an administrator, live in all workers: what servers are to do, and connections to close. They stand in the
//! ledger, for as long as it lasts; what is to last longer is set in CSP.ini.

use std::sync::atomic::Ordering;

use crate::ledger::{ConnectionState, Ledger, Mark};
use crate::pool::health::{Health, Wish};

/// What a server is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Serve.
    Enable,
    /// Serve nothing.
    Disable,
    /// Serve the sessions that it has, and no new ones.
    Drain,
    /// Count as well again, whatever has been seen of it.
    Online,
}

impl Order {
    pub const ALL: [Order; 4] = [Order::Enable, Order::Disable, Order::Drain, Order::Online];

    pub fn word(self) -> &'static str {
        match self {
            Order::Enable => "enable",
            Order::Disable => "disable",
            Order::Drain => "drain",
            Order::Online => "online",
        }
    }

    /// The order of a word.
    pub fn of(word: &str) -> Option<Order> {
        Order::ALL.into_iter().find(|order| order.word() == word)
    }
}

/// Which connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    All,
    /// Those to a server.
    Server(String),
    /// The one of this number.
    Number(u32),
    /// The one of this number if it is still the one of this mark; to be interrupted, in the same request.
    Marked(u32, Mark),
}

/// Connections whose workers were asked to close them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// They are closed at once.
    pub idle: usize,
    /// They have a request, or are being opened.
    pub busy: usize,
}

/// Orders something of a server. `false`: the ledger knows none of this name.
pub fn order(ledger: &Ledger, server: &str, order: Order) -> bool {
    let Some(row) = row_of(ledger, server) else { return false };
    let row = ledger.server_row(row);
    let wish = |wish: Wish| row.wish.store(wish as u32, Ordering::Release);
    match order {
        Order::Enable => wish(Wish::Enabled),
        Order::Disable => wish(Wish::Disabled),
        Order::Drain => wish(Wish::Draining),
        Order::Online => {
            row.health.store(Health::default().pack(), Ordering::Release);
            row.end_probe();
        }
    }
    ledger.ring_all();
    true
}

/// Asks for connections to be closed: idle ones at once, others after their request, or with `interrupt` in the middle
/// of it.
pub fn close(ledger: &Ledger, which: &Which, interrupt: bool) -> Asked {
    let snapshot = ledger.snapshot();
    let row = match which {
        Which::Server(name) => row_of(ledger, name),
        Which::All | Which::Number(_) | Which::Marked(..) => None,
    };
    let mut asked = Asked::default();
    for connection in &snapshot.connections {
        let is_meant = match which {
            Which::All => true,
            Which::Server(_) => row == Some(connection.server),
            Which::Number(number) => connection.seat == *number,
            Which::Marked(number, mark) if interrupt => connection.seat == *number && connection.mark == *mark,
            Which::Marked(number, mark) => connection.seat == *number && connection.mark.is_same_connection(*mark),
        };
        if is_meant {
            ledger.ask_to_close(connection.seat, interrupt);
            match connection.state {
                ConnectionState::Idle => asked.idle += 1,
                _ => asked.busy += 1,
            }
        }
    }
    asked
}

/// The row of a server, without giving it one.
fn row_of(ledger: &Ledger, name: &str) -> Option<usize> {
    let servers = ledger.snapshot().servers;
    servers.into_iter().find(|server| server.name.eq_ignore_ascii_case(name)).map(|server| server.row)
}
