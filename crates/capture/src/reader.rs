//! Reads both rings in the order things happened.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};
use std::time::{Duration, Instant};

use crate::arena::Arena;
use crate::control::SettingsMemory;
use crate::decode::decode;
use crate::mappings::Mappings;
use crate::ring::Ring;
use crate::{Error, Event};

/// Payload handed out between two looks at the control ring.
const BATCH_BYTES: u64 = 1 << 20;
/// Records of payload after which others may have the processor: some 30 us...
const YIELD_EVERY: u32 = 64;
/// ... unless more than one part in so many of the ring is filled, ...
const CALM: u64 = 8;
/// ... or others had it for so long in this pass: on a host that is busy throughout it is given back after some 5 ms each time (four threads on each processor), while
/// the control ring fills, which by default has room for 10,000 ends of connections that open.
const TURN: Duration = Duration::from_millis(5);

/// While awake, the longest time a record waits. The kernel wakes us earlier when the data ring fills.
const NAP: Duration = Duration::from_millis(5);

/// Part of the ring whose payload is handed out at once: 1 MiB by default.
const GATHERED: u64 = 16;

/// A nap ends when payload fills this part of its ring.
const NAP_FILLED: u64 = 8;

/// Naps in which nothing came before we sleep until the kernel wakes us.
const NAPS: u32 = 10;

/// The only consumer of the rings.
///
/// The records of one connection come in this order: `Opened`, its `Data`, `Closed`; they travel in two rings, so each pass notes how
/// far the data ring is, empties the control ring, then hands out data up to the note, and keeps each `Closed` back until
/// all data that were there when it was found are out.
pub struct Reader {
    control: Ring,
    data: Ring,
    datagrams: Ring,
    trace: Ring,
    /// Where perf events tell them.
    mappings: Option<Mappings>,
    settings: Arc<SettingsMemory>,
    /// Of the rings of our programs.
    epoll: OwnedFd,
    /// Of these and of what wakes us at every record, for when we sleep.
    asleep: OwnedFd,
    arena: Arena,
    /// Ends of connections, each with the position of the data ring it has to wait for.
    closed: VecDeque<(u64, Event)>,
    naps: u32,
    /// Since when payload may be waiting in its ring.
    gathering: Instant,
    undecodable: u64,
}

impl Reader {
    /// Payload is left in its ring for so long, unless it fills a 16th of it: what is worked off together finds the caches warm, and
    /// costs one wake-up of a worker. Everything else comes within a few milliseconds, for it tells of programs that are to be looked at
    /// while they run.
    pub const GATHER: Duration = Duration::from_millis(60);

    pub(crate) fn new(
        control: Ring,
        data: Ring,
        datagrams: Ring,
        trace: Ring,
        mappings: Option<Mappings>,
        settings: Arc<SettingsMemory>,
    ) -> Result<Self, Error> {
        let epoll = new_epoll()?;
        for ring in [&control, &data, &datagrams, &trace] {
            watch(&epoll, ring.map().as_fd().as_raw_fd())?;
        }
        let asleep = new_epoll()?;
        watch(&asleep, epoll.as_raw_fd())?;
        for event in mappings.iter().flat_map(Mappings::descriptors) {
            watch(&asleep, event.as_raw_fd())?;
        }
        Ok(Self {
            control,
            data,
            datagrams,
            trace,
            mappings,
            settings,
            epoll,
            asleep,
            arena: Arena::default(),
            closed: VecDeque::new(),
            naps: 0,
            gathering: Instant::now(),
            undecodable: 0,
        })
    }

    /// Hands out what is there, or waits for it up to `timeout`; returns the number of events. Never blocks otherwise. Payload may gather
    /// for some milliseconds before it is handed out, but for a `timeout` of zero.
    pub fn poll(&mut self, timeout: Duration, handler: &mut dyn FnMut(Event)) -> Result<usize, Error> {
        let deadline = Instant::now() + timeout;
        loop {
            let events = self.drain(timeout.is_zero(), handler)?;
            if events > 0 {
                self.naps = 0;
                return Ok(events);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(0);
            }
            if self.data.produced() != self.data.consumed() {
                // Payload that gathers: it is no time to sleep, and none to look again at once.
                self.naps = 0;
            }
            if self.naps < NAPS {
                self.naps += 1;
                self.nap(left.min(NAP))?;
            } else {
                self.sleep(left)?;
            }
        }
    }

    /// Records that could not be understood, which is a fault of ours.
    #[must_use]
    pub fn undecodable(&self) -> u64 {
        self.undecodable
    }

    /// Part of the ring of payload that is filled, between 0 and 1.
    #[must_use]
    pub fn filled(&self) -> f64 {
        let waiting = self.data.produced() - self.data.consumed();
        waiting as f64 / self.data.size() as f64
    }

    /// Whether ends of connections wait for data before them.
    #[must_use]
    pub fn holds_back(&self) -> bool {
        !self.closed.is_empty()
    }

    /// Whether payload is to be handed out now.
    fn is_payload_due(&mut self) -> bool {
        let waiting = self.data.produced() - self.data.consumed();
        let now = Instant::now();
        if waiting == 0 {
            self.gathering = now;
        }
        let due =
            waiting >= self.data.size() / GATHERED || now.duration_since(self.gathering) >= Self::GATHER;
        if due {
            self.gathering = now;
        }
        due
    }

    fn drain(&mut self, at_once: bool, handler: &mut dyn FnMut(Event)) -> Result<usize, Error> {
        let due = self.is_payload_due() || at_once;
        let mut yields = self.data.produced() - self.data.consumed() < self.data.size() / CALM;
        self.look_at_processors()?;
        let Self {
            control,
            data,
            datagrams,
            trace,
            mappings,
            arena,
            closed,
            undecodable,
            ..
        } = self;
        let mut events = 0;
        let until = data.produced();
        let first_new = closed.len();
        let control_until = control.produced();
        // Before the connections that are dialled to what they tell.
        datagrams.consume(datagrams.produced(), u64::MAX, |record| {
            match decode(record, arena) {
                Some(event) => {
                    events += 1;
                    handler(event);
                }
                None => *undecodable += 1,
            }
        })?;
        // What a process mapped comes between its exec and its end.
        let mut mapped = mappings
            .as_mut()
            .map_or_else(Vec::new, Mappings::take)
            .into_iter()
            .peekable();
        let emptied = control.consume(control_until, u64::MAX, |record| match decode(record, arena) {
            Some(event @ Event::Closed(_)) => closed.push_back((u64::MAX, event)),
            Some(event) => {
                if let Event::Process(process) = &event {
                    while let Some(before) = mapped.next_if(|mapping| mapping.time < process.time()) {
                        events += 1;
                        handler(Event::Mapped(before));
                    }
                }
                events += 1;
                handler(event);
            }
            None => *undecodable += 1,
        });
        for mapping in mapped {
            events += 1;
            handler(Event::Mapped(mapping));
        }
        let found_at = data.produced();
        for (position, _) in closed.range_mut(first_new..) {
            *position = found_at;
        }
        emptied?;
        // A control record that is still being written holds up all data: it may be the secret of the next bytes.
        let until = if control.consumed() < control_until || !due {
            data.consumed()
        } else {
            until
        };
        let (mut records, mut given) = (0, Duration::ZERO);
        data.consume(until, BATCH_BYTES, |record| {
            match decode(record, arena) {
                Some(event) => {
                    events += 1;
                    handler(event);
                }
                None => *undecodable += 1,
            }
            records += 1;
            // What gathered takes a millisecond or more, for which a program that is looked at may be waiting.
            if yields && records % YIELD_EVERY == 0 {
                let now = Instant::now();
                std::thread::yield_now();
                given += now.elapsed();
                yields = given < TURN;
            }
        })?;
        trace.consume(trace.produced(), u64::MAX, |record| match decode(record, arena) {
            Some(event) => {
                events += 1;
                handler(event);
            }
            None => *undecodable += 1,
        })?;
        while let Some((position, _)) = closed.front() {
            if *position > data.consumed() {
                break;
            }
            if let Some((_, event)) = closed.pop_front() {
                events += 1;
                handler(event);
            }
        }
        Ok(events)
    }

    /// Waits for the rings of processors that came up, too.
    fn look_at_processors(&mut self) -> Result<(), Error> {
        let Some(mappings) = &mut self.mappings else {
            return Ok(());
        };
        for ring in mappings.look(Instant::now()) {
            watch(&self.asleep, ring.descriptor())?;
        }
        Ok(())
    }

    /// Waits until payload fills a good part of its ring.
    fn nap(&self, time: Duration) -> Result<(), Error> {
        let filled = u32::try_from(self.data.size() / NAP_FILLED).unwrap_or(u32::MAX);
        self.settings.data_wake_bytes(filled);
        let waited = wait(&self.epoll, time);
        self.settings.data_wake_bytes(u32::MAX);
        waited
    }

    fn sleep(&mut self, timeout: Duration) -> Result<(), Error> {
        self.settings.reader_sleeps(true);
        // A record that was committed before the kernel could see the flag must be seen here.
        fence(Ordering::SeqCst);
        let unread = [&self.control, &self.data, &self.datagrams, &self.trace]
            .iter()
            .any(|ring| ring.produced() != ring.consumed())
            || self.mappings.as_ref().is_some_and(Mappings::is_waiting);
        let waited = if unread {
            Ok(())
        } else {
            wait(&self.asleep, timeout)
        };
        self.settings.reader_sleeps(false);
        waited
    }
}

const WAITING: &str = "wait for ring buffers";

fn new_epoll() -> Result<OwnedFd, Error> {
    // SAFETY: creates a descriptor, which we own from here on.
    unsafe {
        let fd = libc::epoll_create1(libc::EPOLL_CLOEXEC);
        if fd < 0 {
            return Err(Error::last_os(WAITING));
        }
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

fn watch(epoll: &OwnedFd, fd: i32) -> Result<(), Error> {
    // Edge-triggered: it wakes for news and not because something is still unread.
    let mut interest = libc::epoll_event {
        events: (libc::EPOLLIN | libc::EPOLLET) as u32,
        u64: 0,
    };
    // SAFETY: both descriptors are open and `interest` is valid for the call.
    match unsafe { libc::epoll_ctl(epoll.as_raw_fd(), libc::EPOLL_CTL_ADD, fd, &raw mut interest) } {
        0 => Ok(()),
        _ => Err(Error::last_os(WAITING)),
    }
}

fn wait(epoll: &OwnedFd, timeout: Duration) -> Result<(), Error> {
    const EVENTS: i32 = 5;
    let timeout = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX).max(1);
    let mut events = [libc::epoll_event { events: 0, u64: 0 }; EVENTS as usize];
    // SAFETY: `events` has room for as many as are asked for.
    let ready = unsafe { libc::epoll_wait(epoll.as_raw_fd(), events.as_mut_ptr(), EVENTS, timeout) };
    if ready >= 0 {
        return Ok(());
    }
    match io::Error::last_os_error() {
        error if error.kind() == io::ErrorKind::Interrupted => Ok(()),
        source => Err(Error::System {
            attempt: WAITING,
            source,
        }),
    }
}
