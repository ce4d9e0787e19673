//! When a worker competes for the processors, and when it makes do with what others leave over.
//!
//! Workers do most of the agent's work. At normal priority they take processors from the very programs that are looked at: on two
//! CPUs, at half of a server's capacity, that was the greater part of the tail of its latencies. In the background they cost none
//! of it, and on a busy host they come to nothing: so a worker that falls behind competes, the harder the further it is behind. On a host
//! that is busy throughout it comes to rest where it just keeps up, and what it does not need is left to the others.
//!
//! It does not compete for longer than it has to: a processor on which a worker does is neither idle nor in the background to the scheduler,
//! which then wakes programs that talk to each other on the same one (docs/performance.md has figures).

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use qtap_capture::{KernelTime, Priority, ThreadId, set_priority};

/// What makes a worker compete, if it is exceeded, and how hard.
struct Step {
    backlog: Backlog,
    priority: Priority,
}

impl Step {
    const fn new(waited: u64, filled: f64, priority: Priority) -> Self {
        let waited = Duration::from_millis(waited);
        Self {
            backlog: Backlog { waited, filled },
            priority,
        }
    }
}

/// Room is what a busy server runs out of, after some 350 ms at 60,000 requests/s; from 60 % of the ring on there is nothing left to raise, and the rest of
/// it is for bursts. Time is for little traffic on a host that others keep busy.
const STEPS: [Step; 4] = [
    Step::new(500, 1.2, Priority::Nice(10)),
    Step::new(600, 1.35, Priority::Nice(6)),
    Step::new(700, 1.5, Priority::Nice(3)),
    Step::new(800, 1.6, Priority::Normal),
];
/// It competes less once its backlog is so much less than what made it compete more.
const SLACK: Backlog = Backlog {
    waited: Duration::from_millis(150),
    filled: 0.25,
};

/// What a worker has in front of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Backlog {
    /// How long the first of its events has waited for it.
    pub(crate) waited: Duration,
    /// Up to 1 its queue, from where on the reader leaves events in the ring; then that, which is full at 2.
    pub(crate) filled: f64,
}

impl Backlog {
    fn plus(self, other: Self) -> Self {
        Self {
            waited: self.waited + other.waited,
            filled: self.filled + other.filled,
        }
    }

    /// Whether it is more in one respect.
    pub(crate) fn exceeds(self, other: Self) -> bool {
        self.waited > other.waited || self.filled > other.filled
    }

    /// How many of the [`STEPS`] it is worth.
    fn steps(self) -> usize {
        STEPS.iter().take_while(|step| self.exceeds(step.backlog)).count()
    }
}

/// Whether a worker lets others go first in the middle of what it is at.
///
/// A program that another one displaces for a moment is not at once owed the processor again by the scheduler (EEVDF), and one of the background that has just woken
/// up is owed something: it goes first, and keeps the processor until the next tick, 4 ms later at 250 Hz. A worker that yields gives that up.
#[derive(Clone, Debug, Default)]
pub(crate) struct Courtesy(Arc<AtomicBool>);

impl Courtesy {
    /// To be called between events.
    pub(crate) fn show(&self, events: usize) {
        if events.is_multiple_of(Self::EVERY) && self.0.load(Ordering::Relaxed) {
            std::thread::yield_now();
        }
    }

    /// Events that it keeps the processor for: some 80 us.
    const EVERY: usize = 16;

    fn set(&self, is_shown: bool) {
        self.0.store(is_shown, Ordering::Relaxed);
    }
}

/// Events that are shown within this time are taken for shown at one time.
const AT_ONCE: Duration = Duration::from_millis(1);

/// Decides for one worker.
#[derive(Debug)]
pub(crate) struct Pace {
    thread: ThreadId,
    /// How many of the [`STEPS`] it took; `None` at first.
    steps: Option<usize>,
    courtesy: Courtesy,
}

impl Pace {
    /// That of the worker in `thread`, which begins at normal priority until the first look.
    pub(crate) const fn new(thread: ThreadId, courtesy: Courtesy) -> Self {
        Self {
            thread,
            steps: None,
            courtesy,
        }
    }

    /// How many steps it should have taken with that backlog, if that is to change.
    fn judge(&self, backlog: Backlog) -> Option<usize> {
        let least = backlog.steps();
        let most = backlog.plus(SLACK).steps();
        let next = (self.steps).map_or(least, |steps| steps.clamp(least, most));
        (self.steps != Some(next)).then_some(next)
    }

    /// Judges, and sets the priority of the worker's thread. `true` when it left the background.
    pub(crate) fn set(&mut self, backlog: Backlog) -> bool {
        let Some(next) = self.judge(backlog) else {
            return false;
        };
        let taken = STEPS.iter().take(next).next_back();
        let priority = taken.map_or(Priority::Background, |step| step.priority);
        if let Err(error) = set_priority(self.thread, priority) {
            // Asked again with the next look.
            tracing::debug!(%error, ?priority, "cannot set the priority of a worker");
            return false;
        }
        // One that is behind has no time for it.
        self.courtesy.set(next == 0);
        self.steps.replace(next) == Some(0)
    }

    /// The worker is to end: it competes from here on.
    pub(crate) fn hurry(&mut self) {
        let all = Some(STEPS.len());
        if self.steps.is_some() && self.steps != all && set_priority(self.thread, Priority::Normal).is_ok() {
            self.steps = all;
            self.courtesy.set(false);
        }
    }
}

/// What a worker was shown and has not worked off.
#[derive(Debug, Default)]
pub(crate) struct Shown {
    /// How many events had been sent when they were shown, and when that was; the oldest first.
    marks: VecDeque<(u64, KernelTime)>,
}

impl Shown {
    /// All of the `sent` events so far are shown to the worker.
    pub(crate) fn show(&mut self, sent: u64, now: KernelTime) {
        match self.marks.back_mut() {
            Some((shown, _)) if *shown == sent => {}
            Some((shown, since)) if elapsed(*since, now) < AT_ONCE => *shown = sent,
            _ => self.marks.push_back((sent, now)),
        }
    }

    /// How long the first of those that wait has waited, `worked_off` events being done.
    pub(crate) fn waited(&mut self, worked_off: u64, now: KernelTime) -> Duration {
        while self.marks.front().is_some_and(|(shown, _)| *shown <= worked_off) {
            self.marks.pop_front();
        }
        (self.marks.front()).map_or(Duration::ZERO, |(_, since)| elapsed(*since, now))
    }
}

fn elapsed(since: KernelTime, now: KernelTime) -> Duration {
    Duration::from_nanos(now.0.saturating_sub(since.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    const fn backlog(waited: u64, filled: f64) -> Backlog {
        Backlog {
            waited: ms(waited),
            filled,
        }
    }

    /// Steps taken after each of `backlogs`.
    fn steps(backlogs: impl IntoIterator<Item = Backlog>) -> Vec<usize> {
        let mut pace = Pace::new(ThreadId::current(), Courtesy::default());
        let steps = backlogs.into_iter().map(|backlog| {
            if let Some(next) = pace.judge(backlog) {
                pace.steps = Some(next);
            }
            pace.steps.expect("the first look decides")
        });
        steps.collect()
    }

    /// Of events that waited for each of `times`, in milliseconds.
    fn steps_by_time<const N: usize>(times: [u64; N]) -> Vec<usize> {
        steps(times.map(|waited| backlog(waited, 0.0)))
    }

    fn steps_by_room<const N: usize>(filled: [f64; N]) -> Vec<usize> {
        steps(filled.map(|filled| backlog(0, filled)))
    }

    #[test]
    fn a_worker_begins_in_the_background() {
        assert_eq!(steps_by_time([0]), [0]);
        assert_eq!(steps_by_time([350, 500]), [0, 0]);
        assert_eq!(steps_by_room([0.0, 1.0, 1.2]), [0, 0, 0]);
    }

    #[test]
    fn the_longer_its_events_wait_the_harder_it_competes() {
        assert_eq!(
            steps_by_time([0, 501, 600, 650, 750, 801, 5000]),
            [0, 1, 1, 2, 3, 4, 4]
        );
    }

    #[test]
    fn the_fuller_the_room_in_front_of_it_the_harder_it_competes() {
        assert_eq!(
            steps_by_room([0.0, 1.21, 1.35, 1.4, 1.55, 1.7, 2.0]),
            [0, 1, 1, 2, 3, 4, 4]
        );
        assert_eq!(
            steps([backlog(550, 1.4), backlog(650, 1.3)]),
            [2, 2],
            "whichever asks for more"
        );
    }

    #[test]
    fn it_competes_less_only_when_it_has_come_closer() {
        assert_eq!(
            steps_by_time([900, 790, 660, 651, 650, 550, 400, 350, 0]),
            [4, 4, 4, 4, 3, 2, 1, 0, 0]
        );
        assert_eq!(
            steps_by_room([2.0, 1.4, 1.3, 1.2, 1.0, 0.9, 0.1]),
            [4, 4, 3, 2, 1, 0, 0]
        );
    }

    #[test]
    fn events_wait_from_when_they_are_shown_until_they_are_worked_off() {
        let at = |milliseconds: u64| KernelTime(milliseconds * 1_000_000);
        let mut shown = Shown::default();
        assert_eq!(shown.waited(0, at(5)), ms(0), "nothing was shown");
        shown.show(10, at(10));
        shown.show(10, at(15));
        assert_eq!(shown.waited(9, at(30)), ms(20), "one waits");
        shown.show(20, at(40));
        assert_eq!(shown.waited(9, at(50)), ms(40));
        assert_eq!(
            shown.waited(10, at(50)),
            ms(10),
            "those shown later wait since then"
        );
        assert_eq!(shown.waited(20, at(900)), ms(0), "a silence is no delay");
        shown.show(25, at(900));
        assert_eq!(shown.waited(20, at(901)), ms(1));
    }

    #[test]
    fn what_is_shown_at_one_time_is_one_mark() {
        let mut shown = Shown::default();
        for number in 0..10_000 {
            shown.show(number, KernelTime(number * 1000));
        }
        assert_eq!(shown.marks.len(), 10);
    }
}
