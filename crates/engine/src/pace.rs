//! When a worker competes for the processors, and when it makes do with what others leave over.
//!
//! Workers do most of the agent's work. At normal priority they take processors from the very programs that are looked at: on two
//! CPUs, at half of a server's capacity, that was the greater part of the tail of its latencies. In the background they cost none
//! of it, and on a busy host they come to nothing: so a worker that falls behind competes until it has caught up.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use qtap_capture::{KernelTime, Priority, ThreadId, set_priority};

/// A worker this far behind competes. The kernel's ring holds several times as much at any rate the engine can keep up with.
const BEHIND: Duration = Duration::from_millis(100);
/// It has caught up when it is no further behind than this...
const CAUGHT_UP: Duration = Duration::from_millis(20);
/// ... for so long.
const STEADY: Duration = Duration::from_millis(500);

/// How far a worker has come: the time of the latest event it worked off.
#[derive(Debug, Default)]
pub(crate) struct Reached(AtomicU64);

impl Reached {
    pub(crate) fn get(&self) -> KernelTime {
        KernelTime(self.0.load(Ordering::Relaxed))
    }

    /// Only its worker moves it, and only forward.
    pub(crate) fn advance(&self, time: KernelTime) {
        if time > self.get() {
            self.0.store(time.0, Ordering::Relaxed);
        }
    }
}

/// What the feeding thread sees of a worker's queue.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sight {
    pub(crate) now: KernelTime,
    pub(crate) is_empty: bool,
    /// Time of the latest event that was queued.
    pub(crate) sent: KernelTime,
}

/// Decides for one worker.
#[derive(Debug)]
pub(crate) struct Pace {
    thread: ThreadId,
    reached: Arc<Reached>,
    priority: Priority,
    /// Since when the queue was never seen empty.
    busy_since: Option<KernelTime>,
    /// Since when it has been up with its events.
    level_since: Option<KernelTime>,
}

impl Pace {
    /// That of the worker in `thread`, which begins at normal priority and leaves it with the first look.
    pub(crate) fn new(thread: ThreadId, reached: Arc<Reached>) -> Self {
        Self {
            thread,
            reached,
            priority: Priority::Normal,
            busy_since: None,
            level_since: Some(KernelTime(0)),
        }
    }

    /// The priority to change to, if it is to change.
    fn judge(&mut self, sight: Sight) -> Option<Priority> {
        let lag = self.lag(sight);
        if lag > CAUGHT_UP {
            self.level_since = None;
        }
        let level_since = match self.level_since {
            None if lag <= CAUGHT_UP => *self.level_since.insert(sight.now),
            None => sight.now,
            Some(since) => since,
        };
        let next = match self.priority {
            Priority::Background if lag > BEHIND => Priority::Normal,
            Priority::Normal if elapsed(level_since, sight.now) >= STEADY => Priority::Background,
            _ => return None,
        };
        Some(next)
    }

    /// How long the events wait. `Reached` alone does not tell: after a silence it is old.
    fn lag(&mut self, sight: Sight) -> Duration {
        if sight.is_empty {
            self.busy_since = None;
            return Duration::ZERO;
        }
        let busy_since = *self.busy_since.get_or_insert(sight.now);
        elapsed(busy_since, sight.now).min(elapsed(self.reached.get(), sight.sent))
    }

    /// Judges, and sets the priority of the worker's thread. `true` when it had fallen behind.
    pub(crate) fn set(&mut self, sight: Sight) -> bool {
        let Some(next) = self.judge(sight) else {
            return false;
        };
        if let Err(error) = set_priority(self.thread, next) {
            // Asked again with the next look.
            tracing::debug!(%error, ?next, "cannot set the priority of a worker");
            return false;
        }
        self.priority = next;
        next == Priority::Normal
    }

    /// The worker is to end: it competes from here on.
    pub(crate) fn hurry(&mut self) {
        if self.priority == Priority::Background && set_priority(self.thread, Priority::Normal).is_ok() {
            self.priority = Priority::Normal;
        }
    }
}

fn elapsed(since: KernelTime, now: KernelTime) -> Duration {
    Duration::from_nanos(now.0.saturating_sub(since.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    struct Bench {
        reached: Arc<Reached>,
        pace: Pace,
        now: u64,
    }

    impl Bench {
        fn new() -> Self {
            let reached = Arc::new(Reached::default());
            Self {
                pace: Pace::new(ThreadId::current(), Arc::clone(&reached)),
                reached,
                now: 1000 * MS,
            }
        }

        /// Looks every 10 ms, `milliseconds` long, at a worker that is `lag` behind; an empty queue when `None`.
        fn watch(&mut self, milliseconds: u64, lag: Option<u64>) {
            for _ in 0..milliseconds / 10 {
                self.now += 10 * MS;
                if let Some(lag) = lag {
                    self.reached.advance(KernelTime(self.now - lag * MS));
                }
                let sight = Sight {
                    now: KernelTime(self.now),
                    is_empty: lag.is_none(),
                    sent: KernelTime(self.now),
                };
                if let Some(next) = self.pace.judge(sight) {
                    self.pace.priority = next;
                }
            }
        }
    }

    #[test]
    fn a_worker_begins_in_the_background() {
        for lag in [None, Some(5)] {
            let mut bench = Bench::new();
            bench.watch(10, lag);
            assert_eq!(bench.pace.priority, Priority::Background, "{lag:?}");
        }
    }

    #[test]
    fn one_that_falls_behind_competes_until_it_has_caught_up() {
        let mut bench = Bench::new();
        bench.watch(100, None);
        bench.watch(90, Some(110));
        assert_eq!(
            bench.pace.priority,
            Priority::Background,
            "it may be one late event"
        );
        bench.watch(40, Some(110));
        assert_eq!(bench.pace.priority, Priority::Normal);
        bench.watch(5000, Some(30));
        assert_eq!(bench.pace.priority, Priority::Normal, "not caught up");
        bench.watch(400, Some(1));
        assert_eq!(bench.pace.priority, Priority::Normal, "not for long");
        bench.watch(200, Some(1));
        assert_eq!(bench.pace.priority, Priority::Background);
    }

    #[test]
    fn the_first_event_after_a_silence_is_no_delay() {
        let mut bench = Bench::new();
        bench.watch(10_000, None);
        assert_eq!(bench.pace.priority, Priority::Background);
        // `reached` is ten seconds old.
        bench.now += MS;
        let sight = Sight {
            now: KernelTime(bench.now),
            is_empty: false,
            sent: KernelTime(bench.now),
        };
        assert_eq!(bench.pace.judge(sight), None);
    }
}
