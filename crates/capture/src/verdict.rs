//! What user space tells the kernel.

/// What to copy of one connection. Positions count as in [`crate::Data::position`]; a verdict replaces the former.
/// Bytes that are not copied still count and show as a gap of known length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Socket layer, `[egress, ingress]`: copy nothing below this position (skip the next n bytes).
    pub skip_until: [u64; 2],
    /// Socket layer, `[egress, ingress]`: copy nothing at or beyond this position (first window; 0 = count only).
    pub stream_until: [u64; 2],
    /// Whether plaintext seen in TLS calls is copied.
    pub calls: bool,
}

impl Verdict {
    /// Copy everything: what holds until a verdict comes.
    pub const STREAM: Self = Self {
        skip_until: [0; 2],
        stream_until: [u64::MAX; 2],
        calls: true,
    };
    /// Copy nothing, count everything.
    pub const COUNT_ONLY: Self = Self {
        skip_until: [0; 2],
        stream_until: [0; 2],
        calls: false,
    };
    /// Plaintext of TLS calls only.
    pub const CALLS_ONLY: Self = Self {
        skip_until: [0; 2],
        stream_until: [0; 2],
        calls: true,
    };
}

/// What to do with the connections of a process, from the next one on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProcessVerdict {
    /// Report them.
    Observe,
    /// No events at all.
    Ignore,
}

/// What is not copied, of any connection, because the agent is over its share of the CPU. It is counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Shed {
    /// Everything is copied.
    #[default]
    Nothing,
    /// Payload of connections that open from now on is not, until [`Shed::Nothing`].
    New,
    /// Payload of no connection is.
    All,
}
