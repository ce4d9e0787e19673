//! When a worker competes for the processors, and when it makes do with what others leave over.
//!
//! Workers do most of the agent's work. At normal priority they take processors from the very programs that are looked at: on two
//! CPUs, at half of a server's capacity, that was the greater part of the tail of its latencies. In the background they cost none
//! of it, and on a busy host they come to nothing: so a worker that falls behind competes, the harder the further it is behind. On a host
//! that is busy throughout it comes to rest where it just keeps up, and what it does not need is left to the others.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use qtap_capture::{KernelTime, Priority, ThreadId, set_priority};

/// How hard a worker competes that is so far behind. The kernel's ring and the queue hold several times as much at any rate the
/// engine can keep up with.
const STEPS: [(Duration, Priority); 4] = [
    (Duration::from_millis(100), Priority::Nice(10)),
    (Duration::from_millis(140), Priority::Nice(6)),
    (Duration::from_millis(180), Priority::Nice(3)),
    (Duration::from_millis(220), Priority::Normal),
];
/// It competes less once it is so much less behind than what made it compete more.
const SLACK: Duration = Duration::from_millis(60);
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
    /// How many of the [`STEPS`] it took; `None` at first.
    steps: Option<usize>,
    /// Since when the queue was never seen empty.
    busy_since: Option<KernelTime>,
    /// Since when it has been up with its events.
    level_since: Option<KernelTime>,
}

impl Pace {
    /// That of the worker in `thread`, which begins at normal priority until the first look.
    pub(crate) fn new(thread: ThreadId, reached: Arc<Reached>) -> Self {
        Self {
            thread,
            reached,
            steps: None,
            busy_since: None,
            level_since: Some(KernelTime(0)),
        }
    }

    /// How many steps it should have taken, if that is to change.
    fn judge(&mut self, sight: Sight) -> Option<usize> {
        let lag = self.lag(sight);
        if lag > CAUGHT_UP {
            self.level_since = None;
        }
        let level_since = match self.level_since {
            None if lag <= CAUGHT_UP => *self.level_since.insert(sight.now),
            None => sight.now,
            Some(since) => since,
        };
        let reached = |lag: Duration| STEPS.iter().take_while(|(behind, _)| lag > *behind).count();
        let Some(steps) = self.steps else {
            return Some(reached(lag));
        };
        let has_caught_up = elapsed(level_since, sight.now) >= STEADY;
        let least = usize::from(steps > 0 && !has_caught_up);
        let next = steps.clamp(reached(lag), reached(lag + SLACK).max(reached(lag)).max(least));
        (next != steps).then_some(next)
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

    /// Judges, and sets the priority of the worker's thread. `true` when it left the background.
    pub(crate) fn set(&mut self, sight: Sight) -> bool {
        let Some(next) = self.judge(sight) else {
            return false;
        };
        let taken = STEPS.iter().take(next).next_back();
        let priority = taken.map_or(Priority::Background, |(_, priority)| *priority);
        if let Err(error) = set_priority(self.thread, priority) {
            // Asked again with the next look.
            tracing::debug!(%error, ?priority, "cannot set the priority of a worker");
            return false;
        }
        self.steps.replace(next) == Some(0)
    }

    /// The worker is to end: it competes from here on.
    pub(crate) fn hurry(&mut self) {
        let all = Some(STEPS.len());
        if self.steps.is_some() && self.steps != all && set_priority(self.thread, Priority::Normal).is_ok() {
            self.steps = all;
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
                    self.pace.steps = Some(next);
                }
            }
        }
    }

    #[test]
    fn a_worker_begins_in_the_background() {
        for lag in [None, Some(5)] {
            let mut bench = Bench::new();
            bench.watch(10, lag);
            assert_eq!(bench.pace.steps, Some(0), "{lag:?}");
        }
    }

    #[test]
    fn one_that_falls_behind_competes_until_it_has_caught_up() {
        let mut bench = Bench::new();
        bench.watch(100, None);
        bench.watch(90, Some(110));
        assert_eq!(bench.pace.steps, Some(0), "it may be one late event");
        bench.watch(40, Some(110));
        assert_eq!(bench.pace.steps, Some(1));
        bench.watch(5000, Some(30));
        assert_eq!(bench.pace.steps, Some(1), "not caught up");
        bench.watch(400, Some(1));
        assert_eq!(bench.pace.steps, Some(1), "not for long");
        bench.watch(200, Some(1));
        assert_eq!(bench.pace.steps, Some(0));
    }

    #[test]
    fn the_further_behind_the_harder_it_competes() {
        let mut bench = Bench::new();
        bench.watch(100, None);
        bench.watch(300, Some(150));
        assert_eq!(bench.pace.steps, Some(2));
        bench.watch(300, Some(1000));
        assert_eq!(bench.pace.steps, Some(STEPS.len()));
        bench.watch(300, Some(170));
        assert_eq!(
            bench.pace.steps,
            Some(STEPS.len()),
            "it has only begun to catch up"
        );
        bench.watch(10, Some(150));
        assert_eq!(bench.pace.steps, Some(3));
        bench.watch(10, Some(30));
        assert_eq!(bench.pace.steps, Some(1), "it competes until it has caught up");
    }

    #[test]
    fn the_first_event_after_a_silence_is_no_delay() {
        let mut bench = Bench::new();
        bench.watch(10_000, None);
        assert_eq!(bench.pace.steps, Some(0));
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
