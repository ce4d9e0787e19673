//! Guards and measures calls into plugins.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::registry::NAMES;

/// Longest a call may take before it is counted as over budget (P-X5). At 10 ms one worker still serves 100
/// transactions a second.
pub const CALL_BUDGET: Duration = Duration::from_millis(10);

/// Counters of one plugin or of the reporter. All only grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PluginCounters {
    /// Name of the plugin, or `connection_reports`.
    pub plugin: &'static str,
    /// Calls.
    pub calls: u64,
    /// Calls that panicked; each lost the plugin's output for one transaction or report.
    pub panics: u64,
    /// Calls that took longer than [`CALL_BUDGET`].
    pub over_budget: u64,
    /// Time in all calls together.
    pub busy_ns: u64,
}

/// Counters of the whole room, kept across configurations.
#[derive(Debug)]
pub struct Metrics {
    plugins: Vec<Arc<Meter>>,
    reporter: Arc<Meter>,
    pub(crate) unmatched: AtomicU64,
    pub(crate) abandoned: AtomicU64,
    pub(crate) hidden: AtomicU64,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            plugins: NAMES.into_iter().map(Meter::new).collect(),
            reporter: Meter::new("connection_reports"),
            unmatched: AtomicU64::new(0),
            abandoned: AtomicU64::new(0),
            hidden: AtomicU64::new(0),
        }
    }
}

impl Metrics {
    /// Counters of every plugin, then of the reporter.
    #[must_use]
    pub fn plugins(&self) -> Vec<PluginCounters> {
        self.plugins
            .iter()
            .chain([&self.reporter])
            .map(|meter| meter.read())
            .collect()
    }

    /// Transactions that ended without having begun, dropped. Not 0 means a fault in the engine.
    #[must_use]
    pub fn unmatched(&self) -> u64 {
        self.unmatched.load(Ordering::Relaxed)
    }

    /// Transactions that had not ended when the final report of their connection came.
    #[must_use]
    pub fn abandoned(&self) -> u64 {
        self.abandoned.load(Ordering::Relaxed)
    }

    /// Connections of DNS that were not reported, because DNS is not.
    #[must_use]
    pub fn hidden(&self) -> u64 {
        self.hidden.load(Ordering::Relaxed)
    }

    pub(crate) fn reporter(&self) -> &Meter {
        &self.reporter
    }

    /// The meter of the plugin `name`; plugins outside of the registry get one of their own.
    pub(crate) fn meter(&self, name: &'static str) -> Arc<Meter> {
        let known = self.plugins.iter().find(|meter| meter.name == name);
        known.map_or_else(|| Meter::new(name), Arc::clone)
    }
}

/// Counts and guards the calls of one plugin.
#[derive(Debug)]
pub(crate) struct Meter {
    name: &'static str,
    calls: AtomicU64,
    panics: AtomicU64,
    over_budget: AtomicU64,
    busy_ns: AtomicU64,
}

impl Meter {
    pub(crate) fn new(name: &'static str) -> Arc<Self> {
        Arc::new(Self {
            name,
            calls: AtomicU64::new(0),
            panics: AtomicU64::new(0),
            over_budget: AtomicU64::new(0),
            busy_ns: AtomicU64::new(0),
        })
    }

    pub(crate) fn read(&self) -> PluginCounters {
        PluginCounters {
            plugin: self.name,
            calls: self.calls.load(Ordering::Relaxed),
            panics: self.panics.load(Ordering::Relaxed),
            over_budget: self.over_budget.load(Ordering::Relaxed),
            busy_ns: self.busy_ns.load(Ordering::Relaxed),
        }
    }

    /// Runs `call`; `None` when it panicked. Two clock readings and three uncontended counters: about 60 ns.
    pub(crate) fn call<T>(&self, call: impl FnOnce() -> T) -> Option<T> {
        let begin = qtap_capture::now();
        // A plugin is shared by reference and keeps no half-changed state across calls except behind its own locks,
        // which poison; so going on after a panic is sound.
        let result = catch_unwind(AssertUnwindSafe(call));
        let elapsed = qtap_capture::now().0.saturating_sub(begin.0);
        self.count(elapsed, result.is_err());
        result.ok()
    }

    fn count(&self, elapsed_ns: u64, panicked: bool) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.busy_ns.fetch_add(elapsed_ns, Ordering::Relaxed);
        if u128::from(elapsed_ns) > CALL_BUDGET.as_nanos() {
            self.over_budget.fetch_add(1, Ordering::Relaxed);
        }
        if panicked {
            let count = self.panics.fetch_add(1, Ordering::Relaxed) + 1;
            // Each doubling only, so that a plugin that always panics does not flood the log.
            if count.is_power_of_two() {
                tracing::error!(
                    plugin = self.name,
                    count,
                    "plugin panicked, transaction lost for it"
                );
            }
        }
    }
}
