//! What the agent sees of each process: connections, how they are read, and the bytes on the wire against the plaintext.
//!
//! Each worker keeps [`Accounts`] of its own: a connection is folded into them once, when it ends. Open connections are
//! counted when somebody asks ([`survey`]), so that traffic pays nothing for it.

mod accounts;
pub(crate) mod survey;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use qtap_capture::Pid;
use qtap_process::Process;

use crate::{HealthStatus, Reason, ReasonCode};

pub(crate) use accounts::Accounts;

/// Resolution of the start in `/proc/PID/stat` (`USER_HZ` is 100 on x86-64 and arm64).
const TICK_NS: u64 = 10_000_000;
/// Characters kept of the particulars of a problem.
const DETAIL: usize = 240;

/// A process, whatever its number stood for before or will after.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProcessKey {
    /// Its number.
    pub pid: Pid,
    /// Its start, nanoseconds since boot in whole clock ticks; 0 while its facts are not known.
    pub start_ns: u64,
}

impl ProcessKey {
    /// The key of `process`, the same for all its images: of a process that is older than the agent only the tick of its start is
    /// known, until an exec tells the nanosecond.
    #[must_use]
    pub const fn of(process: &Process) -> Self {
        Self {
            pid: process.pid,
            start_ns: process.start_ns - process.start_ns % TICK_NS,
        }
    }
}

/// How the bytes of a connection come to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reading {
    /// No byte passed so far.
    Unused,
    /// The socket carries the application's bytes.
    Plain,
    /// TLS, decrypted.
    Secrets,
    /// TLS, taken from the library's calls.
    Calls,
    /// TLS, of which the kernel does at least one direction.
    Kernel,
    /// Too early to tell: the first bytes, or a handshake.
    Pending,
    /// TLS of which nothing is read.
    Unread,
    /// Left out by the configuration.
    Excluded,
}

/// One connection, for its process' account.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) key: ProcessKey,
    pub(crate) process: Option<Arc<Process>>,
    pub(crate) reading: Reading,
    pub(crate) is_tls: bool,
    pub(crate) is_quic: bool,
    /// Payload bytes of TCP, or UDP for QUIC: sent, received.
    pub(crate) wire: [u64; 2],
    /// Bytes of the application: sent, received.
    pub(crate) plaintext: [u64; 2],
    /// Of `wire`, what was to be read and was not.
    pub(crate) unread: u64,
    /// Of `wire`, what was left out because nobody wants it.
    pub(crate) unwanted: u64,
    pub(crate) status: Option<HealthStatus>,
    pub(crate) reasons: Vec<Reason>,
}

/// Connections with one problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// How many.
    pub connections: u64,
    /// Particulars of one of them.
    pub detail: String,
}

/// Connections of one process.
#[derive(Clone, Debug, Default)]
pub struct Account {
    /// Its newest image that a connection was found with.
    pub process: Option<Arc<Process>>,
    /// Connections open now.
    pub open: u64,
    /// Connections that ended lately.
    pub ended: u64,
    /// Of both, those on which no byte passed.
    pub unused: u64,
    /// Those that carry the application's bytes.
    pub plain: u64,
    /// TLS, decrypted.
    pub secrets: u64,
    /// TLS, taken from calls.
    pub calls: u64,
    /// TLS, of which the kernel does at least one direction.
    pub kernel: u64,
    /// Too early to tell.
    pub pending: u64,
    /// TLS of which nothing is read.
    pub unread_connections: u64,
    /// Left out by the configuration.
    pub excluded: u64,
    /// TLS, read or not.
    pub tls: u64,
    /// QUIC.
    pub quic: u64,
    /// By verdict: healthy, degraded, blind, ignored.
    pub verdicts: [u64; 4],
    /// Payload bytes of TCP, or UDP for QUIC: sent, received. Without those of connections that are left out.
    pub wire_bytes: [u64; 2],
    /// The same of connections that are TLS.
    pub tls_wire_bytes: u64,
    /// Bytes of the application: sent, received.
    pub plaintext_bytes: [u64; 2],
    /// Of `wire_bytes`, what was to be read and was not.
    pub unread_bytes: u64,
    /// Of `wire_bytes`, what was not looked at because nobody wants it: bodies that no plugin keeps, protocols without a stack.
    pub unwanted_bytes: u64,
    /// What was not right, by reason.
    pub problems: BTreeMap<ReasonCode, Problem>,
}

impl Account {
    /// Connections that ended longer ago are in no account; some of those that ended half as long ago neither.
    pub const ENDED_WITHIN: Duration = Duration::from_secs(2 * accounts::PERIOD.as_secs());

    /// Adds a connection that is open, or one that ended.
    pub(crate) fn add(&mut self, entry: Entry, is_open: bool) {
        if is_open {
            self.open += 1;
        } else {
            self.ended += 1;
        }
        let place = match entry.reading {
            Reading::Unused => &mut self.unused,
            Reading::Plain => &mut self.plain,
            Reading::Secrets => &mut self.secrets,
            Reading::Calls => &mut self.calls,
            Reading::Kernel => &mut self.kernel,
            Reading::Pending => &mut self.pending,
            Reading::Unread => &mut self.unread_connections,
            Reading::Excluded => &mut self.excluded,
        };
        *place += 1;
        self.tls += u64::from(entry.is_tls);
        self.quic += u64::from(entry.is_quic);
        let verdict = entry
            .status
            .and_then(|status| self.verdicts.get_mut(status as usize));
        if let Some(count) = verdict {
            *count += 1;
        }
        add_both(&mut self.wire_bytes, entry.wire);
        add_both(&mut self.plaintext_bytes, entry.plaintext);
        if entry.is_tls {
            self.tls_wire_bytes += entry.wire.iter().sum::<u64>();
        }
        self.unread_bytes += entry.unread;
        self.unwanted_bytes += entry.unwanted;
        for reason in entry.reasons {
            self.note(reason.code, 1, reason.detail);
        }
        self.take_process(entry.process);
    }

    /// Adds all of another account of the same process.
    pub fn merge(&mut self, other: &Self) {
        for (count, more) in [
            (&mut self.open, other.open),
            (&mut self.ended, other.ended),
            (&mut self.unused, other.unused),
            (&mut self.plain, other.plain),
            (&mut self.secrets, other.secrets),
            (&mut self.calls, other.calls),
            (&mut self.kernel, other.kernel),
            (&mut self.pending, other.pending),
            (&mut self.unread_connections, other.unread_connections),
            (&mut self.excluded, other.excluded),
            (&mut self.tls, other.tls),
            (&mut self.quic, other.quic),
            (&mut self.tls_wire_bytes, other.tls_wire_bytes),
            (&mut self.unread_bytes, other.unread_bytes),
            (&mut self.unwanted_bytes, other.unwanted_bytes),
        ] {
            *count += more;
        }
        for (count, more) in self.verdicts.iter_mut().zip(other.verdicts) {
            *count += more;
        }
        add_both(&mut self.wire_bytes, other.wire_bytes);
        add_both(&mut self.plaintext_bytes, other.plaintext_bytes);
        for (code, problem) in &other.problems {
            self.note(*code, problem.connections, problem.detail.clone());
        }
        self.take_process(other.process.clone());
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.open == 0 && self.ended == 0
    }

    /// Connections on which bytes passed, and that are not left out.
    #[must_use]
    pub const fn used(&self) -> u64 {
        self.plain + self.secrets + self.calls + self.pending + self.unread_connections
    }

    /// Part of the wire bytes that were to be read which was read, in thousandths; `None` without any.
    #[must_use]
    pub fn coverage_permille(&self) -> Option<u64> {
        let wire: u64 = self.wire_bytes.iter().sum();
        let wanted = wire.saturating_sub(self.unwanted_bytes);
        let read = wanted.saturating_sub(self.unread_bytes);
        let exact = u128::from(read) * 1000;
        // Rounded down: 100 % means every byte.
        exact
            .checked_div(u128::from(wanted))
            .map(|share| u64::try_from(share).unwrap_or(1000))
    }

    fn note(&mut self, code: ReasonCode, connections: u64, detail: String) {
        let problem = self.problems.entry(code).or_insert_with(|| Problem {
            connections: 0,
            detail: String::new(),
        });
        problem.connections += connections;
        // The latest is of most use.
        problem.detail = cut(detail);
    }

    fn take_process(&mut self, process: Option<Arc<Process>>) {
        if let Some(process) = process
            && (self.process.as_ref()).is_none_or(|known| known.as_of <= process.as_of)
        {
            self.process = Some(process);
        }
    }
}

fn add_both(to: &mut [u64; 2], more: [u64; 2]) {
    for (count, more) in to.iter_mut().zip(more) {
        *count = count.saturating_add(more);
    }
}

fn cut(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(DETAIL) {
        text.truncate(end);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(reading: Reading, wire: u64, unread: u64) -> Entry {
        Entry {
            key: ProcessKey {
                pid: Pid(7),
                start_ns: 1,
            },
            process: None,
            reading,
            is_tls: reading != Reading::Plain,
            is_quic: false,
            wire: [wire, 0],
            plaintext: [wire - unread, 0],
            unread,
            unwanted: 0,
            status: Some(HealthStatus::Degraded),
            reasons: vec![Reason {
                code: ReasonCode::TlsSecretMissing,
                detail: "é".repeat(DETAIL + 1),
            }],
        }
    }

    #[test]
    fn accounts_of_two_workers_add_up() {
        let mut one = Account::default();
        one.add(entry(Reading::Secrets, 1000, 0), true);
        one.add(entry(Reading::Unread, 600, 600), false);
        let mut both = Account::default();
        both.add(entry(Reading::Plain, 400, 0), false);
        both.merge(&one);
        assert_eq!((both.open, both.ended, both.used(), both.tls), (1, 2, 3, 2));
        assert_eq!((both.wire_bytes, both.tls_wire_bytes), ([2000, 0], 1600));
        assert_eq!(both.coverage_permille(), Some(700));
        assert_eq!(both.verdicts, [0, 3, 0, 0]);
        assert_eq!(both.problems[&ReasonCode::TlsSecretMissing].connections, 3);
    }

    #[test]
    fn coverage_is_of_what_was_to_be_read_and_whole_only_when_it_is() {
        let mut account = Account::default();
        assert_eq!(account.coverage_permille(), None);
        account.add(entry(Reading::Secrets, 1_000_000, 1), true);
        assert_eq!(account.coverage_permille(), Some(999));
        account.unread_bytes = 0;
        account.unwanted_bytes = 900_000;
        assert_eq!(account.coverage_permille(), Some(1000));
    }

    #[test]
    fn a_start_told_by_an_event_and_by_proc_is_the_same_process() {
        let started = |start_ns| {
            ProcessKey::of(&Process {
                start_ns,
                ..Process::unknown(Pid(7))
            })
        };
        assert_eq!(started(1_234_567_891), started(1_230_000_000));
        assert_ne!(started(1_240_000_000), started(1_230_000_000));
    }

    #[test]
    fn particulars_are_cut_between_characters() {
        let mut account = Account::default();
        account.add(entry(Reading::Unread, 1, 1), true);
        let detail = &account.problems[&ReasonCode::TlsSecretMissing].detail;
        assert_eq!(detail.chars().count(), DETAIL + 1);
        assert!(detail.ends_with('…'));
    }
}
