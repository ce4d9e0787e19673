//! What the agent counts.

use std::time::{Duration, Instant};

use crate::{Agent, http_get};

/// Longest that an agent may take to work off what it holds.
const SETTLE: Duration = Duration::from_secs(15);
/// What the agent gets to work off when others keep it busy.
const BUSY: Duration = Duration::from_secs(3);

/// One answer of `/system/metrics`.
#[derive(Clone, Debug)]
pub struct Metrics(Vec<(String, f64)>);

impl Metrics {
    /// The agent's metrics now.
    #[must_use]
    pub fn of(agent: &Agent) -> Self {
        let (status, text) =
            http_get(agent.status_server(), "/system/metrics").expect("an answer of the status server");
        assert_eq!(status, 200);
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let samples = lines.filter_map(|line| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        });
        Self(samples.collect())
    }

    /// Sum of a family over the samples that contain `label`.
    #[must_use]
    pub fn sum(&self, name: &str, label: &str) -> f64 {
        let of_family = |sample: &str| sample.split('{').next() == Some(name) && sample.contains(label);
        let values = self.0.iter().filter(|(sample, _)| of_family(sample));
        values.map(|(_, value)| value).sum()
    }

    /// A loss of the kernel side.
    #[must_use]
    pub fn kernel_lost(&self, reason: &str) -> f64 {
        self.sum("qtap_capture_lost_total", &format!("\"{reason}\""))
    }

    /// A loss of the engine.
    #[must_use]
    pub fn engine_lost(&self, reason: &str) -> f64 {
        self.sum("qtap_engine_lost_total", &format!("\"{reason}\""))
    }

    /// Records that did not reach the reader of standard output.
    #[must_use]
    pub fn store_lost(&self) -> f64 {
        self.sum("qtap_store_lost_total", "")
    }
}

/// The metrics once a load is worked off, twice. On a host where nothing else happens they are the same, and sums hold exactly;
/// where other programs go on, what was counted at first must have arrived at the end. The agent must leave out the test that asks
/// it ([`Config::without_this_test`](crate::Config::without_this_test)).
#[derive(Clone, Debug)]
pub struct Rest {
    first: Metrics,
    last: Metrics,
}

impl Rest {
    /// Waits until the agent has worked off all that happened, or, if others keep it busy, for some seconds.
    #[must_use]
    pub fn of(agent: &Agent) -> Self {
        let deadline = Instant::now() + SETTLE;
        let mut first = Metrics::of(agent);
        loop {
            std::thread::sleep(Duration::from_millis(700));
            let last = Metrics::of(agent);
            let rest = Self { first, last };
            if rest.is_quiet() {
                return rest;
            }
            if Instant::now() >= deadline {
                std::thread::sleep(BUSY);
                return Self {
                    last: Metrics::of(agent),
                    ..rest
                };
            }
            first = rest.last;
        }
    }

    /// Nothing happened between the two.
    pub(super) fn is_quiet(&self) -> bool {
        let waits = [
            "qtap_capture_ring_bytes",
            "qtap_engine_queue_depth",
            "qtap_store_queue_depth",
        ];
        let moves = ["qtap_engine_received_total", "qtap_store_received_total"];
        waits.iter().all(|name| self.last.sum(name, "") == 0.0)
            && moves
                .iter()
                .all(|name| self.last.sum(name, "") == self.first.sum(name, ""))
    }

    /// Whether two numbers, the second of which follows the first, are the same.
    pub(super) fn agree(&self, cause: impl Fn(&Metrics) -> f64, effect: impl Fn(&Metrics) -> f64) -> bool {
        effect(&self.first) <= cause(&self.last) && cause(&self.first) <= effect(&self.last)
    }

    /// As they are at last.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.last
    }
}
