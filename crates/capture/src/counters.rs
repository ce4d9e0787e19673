//! Everything the kernel side left out or handed on, by reason.

use libbpf_rs::{MapCore, MapFlags, MapHandle};

use crate::Error;
use crate::bindings::counter;
use crate::programs::LoadedPrograms;

/// Names of the counters, for metrics: what was counted, and why it was left out.
const NAMES: [(counter, &str); 39] = [
    (counter::COUNT_CONNECTIONS_FULL, "connections_table_full"),
    (counter::COUNT_FILTERED_SELF, "connections_filtered_self"),
    (counter::COUNT_FILTERED_PROCESS, "connections_filtered_process"),
    (
        counter::COUNT_FILTERED_DIRECTION,
        "connections_filtered_direction",
    ),
    (counter::COUNT_FILTERED_LOOPBACK, "connections_filtered_loopback"),
    (counter::COUNT_FILTERED_KERNEL, "connections_filtered_kernel"),
    (counter::COUNT_COMPAT_CALLS, "calls_unsupported_32bit"),
    (counter::COUNT_UNSUPPORTED_PROTOCOL, "calls_unsupported_protocol"),
    (counter::COUNT_ADOPTED, "connections_adopted"),
    (counter::COUNT_OPENED_LOST, "opened_retried_ring_full"),
    (counter::COUNT_NEVER_OPENED, "connections_lost_ring_full"),
    (counter::COUNT_CLOSED_LOST, "closed_lost_ring_full"),
    (counter::COUNT_DATA_RECORDS_LOST, "data_records_lost_ring_full"),
    (counter::COUNT_DATA_BYTES_LOST, "data_bytes_lost_ring_full"),
    (counter::COUNT_CALLS_BYTES_LOST, "tls_call_bytes_lost_ring_full"),
    (counter::COUNT_FAULTS, "faults"),
    (counter::COUNT_FAULT_BYTES, "data_bytes_lost_fault"),
    (counter::COUNT_CALL_CAP_BYTES, "data_bytes_lost_call_cap"),
    (counter::COUNT_UNREADABLE_BYTES, "data_bytes_lost_unreadable"),
    (counter::COUNT_SKIPPED_BYTES, "data_bytes_skipped"),
    (counter::COUNT_SHED_BYTES, "data_bytes_lost_load_shed"),
    (counter::COUNT_SHED_CALLS_BYTES, "tls_call_bytes_lost_load_shed"),
    (
        counter::COUNT_PROCESS_EVENTS_LOST,
        "process_events_lost_ring_full",
    ),
    (
        counter::COUNT_PROCESS_VERDICTS_FULL,
        "process_verdicts_table_full",
    ),
    (counter::COUNT_MAPPED_LOST, "mappings_lost_ring_full"),
    (counter::COUNT_SECRETS_LOST, "secrets_lost_ring_full"),
    (counter::COUNT_SECRETS_UNREADABLE, "secrets_lost_fault"),
    (counter::COUNT_FRAMES_FULL, "tls_calls_lost_table_full"),
    (counter::COUNT_FRAMES_DEPTH, "tls_calls_lost_nesting"),
    (counter::COUNT_TRACES_LOST, "traces_lost"),
    (counter::COUNT_OPENED, "opened"),
    (counter::COUNT_CLOSED, "closed"),
    (counter::COUNT_URING_BYTES, "data_bytes_lost_io_uring"),
    (counter::COUNT_UNUSED, "connections_lost_unseen"),
    (counter::COUNT_DATAGRAMS_LOST, "datagrams_lost_ring_full"),
    (counter::COUNT_QUIC_LOST, "quic_datagrams_lost_ring_full"),
    (counter::COUNT_QUIC_SHED, "quic_datagrams_lost_rate"),
    (counter::COUNT_QUIC_FILTERED, "quic_datagrams_filtered"),
    (
        counter::COUNT_CALLS_UNATTRIBUTED,
        "tls_call_bytes_lost_unattributed",
    ),
];

/// A reading of all counters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    values: Vec<(&'static str, u64)>,
}

impl Counters {
    /// Each counter with its name.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        self.values.iter().copied()
    }

    pub(crate) fn push(&mut self, name: &'static str, value: u64) {
        self.values.push((name, value));
    }

    /// Adds what was counted elsewhere.
    pub(crate) fn add(&mut self, which: counter, amount: u64) {
        let value = usize::try_from(which.0)
            .ok()
            .and_then(|index| self.values.get_mut(index));
        if let Some((_, value)) = value {
            *value += amount;
        }
    }

    /// The counter of that name; `None` when there is none.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<u64> {
        self.iter()
            .find_map(|(found, value)| (found == name).then_some(value))
    }
}

/// Runs that the kernel left out because the program was running already on that processor.
const MISSED: &str = "hook_runs_missed_recursion";

/// Events about processes and their mappings that found no room.
pub(crate) fn process_events_lost(map: &MapHandle) -> Result<u64, Error> {
    let lost = [counter::COUNT_PROCESS_EVENTS_LOST, counter::COUNT_MAPPED_LOST];
    lost.into_iter().map(|index| read_counter(map, index)).sum()
}

/// Ends of connections that found no room.
pub(crate) fn closed_lost(map: &MapHandle) -> Result<u64, Error> {
    read_counter(map, counter::COUNT_CLOSED_LOST)
}

/// Openings of connections that found no room.
pub(crate) fn opened_lost(map: &MapHandle) -> Result<u64, Error> {
    read_counter(map, counter::COUNT_OPENED_LOST)
}

/// Datagrams that found no room so far.
pub(crate) fn datagrams_lost(map: &MapHandle) -> Result<u64, Error> {
    read_counter(map, counter::COUNT_DATAGRAMS_LOST)
}

fn read_counter(map: &MapHandle, index: counter) -> Result<u64, Error> {
    let per_cpu = map
        .lookup_percpu(&index.0.to_ne_bytes(), MapFlags::ANY)
        .map_err(|source| Error::Map {
            map: "counters",
            attempt: "read",
            source,
        })?;
    Ok(per_cpu
        .iter()
        .flatten()
        .filter_map(|value| value.first_chunk().map(|bytes| u64::from_ne_bytes(*bytes)))
        .sum())
}

/// Reads the counters of `map`, and those that the kernel keeps of the programs.
pub(crate) fn read_counters(map: &MapHandle, programs: &LoadedPrograms) -> Result<Counters, Error> {
    let mut values = Vec::with_capacity(NAMES.len() + 1);
    for (index, name) in NAMES {
        values.push((name, read_counter(map, index)?));
    }
    values.push((MISSED, programs.missed_runs()?));
    Ok(Counters { values })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_counter_has_a_name_of_its_own() {
        assert_eq!(NAMES.len(), counter::COUNTERS.0 as usize);
        for (index, (number, name)) in (0..).zip(NAMES) {
            assert_eq!(number.0, index, "{name} is out of order");
            assert_eq!(NAMES.iter().filter(|(_, other)| *other == name).count(), 1);
        }
    }
}
