//! The order in which a worker works off what waits.
//!
//! Records of many connections come mixed, and what is kept of a connection is out of the processor's caches when its next record comes.
//! Connections are independent of each other, so all that waits of one is worked off together; and of many, some are looked at before the first of them
//! is worked off, so that the processor waits for the memory of all of them at once and not one after the other.

use qtap_capture::{ConnectionId, Event};

use crate::hash::HashMap;

/// Connections that are looked at together.
const AHEAD: usize = 8;
/// Of so few nothing is out of the caches.
const FEW: usize = 32;

/// What is to be done next.
#[derive(Debug)]
pub(crate) enum Step<'a> {
    /// This will be worked off soon.
    Ahead(&'a Event),
    /// Its turn has come.
    WorkOff(Event),
}

/// Puts the data of each connection together, in the order in which the connections first come. The events of one connection keep their order, and all
/// events keep theirs to those that are no data: a secret, an end or a new process is of no connection alone.
#[derive(Default)]
pub(crate) struct Arrange {
    /// By connection: the last of its events that was seen. Empty between two calls.
    last: HashMap<ConnectionId, usize>,
    /// By event: the next one of its connection, or itself. Empty between two calls.
    next: Vec<usize>,
    /// Events that no earlier one leads to. Empty between two calls.
    firsts: Vec<usize>,
}

impl Arrange {
    /// Calls `each` with all `events` in their new order, and before that with some that come soon.
    pub(crate) fn arrange(&mut self, events: Vec<Event>, mut each: impl FnMut(Step<'_>)) {
        self.link(&events);
        let mut events: Vec<_> = events.into_iter().map(Some).collect();
        let are_many = self.firsts.len() > FEW;
        for together in self.firsts.chunks(AHEAD) {
            if are_many {
                let ahead = together.iter().filter_map(|first| events.get(*first)?.as_ref());
                ahead.for_each(|event| each(Step::Ahead(event)));
            }
            for first in together {
                let mut at = *first;
                while let Some(event) = events.get_mut(at).and_then(Option::take) {
                    each(Step::WorkOff(event));
                    at = self.next.get(at).copied().unwrap_or(at);
                }
            }
        }
        self.next.clear();
        self.firsts.clear();
    }

    fn link(&mut self, events: &[Event]) {
        for (at, event) in events.iter().enumerate() {
            let former = match event {
                Event::Data(data) => self.last.insert(data.id, at),
                _ => {
                    self.last.clear();
                    None
                }
            };
            match former.and_then(|former| self.next.get_mut(former)) {
                Some(next) => *next = at,
                None => self.firsts.push(at),
            }
            self.next.push(at);
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
        arrange.arrange(events, |step| {
            if let Step::WorkOff(event) = step {
                arranged.push(event);
            }
        });
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

    #[test]
    fn of_many_connections_each_is_looked_at_before_its_turn() {
        let id = |event: &Event| match event {
            Event::Data(data) => data.id.0,
            _ => 0,
        };
        for (connections, is_announced) in [(FEW as u64, false), (FEW as u64 + 5, true)] {
            let events = (0..3 * connections).map(|number| data(1 + number % connections, number));
            let (mut ahead, mut done) = (Vec::new(), Vec::new());
            Arrange::default().arrange(events.collect(), |step| match step {
                Step::Ahead(event) => {
                    assert!(!done.contains(&id(event)));
                    ahead.push(id(event));
                }
                Step::WorkOff(event) => {
                    assert_eq!(ahead.contains(&id(&event)), is_announced);
                    assert!(ahead.len() <= done.len() / 3 + AHEAD);
                    done.push(id(&event));
                }
            });
            let announced: Vec<_> = (1..=connections).filter(|_| is_announced).collect();
            assert_eq!((ahead, done.len() as u64), (announced, 3 * connections));
        }
    }
}
