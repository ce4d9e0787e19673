//! Counters of the engine, for every stage: received, emitted, lost by reason.

mod protocols;

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use qtap_capture::Loss;

pub use protocols::{AllProtocols, ProtocolStats};

/// A counter that many threads add to.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `amount`.
    pub fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }

    /// Its value.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A level that goes up and down.
#[derive(Debug, Default)]
pub struct Level(AtomicI64);

impl Level {
    /// Adds `amount`, which may be negative.
    pub fn add(&self, amount: i64) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }

    /// Its value; never below 0 for users.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed).max(0).unsigned_abs()
    }
}

macro_rules! stats {
    ($($kind:ident $name:ident $metric:literal $labels:expr, $help:literal;)*) => {
        /// Everything that the engine counts.
        #[derive(Debug, Default)]
        pub struct Stats {
            $(#[doc = $help] pub $name: $kind,)*
            /// By protocol.
            pub protocols: AllProtocols,
        }

        impl Stats {
            /// Every counter and level as (metric name, help, labels, value, is a counter).
            pub fn each(&self, mut visit: impl FnMut(&'static str, &'static str, &[(&'static str, &'static str)], u64, bool)) {
                $(visit($metric, $help, &$labels, self.$name.get(), stringify!($kind) == "Counter");)*
                self.protocols.each(&mut visit);
            }
        }
    };
}

stats! {
    Counter dns_answers "qtap_engine_dns_answers_total" [], "Answers of DNS that programs received.";
    Counter dns_unreadable "qtap_engine_dns_unreadable_total" [], "Datagrams that looked like answers of DNS and were none.";
    Counter dns_names_forgotten "qtap_engine_dns_names_forgotten_total" [], "Names of addresses that were forgotten before their time, for want of room.";
    Counter dns_multicast "qtap_engine_dns_multicast_total" [], "Datagrams of multicast DNS and LLMNR, which are not reported.";
    Counter dns_queries_left_out "qtap_engine_lost_total" [("stage", "dns"), ("reason", "table_full")], "Bytes or events lost, by reason.";
    Counter lost_datagrams "qtap_engine_lost_total" [("stage", "dns"), ("reason", "queue_full")], "Bytes or events lost, by reason.";
    Counter quic_datagrams "qtap_engine_quic_datagrams_total" [], "Datagrams with an Initial packet of QUIC that were looked at.";
    Counter quic_opened "qtap_engine_quic_connections_opened_total" [], "Connections of QUIC that began.";
    Level quic_open "qtap_engine_quic_connections" [], "Connections of QUIC open now.";
    Counter quic_unreadable "qtap_engine_quic_unreadable_total" [], "Datagrams with an Initial packet that opens under the keys of no known connection: one that began before the capture, or none.";
    Counter quic_unanswered "qtap_engine_quic_unanswered_total" [], "Clients that a server of this host did not answer, and that are not told for that.";
    Counter quic_evicted "qtap_engine_lost_total" [("stage", "engine"), ("reason", "quic_table_full")], "Bytes or events lost, by reason.";
    Counter events "qtap_engine_received_total" [], "Kernel events that reached a worker.";
    Counter transactions "qtap_engine_emitted_total" [("kind", "transaction")], "What was handed to the plugins.";
    Counter reports "qtap_engine_emitted_total" [("kind", "connection")], "What was handed to the plugins.";
    Counter opened "qtap_engine_connections_opened_total" [], "Connections that began, or were found.";
    Counter excluded "qtap_engine_connections_excluded_total" [], "Connections left out by filters or strategy.";
    Counter raised "qtap_engine_priority_raised_total" [], "Times that a worker fell behind in the background, and was given a share of the processors.";
    Level workers_lost "qtap_engine_workers_lost" [], "Workers that ended by a panic. The agent stops when there is one.";
    Level open "qtap_engine_connections" [], "Connections open now.";
    Level queued "qtap_engine_queue_depth" [], "Kernel events waiting for a worker.";
    Level held_bytes "qtap_engine_held_bytes" [], "Payload held in memory.";
    Counter lost_queue "qtap_engine_lost_total" [("stage", "engine"), ("reason", "queue_full")], "Bytes or events lost, by reason.";
    Counter lost_control "qtap_engine_lost_total" [("stage", "engine"), ("reason", "control_queue_full")], "Bytes or events lost, by reason.";
    Counter lost_ends "qtap_engine_lost_total" [("stage", "engine"), ("reason", "connection_end")], "Bytes or events lost, by reason.";
    Counter lost_backlog "qtap_engine_lost_total" [("stage", "engine"), ("reason", "backlog_full")], "Bytes or events lost, by reason.";
    Counter lost_memory "qtap_engine_lost_total" [("stage", "engine"), ("reason", "memory_budget")], "Bytes or events lost, by reason.";
    Counter lost_shed "qtap_engine_lost_total" [("stage", "engine"), ("reason", "load_shed")], "Bytes or events lost, by reason.";
    Counter lost_unattributed "qtap_engine_lost_total" [("stage", "engine"), ("reason", "unattributed")], "Bytes or events lost, by reason.";
    Counter lost_failed "qtap_engine_lost_total" [("stage", "engine"), ("reason", "internal_error")], "Bytes or events lost, by reason.";
    Counter lost_stalled "qtap_engine_lost_total" [("stage", "engine"), ("reason", "stalled")], "Bytes or events lost, by reason.";
    Counter gap_ring_full "qtap_engine_gap_bytes_total" [("reason", "ring_full")], "Socket bytes that were to be captured and were not.";
    Counter gap_queue_full "qtap_engine_gap_bytes_total" [("reason", "queue_full")], "Socket bytes that were to be captured and were not.";
    Counter gap_call_cap "qtap_engine_gap_bytes_total" [("reason", "call_cap")], "Socket bytes that were to be captured and were not.";
    Counter gap_fault "qtap_engine_gap_bytes_total" [("reason", "memory_fault")], "Socket bytes that were to be captured and were not.";
    Counter gap_unreadable "qtap_engine_gap_bytes_total" [("reason", "unreadable_bytes")], "Socket bytes that were to be captured and were not.";
    Counter gap_io_uring "qtap_engine_gap_bytes_total" [("reason", "io_uring")], "Socket bytes that were to be captured and were not.";
    Counter gap_shed "qtap_engine_gap_bytes_total" [("reason", "load_shed")], "Socket bytes that were to be captured and were not.";
    Counter unwanted_ring_full "qtap_engine_unwanted_bytes_lost_total" [("reason", "ring_full")], "Bytes lost of stretches that nobody wanted any more when that was noticed: no connection misses them.";
    Counter unwanted_queue_full "qtap_engine_unwanted_bytes_lost_total" [("reason", "queue_full")], "Bytes lost of stretches that nobody wanted any more when that was noticed: no connection misses them.";
    Counter bytes "qtap_engine_bytes_total" [], "Socket bytes that reached the engine.";
    Counter plaintext_bytes "qtap_engine_plaintext_bytes_total" [], "Bytes handed to detection and parsers.";
    Counter resyncs "qtap_engine_resyncs_total" [], "Messages passed over because they could not be understood.";
    Counter orphans "qtap_engine_orphans_total" [], "Responses without a known request.";
    Counter partial_heads "qtap_engine_partial_heads_total" [], "Heads with fields that could not be decoded.";
    Counter parser_errors "qtap_engine_parser_errors_total" [], "Connections on which a parser gave up.";
    Counter panics "qtap_engine_panics_total" [], "Panics caught; each ended the parsing or the capture of one connection.";
    Counter secrets "qtap_engine_tls_secrets_total" [("outcome", "received")], "TLS secrets by what became of them.";
    Counter secrets_bound "qtap_engine_tls_secrets_total" [("outcome", "bound")], "TLS secrets by what became of them.";
    Counter secrets_expired "qtap_engine_tls_secrets_total" [("outcome", "expired")], "TLS secrets by what became of them.";
    Counter memory_joined "qtap_engine_memory_secrets_total" [("outcome", "opened")], "TLS connections whose handshake or secrets were not seen, by what became of the search for their secrets in memory.";
    Counter memory_unmatched "qtap_engine_memory_secrets_total" [("outcome", "not_found")], "TLS connections whose handshake or secrets were not seen, by what became of the search for their secrets in memory.";
    Counter memory_late "qtap_engine_memory_secrets_total" [("outcome", "too_late")], "TLS connections whose handshake or secrets were not seen, by what became of the search for their secrets in memory.";
    Counter memory_cut "qtap_engine_memory_trials_cut_total" [], "TLS connections on which not every secret found was tried with every number of a record, for the bound on such trials.";
    Counter tls_unreadable "qtap_engine_tls_unreadable_total" [], "TLS connections that could not be decrypted.";
}

impl Stats {
    /// Socket bytes that were to be captured and were not, for any reason.
    #[must_use]
    pub fn gap_bytes(&self) -> u64 {
        let reasons = [
            &self.gap_ring_full,
            &self.gap_queue_full,
            &self.gap_call_cap,
            &self.gap_fault,
            &self.gap_unreadable,
            &self.gap_io_uring,
            &self.gap_shed,
        ];
        reasons.iter().map(|counter| counter.get()).sum()
    }

    /// Counts socket bytes that are missing for `loss`; those that nobody wanted are not.
    pub(crate) fn gap(&self, loss: Loss, bytes: u64) {
        let counter = match loss {
            Loss::RingFull => &self.gap_ring_full,
            Loss::QueueFull => &self.gap_queue_full,
            Loss::CallCap => &self.gap_call_cap,
            Loss::Fault => &self.gap_fault,
            Loss::Unreadable => &self.gap_unreadable,
            Loss::IoUring => &self.gap_io_uring,
            Loss::LoadShed => &self.gap_shed,
            Loss::Skipped | Loss::TlsControl => return,
        };
        counter.add(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_is_named_once_per_label_set() {
        let mut seen = std::collections::BTreeSet::new();
        Stats::default().each(|name, help, labels, value, _| {
            assert!(name.starts_with("qtap_") && help.ends_with('.') && value == 0);
            assert!(seen.insert((name, labels.to_vec())), "{name} {labels:?} twice");
        });
    }
}
