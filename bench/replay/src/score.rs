//! A recording made endless: several replicas of it, shifted against each other, lap after lap, each with connections of its own.

use bytes::BytesMut;
use qtap_capture::{ConnectionId, Event, KernelTime};

use crate::record::time_of;
use crate::recording::Recording;

/// What the ring reader copies payload into, and so do we: the copy is part of the cost.
const ARENA: usize = 64 * 1024;
/// Time between two laps: the last connection's end is worked off before its successors begin.
const PAUSE_NS: u64 = 1_000_000;

/// One event of one replica.
struct Note {
    event: Event,
    /// Time in the lap.
    at: u64,
    replica: u64,
    /// It belongs to what began in the former lap.
    carried: bool,
}

/// All replicas of a recording, in the order of time.
pub(crate) struct Score {
    notes: Vec<Note>,
    replicas: u64,
    connections: u64,
    /// Length of a lap.
    period: u64,
    arena: BytesMut,
}

impl Score {
    /// `replicas` of `recording`, evenly shifted.
    pub(crate) fn new(recording: &Recording, replicas: u64) -> Self {
        let times = || recording.events.iter().map(|event| time_of(event).0);
        let period = times().max().unwrap_or_default() + PAUSE_NS;
        let connections = (recording.events.iter())
            .filter(|event| matches!(event, Event::Opened(_)))
            .count() as u64;
        let mut notes = Vec::new();
        for replica in 0..replicas {
            let shift = period / replicas * replica;
            // The order of the file holds within a connection; times of different CPUs may differ from it a little.
            let mut reached = 0;
            for event in &recording.events {
                reached = reached.max(time_of(event).0);
                let at = reached + shift;
                notes.push(Note {
                    event: event.clone(),
                    at: at % period,
                    replica,
                    carried: at >= period,
                });
            }
        }
        notes.sort_by_key(|note| note.at);
        Self {
            notes,
            replicas,
            connections,
            period,
            arena: BytesMut::new(),
        }
    }

    /// Plays one lap from `start` on. The first one has nothing to carry over from before, the last begins nothing new.
    pub(crate) fn lap(
        &mut self,
        start: KernelTime,
        lap: u64,
        is_last: bool,
        mut sink: impl FnMut(Event, KernelTime),
    ) {
        let Self {
            notes,
            replicas,
            connections,
            arena,
            ..
        } = self;
        for note in notes.iter() {
            if (is_last && !note.carried) || (lap == 0 && note.carried) {
                continue;
            }
            let lap = lap - u64::from(note.carried);
            let first_id = (lap * *replicas + note.replica) * *connections;
            let now = KernelTime(start.0 + note.at);
            sink(played(&note.event, first_id, now, arena), now);
        }
    }

    /// Nanoseconds of a lap.
    pub(crate) const fn period(&self) -> u64 {
        self.period
    }
}

/// The event as the reader would hand it out.
fn played(event: &Event, first_id: u64, now: KernelTime, arena: &mut BytesMut) -> Event {
    let fresh = |id: ConnectionId| ConnectionId(first_id + id.0);
    let mut event = event.clone();
    match &mut event {
        Event::Opened(opened) => (opened.id, opened.time) = (fresh(opened.id), now),
        Event::Closed(closed) => (closed.id, closed.time) = (fresh(closed.id), now),
        Event::Secret(secret) => (secret.connection, secret.time) = (secret.connection.map(fresh), now),
        Event::Data(data) => {
            (data.id, data.time) = (fresh(data.id), now);
            if arena.capacity() - arena.len() < data.bytes.len() {
                *arena = BytesMut::with_capacity(ARENA.max(data.bytes.len()));
            }
            arena.extend_from_slice(&data.bytes);
            data.bytes = arena.split().freeze();
        }
        _ => {}
    }
    event
}
