//! The order in which a worker works off what waits.
//!
//! Records of many connections come mixed, and what is kept of a connection is out of the processor's caches when its next record comes.
//! Connections are independent of each other, so all that waits of one is worked off together.

use std::collections::hash_map::Entry;

use qtap_capture::{ConnectionId, Event};

use crate::hash::HashMap;

/// Puts the data of each connection together, in the order in which the connections first come. The events of one connection keep their order, and all
/// events keep theirs to those that are no data: a secret, an end or a new process is of no connection alone.
#[derive(Default)]
pub(crate) struct Arrange {
    /// By connection: the last of its events that was seen. Empty between two calls.
    last: HashMap<ConnectionId, usize>,
    /// By event: the next one of its connection, or itself. Empty between two calls.
    next: Vec<Link>,
}

struct Link {
    next: usize,
    /// An earlier event leads here.
    follows: bool,
}

impl Arrange {
    /// Calls `each` with all `events` in their new order.
    pub(crate) fn arrange(&mut self, events: Vec<Event>, mut each: impl FnMut(Event)) {
        self.link(&events);
        let mut events: Vec<_> = events.into_iter().map(Some).collect();
        for first in 0..events.len() {
            let mut at = first;
            if self.next.get(first).is_some_and(|link| link.follows) {
                continue;
            }
            while let Some(event) = events.get_mut(at).and_then(Option::take) {
                each(event);
                at = self.next.get(at).map_or(at, |link| link.next);
            }
        }
        self.next.clear();
    }

    fn link(&mut self, events: &[Event]) {
        for (at, event) in events.iter().enumerate() {
            let mut follows = false;
            match event {
                Event::Data(data) => match self.last.entry(data.id) {
                    Entry::Occupied(mut last) => {
                        let former = last.insert(at);
                        if let Some(link) = self.next.get_mut(former) {
                            link.next = at;
                        }
                        follows = true;
                    }
                    Entry::Vacant(place) => {
                        place.insert(at);
                    }
                },
                _ => self.last.clear(),
            }
            self.next.push(Link { next: at, follows });
        }
        self.last.clear();
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use qtap_capture::{Data, Direction, KernelTime, Layer, Pid};

    use super::*;
    use crate::queue::tests::numbered;

    fn data(id: u64, position: u64) -> Event {
        Event::Data(Data {
            id: ConnectionId(id),
            time: KernelTime(position),
            pid: Pid(1),
            tid: 1,
            direction: Direction::Egress,
            layer: Layer::Socket,
            position,
            bytes: Bytes::from_static(b"x"),
            missing: None,
            call_start: true,
            other_settled: 0,
            session: None,
        })
    }

    fn arranged(arrange: &mut Arrange, events: Vec<Event>) -> Vec<Event> {
        let mut arranged = Vec::new();
        arrange.arrange(events, |event| arranged.push(event));
        arranged
    }

    #[test]
    fn data_of_a_connection_comes_together_and_in_order_but_not_past_other_events() {
        let mut arrange = Arrange::default();
        let events = vec![
            data(1, 0),
            data(2, 1),
            data(1, 2),
            data(3, 3),
            data(2, 4),
            data(1, 5),
            numbered(9),
            data(2, 6),
            data(1, 7),
            data(2, 8),
        ];
        let expected = vec![
            data(1, 0),
            data(1, 2),
            data(1, 5),
            data(2, 1),
            data(2, 4),
            data(3, 3),
            numbered(9),
            data(2, 6),
            data(2, 8),
            data(1, 7),
        ];
        assert_eq!(arranged(&mut arrange, events.clone()), expected);
        assert_eq!(
            arranged(&mut arrange, events),
            expected,
            "nothing is left of the first"
        );
        assert_eq!(arranged(&mut arrange, Vec::new()), Vec::new());
    }

    proptest::proptest! {
        #[test]
        fn every_event_comes_once_and_none_passes_one_of_its_connection_or_a_barrier(kinds in proptest::collection::vec(0..6_u64, 0..200)) {
            let events: Vec<_> = (0..).zip(&kinds).map(|(at, kind)| match kind {
                0 => numbered(at),
                id => data(*id, u64::from(at)),
            }).collect();
            let arranged = arranged(&mut Arrange::default(), events.clone());
            let of = |events: &[Event], id: u64| -> Vec<Event> {
                let wanted = |event: &&Event| match event {
                    Event::Data(data) => data.id.0 == id,
                    _ => true,
                };
                events.iter().filter(wanted).cloned().collect()
            };
            proptest::prop_assert_eq!(arranged.len(), events.len());
            for id in 1..6 {
                proptest::prop_assert_eq!(of(&arranged, id), of(&events, id));
            }
        }
    }
}
