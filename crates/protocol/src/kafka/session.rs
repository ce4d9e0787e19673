//! Sessions of fetches: a broker remembers the partitions, and later requests name only what changes.

use std::collections::BTreeSet;

use super::facts::{Facts, KEPT};
use super::lane::Head;
use super::pending::Pending;
use super::schema::{Api, FETCH};
use super::topics::{Topic, Topics};

/// Partitions kept of a session.
const PARTITIONS: usize = 1024;
/// `FETCH_SESSION_ID_NOT_FOUND` and `INVALID_FETCH_SESSION_EPOCH`
const GONE: [i16; 2] = [70, 71];

/// Topics of a request.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) topics: Vec<Topic>,
    /// They are told in the order of their names.
    pub(super) are_sorted: bool,
}

impl From<Vec<Topic>> for Asked {
    fn from(topics: Vec<Topic>) -> Self {
        Self {
            topics,
            are_sorted: false,
        }
    }
}

/// The session of one connection; a consumer has one with each broker.
#[derive(Debug, Default)]
pub(super) struct FetchSession {
    /// 0 for none.
    id: i64,
    partitions: BTreeSet<(Topic, i32)>,
}

impl FetchSession {
    /// A request was sent: its topics, for a fetch those of the session, by the names that are in `known`.
    pub(super) fn ask(&mut self, head: &Head, facts: &mut Facts, known: &Topics) -> Asked {
        if head.key != FETCH {
            facts.fetched.clear();
            return std::mem::take(&mut facts.topics).into();
        }
        let is_of_session = self.id != 0 && facts.session == Some(self.id);
        match facts.epoch {
            Some(epoch) if epoch > 0 => {
                let fetched = std::mem::take(&mut facts.fetched);
                if !is_of_session {
                    return topics(fetched.iter()).into();
                }
                let room = PARTITIONS.saturating_sub(self.partitions.len());
                self.partitions.extend(fetched.into_iter().take(room));
                for gone in &facts.forgotten {
                    self.partitions.remove(gone);
                }
                self.topics(known)
            }
            epoch => {
                if epoch == Some(-1) && is_of_session {
                    *self = Self::default();
                }
                let found = topics(facts.fetched.iter());
                if epoch != Some(0) {
                    facts.fetched.clear();
                }
                found.into()
            }
        }
    }

    fn topics(&self, known: &Topics) -> Asked {
        let mut found: Vec<Topic> = Vec::new();
        for (topic, _) in &self.partitions {
            if found.last() != Some(topic) {
                found.push(topic.clone());
            }
        }
        if found.len() > KEPT {
            let names = known.names();
            found.sort_by_cached_key(|topic| names.shown(topic));
            found.truncate(KEPT);
        }
        Asked {
            topics: found,
            are_sorted: true,
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

fn topics<'a>(partitions: impl Iterator<Item = &'a (Topic, i32)>) -> Vec<Topic> {
    let mut found: Vec<Topic> = Vec::new();
    for (topic, _) in partitions {
        if found.len() < KEPT && !found.contains(topic) {
            found.push(topic.clone());
        }
    }
    found
}
