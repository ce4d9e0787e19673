//! What a connection is subscribed to, as far as it decides how many confirmations come.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use super::commands::Channels;

/// Channels remembered of each kind. With more, a bare `UNSUBSCRIBE` ends early, and its further confirmations count as messages.
const CHANNELS: usize = 4096;

/// The subscriptions of one connection.
#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    names: [HashSet<u64>; 3],
    /// How many the server said there are.
    told: u64,
    are_forgotten: bool,
}

impl Subscriptions {
    /// Whether there are any.
    pub(super) fn any(&self) -> bool {
        self.told > 0 || self.names.iter().any(|names| !names.is_empty())
    }

    /// Whether there were more than are remembered.
    pub(super) const fn are_forgotten(&self) -> bool {
        self.are_forgotten
    }

    /// A confirmation: returns how many subscriptions of this kind remain.
    pub(super) fn confirm(
        &mut self,
        channels: Channels,
        begins: bool,
        name: &[u8],
        told: Option<u64>,
    ) -> u64 {
        if let Some(told) = told {
            self.told = told;
        }
        let mut hasher = DefaultHasher::new();
        name.hash(&mut hasher);
        let hash = hasher.finish();
        let Some(names) = self.names.get_mut(channels.index()) else {
            return 0;
        };
        if !begins {
            names.remove(&hash);
        } else if names.len() < CHANNELS {
            names.insert(hash);
        } else {
            self.are_forgotten = true;
        }
        if self.told == 0 && !begins {
            names.clear();
        }
        names.len() as u64
    }
}
