//! The queue between the thread that reads the rings and a worker.
//!
//! Events travel in batches: a wake-up of the worker, which on a host that is not busy every event would cost, comes once for all that
//! a look at the rings found, and so do the atomic operations.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, Select, Sender, TryRecvError, unbounded};
use qtap_capture::Event;

use crate::Stats;

/// Events that travel together at most.
const BATCH: usize = 256;
/// Events that a worker takes at once, if so many wait: what it works off between two looks at the clock and at its timers. Many, so that what many
/// connections did at one time is there together.
const TOGETHER: usize = 2048;
/// Bytes of payload from where on it takes no further batch: they count as waiting until all that was taken is worked off.
const TOGETHER_BYTES: usize = 1 << 20;

/// Bytes of payload that wait with `event`.
pub(crate) fn payload(event: &Event) -> usize {
    match event {
        Event::Data(data) => data.bytes.len(),
        Event::Quic(quic) => quic.datagram.bytes.len(),
        _ => 0,
    }
}

/// An empty queue. Whoever fills it bounds it: a channel with a bound of its own takes the memory for all its places at once.
pub(crate) fn queue(stats: &Arc<Stats>) -> (Inlet, Outlet) {
    let (sender, batches) = unbounded();
    let waiting = Waiting {
        events: Arc::default(),
        stats: Arc::clone(stats),
    };
    let inlet = Inlet {
        batch: Vec::new(),
        batches: sender,
        waiting: waiting.clone(),
    };
    (inlet, Outlet { batches, waiting })
}

/// How many events were handed on and are not worked off yet.
#[derive(Clone)]
struct Waiting {
    events: Arc<AtomicUsize>,
    stats: Arc<Stats>,
}

impl Waiting {
    fn more(&self, events: usize) {
        self.events.fetch_add(events, Ordering::Relaxed);
        self.stats.queued.add(i64::try_from(events).unwrap_or(i64::MAX));
    }

    fn fewer(&self, events: usize) {
        self.events.fetch_sub(events, Ordering::Relaxed);
        self.stats.queued.add(-i64::try_from(events).unwrap_or(i64::MAX));
    }
}

/// The end that is filled.
pub(crate) struct Inlet {
    /// Not handed on yet.
    batch: Vec<Event>,
    batches: Sender<Vec<Event>>,
    waiting: Waiting,
}

impl Inlet {
    /// Puts `event` behind the others. The worker may not see it before [`Self::flush`]. Gives it back when the worker is gone.
    pub(crate) fn push(&mut self, event: Event) -> Result<(), Event> {
        if self.batch.capacity() == 0 {
            self.batch.reserve(BATCH);
        }
        self.batch.push(event);
        if self.batch.len() < BATCH || self.hand_on() {
            return Ok(());
        }
        self.batch.pop().map_or(Ok(()), Err)
    }

    /// Shows the worker everything that was put in. Without a worker it stays here.
    pub(crate) fn flush(&mut self) {
        if !self.batch.is_empty() {
            self.hand_on();
        }
    }

    fn hand_on(&mut self) -> bool {
        let batch = std::mem::take(&mut self.batch);
        let length = batch.len();
        // Counted first, so that the count never falls below nothing.
        self.waiting.more(length);
        match self.batches.send(batch) {
            Ok(()) => true,
            Err(refused) => {
                self.waiting.fewer(length);
                self.batch = refused.into_inner();
                false
            }
        }
    }

    /// Events that are not worked off.
    pub(crate) fn len(&self) -> usize {
        self.batch.len() + self.waiting.events.load(Ordering::Relaxed)
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The worker's end.
pub(crate) struct Outlet {
    batches: Receiver<Vec<Event>>,
    waiting: Waiting,
}

impl Outlet {
    /// The next events, in order. They count as waiting until [`Self::worked_off`].
    ///
    /// # Errors
    /// When there are none now, or none will come.
    pub(crate) fn take(&self) -> Result<Vec<Event>, TryRecvError> {
        let mut events = self.batches.try_recv()?;
        let mut bytes: usize = events.iter().map(payload).sum();
        while events.len() + BATCH <= TOGETHER
            && bytes < TOGETHER_BYTES
            && let Ok(mut more) = self.batches.try_recv()
        {
            bytes += more.iter().map(payload).sum::<usize>();
            events.append(&mut more);
        }
        Ok(events)
    }

    /// Tells when there are events to take, or will be none.
    pub(crate) fn bell(&self) -> Bell {
        Bell(self.batches.clone())
    }

    /// So many events that were taken out need no more work.
    pub(crate) fn worked_off(&self, events: usize) {
        self.waiting.fewer(events);
    }

    /// Whether nothing is to be taken out.
    pub(crate) fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }
}

/// What a thread waits for that has nothing to do.
pub(crate) struct Bell(Receiver<Vec<Event>>);

impl Bell {
    pub(crate) fn add_to<'a>(&'a self, select: &mut Select<'a>) {
        select.recv(&self.0);
    }

    /// For `timeout` at most.
    pub(crate) fn wait(&self, timeout: Duration) {
        let mut select = Select::new();
        self.add_to(&mut select);
        // Whether it rang is seen by whoever takes.
        let _ = select.ready_timeout(timeout);
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use bytes::Bytes;
    use qtap_capture::{ConnectionId, Data, Direction, KernelTime, Layer, Pid, ProcessEvent};

    use super::*;

    pub(crate) fn numbered(number: u32) -> Event {
        Event::Process(ProcessEvent::Exited {
            pid: Pid(number),
            start_ns: 0,
            status: 0,
            time: KernelTime(0),
        })
    }

    #[test]
    fn events_come_out_in_order_whole_batches_at_once_and_the_rest_with_a_flush() {
        let (mut inlet, outlet) = queue(&Arc::default());
        let count = BATCH + 3;
        for number in 0..count {
            inlet.push(numbered(number as u32)).unwrap();
        }
        assert_eq!(inlet.len(), count);
        let mut taken = outlet.take().unwrap();
        assert_eq!(taken.len(), BATCH);
        assert!(outlet.is_empty() && !inlet.is_empty());
        inlet.flush();
        taken.extend(outlet.take().unwrap());
        assert_eq!(taken, (0..count as u32).map(numbered).collect::<Vec<_>>());
        assert_eq!(inlet.len(), count, "taken out is not worked off");
        outlet.worked_off(count);
        assert!(inlet.is_empty());
        inlet.flush();
        assert!(outlet.take().is_err(), "no empty batches");
    }

    #[test]
    fn batches_are_taken_together_up_to_a_number_of_events_and_of_bytes() {
        let large = |position| {
            Event::Data(Data {
                id: ConnectionId(1),
                time: KernelTime(0),
                pid: Pid(1),
                tid: 1,
                direction: Direction::Egress,
                layer: Layer::Socket,
                position,
                bytes: Bytes::from_static(&[0; 4096]),
                missing: None,
                call_start: true,
                other_settled: 0,
                session: None,
            })
        };
        let (mut inlet, outlet) = queue(&Arc::default());
        for number in 0..(TOGETHER + BATCH) as u32 {
            inlet.push(numbered(number)).unwrap();
        }
        assert_eq!(outlet.take().unwrap().len(), TOGETHER);
        assert_eq!(outlet.take().unwrap().len(), BATCH);
        for position in 0..2 * BATCH as u64 {
            inlet.push(large(position)).unwrap();
        }
        assert_eq!(
            outlet.take().unwrap().len(),
            BATCH,
            "a batch has as many bytes as are taken"
        );
    }

    #[test]
    fn without_a_worker_the_event_comes_back_once_a_batch_is_full() {
        let (mut inlet, outlet) = queue(&Arc::default());
        drop(outlet);
        let refused = (0..=BATCH as u32).filter(|number| inlet.push(numbered(*number)).is_err());
        assert_eq!(refused.count(), 2);
        assert_eq!(inlet.len(), BATCH - 1);
    }
}
