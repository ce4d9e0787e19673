//! Names of topics by their ids (P-K4). Ids are random and never used twice, so those of all clusters fit in one place.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, LazyLock, PoisonError, RwLock};

/// Names kept; the oldest make room.
const NAMES: usize = 10_000;

/// Id of a topic. All zeros is none.
pub(super) type Id = [u8; 16];

/// Names that brokers told on any connection. Read once for each topic of a fetch, written when a topic is seen first.
#[derive(Debug, Default)]
pub struct Topics {
    known: RwLock<Known>,
}

#[derive(Debug, Default)]
struct Known {
    names: BTreeMap<Id, Arc<str>>,
    order: VecDeque<Id>,
}

impl Topics {
    /// Those of the whole process.
    pub(super) fn shared() -> Arc<Self> {
        static SHARED: LazyLock<Arc<Topics>> = LazyLock::new(Arc::default);
        Arc::clone(&SHARED)
    }

    pub(super) fn name(&self, id: Id) -> Option<Arc<str>> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.names.get(&id).cloned()
    }

    pub(super) fn learn(&self, id: Id, name: &Arc<str>) {
        if self.name(id).as_ref() == Some(name) {
            return;
        }
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if known.names.insert(id, Arc::clone(name)).is_none() {
            known.order.push_back(id);
        }
        if known.order.len() > NAMES
            && let Some(oldest) = known.order.pop_front()
        {
            known.names.remove(&oldest);
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
        assert!(topics.name(id(0)).is_none() && topics.name(id(NAMES)).is_some());
    }
}
