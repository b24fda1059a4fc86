//! The status for programs. `docs/openapi.json` describes it (`Status`).

use serde_json::{Map, Value, json};

use super::{Answers, COUNTERS, Configured, Connection, FailureCount, PathStatus, ServerStatus, Status, TALLIES};
use crate::ledger::BOUNDS;
use crate::pool::health::Wish;

impl Status {
    /// One object.
    pub fn to_json(&self) -> Value {
        let tallies: Map<String, Value> =
            TALLIES.iter().map(|&(tally, name, _)| (name.to_owned(), self.tally(tally).into())).collect();
        let workers = self.workers.iter().map(|it| json!({ "pid": it.pid, "started": it.started }));
        json!({
            "ledger": self.ledger.as_ref().map(|path| path.display().to_string()),
            "since": self.since,
            "requests": self.requests(),
            "workers": workers.collect::<Vec<_>>(),
            "servers": self.servers.iter().map(ServerStatus::to_json).collect::<Vec<_>>(),
            "connections": self.connections.iter().map(Connection::to_json).collect::<Vec<_>>(),
            "paths": self.paths.iter().map(PathStatus::to_json).collect::<Vec<_>>(),
            "answers": self.answers.iter().map(Answers::to_json).collect::<Vec<_>>(),
            "failures": self.failures.iter().map(|it| it.to_json()).collect::<Vec<_>>(),
            "counters": tallies,
        })
    }
}

impl ServerStatus {
    fn to_json(&self) -> Value {
        let now = &self.now;
        let counters: Map<String, Value> =
            COUNTERS.iter().map(|&(counter, name, _)| (name.to_owned(), now.counter(counter).into())).collect();
        let answered: u64 = now.latency.iter().sum();
        let bounds = BOUNDS.iter().map(|bound| json!(bound)).chain([Value::Null]);
        let buckets = bounds.zip(now.latency).map(|(bound, count)| json!({ "up_to_ms": bound, "answers": count }));
        json!({
            "number": now.row,
            "name": now.name,
            "address": self.address,
            "configured": match self.configured {
                Configured::Enabled => "enabled",
                Configured::Disabled => "disabled",
                Configured::Removed => "removed",
            },
            "wish": wish_word(self.wish),
            "health": self.health,
            "connections": now.open,
            "busy": now.busy,
            "queued": now.queued,
            "requests": now.requests,
            "latency_ms": {
                "mean": (answered > 0).then(|| now.latency_sum as f64 / 1e3 / answered as f64),
                "p50": self.latency(0.5),
                "p95": self.latency(0.95),
                "p99": self.latency(0.99),
                "histogram": buckets.collect::<Vec<_>>(),
            },
            "counters": counters,
        })
    }
}

/// The word for what an administrator wants of a server.
pub fn wish_word(wish: Wish) -> &'static str {
    match wish {
        Wish::Enabled => "enabled",
        Wish::Draining => "draining",
        Wish::Disabled => "disabled",
    }
}

impl Connection {
    fn to_json(&self) -> Value {
        let seconds = |ms: u64| ms as f64 / 1e3;
        json!({
            "number": self.now.seat,
            "server": self.server,
            "worker": self.now.worker,
            "process": (self.now.process != 0).then_some(self.now.process),
            "state": self.state(),
            "seconds_in_state": seconds(self.now.since_ms),
            "age_seconds": seconds(self.now.age_ms),
            "requests": self.now.calls,
            "identity_generation": self.now.generation,
            "mark": self.now.mark.to_string(),
        })
    }
}

impl PathStatus {
    fn to_json(&self) -> Value {
        json!({
            "path": self.path, "server": self.server, "state": self.state.word(), "current": self.is_current,
            "requests": self.requests,
        })
    }
}

impl Answers {
    fn to_json(&self) -> Value {
        json!({ "server": self.server, "path": self.path, "status": self.status, "count": self.count })
    }
}

impl FailureCount {
    fn to_json(self) -> Value {
        json!({ "code": self.number, "name": self.code.map(|code| code.name()), "count": self.count })
    }
}
