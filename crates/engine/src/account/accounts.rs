//! The connections of one worker that ended lately, by process.

use std::collections::HashMap as StdHashMap;
use std::time::Duration;

use qtap_capture::KernelTime;

use super::{Account, Entry, ProcessKey};
use crate::hash::HashMap;

/// Processes kept; connections of one more are counted together, without its name.
const PROCESSES: usize = 4096;
/// Connections that ended are kept for one to two of these.
pub(crate) const PERIOD: Duration = Duration::from_secs(300);

/// Accounts of ended connections in two periods: what falls out of the former one is forgotten.
#[derive(Debug, Default)]
pub(crate) struct Accounts {
    current: HashMap<ProcessKey, Box<Account>>,
    former: HashMap<ProcessKey, Box<Account>>,
    /// Connections of processes that found no room, both periods.
    left_out: [u64; 2],
    rotate_at: KernelTime,
}

impl Accounts {
    /// A connection ended.
    pub(crate) fn end(&mut self, entry: Entry) {
        if self.current.len() >= PROCESSES && !self.current.contains_key(&entry.key) {
            self.left_out[0] += 1;
            return;
        }
        self.current.entry(entry.key).or_default().add(entry, false);
    }

    /// To be called now and then: begins another period when it is time.
    pub(crate) fn rotate(&mut self, now: KernelTime) {
        let period = u64::try_from(PERIOD.as_nanos()).unwrap_or(u64::MAX);
        if now < self.rotate_at {
            return;
        }
        if self.rotate_at != KernelTime(0) {
            self.former = std::mem::take(&mut self.current);
            self.left_out = [0, self.left_out[0]];
        }
        self.rotate_at = KernelTime(now.0.saturating_add(period));
    }

    /// Both periods together.
    pub(crate) fn sum(&self) -> StdHashMap<ProcessKey, Account> {
        let mut sum: StdHashMap<ProcessKey, Account> = StdHashMap::new();
        for (key, account) in self.former.iter().chain(&self.current) {
            sum.entry(*key).or_default().merge(account);
        }
        sum
    }

    /// Connections of both periods that are in no account.
    pub(crate) fn left_out(&self) -> u64 {
        self.left_out.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use qtap_capture::Pid;

    use super::super::Reading;
    use super::*;

    fn entry(pid: u32, start_ns: u64) -> Entry {
        Entry {
            key: ProcessKey {
                pid: Pid(pid),
                start_ns,
            },
            process: None,
            reading: Reading::Plain,
            is_tls: false,
            is_quic: false,
            wire: [10, 20],
            plaintext: [10, 20],
            unread: 0,
            unwanted: 0,
            status: None,
            reasons: Vec::new(),
        }
    }

    fn minutes(minutes: u64) -> KernelTime {
        KernelTime(minutes * 60_000_000_000 + 1)
    }

    #[test]
    fn a_number_used_again_is_another_process() {
        let mut accounts = Accounts::default();
        accounts.end(entry(7, 1));
        accounts.end(entry(7, 1));
        accounts.end(entry(7, 2));
        let sum = accounts.sum();
        let ended = |start_ns| sum[&entry(7, start_ns).key].ended;
        assert_eq!((sum.len(), ended(1), ended(2)), (2, 2, 1));
    }

    #[test]
    fn what_ended_long_ago_is_forgotten() {
        let mut accounts = Accounts::default();
        accounts.rotate(minutes(0));
        accounts.end(entry(1, 1));
        accounts.rotate(minutes(5));
        accounts.end(entry(1, 1));
        assert_eq!(accounts.sum()[&entry(1, 1).key].ended, 2);
        accounts.rotate(minutes(6));
        assert_eq!(accounts.sum()[&entry(1, 1).key].ended, 2);
        accounts.rotate(minutes(10));
        assert_eq!(accounts.sum()[&entry(1, 1).key].ended, 1);
        accounts.rotate(minutes(15));
        assert!(accounts.sum().is_empty());
    }

    #[test]
    fn processes_are_bounded_and_what_is_left_out_is_counted() {
        let mut accounts = Accounts::default();
        for pid in 0..PROCESSES as u32 + 3 {
            accounts.end(entry(pid, 1));
        }
        accounts.end(entry(0, 1));
        assert_eq!((accounts.sum().len(), accounts.left_out()), (PROCESSES, 3));
    }
}
