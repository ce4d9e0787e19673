//! The workers' threads, and which event goes to which.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TryRecvError, bounded};
use qtap_capture::{ConnectionId, Event, KernelTime, ProcessEvent, ThreadId, can_return_from_background};

use crate::account::survey::{self, Question, Surveyor};
use crate::arrange::{Arrange, Step};
use crate::crew::{Crew, Helper};
use crate::lane::{Beyond, Lane};
use crate::pace::{Courtesy, Pace};
use crate::queue::{self, Bell, Outlet};
use crate::worker::{Shared, Worker};
use crate::{Consumer, Names, Stats};

/// How often a worker looks at its timers when no event comes and no connection asks for less.
const IDLE_TICK: Duration = Duration::from_millis(250);

/// How long the end waits for processes that are not known yet: what told of them is about to be worked off.
const PROCESSES_AT_END: Duration = Duration::from_millis(100);

/// Cannot start.
#[derive(Debug, thiserror::Error)]
#[error("cannot start worker thread {name}: {source}")]
pub struct StartError {
    name: String,
    source: std::io::Error,
}

/// Reads the kernel's monotonic clock.
pub type Clock = Arc<dyn Fn() -> KernelTime + Send + Sync>;

/// The running engine: hands events to the worker of their connection and never blocks.
pub struct Engine {
    lanes: Vec<Lane>,
    threads: Vec<JoinHandle<()>>,
    surveyor: Surveyor,
    stats: Arc<Stats>,
    names: Arc<Names>,
    audits_dns: Arc<AtomicBool>,
    queued_bytes: Arc<AtomicU64>,
    queue_limit: u64,
    /// Ends of processes are of use.
    saw_quic: bool,
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
        let queued_bytes = Arc::new(AtomicU64::new(0));
        let paces = can_return_from_background()
            .inspect_err(|error| tracing::debug!(%error, "workers compete for the processors at all times"))
            .is_ok();
        let (mut inlets, mut shifts, mut inboxes) = (Vec::new(), Vec::new(), Vec::new());
        for consumer in consumers {
            let courtesy = Courtesy::default();
            let (queue, events) = queue::queue(&shared.stats);
            let (inbox, questions) = survey::inbox();
            inlets.push((queue, courtesy.clone()));
            inboxes.push(inbox);
            shifts.push(Shift {
                worker: Worker::new(shared.clone(), consumer),
                events,
                questions,
                clock: Arc::clone(clock),
                queued_bytes: Arc::clone(&queued_bytes),
                stats: Arc::clone(&shared.stats),
                arrange: Arrange::default(),
                reached: KernelTime(0),
                courtesy,
            });
        }
        let (crew, calls) = Crew::new(shifts);
        let mut calls = Some(calls);
        let (mut lanes, mut threads) = (Vec::new(), Vec::new());
        for (number, (queue, courtesy)) in inlets.into_iter().enumerate() {
            let own = Arc::clone(&crew);
            let (thread, id, helper) = if let Some(calls) = calls.take() {
                let (thread, id) = spawn(number, move || own.serve(&calls))?;
                (thread, id, None)
            } else {
                let (helper, called) = Helper::new(Arc::clone(&crew), number);
                let (thread, id) = spawn(number, move || own.help(number, &called))?;
                (thread, id, Some(helper))
            };
            threads.push(thread);
            let pace = id.filter(|_| paces).map(|thread| Pace::new(thread, courtesy));
            lanes.push(Lane::new(queue, pace, helper));
        }
        let queue_limit = shared.settings.memory / 4;
        Ok(Self {
            lanes,
            threads,
            surveyor: Surveyor::new(inboxes),
            stats: Arc::clone(&shared.stats),
            names: Arc::clone(&shared.names),
            audits_dns: Arc::clone(&shared.audits_dns),
            queued_bytes,
            queue_limit,
            saw_quic: false,
        })
    }

    /// Asks its workers what they see of each process.
    #[must_use]
    pub fn surveyor(&self) -> Surveyor {
        self.surveyor.clone()
    }

    /// Sees to it that workers which are behind get their share of the processors, and the others leave it to the programs that
    /// are looked at. To be called every few milliseconds while this returns `true`: events wait. `ring`: the part of the ring of payload that is
    /// filled, 0 to 1.
    pub fn pace(&mut self, ring: f64) -> bool {
        let mut waits = false;
        let now = qtap_capture::now();
        let bytes = self.queued_bytes.load(Ordering::Relaxed) as f64 / self.comfortable_bytes() as f64;
        let beyond = Beyond { bytes, ring };
        for lane in &mut self.lanes {
            waits |= !lane.is_empty();
            if lane.pace(now, beyond) {
                self.stats.raised.add(1);
            }
        }
        waits
    }

    /// Shows the workers everything that was dispatched; to be called when there is no more to dispatch for now.
    pub fn flush(&mut self) {
        let now = qtap_capture::now();
        for lane in &mut self.lanes {
            lane.flush(now);
        }
    }

    /// Hands on one event, with [`Self::flush`] at the latest. Never blocks: data that finds no room is dropped and counted, and its worker is told as soon as it
    /// has room again. Mappings, and events of processes other than their ends, are not the engine's and are ignored.
    pub fn dispatch(&mut self, event: Event) {
        let (lanes, stats) = (&mut self.lanes, &self.stats);
        match event {
            Event::Data(data) => {
                let Some(lane) = lane_of(lanes, data.id) else {
                    return;
                };
                let bytes = data.bytes.len() as u64;
                let over = self.queued_bytes.load(Ordering::Relaxed) + bytes > self.queue_limit;
                if lane.takes_data(over, stats) {
                    self.queued_bytes.fetch_add(bytes, Ordering::Relaxed);
                    lane.send(Event::Data(data), stats);
                } else {
                    stats.lost_queue.add(bytes);
                    lane.drop_data(&data);
                }
            }
            // Here and not in a worker, so that the name is known before the connection that is dialled to it.
            Event::Datagram(datagram) => {
                self.names.learn(&datagram, stats);
                if !self.audits_dns.load(Ordering::Relaxed) {
                    return;
                }
                // What is said on one socket goes to one worker.
                let Some(lane) = lane_of(lanes, ConnectionId(datagram.socket)) else {
                    return;
                };
                if lane.takes_data(false, stats) {
                    lane.send(Event::Datagram(datagram), stats);
                } else {
                    stats.lost_datagrams.add(1);
                }
            }
            Event::Quic(quic) => {
                self.saw_quic = true;
                // All of a socket go to one worker.
                let Some(lane) = lane_of(lanes, ConnectionId(quic.datagram.socket)) else {
                    return;
                };
                let bytes = quic.datagram.bytes.len() as u64;
                let over = self.queued_bytes.load(Ordering::Relaxed) + bytes > self.queue_limit;
                if lane.takes_data(over, stats) {
                    self.queued_bytes.fetch_add(bytes, Ordering::Relaxed);
                    lane.send(Event::Quic(quic), stats);
                } else {
                    stats.lost_queue.add(bytes);
                }
            }
            // Of no use to connections of TCP, whose ends are told.
            Event::Process(ProcessEvent::Exited { .. }) if self.saw_quic => {
                for lane in lanes {
                    lane.send(event.clone(), stats);
                }
            }
            Event::Opened(opened) => {
                if let Some(lane) = lane_of(lanes, opened.id) {
                    lane.send(Event::Opened(opened), stats);
                }
            }
            Event::Closed(closed) => {
                if let Some(lane) = lane_of(lanes, closed.id) {
                    lane.tell_holes_of(closed.id, stats);
                    lane.send(Event::Closed(closed), stats);
                }
            }
            Event::Secret(_) | Event::Unattributed(_) | Event::Living(_) => {
                for lane in lanes {
                    lane.send(event.clone(), stats);
                }
            }
            _ => {}
        }
    }

    /// Whether every worker's queue takes another batch. While one does not, events are better left in the kernel's
    /// ring, which is the larger buffer and counts what it loses.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.lanes.iter().all(Lane::is_comfortable)
            && self.queued_bytes.load(Ordering::Relaxed) < self.comfortable_bytes()
    }

    /// Bytes up to which the queues take another batch.
    const fn comfortable_bytes(&self) -> u64 {
        self.queue_limit / 2
    }

    /// Events other than data, ends of connections among them, that found no room in a queue so far.
    #[must_use]
    pub fn ends_lost(&self) -> u64 {
        self.stats.lost_control.get()
    }

    /// Stops the workers: what is queued is worked off, bounded by `deadline`; every connection is reported.
    pub fn stop(self, deadline: Duration) {
        let until = Instant::now() + deadline;
        for mut lane in self.lanes {
            lane.tell_holes(&self.stats);
            lane.flush(qtap_capture::now());
            lane.hurry();
            // Without a lane its worker ends once it has worked off what is queued.
        }
        for thread in self.threads {
            while !thread.is_finished() && Instant::now() < until {
                std::thread::park_timeout(Duration::from_millis(2));
            }
            if !thread.is_finished() {
                tracing::warn!(
                    events = self.stats.queued.get(),
                    "a worker did not finish in time; its events are lost"
                );
            } else if thread.join().is_err() {
                tracing::error!("a worker ended by a panic");
            }
        }
    }
}

/// Starts the thread of that number; its id, unless it is over already.
fn spawn(
    number: usize,
    serve: impl FnOnce() + Send + 'static,
) -> Result<(JoinHandle<()>, Option<ThreadId>), StartError> {
    let name = format!("qtap-engine-{number}");
    let (identify, identity): (Sender<ThreadId>, _) = bounded(1);
    let builder = std::thread::Builder::new().name(name.clone());
    let thread = builder.spawn(move || {
        // Whoever asked is there until it has the answer.
        let _ = identify.send(ThreadId::current());
        serve();
    });
    let thread = thread.map_err(|source| StartError { name, source })?;
    Ok((thread, identity.recv().ok()))
}

fn lane_of(lanes: &mut [Lane], id: ConnectionId) -> Option<&mut Lane> {
    // The low bits of an id count up per CPU, the high bits name the CPU: mix both.
    let mixed = (id.0 ^ (id.0 >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    let number = usize::try_from(mixed).unwrap_or_default() % lanes.len().max(1);
    lanes.get_mut(number)
}

/// One worker and what it works off, in the hands of one thread at a time.
pub(crate) struct Shift {
    worker: Worker,
    events: Outlet,
    questions: Receiver<Question>,
    clock: Clock,
    queued_bytes: Arc<AtomicU64>,
    stats: Arc<Stats>,
    arrange: Arrange,
    /// Time of the latest event it worked off.
    reached: KernelTime,
    courtesy: Courtesy,
}

/// What came of a [`Shift::turn`].
pub(crate) enum Turn {
    /// There was something to do, and may be more.
    Worked,
    /// There was nothing, and will not be for so long unless an event comes.
    Idle(Duration),
    /// There will be nothing more.
    Over,
}

impl Shift {
    /// The longest time between two turns.
    pub(crate) const IDLE: Duration = IDLE_TICK;

    pub(crate) fn bell(&self) -> Bell {
        self.events.bell()
    }

    /// Looks at the timers, works off what waits, up to a bound, answers questions.
    pub(crate) fn turn(&mut self) -> Turn {
        let now = self.now();
        let wait = self.worker.tick(now).map_or(IDLE_TICK, |next| self.until(next));
        let turn = match self.events.take() {
            Ok(events) => {
                self.batch(events);
                Turn::Worked
            }
            Err(TryRecvError::Empty) => Turn::Idle(wait),
            Err(TryRecvError::Disconnected) => return Turn::Over,
        };
        self.answer();
        turn
    }

    /// Every connection is reported, once their processes are known or for long enough are not.
    pub(crate) fn end(&mut self) {
        let until = Instant::now() + PROCESSES_AT_END;
        while self.worker.waits_for_processes() && Instant::now() < until {
            std::thread::park_timeout(Duration::from_millis(1));
            self.worker.tick((self.clock)());
        }
        let now = (self.clock)();
        self.worker.shut_down(now);
    }

    /// It panicked.
    pub(crate) fn tell_loss(&self) {
        self.stats.workers_lost.add(1);
        tracing::error!("internal error: a worker ended, and with it the capture of its connections");
    }

    fn answer(&mut self) {
        while let Ok(question) = self.questions.try_recv() {
            let answer = self.worker.survey(&question.positions, self.now());
            // Who asked may have lost patience.
            let _ = question.answer.try_send(answer);
        }
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

    fn batch(&mut self, events: Vec<Event>) {
        let length = events.len();
        let begun = (self.clock)();
        let mut bytes = 0;
        let (worker, reached) = (&mut self.worker, &mut self.reached);
        let mut worked_off = 0;
        self.arrange.arrange(events, |step| match step {
            Step::Ahead(event) => worker.look_ahead(event),
            Step::WorkOff(event) => {
                bytes += queue::payload(&event) as u64;
                if let Some(time) = time_of(&event) {
                    *reached = (*reached).max(time);
                }
                worker.event(event, (*reached).min(begun));
                worked_off += 1;
                self.courtesy.show(worked_off);
            }
        });
        self.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.events.worked_off(length);
    }
}

/// When `event` happened, if it is the engine's.
fn time_of(event: &Event) -> Option<KernelTime> {
    match event {
        Event::Opened(opened) => Some(opened.time),
        Event::Quic(quic) => Some(quic.datagram.time),
        Event::Process(event) => Some(event.time()),
        Event::Data(data) => Some(data.time),
        Event::Closed(closed) => Some(closed.time),
        Event::Secret(secret) => Some(secret.time),
        Event::Unattributed(call) => Some(call.data.time),
        Event::Datagram(datagram) => Some(datagram.time),
        _ => None,
    }
}
