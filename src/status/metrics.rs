//! The metrics page: the ledger's numbers for Prometheus and what reads its format.
//!
//! Labels are bounded: servers and paths by the rows of the ledger, statuses by its series, failures by the table of codes,
//! certificates by [`MOST_CERTIFICATES`].

use std::fmt::Error;
use std::sync::Arc;
use std::time::SystemTime;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, NoLabelSet};
use prometheus_client::encoding::{prometheus_text, text as openmetrics};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::exemplar::Exemplar;
use prometheus_client::registry::{Registry, Unit};

use super::json::wish_word;
use super::{CONNECTION_STATES, COUNTERS, Configured, Status, TALLIES, state_word};
use crate::identity::expiry::Owner;
use crate::ledger::BOUNDS;
use crate::pool::Pool;
use crate::pool::health::Wish;
use crate::pool::view::View;

/// The most certificates of one server that are told, those that end first.
const MOST_CERTIFICATES: usize = 32;

/// The forms of the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Prometheus text, version 0.0.4: for whoever asks for nothing else.
    Prometheus,
    /// OpenMetrics text, version 1.0.0.
    OpenMetrics,
}

impl Form {
    /// The form that an `Accept` header asks for.
    pub fn of(accept: &str) -> Form {
        let names = accept.split(',').filter_map(|range| range.split(';').next());
        let wants = names.map(str::trim).any(|name| name.eq_ignore_ascii_case("application/openmetrics-text"));
        if wants { Form::OpenMetrics } else { Form::Prometheus }
    }

    /// Its `Content-Type`.
    pub fn content_type(self) -> &'static str {
        match self {
            Form::Prometheus => prometheus_text::CONTENT_TYPE,
            Form::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// What a page holds.
#[derive(Debug)]
pub struct Numbers {
    pub status: Status,
    pub certificates: Vec<Certificate>,
}

/// A certificate in use.
#[derive(Clone, Debug)]
pub struct Certificate {
    pub server: String,
    pub owner: Owner,
    pub subject: String,
    pub serial: String,
    /// Negative once it has ended.
    pub seconds_left: i64,
}

/// The certificates in use, as this worker has them.
pub fn certificates(view: &View, now: SystemTime) -> Vec<Certificate> {
    let of_pool = |pool: &Arc<Pool>| {
        let server = pool.server().name.clone();
        let known = pool.identity().map(|identity| identity.certificates()).unwrap_or_default();
        let mut all: Vec<Certificate> = known
            .into_iter()
            .map(|(owner, facts)| Certificate {
                server: server.clone(),
                owner,
                seconds_left: facts.seconds_left(now),
                subject: facts.subject,
                serial: facts.serial,
            })
            .collect();
        all.sort_by_key(|it| it.seconds_left);
        // A file may hold a CA twice, and no series may stand twice.
        let mut seen = std::collections::HashSet::new();
        all.retain(|it| seen.insert((owner_word(it.owner), it.subject.clone(), it.serial.clone())));
        all.truncate(MOST_CERTIFICATES);
        all
    };
    view.pools().iter().flat_map(of_pool).collect()
}

fn owner_word(owner: Owner) -> &'static str {
    match owner {
        Owner::Gateway => "own",
        Owner::Authority => "ca",
        Owner::Superserver => "server",
    }
}

type Labels<'a> = Vec<(&'static str, &'a str)>;

impl Numbers {
    /// The page.
    ///
    /// # Errors
    ///
    /// None that can happen: it is written into memory.
    pub fn page(self, form: Form) -> Result<String, Error> {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self));
        let mut page = String::new();
        match form {
            Form::Prometheus => prometheus_text::encode(&mut page, &registry)?,
            Form::OpenMetrics => openmetrics::encode(&mut page, &registry)?,
        }
        Ok(page)
    }

    fn requests(&self, to: &mut DescriptorEncoder) -> Result<(), Error> {
        let statuses: Vec<String> = self.status.answers.iter().map(|it| it.status.to_string()).collect();
        let series = self.status.answers.iter().zip(&statuses).map(|(answers, status)| {
            let server = answers.server.as_deref().unwrap_or_default();
            let path = answers.path.as_deref().unwrap_or_default();
            (vec![("server", server), ("path", path), ("status", status.as_str())], answers.count)
        });
        let help = "Requests answered, by the server that answered, the application path and the status of the answer";
        counters(to, "sclera_requests", help, series)?;

        let seconds = Unit::Seconds;
        let help = "Time from taking a request to the end of its answer";
        let mut histogram =
            to.encode_descriptor("sclera_request_duration", help, Some(&seconds), MetricType::Histogram)?;
        for server in &self.status.servers {
            let bounds = BOUNDS.iter().map(|&bound| bound as f64 / 1e3);
            let latency = &server.now.latency;
            let buckets: Vec<(f64, u64)> = bounds.chain([f64::INFINITY]).zip(latency.iter().copied()).collect();
            let sum = server.now.latency_sum as f64 / 1e6;
            let labels = [("server", server.now.name.as_str())];
            let mut one = histogram.encode_family(&labels)?;
            one.encode_histogram::<NoLabelSet>(sum, latency.iter().sum(), &buckets, None)?;
        }
        Ok(())
    }

    fn servers(&self, to: &mut DescriptorEncoder) -> Result<(), Error> {
        let servers = &self.status.servers;
        let in_state = |server: usize, state| {
            let all = self.status.connections.iter();
            all.filter(|it| it.now.server == server && it.now.state == state).count() as u64
        };
        let states = servers.iter().flat_map(|server| {
            CONNECTION_STATES.map(|state| {
                (vec![("server", name(server)), ("state", state_word(state))], in_state(server.now.row, state))
            })
        });
        gauges(to, "sclera_connections", "Connections to the server, of all workers", states)?;
        let queued = servers.iter().map(|it| (vec![("server", name(it))], u64::from(it.now.queued)));
        gauges(to, "sclera_requests_queued", "Requests that wait for a connection, in all workers", queued)?;
        let healths = ["up", "slow start", "ejected", "on trial"];
        let health = servers.iter().flat_map(|server| {
            healths.map(|state| (vec![("server", name(server)), ("state", state)], u64::from(server.health == state)))
        });
        gauges(to, "sclera_server_health", "1 for the state of health that the server is in, else 0", health)?;
        let wishes = [Wish::Enabled, Wish::Draining, Wish::Disabled];
        let wish = servers.iter().flat_map(|server| {
            wishes
                .map(|wish| (vec![("server", name(server)), ("wish", wish_word(wish))], u64::from(server.wish == wish)))
        });
        gauges(to, "sclera_server_wish", "1 for what an administrator wants of the server, else 0", wish)?;
        let enabled = servers.iter().filter(|it| it.configured != Configured::Removed);
        let enabled = enabled.map(|it| (vec![("server", name(it))], u64::from(it.configured == Configured::Enabled)));
        gauges(to, "sclera_server_enabled", "Whether the configuration has the server enabled", enabled)?;
        for (counter, word, what) in COUNTERS {
            let series = servers.iter().map(|it| (vec![("server", name(it))], it.now.counter(counter)));
            counters(to, &format!("sclera_{word}"), &sentence(what), series)?;
        }
        Ok(())
    }

    fn gateway(&self, to: &mut DescriptorEncoder) -> Result<(), Error> {
        let failures = self.status.failures.iter().filter_map(|it| Some((vec![("code", it.code?.name())], it.count)));
        counters(to, "sclera_failures", "Failures by their code", failures)?;
        let left = self.certificates.iter().map(|it| {
            let kind = owner_word(it.owner);
            let labels = [("server", &*it.server), ("kind", kind), ("subject", &*it.subject), ("serial", &*it.serial)];
            (labels.to_vec(), it.seconds_left)
        });
        let help =
            "Time until the certificate ends: the gateway's own, one of a CA, or the server's; negative once it has";
        gauges(to, "sclera_certificate_left_seconds", help, left)?;
        let workers = self.status.workers.len() as u64;
        gauges(to, "sclera_workers", "Worker processes", [(Labels::new(), workers)])?;
        for (tally, word, what) in TALLIES {
            counters(to, &format!("sclera_{word}"), &sentence(what), [(Labels::new(), self.status.tally(tally))])?;
        }
        let since = [(Labels::new(), self.status.since)];
        gauges(to, "sclera_start_time_seconds", "When counting began, in seconds since 1970", since)?;
        let build = [(vec![("version", env!("CARGO_PKG_VERSION"))], 1u64)];
        gauges(to, "sclera_build_info", "The release that answers", build)
    }

    /// The names under which the original's numbers are known, where the meaning is the same.
    fn original(&self, to: &mut DescriptorEncoder) -> Result<(), Error> {
        let servers = self.status.servers.iter().filter(|server| server.configured != Configured::Removed);
        let series = |number: fn(&super::ServerStatus) -> u64| {
            let servers = servers.clone();
            servers.map(move |it| (vec![("id", it.address.as_str()), ("server", name(it))], number(it)))
        };
        let activity = series(|server| server.now.requests);
        gauges(to, "iris_csp_activity", "Requests that the server has answered", activity)?;
        let help = "Connections to the server";
        gauges(to, "iris_csp_actual_connections", help, series(|server| server.now.open as u64))?;
        let help = "Connections to the server that have a request";
        gauges(to, "iris_csp_in_use_connections", help, series(|server| server.now.busy as u64))
    }
}

impl Collector for Numbers {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), Error> {
        self.requests(&mut encoder)?;
        self.servers(&mut encoder)?;
        self.gateway(&mut encoder)?;
        self.original(&mut encoder)
    }
}

fn name(server: &super::ServerStatus) -> &str {
    &server.now.name
}

/// With a capital letter.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

fn counters<'a, V: EncodeCounterValue>(
    to: &mut DescriptorEncoder,
    name: &str,
    help: &str,
    series: impl IntoIterator<Item = (Labels<'a>, V)>,
) -> Result<(), Error> {
    let mut metric = to.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (labels, value) in series {
        let without: Option<&Exemplar<NoLabelSet, f64>> = None;
        metric.encode_family(&labels)?.encode_counter(&value, without)?;
    }
    Ok(())
}

fn gauges<'a, V: EncodeGaugeValue>(
    to: &mut DescriptorEncoder,
    name: &str,
    help: &str,
    series: impl IntoIterator<Item = (Labels<'a>, V)>,
) -> Result<(), Error> {
    let mut metric = to.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (labels, value) in series {
        metric.encode_family(&labels)?.encode_gauge(&value)?;
    }
    Ok(())
}
