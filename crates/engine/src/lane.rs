//! The queue in front of one worker.

use std::collections::hash_map::Entry;

use bytes::Bytes;
use qtap_capture::{ConnectionId, Data, Direction, Event, KernelTime, Layer, Loss};

use crate::Stats;
use crate::crew::Helper;
use crate::hash::HashMap;
use crate::pace::{Backlog, Pace, Shown};
use crate::queue::Inlet;

/// Events in the queue of one worker.
const QUEUE_EVENTS: usize = 1 << 16;
/// Part of it that data may fill, so that opens, closes and secrets still find room.
const QUEUE_DATA_EVENTS: usize = QUEUE_EVENTS - (1 << 13);
/// Once data found no room, none is taken until the queue is down to this: what is lost then lies together, some messages whole,
/// where taking a record whenever there is room for one would damage nearly all of them.
const QUEUE_LOW_EVENTS: usize = QUEUE_DATA_EVENTS * 3 / 4;
/// Events up to which a queue takes another batch of the reader, which is at most 1 MiB of small records.
const QUEUE_COMFORTABLE: usize = QUEUE_DATA_EVENTS / 2;
/// Streams whose holes are remembered. Of more, the holes show by their positions, and are taken for losses of the ring.
const HOLES: usize = 8192;

/// How far room is used that is not one lane's: 0 is none, 1 all of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Beyond {
    /// Of the bytes that may wait in all queues before the reader leaves events in the ring.
    pub(crate) bytes: f64,
    /// Of that ring.
    pub(crate) ring: f64,
}

/// A worker, seen from the thread that feeds it.
pub(crate) struct Lane {
    queue: Inlet,
    pace: Option<Pace>,
    /// Of those that the first thread serves unless they need their own.
    helper: Option<Helper>,
    /// Events that were put into the queue so far.
    sent: u64,
    shown: Shown,
    /// Data is dropped until there is ample room again.
    shedding: bool,
    /// What was dropped of each stream and not told yet.
    holes: HashMap<(ConnectionId, Layer, Direction), Hole>,
}

/// Dropped bytes, from `record.position` to `end`, and what was lost between them before.
struct Hole {
    /// The first record dropped, without its bytes.
    record: Data,
    end: u64,
    /// Bytes that were there and were dropped.
    dropped: u64,
}

impl Hole {
    /// Sends what is missing as records that say so: as many bytes as were dropped, then the rest. Which of them lay where is of
    /// no use to anybody, how many they were for which reason is.
    fn tell(self, mut send: impl FnMut(Event)) {
        let mut record = self.record;
        let dropped_end = self.end.min(record.position + self.dropped);
        for (end, loss) in [(dropped_end, Loss::QueueFull), (self.end, Loss::RingFull)] {
            while record.position < end {
                let length = u32::try_from(end - record.position).unwrap_or(u32::MAX);
                record.missing = Some((length, loss));
                send(Event::Data(record.clone()));
                record.position += u64::from(length);
            }
        }
    }
}

impl Lane {
    pub(crate) fn new(queue: Inlet, pace: Option<Pace>, helper: Option<Helper>) -> Self {
        Self {
            queue,
            pace,
            helper,
            sent: 0,
            shown: Shown::default(),
            shedding: false,
            holes: HashMap::default(),
        }
    }

    /// Whether data finds room, which the worker learns what it missed first. `over`: it does not for the bytes that wait in
    /// all queues.
    pub(crate) fn takes_data(&mut self, over: bool, stats: &Stats) -> bool {
        let limit = if self.shedding {
            QUEUE_LOW_EVENTS
        } else {
            QUEUE_DATA_EVENTS
        };
        self.shedding = over || self.queue.len() >= limit;
        if !self.shedding && !self.holes.is_empty() {
            self.tell_holes(stats);
        }
        !self.shedding
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Gives its worker the thread and the priority it needs; `true` when that was raised.
    pub(crate) fn pace(&mut self, now: KernelTime, beyond: Beyond) -> bool {
        let length = self.queue.len();
        let worked_off = self.sent - length as u64;
        let backlog = Backlog {
            waited: self.shown.waited(worked_off, now),
            filled: match length {
                0 => 0.0,
                _ => {
                    (length as f64 / QUEUE_COMFORTABLE as f64)
                        .max(beyond.bytes)
                        .min(1.0)
                        + beyond.ring
                }
            },
        };
        if let Some(helper) = &mut self.helper {
            helper.judge(backlog, now);
        }
        self.pace.as_mut().is_some_and(|pace| pace.set(backlog))
    }

    /// Its worker is to end soon.
    pub(crate) fn hurry(&mut self) {
        if let Some(pace) = &mut self.pace {
            pace.hurry();
        }
    }

    /// Whether it takes another batch.
    pub(crate) fn is_comfortable(&self) -> bool {
        self.queue.len() < QUEUE_COMFORTABLE
    }

    /// Remembers a hole where `data` was. Its bytes are counted by the caller.
    pub(crate) fn drop_data(&mut self, data: &Data) {
        let missing = data.missing.map_or(0, |(length, _)| u64::from(length));
        let end = data.position + data.bytes.len() as u64 + missing;
        let is_full = self.holes.len() >= HOLES;
        match self.holes.entry((data.id, data.layer, data.direction)) {
            Entry::Occupied(mut hole) => {
                let hole = hole.get_mut();
                hole.end = hole.end.max(end);
                hole.dropped += data.bytes.len() as u64;
            }
            Entry::Vacant(_) if is_full => {}
            Entry::Vacant(place) => {
                let record = Data {
                    bytes: Bytes::new(),
                    ..data.clone()
                };
                let dropped = data.bytes.len() as u64;
                place.insert(Hole { record, end, dropped });
            }
        }
    }

    /// Tells the worker of every hole.
    pub(crate) fn tell_holes(&mut self, stats: &Stats) {
        let holes = std::mem::take(&mut self.holes);
        for hole in holes.into_values() {
            hole.tell(|event| self.send(event, stats));
        }
    }

    /// Tells it of those of one connection, which ends.
    pub(crate) fn tell_holes_of(&mut self, id: ConnectionId, stats: &Stats) {
        if self.holes.is_empty() {
            return;
        }
        for layer in [Layer::Socket, Layer::KernelTls, Layer::Calls] {
            for direction in [Direction::Egress, Direction::Ingress] {
                if let Some(hole) = self.holes.remove(&(id, layer, direction)) {
                    hole.tell(|event| self.send(event, stats));
                }
            }
        }
    }

    /// Puts `event` into the queue, where the worker sees it with the next [`Self::flush`] at the latest. Bounds the queue.
    pub(crate) fn send(&mut self, event: Event, stats: &Stats) {
        // Nobody else fills it.
        if self.queue.len() >= QUEUE_EVENTS || self.queue.push(event).is_err() {
            stats.lost_control.add(1);
        } else {
            self.sent += 1;
        }
    }

    /// Shows the worker all that was sent.
    pub(crate) fn flush(&mut self, now: KernelTime) {
        self.queue.flush();
        self.shown.show(self.sent, now);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use qtap_capture::Pid;

    use super::*;
    use crate::queue::{Outlet, queue};

    fn data(position: u64, direction: Direction) -> Data {
        Data {
            id: ConnectionId(7),
            time: KernelTime(position),
            pid: Pid(1),
            tid: 1,
            direction,
            layer: Layer::Socket,
            position,
            bytes: Bytes::from_static(b"0123456789"),
            missing: None,
            call_start: true,
            other_settled: 0,
            session: None,
        }
    }

    /// As the engine hands on data.
    fn hand_on(lane: &mut Lane, data: Data, over: bool, stats: &Stats) {
        if lane.takes_data(over, stats) {
            lane.send(Event::Data(data), stats);
        } else {
            lane.drop_data(&data);
        }
    }

    /// Direction, position, bytes there and bytes missing of a record.
    type Told = (Direction, u64, usize, Option<(u32, Loss)>);

    /// Works off all that was sent.
    fn told(lane: &mut Lane, events: &Outlet) -> Vec<Told> {
        lane.flush(KernelTime(0));
        let batches = std::iter::from_fn(|| take(events));
        let told = batches.flatten().filter_map(|event| match event {
            Event::Data(data) => Some((data.direction, data.position, data.bytes.len(), data.missing)),
            _ => None,
        });
        told.collect()
    }

    /// Works off one batch.
    fn take(events: &Outlet) -> Option<Vec<Event>> {
        let batch = events.take().ok()?;
        events.worked_off(batch.len());
        Some(batch)
    }

    #[test]
    fn a_worker_is_told_what_it_missed_before_what_follows() {
        let stats = Arc::new(Stats::default());
        let (queue, events) = queue(&stats);
        let mut lane = Lane::new(queue, None, None);
        for (position, over) in [(0, false), (10, true), (20, true), (30, false)] {
            hand_on(&mut lane, data(position, Direction::Egress), over, &stats);
        }
        assert_eq!(
            told(&mut lane, &events),
            [
                (Direction::Egress, 0, 10, None),
                (Direction::Egress, 10, 0, Some((20, Loss::QueueFull))),
                (Direction::Egress, 30, 10, None),
            ]
        );
    }

    #[test]
    fn what_the_ring_lost_between_dropped_records_is_not_laid_to_the_queue() {
        let stats = Arc::new(Stats::default());
        let (queue, events) = queue(&stats);
        let mut lane = Lane::new(queue, None, None);
        for (position, over) in [(0, true), (500, true), (510, false)] {
            hand_on(&mut lane, data(position, Direction::Egress), over, &stats);
        }
        assert_eq!(
            told(&mut lane, &events),
            [
                (Direction::Egress, 0, 0, Some((20, Loss::QueueFull))),
                (Direction::Egress, 20, 0, Some((490, Loss::RingFull))),
                (Direction::Egress, 510, 10, None),
            ]
        );
    }

    #[test]
    fn a_connection_that_ends_is_told_its_holes_first_and_others_keep_theirs() {
        let stats = Arc::new(Stats::default());
        let (queue, events) = queue(&stats);
        let mut lane = Lane::new(queue, None, None);
        hand_on(&mut lane, data(0, Direction::Ingress), true, &stats);
        let other = Data {
            id: ConnectionId(8),
            ..data(5, Direction::Egress)
        };
        hand_on(&mut lane, other, true, &stats);
        lane.tell_holes_of(ConnectionId(7), &stats);
        assert_eq!(
            told(&mut lane, &events),
            [(Direction::Ingress, 0, 0, Some((10, Loss::QueueFull)))]
        );
        lane.tell_holes(&stats);
        assert_eq!(
            told(&mut lane, &events),
            [(Direction::Egress, 5, 0, Some((10, Loss::QueueFull)))]
        );
    }

    #[test]
    fn data_is_shed_until_there_is_ample_room() {
        let stats = Arc::new(Stats::default());
        let (queue, events) = queue(&stats);
        let mut lane = Lane::new(queue, None, None);
        for position in 0..=QUEUE_DATA_EVENTS as u64 {
            hand_on(&mut lane, data(position * 10, Direction::Egress), false, &stats);
        }
        lane.flush(KernelTime(0));
        assert_eq!(lane.queue.len(), QUEUE_DATA_EVENTS);
        assert!(!lane.takes_data(false, &stats) && take(&events).is_some());
        assert!(!lane.takes_data(false, &stats), "one batch is not ample room");
        while lane.queue.len() >= QUEUE_LOW_EVENTS {
            assert!(take(&events).is_some());
        }
        assert!(lane.takes_data(false, &stats));
        let last = told(&mut lane, &events).pop();
        let end = QUEUE_DATA_EVENTS as u64 * 10;
        assert_eq!(
            last,
            Some((Direction::Egress, end, 0, Some((10, Loss::QueueFull))))
        );
    }
}
