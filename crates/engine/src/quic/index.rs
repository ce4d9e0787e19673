//! Which connections a packet may be of, by its socket and the connection ID it is sent to.

use qtap_protocol::Side;

use super::Number;
use crate::hash::HashMap;

/// Longest connection ID (RFC 9000 §17.2).
const CID_BYTES: usize = 20;
/// Connections a packet is tried on, the newest first: on a server's socket all clients without a number of their own are alike.
const TRIALS: usize = 32;

/// A connection ID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Cid {
    length: u8,
    bytes: [u8; CID_BYTES],
}

impl Cid {
    /// `None` if it is too long.
    pub(super) fn of(id: &[u8]) -> Option<Self> {
        let mut bytes = [0; CID_BYTES];
        bytes.get_mut(..id.len())?.copy_from_slice(id);
        let length = u8::try_from(id.len()).ok()?;
        Some(Self { length, bytes })
    }
}

/// A socket, and what packets that a side sends are addressed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) socket: u64,
    /// Who sends them.
    pub(super) side: Side,
    pub(super) destination: Cid,
}

/// Connections by key.
#[derive(Debug, Default)]
pub(super) struct Index {
    entries: HashMap<Key, Vec<Number>>,
}

impl Index {
    /// False: it was there already.
    pub(super) fn add(&mut self, key: Key, number: Number) -> bool {
        let numbers = self.entries.entry(key).or_default();
        if numbers.contains(&number) {
            return false;
        }
        numbers.push(number);
        true
    }

    pub(super) fn remove(&mut self, key: &Key, number: Number) {
        if let Some(numbers) = self.entries.get_mut(key) {
            numbers.retain(|&other| other != number);
            if numbers.is_empty() {
                self.entries.remove(key);
            }
        }
    }

    /// The candidates, the newest first.
    pub(super) fn of(&self, key: &Key) -> Vec<Number> {
        let numbers = self.entries.get(key).map(Vec::as_slice).unwrap_or_default();
        numbers.iter().rev().take(TRIALS).copied().collect()
    }
}
