//! What the room counts.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! stats {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Counters of a [`crate::Table`], read at one moment.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Stats {
            $($(#[$doc])* pub $name: u64,)*
        }

        #[derive(Debug, Default)]
        pub(crate) struct Counters {
            $(pub(crate) $name: AtomicU64,)*
        }

        impl Counters {
            pub(crate) fn read(&self) -> Stats {
                Stats { $($name: self.$name.load(Ordering::Relaxed),)* }
            }
        }
    };
}

stats! {
    /// Gauge: images of running processes.
    running,
    /// Gauge: images kept after their end.
    ended,
    /// Gauge: estimated bytes of all records.
    bytes,
    /// Fork events.
    forks,
    /// Exec events.
    execs,
    /// Exit events.
    exits,
    /// Records made from /proc, at start or because a look-up missed.
    from_proc,
    /// Exec events whose image could not be read any more: the executable is what the event says.
    unread,
    /// Fork events whose parent is not known and whose child was gone.
    orphans,
    /// Ends noticed without an exit event.
    exits_missed,
    /// Look-ups by pid.
    lookups,
    /// Look-ups that found nothing.
    missed,
    /// Look-ups answered by an image that had ended.
    late,
    /// Pids that could not be asked for after a miss, because too many were.
    requests_dropped,
    /// Ended images forgotten when their time was over.
    expired,
    /// Ended images forgotten before that, for lack of room.
    evicted,
    /// Records not kept for lack of room: all others are of running processes.
    refused,
}

pub(crate) fn increment(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
