//! The agent's own threads: the ring reader, the process table's and the probe tracker's.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Select, Sender, TryRecvError};
use qtap_capture::{Capture, Control, Event, Living, ProcessEvent, Reader, Trace};
use qtap_engine::{Counter, Engine};
use qtap_probe::Input;
use qtap_process::Writer;

use super::host::{AgentHost, Progress};
use super::queue::Inlet;

/// How long the reader sleeps when the rings are empty; the kernel wakes it earlier.
const POLL: Duration = Duration::from_millis(100);
/// The same while a worker has events to work off.
const POLL_BUSY: Duration = Duration::from_millis(10);
/// A longer time between two looks at the rings is told.
const PAUSE: Duration = Duration::from_secs(2);
/// How often losses are looked for that call for a look at all processes.
const LOOK: Duration = Duration::from_secs(1);
/// One part in so many of the time is spent on looks at all connections.
const SCAN_SHARE: u32 = 50;
/// How long events are left in the rings because a worker is behind; then it loses data, and the others go on.
const PATIENCE: Duration = Duration::from_millis(100);
/// How often the process table is looked after when nothing comes.
const TABLE_TICK: Duration = Duration::from_millis(500);

/// Events that found no room on their way to a thread.
#[derive(Debug, Default)]
pub(crate) struct Lost {
    pub(crate) process: Counter,
    pub(crate) tracker: Counter,
    pub(crate) traces: Counter,
}

/// Ends of connections that were lost so far, and what a look at the connections found since.
#[derive(Debug, Default)]
struct Ends {
    in_kernel: u64,
    in_queues: u64,
    found: Option<Living>,
}

/// Openings of connections that were lost so far.
struct Openings {
    lost: u64,
    /// When it is worth a look which they were.
    next_look: Instant,
}

/// Reads the rings and hands each event to its room. Never blocks on anything but the rings.
pub(crate) struct ReaderLoop {
    pub(crate) reader: Reader,
    pub(crate) engine: Engine,
    pub(crate) processes: Inlet<ProcessEvent>,
    pub(crate) tracker: Inlet<Input>,
    pub(crate) progress: Arc<Progress>,
    pub(crate) traces: Option<Sender<Trace>>,
    pub(crate) lost: Arc<Lost>,
    /// Of the kernel side, for its counters.
    pub(crate) control: Control,
    pub(crate) capture: Arc<Capture>,
    pub(crate) stop: Arc<AtomicBool>,
    /// When the stop was asked for, the rings are drained for at most so long.
    pub(crate) drain: Duration,
}

impl ReaderLoop {
    /// Runs until stopped, then drains the rings and stops the engine.
    pub(crate) fn run(mut self) {
        let (mut lost, mut next_look) = (self.lost_of_processes(), Instant::now() + LOOK);
        let mut last = Instant::now();
        let mut ends = Ends::default();
        // Of connections older than the agent, more than the ring has room for.
        let mut openings = Openings {
            lost: 0,
            next_look: Instant::now(),
        };
        while !self.stop.load(Ordering::Acquire) {
            let now = Instant::now();
            let pause = now.saturating_duration_since(last);
            if pause >= PAUSE {
                tracing::warn!(
                    seconds = pause.as_secs_f64(),
                    "the agent stood still (stopped, or without a processor): what its rings could not hold is lost and counted"
                );
            }
            last = now;
            let timeout = if self.engine.pace(self.reader.filled()) {
                POLL_BUSY
            } else {
                POLL
            };
            self.poll(timeout);
            self.reconcile(&mut ends);
            if Instant::now() >= next_look {
                next_look = Instant::now() + LOOK;
                let now_lost = self.lost_of_processes();
                // What the lost ones would have told is found by looking at every process.
                if now_lost > lost && self.tracker.try_send(Input::Resync).is_ok() {
                    lost = now_lost;
                }
                self.look_for_ends(&mut ends);
                self.look_for_openings(&mut openings);
            }
        }
        let until = Instant::now() + self.drain;
        while Instant::now() < until && self.poll(Duration::ZERO) > 0 {}
        let left = until.saturating_duration_since(Instant::now());
        self.engine.stop(left.max(Duration::from_millis(500)));
    }

    /// Events about processes and mappings that did not reach the tracker so far.
    fn lost_of_processes(&self) -> u64 {
        let in_kernel = self.control.process_events_lost().unwrap_or_else(|error| {
            tracing::debug!(%error, "cannot read the kernel side's counters");
            0
        });
        in_kernel + self.lost.tracker.get()
    }

    /// Takes stock of the connections that there are when events about their ends were lost.
    fn look_for_ends(&self, ends: &mut Ends) {
        let in_kernel = self.control.closed_lost().unwrap_or_else(|error| {
            tracing::debug!(%error, "cannot read the kernel side's counters");
            ends.in_kernel
        });
        let in_queues = self.engine.ends_lost();
        if (in_kernel, in_queues) == (ends.in_kernel, ends.in_queues) || ends.found.is_some() {
            return;
        }
        match self.control.living() {
            Ok(living) => {
                (ends.in_kernel, ends.in_queues) = (in_kernel, in_queues);
                ends.found = Some(living);
            }
            Err(error) => tracing::warn!(%error, "cannot look for connections whose end was not told"),
        }
    }

    /// Has connections told whose opening was lost and that are idle since.
    fn look_for_openings(&self, openings: &mut Openings) {
        let lost = self.control.opened_lost().unwrap_or_else(|error| {
            tracing::debug!(%error, "cannot read the kernel side's counters");
            openings.lost
        });
        let began = Instant::now();
        if lost == openings.lost || began < openings.next_look {
            return;
        }
        openings.lost = lost;
        if let Err(error) = self.capture.scan_existing() {
            tracing::warn!(
                error = format!("{:#}", anyhow::Error::new(error)),
                "connections whose opening was lost are not known until they carry data"
            );
        }
        openings.next_look = began + began.elapsed() * SCAN_SHARE;
    }

    /// Hands the stock on once every end that was told before it was taken is handed on.
    fn reconcile(&mut self, ends: &mut Ends) {
        if !self.reader.holds_back()
            && let Some(living) = ends.found.take()
        {
            self.engine.dispatch(Event::Living(Arc::new(living)));
            self.engine.flush();
        }
    }

    /// Waits, bounded, while a worker is behind.
    fn hold_back(&mut self) {
        let until = Instant::now() + PATIENCE;
        while !self.engine.has_room() && Instant::now() < until {
            self.engine.pace(self.reader.filled());
            std::thread::park_timeout(Duration::from_millis(1));
        }
    }

    fn poll(&mut self, timeout: Duration) -> usize {
        self.hold_back();
        let Self {
            reader,
            engine,
            processes,
            tracker,
            progress,
            traces,
            lost,
            ..
        } = self;
        let mut hand_on = |event: Event| match event {
            Event::Process(event) => {
                if let Some(input) = tracker_input(&event)
                    && tracker.try_send(input).is_err()
                {
                    lost.tracker.add(1);
                }
                if matches!(event, ProcessEvent::Exited { .. }) {
                    engine.dispatch(Event::Process(event.clone()));
                }
                match processes.try_send(event) {
                    Ok(()) => {
                        progress.sent.fetch_add(1, Ordering::Release);
                    }
                    Err(_) => lost.process.add(1),
                }
            }
            Event::Mapped(mapped) => {
                if tracker.try_send(Input::Mapped(mapped)).is_err() {
                    lost.tracker.add(1);
                }
            }
            Event::Misfit(misfit) => {
                if tracker.try_send(Input::Misfit(misfit)).is_err() {
                    lost.tracker.add(1);
                }
            }
            Event::Trace(trace) => {
                if traces
                    .as_ref()
                    .is_none_or(|printer| printer.try_send(trace).is_err())
                {
                    lost.traces.add(1);
                }
            }
            other => engine.dispatch(other),
        };
        let polled = reader.poll(timeout, &mut hand_on);
        engine.flush();
        match polled {
            Ok(count) => count,
            Err(error) => {
                tracing::error!(%error, "cannot read the rings");
                std::thread::park_timeout(Duration::from_millis(100));
                0
            }
        }
    }
}

fn tracker_input(event: &ProcessEvent) -> Option<Input> {
    match event {
        ProcessEvent::Forked { pid, parent, .. } => Some(Input::Forked {
            parent: *parent,
            child: *pid,
        }),
        ProcessEvent::Exec(exec) => Some(Input::Exec(exec.pid)),
        ProcessEvent::Exited { pid, .. } => Some(Input::Exited(*pid)),
    }
}

/// Keeps the process table, until the reader is gone.
pub(crate) fn keep_processes(mut writer: Writer, events: &Receiver<ProcessEvent>, host: &AgentHost) {
    let requests = writer.requests();
    let mut either = Select::new();
    either.recv(events);
    either.recv(&requests);
    loop {
        // Whichever woke us, both are looked at.
        let _ = either.ready_timeout(TABLE_TICK);
        match events.try_recv() {
            Ok(event) => {
                match &event {
                    ProcessEvent::Forked { pid, parent, .. } => host.scope.forked(*parent, *pid),
                    ProcessEvent::Exec(exec) => host.forget_proofs(exec.pid),
                    ProcessEvent::Exited { pid, .. } => host.forget_proofs(*pid),
                }
                if let Some(process) = writer.handle(event) {
                    host.judge(&process);
                }
                host.progress.done.fetch_add(1, Ordering::Release);
                if !events.is_empty() {
                    continue;
                }
            }
            Err(TryRecvError::Empty) => {}
            Err(TryRecvError::Disconnected) => return,
        }
        for process in writer.tick() {
            host.judge(&process);
        }
    }
}
