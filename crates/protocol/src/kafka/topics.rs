//! Names of topics by their ids (P-K4). Ids are random and never used twice, so those of all clusters fit in one place.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, LazyLock, PoisonError, RwLock, RwLockReadGuard};

/// Names kept; the oldest make room.
const NAMES: usize = 10_000;
/// Ids kept whose names never came; the oldest make room.
const VAIN: usize = 10_000;

/// Id of a topic. All zeros is none.
pub(super) type Id = [u8; 16];

/// What a message calls a topic. An id is given its name when the command is told, which may be known by then.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Topic {
    Named(Arc<str>),
    Id(Id),
}

impl Topic {
    /// Its id, if it has no name of its own.
    pub(super) const fn id(&self) -> Option<Id> {
        match self {
            Self::Named(_) => None,
            Self::Id(id) => Some(*id),
        }
    }
}

/// Names that brokers told on any connection. Read once for each request and reply, written when a topic is seen first.
#[derive(Debug, Default)]
pub struct Topics {
    known: RwLock<Known>,
}

#[derive(Debug, Default)]
struct Known {
    names: BTreeMap<Id, Arc<str>>,
    order: VecDeque<Id>,
    /// Ids whose names were waited for and did not come.
    vain: BTreeSet<Id>,
    vain_order: VecDeque<Id>,
}

/// The names of a moment. Nothing is learnt while it is kept.
pub(super) struct Names<'a>(RwLockReadGuard<'a, Known>);

impl Names<'_> {
    /// The name of an id, if it is known.
    pub(super) fn name(&self, id: Id) -> Option<&Arc<str>> {
        self.0.names.get(&id)
    }

    /// The name of a topic, else its id as Kafka's own tools write it.
    pub(super) fn shown(&self, topic: &Topic) -> Arc<str> {
        match topic {
            Topic::Named(name) => Arc::clone(name),
            Topic::Id(id) => self.name(*id).cloned().unwrap_or_else(|| written(*id).into()),
        }
    }

    /// Whether both are the same, as far as names are known.
    pub(super) fn are_same(&self, one: Option<&Topic>, other: Option<&Topic>) -> bool {
        match (one, other) {
            (Some(Topic::Named(name)), Some(Topic::Id(id)))
            | (Some(Topic::Id(id)), Some(Topic::Named(name))) => self.name(*id) == Some(name),
            _ => one == other,
        }
    }

    /// Whether a name is missing that may still come.
    pub(super) fn awaits(&self, id: Id) -> bool {
        self.name(id).is_none() && !self.0.vain.contains(&id)
    }
}

impl Topics {
    /// Those of the whole process.
    pub(super) fn shared() -> Arc<Self> {
        static SHARED: LazyLock<Arc<Topics>> = LazyLock::new(Arc::default);
        Arc::clone(&SHARED)
    }

    pub(super) fn names(&self) -> Names<'_> {
        Names(self.known.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn learn(&self, id: Id, name: &Arc<str>) {
        if self.names().name(id) == Some(name) {
            return;
        }
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.vain.remove(&id);
        if known.names.insert(id, Arc::clone(name)).is_none() {
            known.order.push_back(id);
        }
        if known.order.len() > NAMES
            && let Some(oldest) = known.order.pop_front()
        {
            known.names.remove(&oldest);
        }
    }

    /// The names of these were waited for long enough. Nobody waits for them again, unless they are learnt and forgotten in between.
    pub(super) fn give_up(&self, ids: &[Id]) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        for id in ids {
            if !known.names.contains_key(id) && known.vain.insert(*id) {
                known.vain_order.push_back(*id);
            }
            if known.vain_order.len() > VAIN
                && let Some(oldest) = known.vain_order.pop_front()
            {
                known.vain.remove(&oldest);
            }
        }
    }
}

/// An id as Kafka's own tools write it: base64 for URLs, without padding.
pub(super) fn written(id: Id) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let number = u128::from_be_bytes(id);
    (0..22_u32)
        .map(|place| {
            // 128 bits and 4 of nothing.
            let bits = match 122_u32.checked_sub(6 * place) {
                Some(shift) => number >> shift,
                None => number << 4,
            };
            let letter = usize::try_from(bits & 63)
                .ok()
                .and_then(|index| LETTERS.get(index));
            char::from(letter.copied().unwrap_or(b'?'))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_written_as_kafka_does() {
        // As `kafka-topics.sh --describe` writes it: base64.urlsafe_b64encode of the bytes without "==".
        assert_eq!(written([0; 16]), "A".repeat(22));
        assert_eq!(written([0xff; 16]), format!("{}w", "_".repeat(21)));
        let mut id = [0; 16];
        for (place, byte) in id.iter_mut().zip(1..) {
            *place = byte;
        }
        assert_eq!(written(id), "AQIDBAUGBwgJCgsMDQ4PEA");
    }

    #[test]
    fn the_oldest_names_make_room() {
        let topics = Topics::default();
        let id = |number: usize| (number as u128 + 1).to_be_bytes();
        for number in 0..=NAMES {
            topics.learn(id(number), &Arc::from("t"));
        }
        let names = topics.names();
        assert!(names.name(id(0)).is_none() && names.name(id(NAMES)).is_some());
    }

    #[test]
    fn what_was_waited_for_in_vain_is_not_waited_for_again_until_it_is_learnt() {
        let topics = Topics::default();
        let id = |number: usize| (number as u128 + 1).to_be_bytes();
        assert!(topics.names().awaits(id(0)));
        topics.give_up(&[id(0)]);
        assert!(!topics.names().awaits(id(0)));
        topics.learn(id(0), &Arc::from("t"));
        topics.give_up(&[id(0)]);
        assert!(!topics.names().awaits(id(0)) && topics.known.read().unwrap().vain.is_empty());
        for number in 1..=NAMES {
            topics.learn(id(number), &Arc::from("t"));
        }
        assert!(topics.names().awaits(id(0)), "it was learnt and is forgotten");
    }

    #[test]
    fn the_oldest_of_those_that_never_came_make_room() {
        let topics = Topics::default();
        let ids: Vec<_> = (0..=VAIN)
            .map(|number| (number as u128 + 1).to_be_bytes())
            .collect();
        topics.give_up(&ids);
        assert!(topics.names().awaits(ids[0]) && !topics.names().awaits(ids[VAIN]));
        assert_eq!(topics.known.read().unwrap().vain.len(), VAIN);
    }
}
