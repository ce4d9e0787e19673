//! What the transactions of a connection came to.

/// What the transactions of a connection came to, for its health.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct TransactionTally {
    pub(crate) finished: u64,
    pub(crate) refused_by_plugins: u64,
    pub(crate) incomplete: u64,
    pub(crate) gap_bytes: u64,
    pub(crate) truncated_bodies: u64,
    /// Not kept to shed load.
    pub(crate) shed_bodies: u64,
    pub(crate) partial_heads: u64,
    pub(crate) orphans: u64,
    pub(crate) resyncs: u64,
    pub(crate) canceled: u64,
    pub(crate) tunnels: TunnelTally,
}

impl TransactionTally {
    /// Adds those of a tunnel.
    pub(crate) fn add(&mut self, other: &Self) {
        self.finished += other.finished;
        self.refused_by_plugins += other.refused_by_plugins;
        self.incomplete += other.incomplete;
        self.gap_bytes += other.gap_bytes;
        self.truncated_bodies += other.truncated_bodies;
        self.shed_bodies += other.shed_bodies;
        self.partial_heads += other.partial_heads;
        self.orphans += other.orphans;
        self.resyncs += other.resyncs;
        self.canceled += other.canceled;
        self.tunnels.add(&other.tunnels);
    }
}

/// Tunnels inside of TLS or on streams, see [`crate::tunnel`].
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct TunnelTally {
    pub(crate) count: u64,
    pub(crate) unread: u64,
    /// Why the first of those was not.
    pub(crate) cause: Option<&'static str>,
}

impl TunnelTally {
    /// Counts one; `unread`: why it could not be read.
    pub(crate) fn count(&mut self, unread: Option<&'static str>) {
        self.add(&Self {
            count: 1,
            unread: u64::from(unread.is_some()),
            cause: unread,
        });
    }

    fn add(&mut self, other: &Self) {
        self.count += other.count;
        self.unread += other.unread;
        self.cause = self.cause.or(other.cause);
    }
}
