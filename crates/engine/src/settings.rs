//! What the engine is told by the configuration, and the waits it allows.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// `tap.tls.source`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TlsMode {
    /// Secrets where the handshake was seen, calls for the rest.
    #[default]
    Auto,
    /// Calls only.
    Calls,
    /// Secrets only.
    Secrets,
}

/// Settings of all workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `tap.tls.source`.
    pub tls: TlsMode,
    /// Secrets are told to the host when they prove to be a connection's own: for a key log.
    pub export_secrets: bool,
    /// `tap.limits.memory`: bytes of payload held at a time, all workers together.
    pub memory: u64,
    /// Unparsed bytes held for one connection (P-L4).
    pub connection_bytes: usize,
    /// How long a connection's data may wait for the facts of its process while events about processes are behind.
    pub process_wait: Duration,
    /// How long when they are not, and the process is not known.
    pub missing_wait: Duration,
    /// How long a record may wait for the one before it (P-L1).
    pub reorder_wait: Duration,
    /// How long ciphertext may wait for its secret.
    pub secret_wait: Duration,
    /// How long ciphertext may wait for a secret that is searched for in the memory of its process.
    pub memory_wait: Duration,
    /// How long a closed connection may wait for its last records.
    pub close_wait: Duration,
    /// How long a closed TLS connection may wait until the libraries of its process were looked at.
    pub examine_wait: Duration,
    /// First report of a connection.
    pub first_report: Duration,
    /// Further reports, while something is heard of the connection.
    pub report_interval: Duration,
    /// The same of one that is silent: it has nothing new to report, and there may be fifty thousand of them.
    pub idle_report_interval: Duration,
    /// No progress with data waiting: search the next message (P-L3).
    pub stall: Duration,
    /// Still none: drop what is held (P-L3).
    pub stall_drop: Duration,
    /// Transactions without a byte for so long end as timed out (P-L3).
    pub transaction_timeout: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            tls: TlsMode::Auto,
            export_secrets: false,
            memory: 256 << 20,
            connection_bytes: 4 << 20,
            process_wait: Duration::from_secs(5),
            missing_wait: Duration::from_millis(300),
            reorder_wait: Duration::from_millis(200),
            secret_wait: Duration::from_secs(2),
            memory_wait: Duration::from_secs(10),
            close_wait: Duration::from_millis(300),
            examine_wait: Duration::from_secs(1),
            first_report: Duration::from_millis(500),
            report_interval: Duration::from_secs(10),
            idle_report_interval: Duration::from_secs(600),
            stall: Duration::from_secs(5),
            stall_drop: Duration::from_secs(30),
            transaction_timeout: Duration::from_secs(600),
        }
    }
}

/// Payload bytes that all workers together may hold.
#[derive(Debug)]
pub struct Budget {
    limit: u64,
    used: AtomicU64,
}

impl Budget {
    /// A budget of `limit` bytes.
    #[must_use]
    pub const fn new(limit: u64) -> Self {
        Self {
            limit,
            used: AtomicU64::new(0),
        }
    }

    /// Takes `bytes`, or nothing when that would exceed the limit.
    pub fn take(&self, bytes: usize) -> bool {
        let bytes = bytes as u64;
        if self.used.fetch_add(bytes, Ordering::Relaxed) + bytes > self.limit {
            self.used.fetch_sub(bytes, Ordering::Relaxed);
            return false;
        }
        true
    }

    /// Gives back `bytes` that were taken.
    pub fn give(&self, bytes: usize) {
        self.used.fetch_sub(bytes as u64, Ordering::Relaxed);
    }

    /// Charges what is held already, whatever the limit: `former` bytes became `now`.
    pub fn charge(&self, former: usize, now: usize) {
        if now >= former {
            self.used.fetch_add((now - former) as u64, Ordering::Relaxed);
        } else {
            self.give(former - now);
        }
    }

    /// Bytes taken beyond the limit.
    #[must_use]
    pub fn excess(&self) -> u64 {
        self.used().saturating_sub(self.limit)
    }

    /// Part of the limit that is taken, in thousandths.
    #[must_use]
    pub fn used_permille(&self) -> u64 {
        self.used().saturating_mul(1000) / self.limit.max(1)
    }

    /// Bytes taken.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_refuses_what_exceeds_it_and_takes_it_after_release() {
        let budget = Budget::new(10);
        assert!(budget.take(8));
        assert!(!budget.take(3));
        assert_eq!(budget.used(), 8);
        budget.give(8);
        assert!(budget.take(10));
    }
}
