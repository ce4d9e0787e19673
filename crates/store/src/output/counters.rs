//! Counters of an output.

/// Why a record was lost: the label `reason` of `qtap_store_lost_total{stage="store"}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Lost {
    /// The queue was full: the reader is slower than the traffic.
    QueueFull,
    /// Nobody reads any more (EPIPE).
    BrokenPipe,
    /// No room on the device (ENOSPC).
    NoSpace,
    /// Another error of writing.
    WriteError,
    /// It could not be made into a line.
    NotSerialised,
    /// The agent ended before it was written.
    Shutdown,
}

impl Lost {
    /// All reasons.
    pub const ALL: [Self; 6] = [
        Self::QueueFull,
        Self::BrokenPipe,
        Self::NoSpace,
        Self::WriteError,
        Self::NotSerialised,
        Self::Shutdown,
    ];

    /// Value of the label.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::BrokenPipe => "broken_pipe",
            Self::NoSpace => "no_space",
            Self::WriteError => "write_error",
            Self::NotSerialised => "not_serialised",
            Self::Shutdown => "shutdown",
        }
    }

    pub(super) fn of(error: &std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::BrokenPipe => Self::BrokenPipe,
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Self::NoSpace,
            _ => Self::WriteError,
        }
    }
}

/// One consistent reading of an output's counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutputCounters {
    /// Records handed in.
    pub received: u64,
    /// Records written whole.
    pub emitted: u64,
    /// Bytes of those.
    pub emitted_bytes: u64,
    /// Records taken and not written yet: the depth of the queue and what is being written.
    pub waiting_records: u64,
    /// Bytes of those.
    pub waiting_bytes: u64,
    lost: [u64; Lost::ALL.len()],
}

impl OutputCounters {
    /// Records lost for one reason.
    #[must_use]
    pub fn lost(&self, reason: Lost) -> u64 {
        self.lost.get(reason as usize).copied().unwrap_or_default()
    }

    /// Records lost for any reason.
    #[must_use]
    pub fn lost_total(&self) -> u64 {
        self.lost.iter().sum()
    }

    pub(super) fn lose(&mut self, reason: Lost, records: u64) {
        if let Some(count) = self.lost.get_mut(reason as usize) {
            *count += records;
        }
    }
}
