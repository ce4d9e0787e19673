//! The workers' threads and the queues in front of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded};
use qtap_capture::{ConnectionId, Event, KernelTime};

use crate::worker::{Shared, Worker};
use crate::{Consumer, Stats};

/// Events in the queue of one worker.
const QUEUE_EVENTS: usize = 1 << 16;
/// Part of it that data may fill, so that opens, closes and secrets still find room.
const QUEUE_DATA_EVENTS: usize = QUEUE_EVENTS - (1 << 13);
/// Once data found no room, none is taken until the queue is down to this: what is lost then lies together, some messages whole,
/// where taking a record whenever there is room for one would damage nearly all of them.
const QUEUE_LOW_EVENTS: usize = QUEUE_DATA_EVENTS * 3 / 4;
/// Events up to which a queue takes another batch of the reader, which is at most 1 MiB of small records.
const QUEUE_COMFORTABLE: usize = QUEUE_DATA_EVENTS / 2;
/// How often a worker looks at its timers when no event comes.
const IDLE_TICK: Duration = Duration::from_millis(20);
/// Events worked off between two looks at the clock.
const BATCH: usize = 256;

/// Cannot start.
#[derive(Debug, thiserror::Error)]
#[error("cannot start worker thread {name}: {source}")]
pub struct StartError {
    name: String,
    source: std::io::Error,
}

/// Reads the kernel's monotonic clock.
pub type Clock = Arc<dyn Fn() -> KernelTime + Send + Sync>;

struct Lane {
    queue: Sender<Event>,
    thread: JoinHandle<()>,
    /// Data is dropped until there is ample room again.
    shedding: AtomicBool,
}

impl Lane {
    /// Whether data finds room. `over`: it does not for the bytes that wait in all queues.
    fn takes_data(&self, over: bool) -> bool {
        let waiting = self.queue.len();
        let limit = if self.shedding.load(Ordering::Relaxed) {
            QUEUE_LOW_EVENTS
        } else {
            QUEUE_DATA_EVENTS
        };
        let sheds = over || waiting >= limit;
        self.shedding.store(sheds, Ordering::Relaxed);
        !sheds
    }
}

/// The running engine: hands events to the worker of their connection and never blocks.
pub struct Engine {
    lanes: Vec<Lane>,
    stats: Arc<Stats>,
    queued_bytes: Arc<AtomicU64>,
    queue_limit: u64,
    stop: Arc<AtomicBool>,
}

impl Engine {
    /// Starts one worker for each consumer.
    ///
    /// # Errors
    /// When the system refuses a thread.
    pub fn start(
        shared: &Shared,
        clock: &Clock,
        consumers: Vec<Box<dyn Consumer>>,
    ) -> Result<Self, StartError> {
        let stop = Arc::new(AtomicBool::new(false));
        let queued_bytes = Arc::new(AtomicU64::new(0));
        let mut lanes = Vec::with_capacity(consumers.len());
        for (number, consumer) in consumers.into_iter().enumerate() {
            let (queue, events) = bounded(QUEUE_EVENTS);
            let name = format!("qtap-engine-{number}");
            let lane = Loop {
                worker: Worker::new(shared.clone(), consumer),
                events,
                clock: Arc::clone(clock),
                stop: Arc::clone(&stop),
                queued_bytes: Arc::clone(&queued_bytes),
                stats: Arc::clone(&shared.stats),
                reached: KernelTime(0),
            };
            let builder = std::thread::Builder::new().name(name.clone());
            let thread = builder
                .spawn(move || lane.run())
                .map_err(|source| StartError { name, source })?;
            lanes.push(Lane {
                queue,
                thread,
                shedding: AtomicBool::new(false),
            });
        }
        let queue_limit = shared.settings.memory / 4;
        Ok(Self {
            lanes,
            stats: Arc::clone(&shared.stats),
            queued_bytes,
            queue_limit,
            stop,
        })
    }

    /// Hands on one event. Never blocks: data that finds no room is dropped and counted, and shows as a gap by its
    /// position. Process and mapping events are not the engine's and are ignored.
    pub fn dispatch(&self, event: Event) {
        match &event {
            Event::Data(data) => {
                let (id, bytes) = (data.id, data.bytes.len() as u64);
                let Some(lane) = self.lane(id) else { return };
                let over = self.queued_bytes.load(Ordering::Relaxed) + bytes > self.queue_limit;
                if !lane.takes_data(over) {
                    self.stats.lost_queue.add(bytes.max(1));
                    return;
                }
                self.queued_bytes.fetch_add(bytes, Ordering::Relaxed);
                self.send(lane, event);
            }
            Event::Opened(opened) => self.send_to(opened.id, event),
            Event::Closed(closed) => self.send_to(closed.id, event),
            Event::Secret(_) | Event::Unattributed(_) => {
                for lane in &self.lanes {
                    self.send(lane, event.clone());
                }
            }
            _ => {}
        }
    }

    /// Whether every worker's queue takes another batch. While one does not, events are better left in the kernel's
    /// ring, which is the larger buffer and counts what it loses.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.lanes.iter().all(|lane| lane.queue.len() < QUEUE_COMFORTABLE)
            && self.queued_bytes.load(Ordering::Relaxed) < self.queue_limit / 2
    }

    /// Stops the workers: what is queued is worked off, bounded by `deadline`; every connection is reported.
    pub fn stop(self, deadline: Duration) {
        let until = Instant::now() + deadline;
        self.stop.store(true, Ordering::Release);
        for lane in self.lanes {
            drop(lane.queue);
            while !lane.thread.is_finished() && Instant::now() < until {
                std::thread::park_timeout(Duration::from_millis(2));
            }
            if !lane.thread.is_finished() {
                tracing::warn!(
                    events = self.stats.queued.get(),
                    "a worker did not finish in time; its events are lost"
                );
            } else if lane.thread.join().is_err() {
                tracing::error!("a worker ended by a panic");
            }
        }
    }

    fn lane(&self, id: ConnectionId) -> Option<&Lane> {
        // The low bits of an id count up per CPU, the high bits name the CPU: mix both.
        let mixed = (id.0 ^ (id.0 >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        self.lanes
            .get(usize::try_from(mixed).unwrap_or_default() % self.lanes.len().max(1))
    }

    fn send_to(&self, id: ConnectionId, event: Event) {
        if let Some(lane) = self.lane(id) {
            self.send(lane, event);
        }
    }

    fn send(&self, lane: &Lane, event: Event) {
        match lane.queue.try_send(event) {
            Ok(()) => self.stats.queued.add(1),
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => self.stats.lost_control.add(1),
        }
    }
}

/// One worker's thread.
struct Loop {
    worker: Worker,
    events: Receiver<Event>,
    clock: Clock,
    stop: Arc<AtomicBool>,
    queued_bytes: Arc<AtomicU64>,
    stats: Arc<Stats>,
    /// Time of the latest event worked off.
    reached: KernelTime,
}

impl Loop {
    fn run(mut self) {
        let mut measured = KernelTime(0);
        let mut held = 0i64;
        loop {
            let now = self.now();
            let wait = self.worker.tick(now).map_or(IDLE_TICK, |next| self.until(next));
            match self.events.recv_timeout(wait) {
                Ok(event) => self.batch(event),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if now.0.saturating_sub(measured.0) > 1_000_000_000 {
                measured = now;
                let now_held = i64::try_from(self.worker.held()).unwrap_or(i64::MAX);
                self.stats.held_bytes.add(now_held - held);
                held = now_held;
            }
            if self.stop.load(Ordering::Acquire) && self.events.is_empty() {
                break;
            }
        }
        self.worker.shut_down((self.clock)());
    }

    fn until(&self, next: KernelTime) -> Duration {
        Duration::from_nanos(next.0.saturating_sub((self.clock)().0)).min(IDLE_TICK)
    }

    /// The time as far as the worker has come: while events wait, that of the last one worked off, so that a worker
    /// which is behind does not take its own delay for the silence of a peer.
    fn now(&self) -> KernelTime {
        if self.events.is_empty() {
            (self.clock)()
        } else {
            self.reached.min((self.clock)())
        }
    }

    fn batch(&mut self, first: Event) {
        let more = self.events.clone();
        for event in std::iter::once(first).chain(more.try_iter().take(BATCH - 1)) {
            self.stats.queued.add(-1);
            if let Event::Data(data) = &event {
                self.queued_bytes
                    .fetch_sub(data.bytes.len() as u64, Ordering::Relaxed);
            }
            if let Some(time) = time_of(&event) {
                self.reached = self.reached.max(time);
            }
            let now = self.now();
            self.worker.event(event, now);
        }
    }
}

/// When `event` happened, if it is the engine's.
fn time_of(event: &Event) -> Option<KernelTime> {
    match event {
        Event::Opened(opened) => Some(opened.time),
        Event::Data(data) => Some(data.time),
        Event::Closed(closed) => Some(closed.time),
        Event::Secret(secret) => Some(secret.time),
        Event::Unattributed(call) => Some(call.data.time),
        _ => None,
    }
}
