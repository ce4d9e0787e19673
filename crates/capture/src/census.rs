//! The connections that the kernel side knows, for who asks about the whole host.

use std::collections::HashMap;
use std::mem::offset_of;

use libbpf_rs::{MapCore, MapFlags, MapHandle};

use crate::bindings as kernel;
use crate::{ConnectionId, Error, Pid};

/// Open connections as the kernel side has them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Bytes that calls moved on each connection that is told: sent, received.
    pub positions: HashMap<ConnectionId, [u64; 2]>,
    /// Connections left out by settings or by the verdict on their process, by the process that opened them.
    pub filtered: HashMap<Pid, u64>,
}

/// Walks the map of connections: two system calls for each.
pub(crate) fn take(connections: &MapHandle) -> Result<Census, Error> {
    let mut census = Census::default();
    for key in connections.keys() {
        let value = connections
            .lookup(&key, MapFlags::ANY)
            .map_err(|source| Error::Map {
                map: "connections",
                attempt: "read",
                source,
            })?;
        // It may have ended since.
        if let Some(value) = value.as_deref() {
            census.add(value);
        }
    }
    Ok(census)
}

impl Census {
    /// Adds a `struct connection`.
    fn add(&mut self, value: &[u8]) -> Option<()> {
        let long = |at: usize| Some(u64::from_ne_bytes(*value.get(at..)?.first_chunk()?));
        let position = offset_of!(kernel::connection, position);
        match u32::from(*value.get(offset_of!(kernel::connection, state))?) {
            state if state == kernel::connection_state::CONNECTION_OPENED.0 => {
                let id = ConnectionId(long(offset_of!(kernel::connection, id))?);
                let egress = kernel::direction::DIRECTION_EGRESS.0 as usize;
                let ingress = kernel::direction::DIRECTION_INGRESS.0 as usize;
                let at = |direction: usize| long(position + direction * size_of::<u64>());
                self.positions.insert(id, [at(egress)?, at(ingress)?]);
            }
            state if state == kernel::connection_state::CONNECTION_FILTERED.0 => {
                let pid = value.get(offset_of!(kernel::connection, pid)..)?.first_chunk()?;
                *self.filtered.entry(Pid(u32::from_ne_bytes(*pid))).or_default() += 1;
            }
            _ => {}
        }
        Some(())
    }
}
