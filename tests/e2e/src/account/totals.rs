//! The books of everything that the agent saw.

use super::{Account, BYTE_REASONS, Metrics, Said};

impl Account<'_> {
    /// Sums over everything that the agent saw. `lines_a_transaction`: records of one transaction in the store.
    pub fn totals(&mut self, lines_a_transaction: u64) {
        let rest = self.rest;
        let opened = |metrics: &Metrics| metrics.sum("qtap_capture_total", "\"opened\"");
        let received = |metrics: &Metrics| {
            metrics.sum("qtap_engine_connections_opened_total", "")
                + metrics.engine_lost("control_queue_full")
        };
        let reached = self.metrics.sum("qtap_engine_connections_opened_total", "");
        self.expect(
            rest.agree(opened, received)
                || self.metrics.engine_lost("control_queue_full") > 0.0 && reached <= opened(self.metrics),
            || {
                format!(
                    "connections: {} told by the kernel side, {reached} reached the engine",
                    opened(rest.metrics())
                )
            },
        );
        let emitted = |metrics: &Metrics| {
            let kind = |kind: &str| metrics.sum("qtap_engine_emitted_total", kind);
            kind("\"transaction\"") * lines_a_transaction as f64 + kind("\"connection\"")
        };
        let records = |metrics: &Metrics| metrics.sum("qtap_store_received_total", "");
        // The record of an artifact that is lost is not made.
        let lost = self.metrics.store_lost();
        let made = emitted(self.metrics);
        let within = lost > 0.0 && (made - lost..=made).contains(&records(self.metrics));
        self.expect(rest.agree(emitted, records) || within, || {
            let metrics = rest.metrics();
            format!(
                "records: {} made of transactions and reports, the store received {}",
                emitted(metrics),
                records(metrics)
            )
        });
        let written = |metrics: &Metrics| metrics.sum("qtap_store_emitted_total", "");
        self.expect(
            rest.agree(records, |metrics| written(metrics) + metrics.store_lost()),
            || {
                let metrics = rest.metrics();
                let (records, written, lost) = (records(metrics), written(metrics), metrics.store_lost());
                format!("records: the store received {records}, wrote {written} and lost {lost}")
            },
        );
        let (written, lines) = (written(self.metrics), self.events.iter().count() as f64);
        self.expect(lines >= written, || {
            format!("records: {written} written, {lines} read")
        });
        let (faults, panics) = (
            self.metrics.sum("qtap_plugin_lost_total", ""),
            self.metrics.sum("qtap_plugin_panics_total", "")
                + self.metrics.sum("qtap_engine_panics_total", ""),
        );
        self.expect(faults + panics == 0.0, || {
            format!("{faults} transactions without beginning or end, {panics} panics")
        });
        self.losses();
        self.bodies();
    }

    /// Bytes missing of all connections = bytes counted where they were lost, for each reason.
    pub fn losses(&mut self) {
        self.gaps_by_reason();
    }

    /// Bytes missing of connections, or that nobody wanted any more, by reason = what the kernel side left out for it. Ends that were lost take with them what
    /// was missing at the end.
    fn gaps_by_reason(&mut self) {
        let (rest, metrics) = (self.rest, self.metrics);
        let ends_unknown =
            metrics.engine_lost("connection_end") + metrics.kernel_lost("connections_lost_ring_full");
        for (reason, counter) in BYTE_REASONS {
            let label = format!("\"{reason}\"");
            let of_calls: u64 = self.said.iter().map(|said| said.bytes_of_calls(reason)).sum();
            let gaps = |metrics: &Metrics| {
                let gaps = metrics.sum("qtap_engine_gap_bytes_total", &label)
                    + metrics.sum("qtap_engine_unwanted_bytes_lost_total", &label);
                // The queue is one for bytes of the wire and of calls; the kernel side counts these apart.
                if counter.is_empty() {
                    gaps + of_calls as f64
                } else {
                    gaps
                }
            };
            let lost = |metrics: &Metrics| match counter {
                "" => metrics.engine_lost("queue_full"),
                counter => metrics.kernel_lost(counter),
            };
            // Of connections that go on, what is missing is found with their next bytes.
            let goes_on = ends_unknown > 0.0 || !rest.is_quiet();
            let holds = rest.agree(lost, gaps) || (goes_on && gaps(metrics) <= lost(metrics));
            let (gaps, lost) = (gaps(metrics), lost(metrics));
            self.expect(holds, || {
                format!("bytes lost for {reason}: {lost} counted where they were lost, {gaps} missed by connections")
            });
        }
    }

    /// Bytes of bodies that were not kept = what is counted for memory and for load.
    fn bodies(&mut self) {
        if self.metrics.store_lost() > 0.0 {
            return;
        }
        let mut missing = 0;
        for transaction in self.said.iter().flat_map(|said| &said.transactions) {
            for part in ["request", "response"].map(|part| &transaction[part]) {
                if part["body_truncated"] == true {
                    let text = part["body"].as_str().unwrap_or_default();
                    let kept = text.trim_end_matches('=').len() as u64 * 3 / 4;
                    let gap = part["body_gap_bytes"].as_u64().unwrap_or_default();
                    missing += part["body_size_total"].as_u64().unwrap_or_default() - kept - gap;
                }
            }
        }
        let given_up: u64 = self.said.iter().map(Said::given_up).sum();
        let counted = self.metrics.engine_lost("memory_budget") + self.metrics.engine_lost("load_shed");
        let holds = (missing + given_up) as f64 == counted || !self.rest.is_quiet();
        self.expect(holds, || {
            format!("bytes of bodies: {missing} are not kept and {given_up} given up, {counted} are counted")
        });
    }
}
