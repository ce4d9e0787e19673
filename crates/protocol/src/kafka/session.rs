//! Sessions of fetches: a broker remembers the partitions, and later requests name only what changes.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::facts::{Facts, KEPT};
use super::lane::Head;
use super::pending::Pending;
use super::schema::{Api, FETCH};

/// Partitions kept of a session.
const PARTITIONS: usize = 1024;
/// `FETCH_SESSION_ID_NOT_FOUND` and `INVALID_FETCH_SESSION_EPOCH`
const GONE: [i16; 2] = [70, 71];

/// The session of one connection; a consumer has one with each broker.
#[derive(Debug, Default)]
pub(super) struct FetchSession {
    /// 0 for none.
    id: i64,
    partitions: BTreeSet<(Arc<str>, i32)>,
}

impl FetchSession {
    /// A request was sent: its topics, for a fetch those of the session.
    pub(super) fn ask(&mut self, head: &Head, facts: &mut Facts) -> Vec<Arc<str>> {
        if head.key != FETCH {
            facts.fetched.clear();
            return std::mem::take(&mut facts.topics);
        }
        let is_of_session = self.id != 0 && facts.session == Some(self.id);
        match facts.epoch {
            Some(epoch) if epoch > 0 => {
                let fetched = std::mem::take(&mut facts.fetched);
                if !is_of_session {
                    return topics(fetched.iter());
                }
                let room = PARTITIONS.saturating_sub(self.partitions.len());
                self.partitions.extend(fetched.into_iter().take(room));
                for gone in &facts.forgotten {
                    self.partitions.remove(gone);
                }
                topics(self.partitions.iter())
            }
            epoch => {
                if epoch == Some(-1) && is_of_session {
                    *self = Self::default();
                }
                let found = topics(facts.fetched.iter());
                if epoch != Some(0) {
                    facts.fetched.clear();
                }
                found
            }
        }
    }

    /// A reply was read.
    pub(super) fn tell(&mut self, api: &Api, pending: &mut Pending, facts: &Facts) {
        if api.key != FETCH {
            return;
        }
        if GONE.contains(&facts.whole.error) {
            *self = Self::default();
        }
        let fetched = std::mem::take(&mut pending.sent.fetched);
        if let (Some(id), false) = (facts.session.filter(|id| *id != 0), fetched.is_empty()) {
            self.id = id;
            self.partitions = fetched.into_iter().take(PARTITIONS).collect();
        }
    }
}

fn topics<'a>(partitions: impl Iterator<Item = &'a (Arc<str>, i32)>) -> Vec<Arc<str>> {
    let mut found: Vec<Arc<str>> = Vec::new();
    for (topic, _) in partitions {
        if found.len() < KEPT && !found.contains(topic) {
            found.push(Arc::clone(topic));
        }
    }
    found
}
