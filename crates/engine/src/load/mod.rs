//! How much of the traffic is looked at while the agent is over its share of CPU or memory.
//!
//! The [`Breaker`] decides, from what the agent used; [`Load`] tells the workers. In the kernel, payload is left uncopied
//! from [`LoadLevel::NewCounted`] on.

mod breaker;

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use qtap_capture::{KernelTime, Shed};

pub use breaker::{Breaker, Mean, Step, Usage};

/// What is still looked at. Each level does less than the one before, in the order of what it costs users to miss.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum LoadLevel {
    /// Everything that the configuration asks for.
    #[default]
    Full,
    /// Bodies of transactions that begin are not kept.
    Headers,
    /// Connections that open are only counted; those that are open are looked at, without bodies.
    NewCounted,
    /// All connections are only counted.
    Counted,
}

impl LoadLevel {
    /// From the one that looks at everything.
    pub const ALL: [Self; 4] = [Self::Full, Self::Headers, Self::NewCounted, Self::Counted];

    /// Name in the log.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Headers => "headers",
            Self::NewCounted => "new_counted",
            Self::Counted => "counted",
        }
    }

    /// What the kernel side is told.
    #[must_use]
    pub const fn shed(self) -> Shed {
        match self {
            Self::Full | Self::Headers => Shed::Nothing,
            Self::NewCounted => Shed::New,
            Self::Counted => Shed::All,
        }
    }

    fn less(self) -> Option<Self> {
        Self::ALL.get(self as usize + 1).copied()
    }

    fn more(self) -> Option<Self> {
        Self::ALL.get((self as usize).checked_sub(1)?).copied()
    }
}

/// When payload was last left uncopied; without end while it is.
#[derive(Debug)]
struct Interval {
    from: AtomicU64,
    until: AtomicU64,
}

impl Interval {
    /// Long past, before anything was seen.
    const fn never() -> Self {
        Self {
            from: AtomicU64::new(0),
            until: AtomicU64::new(0),
        }
    }

    fn note(&self, is_shed: bool, now: KernelTime) {
        let open = self.until.load(Ordering::Relaxed) == u64::MAX;
        if is_shed && !open {
            self.from.store(now.0, Ordering::Relaxed);
            self.until.store(u64::MAX, Ordering::Release);
        } else if !is_shed && open {
            self.until.store(now.0, Ordering::Release);
        }
    }

    /// Whether it has a moment in common with the time between two others.
    fn meets(&self, since: KernelTime, time: KernelTime) -> bool {
        let until = self.until.load(Ordering::Acquire);
        until > 0 && since.0 <= until && time.0 >= self.from.load(Ordering::Relaxed)
    }
}

/// The level in force, and since when: what the workers know of it. Reading it costs a load.
#[derive(Debug)]
pub struct Load {
    level: AtomicU8,
    new: Interval,
    all: Interval,
}

impl Default for Load {
    fn default() -> Self {
        Self {
            level: AtomicU8::new(0),
            new: Interval::never(),
            all: Interval::never(),
        }
    }
}

impl Load {
    /// The level in force.
    #[must_use]
    pub fn level(&self) -> LoadLevel {
        let number = usize::from(self.level.load(Ordering::Relaxed));
        LoadLevel::ALL.get(number).copied().unwrap_or_default()
    }

    /// Puts `level` in force. To be called before the kernel side is told that less is wanted, and after it was told that more is,
    /// so that what it leaves out lies within what is known here.
    pub fn set(&self, level: LoadLevel, now: KernelTime) {
        self.new.note(level >= LoadLevel::NewCounted, now);
        self.all.note(level == LoadLevel::Counted, now);
        self.level.store(level as u8, Ordering::Relaxed);
    }

    /// Whether bytes that did not come between two moments were left out to shed load. `opened_shed`: of a connection that opened
    /// while new ones were only counted.
    pub(crate) fn hid(&self, opened_shed: bool, since: KernelTime, time: KernelTime) -> bool {
        let interval = if opened_shed { &self.new } else { &self.all };
        interval.meets(since, time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_laid_to_shedding_only_where_it_was_in_force() {
        let load = Load::default();
        let hid = |shed, since, time| load.hid(shed, KernelTime(since), KernelTime(time));
        assert!(!hid(false, 0, 100) && !hid(true, 0, 100));
        load.set(LoadLevel::NewCounted, KernelTime(10));
        assert!(!hid(false, 11, 12) && hid(true, 11, 12) && !hid(true, 5, 9));
        load.set(LoadLevel::Counted, KernelTime(20));
        assert!(hid(false, 15, 25) && hid(true, 11, 25) && !hid(false, 15, 19));
        load.set(LoadLevel::Full, KernelTime(30));
        assert!(hid(false, 25, 40) && !hid(false, 31, 40) && hid(true, 29, 40) && !hid(true, 31, 40));
        assert_eq!(load.level(), LoadLevel::Full);
    }

    #[test]
    fn levels_are_neighbours_in_order() {
        for pair in LoadLevel::ALL.windows(2) {
            assert_eq!((pair[0].less(), pair[1].more()), (Some(pair[1]), Some(pair[0])));
        }
        assert_eq!((LoadLevel::Full.more(), LoadLevel::Counted.less()), (None, None));
    }
}
