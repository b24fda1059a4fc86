//! The paths at which the module itself answers programs that watch it: metrics, and whether it lives and is ready.

use super::{Clients, Profile, Setting};

/// Where programs that watch the gateway ask, and who may.
#[derive(Clone, Debug)]
pub struct Monitoring {
    /// `Sclera_Metrics_Path`; `None` for no metrics. Like the others, it is a [`routing_path`](super::routing_path).
    pub metrics_path: Option<String>,
    /// `Sclera_Metrics_Clients`: from where the metrics may be read; blank means the machine itself.
    pub metrics_clients: Setting<Clients>,
    /// `Sclera_Live_Path`.
    pub live_path: Option<String>,
    /// `Sclera_Ready_Path`.
    pub ready_path: Option<String>,
}

/// What such a program asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// The numbers.
    Metrics,
    /// Whether this process answers.
    Live,
    /// Whether requests can be answered.
    Ready,
}

impl Profile {
    /// What a [`routing_path`](super::routing_path) asks for if it is one of the paths for watching; they are compared
    /// whole, with regard to case.
    pub fn probe(&self, path: &str) -> Option<Probe> {
        let paths = &self.system.monitoring;
        let is = |own: &Option<String>| own.as_deref() == Some(path);
        let all =
            [(&paths.metrics_path, Probe::Metrics), (&paths.live_path, Probe::Live), (&paths.ready_path, Probe::Ready)];
        all.into_iter().find(|(own, _)| is(own)).map(|(_, probe)| probe)
    }
}
