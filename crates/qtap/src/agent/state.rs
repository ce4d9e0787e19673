//! What the status server shows of the agent: readiness, and the counters of every room.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use qtap_capture::Group;
use qtap_plugin::Metrics;
use qtap_server::{Readiness, Samples, State};
use qtap_store::Lost;

use super::Gauges;
use crate::keylog::KeyLogGauges;
use crate::status::StatusSource;

/// Loads of the configuration since the start.
#[derive(Debug, Default)]
pub(crate) struct ReloadCounters {
    pub(crate) applied: AtomicU64,
    pub(crate) unchanged: AtomicU64,
    pub(crate) refused: AtomicU64,
}

/// Joins the counters of all rooms.
pub(crate) struct AgentState {
    pub(crate) gauges: Gauges,
    pub(crate) plugins: Arc<Metrics>,
    pub(crate) output: qtap_store::Output,
    pub(crate) reloads: Arc<ReloadCounters>,
    pub(crate) stopping: Arc<AtomicBool>,
    pub(crate) key_log: Option<Arc<KeyLogGauges>>,
    pub(crate) status: Arc<StatusSource>,
}

impl State for AgentState {
    fn readiness(&self) -> Readiness {
        let sockets = self
            .gauges
            .groups
            .iter()
            .any(|report| report.group == Group::Sockets && report.problem.is_none());
        Readiness::default()
            .require(sockets, "the socket hooks are not attached")
            .require(!self.stopping.load(Ordering::Relaxed), "the agent is stopping")
    }

    fn status(&self) -> Option<Arc<str>> {
        Some(self.status.json())
    }

    fn samples(&self, out: &mut Samples) {
        self.kernel(out);
        self.gauges.engine.each(|name, help, labels, value, is_counter| {
            if is_counter {
                out.counter(name, help, labels, value)
            } else {
                out.gauge(name, help, labels, value as f64)
            }
        });
        out.gauge(
            "qtap_engine_budget_bytes",
            "Payload bytes taken from tap.limits.memory.",
            &[],
            self.gauges.budget.used() as f64,
        );
        self.load(out);
        self.probes(out);
        self.memory(out);
        self.held(out);
        self.processes(out);
        self.plugins(out);
        self.stores(out);
        if let Some(key_log) = &self.key_log {
            key_log.samples(out);
        }
        for (outcome, count) in [
            ("applied", &self.reloads.applied),
            ("unchanged", &self.reloads.unchanged),
            ("refused", &self.reloads.refused),
        ] {
            out.counter(
                "qtap_config_reloads_total",
                "Loads of the configuration after the start.",
                &[("outcome", outcome)],
                count.load(Ordering::Relaxed),
            );
        }
    }
}

impl AgentState {
    /// The kernel side's counters: losses under `qtap_capture_lost_total`, the rest by what was counted.
    fn kernel(&self, out: &mut Samples) {
        let counters = match self.gauges.control.counters() {
            Ok(counters) => counters,
            Err(error) => {
                tracing::warn!(%error, "cannot read the kernel side's counters");
                return;
            }
        };
        for (name, value) in counters.iter() {
            if name.ends_with("_unread_bytes") {
                out.gauge(
                    "qtap_capture_ring_bytes",
                    "Bytes in the rings that were not read yet.",
                    &[("ring", name)],
                    value as f64,
                );
            } else if name.contains("missed")
                || name.contains("lost")
                || name.ends_with("_full")
                || name.contains("unsupported")
            {
                out.counter(
                    "qtap_capture_lost_total",
                    "What the kernel side could not hand on, by what and why.",
                    &[("stage", "kernel"), ("reason", name)],
                    value,
                );
            } else {
                out.counter(
                    "qtap_capture_total",
                    "What the kernel side counted.",
                    &[("what", name)],
                    value,
                );
            }
        }
        for report in self.gauges.groups.iter() {
            let attached = f64::from(u8::from(report.problem.is_none()));
            out.gauge(
                "qtap_capture_group_loaded",
                "1 if the hook group is loaded.",
                &[("group", &report.group.to_string())],
                attached,
            );
        }
        for (what, value) in [
            ("process", self.gauges.lost.process.get()),
            ("mapping", self.gauges.lost.tracker.get()),
            ("trace", self.gauges.lost.traces.get()),
            ("log_line", crate::logging::lost_lines()),
        ] {
            out.counter(
                "qtap_agent_lost_total",
                "Events that found no room between threads.",
                &[("stage", "reader"), ("reason", what)],
                value,
            );
        }
        out.counter(
            "qtap_agent_requests_refused_total",
            "Requests to the kernel or the tracker that were refused.",
            &[],
            self.gauges.host.refused.get(),
        );
    }

    fn load(&self, out: &mut Samples) {
        let load = &self.gauges.load;
        out.gauge(
            "qtap_load_level",
            "What is left out: 0 nothing, 1 bodies, 2 connections that open, 3 all connections.",
            &[],
            f64::from(load.load.level() as u8),
        );
        out.gauge(
            "qtap_load_cpu_percent",
            "CPU time of the agent over the last seconds, in percent of one CPU.",
            &[],
            load.cpu_percent.load(Ordering::Relaxed) as f64,
        );
        for (direction, steps) in [("down", &load.steps_down), ("up", &load.steps_up)] {
            out.counter(
                "qtap_load_steps_total",
                "Changes of qtap_load_level: down to less captured, up to more.",
                &[("direction", direction)],
                steps.get(),
            );
        }
    }

    fn held(&self, out: &mut Samples) {
        let held = &self.gauges.held;
        for (outcome, count) in [
            ("probed", &held.probed),
            ("plain", &held.plain),
            ("failed", &held.failed),
            ("expired", &held.expired),
        ] {
            out.counter(
                "qtap_hold_programs_total",
                "Programs that waited until they were probed.",
                &[("outcome", outcome)],
                count.get(),
            );
        }
    }

    fn probes(&self, out: &mut Samples) {
        let counters = self.gauges.implementations.counters();
        out.gauge(
            "qtap_probe_attached_inodes",
            "Files with probes attached.",
            &[],
            counters.attached_inodes as f64,
        );
        for (reason, count) in &counters.unsupported_inodes {
            out.gauge(
                "qtap_probe_unsupported_inodes",
                "Files with TLS code that cannot be read.",
                &[("reason", reason)],
                *count as f64,
            );
        }
        out.gauge(
            "qtap_probe_processes",
            "Processes that have TLS code mapped.",
            &[],
            counters.tls_processes as f64,
        );
        out.counter("qtap_probe_scans_total", "Files classified.", &[], counters.scans);
        out.counter(
            "qtap_probe_cached_total",
            "Files of which former scans are known.",
            &[],
            counters.cached,
        );
        out.counter(
            "qtap_probe_scan_microseconds_total",
            "Time spent on classifying.",
            &[],
            u64::try_from(counters.scan_time.as_micros()).unwrap_or(u64::MAX),
        );
        out.counter(
            "qtap_probe_refuted_total",
            "Functions found by inference whose probes were removed, as they are others than they were taken for.",
            &[],
            counters.refuted,
        );
        for (reason, count) in [
            ("scan", counters.scan_failures),
            ("attach", counters.attach_failures),
            ("table_full", counters.table_full),
        ] {
            out.counter(
                "qtap_probe_lost_total",
                "Files or processes not probed, by reason; failures are tried again.",
                &[("stage", "probe"), ("reason", reason)],
                count,
            );
        }
    }

    fn memory(&self, out: &mut Samples) {
        let counters = self.gauges.host.memory.counters();
        out.counter(
            "qtap_memory_searches_total",
            "Searches of the memory of a process for secrets.",
            &[],
            counters.searches.get(),
        );
        out.counter(
            "qtap_memory_search_microseconds_total",
            "Time that they took.",
            &[],
            counters.microseconds.get(),
        );
        out.counter(
            "qtap_memory_search_bytes_total",
            "Bytes of memory read for that.",
            &[],
            counters.bytes.get(),
        );
        out.counter(
            "qtap_memory_search_candidates_total",
            "What looked like a secret there.",
            &[],
            counters.candidates.get(),
        );
        for (reason, count) in [
            ("failed", &counters.failures),
            ("cut", &counters.cut),
            ("refused", &counters.refused),
            ("unreadable", &counters.faults),
        ] {
            out.counter(
                "qtap_memory_search_lost_total",
                "Searches, or parts of them, that were not made, by reason.",
                &[("reason", reason)],
                count.get(),
            );
        }
    }

    fn processes(&self, out: &mut Samples) {
        let stats = self.gauges.table.stats();
        out.gauge(
            "qtap_process_records",
            "Process records.",
            &[("state", "running")],
            stats.running as f64,
        );
        out.gauge(
            "qtap_process_records",
            "Process records.",
            &[("state", "ended")],
            stats.ended as f64,
        );
        for (kind, count) in [
            ("fork", stats.forks),
            ("exec", stats.execs),
            ("exit", stats.exits),
        ] {
            out.counter(
                "qtap_process_received_total",
                "Process events.",
                &[("kind", kind)],
                count,
            );
        }
        for (reason, count) in [
            ("unread", stats.unread),
            ("orphan", stats.orphans),
            ("missed", stats.missed),
            ("evicted", stats.evicted),
            ("refused", stats.refused),
        ] {
            out.counter(
                "qtap_process_lost_total",
                "Process facts that could not be had, by reason.",
                &[("stage", "process"), ("reason", reason)],
                count,
            );
        }
    }

    fn plugins(&self, out: &mut Samples) {
        for (reason, count) in [
            ("abandoned", self.plugins.abandoned()),
            ("unmatched", self.plugins.unmatched()),
        ] {
            out.counter(
                "qtap_plugin_lost_total",
                "Transactions that began and did not end, or the other way round.",
                &[("stage", "plugin"), ("reason", reason)],
                count,
            );
        }
        out.counter(
            "qtap_plugin_connections_hidden_total",
            "Connections of DNS that were not reported (tap.audit_include_dns).",
            &[],
            self.plugins.hidden(),
        );
        for counters in self.plugins.plugins() {
            let labels = [("plugin", counters.plugin)];
            out.counter(
                "qtap_plugin_received_total",
                "Calls of the plugin.",
                &labels,
                counters.calls,
            );
            out.counter(
                "qtap_plugin_panics_total",
                "Calls that panicked.",
                &labels,
                counters.panics,
            );
            out.counter(
                "qtap_plugin_over_budget_total",
                "Calls that took too long.",
                &labels,
                counters.over_budget,
            );
            out.counter(
                "qtap_plugin_busy_microseconds_total",
                "Time in the plugin.",
                &labels,
                counters.busy_ns / 1000,
            );
        }
    }

    fn stores(&self, out: &mut Samples) {
        let counters = self.output.counters();
        let store = [("store", "stdout")];
        out.counter(
            "qtap_store_received_total",
            "Records handed to the store.",
            &store,
            counters.received,
        );
        out.counter(
            "qtap_store_emitted_total",
            "Records written whole.",
            &store,
            counters.emitted,
        );
        out.gauge(
            "qtap_store_queue_depth",
            "Records that wait to be written.",
            &store,
            counters.waiting_records as f64,
        );
        out.gauge(
            "qtap_store_queue_bytes",
            "Bytes that wait to be written.",
            &store,
            counters.waiting_bytes as f64,
        );
        for reason in Lost::ALL {
            let labels = [("stage", "store"), ("reason", reason.reason())];
            out.counter(
                "qtap_store_lost_total",
                "Records that could not be written, by reason.",
                &labels,
                counters.lost(reason),
            );
        }
    }
}
