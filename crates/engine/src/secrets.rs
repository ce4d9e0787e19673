//! Secrets that wait for the connection they belong to.

use std::collections::VecDeque;
use std::num::NonZeroU64;
use std::time::Duration;

use qtap_capture::{ConnectionId, KernelTime, Pid, TlsSecret};
use qtap_tls::{Label, Secret, Time};

use crate::hash::HashMap;

/// Unclaimed secrets kept for one process: those of some thousand handshakes at a time.
const PER_PROCESS: usize = 8192;
/// Processes with unclaimed secrets.
const PROCESSES: usize = 4096;
/// How long a secret stays unclaimed: the application secrets of a connection opened in advance wait for its
/// first request.
const LIFETIME: Duration = Duration::from_secs(60);
/// How long one stays that the connection it was meant for has taken: in case it was meant for another.
const LIFETIME_GIVEN: Duration = Duration::from_secs(5);

/// A secret that waits.
#[derive(Debug)]
struct Waiting {
    /// The connection it is most likely of.
    hint: Option<ConnectionId>,
    /// That connection has it as a candidate.
    given: bool,
    secret: Secret,
}

/// Which secrets a connection is offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    /// Those meant for it and not given yet, and those meant for none.
    Likely,
    /// The same, and those once more that it was given: something in it seeks that did not then.
    Again,
    /// All of its process: it has waited in vain for the likely ones.
    All,
}

/// Those of one process, by the connection they are most likely of. A busy server has thousands that were meant for others: a
/// connection that seeks its own does not pass by them.
type Unclaimed = HashMap<Option<ConnectionId>, VecDeque<Waiting>>;

/// Unclaimed secrets by process. What leaves it is wiped.
#[derive(Debug, Default)]
pub(crate) struct SecretPool {
    unclaimed: HashMap<Pid, Process>,
}

#[derive(Debug, Default)]
struct Process {
    secrets: Unclaimed,
    count: usize,
}

impl SecretPool {
    /// Keeps a secret; returns how many had to go for it. `given`: the connection it is meant for has it.
    pub(crate) fn insert(
        &mut self,
        pid: Pid,
        hint: Option<ConnectionId>,
        given: bool,
        secret: Secret,
    ) -> u64 {
        if !self.unclaimed.contains_key(&pid) && self.unclaimed.len() >= PROCESSES {
            return 1;
        }
        let process = self.unclaimed.entry(pid).or_default();
        let excess = process.make_room();
        let waiting = Waiting { hint, given, secret };
        process.secrets.entry(hint).or_default().push_back(waiting);
        process.count += 1;
        excess
    }

    /// Offers the secrets of `pid` to the connection `id`, oldest first, and drops those that are claimed. `claim` is told whether a secret is
    /// meant for it. Returns how many were claimed.
    pub(crate) fn offer(
        &mut self,
        pid: Pid,
        id: ConnectionId,
        choice: Choice,
        mut claim: impl FnMut(&Secret, bool) -> bool,
    ) -> u64 {
        let Some(process) = self.unclaimed.get_mut(&pid) else {
            return 0;
        };
        let mut claimed = 0;
        let mut offer = |waiting: &mut Waiting| {
            let (given, is_meant) = (waiting.given, waiting.hint == Some(id));
            waiting.given |= is_meant;
            let keep = choice == Choice::Likely && given || !claim(&waiting.secret, is_meant);
            claimed += u64::from(!keep);
            keep
        };
        match choice {
            Choice::Likely | Choice::Again => {
                for hint in [None, Some(id)] {
                    if let Some(secrets) = process.secrets.get_mut(&hint) {
                        secrets.retain_mut(&mut offer);
                        if secrets.is_empty() {
                            process.secrets.remove(&hint);
                        }
                    }
                }
            }
            Choice::All => process.secrets.retain(|_, secrets| {
                secrets.retain_mut(&mut offer);
                !secrets.is_empty()
            }),
        }
        process.count -= usize::try_from(claimed).unwrap_or_default();
        if process.count == 0 {
            self.unclaimed.remove(&pid);
        }
        claimed
    }

    /// Drops what is too old; returns how many of them nobody had taken.
    pub(crate) fn expire(&mut self, now: KernelTime) -> u64 {
        let before = |wait: Duration| {
            now.0
                .saturating_sub(u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX))
        };
        let (oldest, oldest_given) = (before(LIFETIME), before(LIFETIME_GIVEN));
        let mut expired = 0;
        self.unclaimed.retain(|_, process| {
            let mut left = 0;
            process.secrets.retain(|_, secrets| {
                secrets.retain(|waiting| {
                    let keep = waiting.secret.time.0 >= if waiting.given { oldest_given } else { oldest };
                    expired += u64::from(!keep && !waiting.given);
                    keep
                });
                left += secrets.len();
                !secrets.is_empty()
            });
            process.count = left;
            left > 0
        });
        expired
    }
}

impl Process {
    /// Sees to it that one more finds room; returns how many had to go. They go by the quarter, for the oldest are not together.
    fn make_room(&mut self) -> u64 {
        if self.count < PER_PROCESS {
            return 0;
        }
        let mut times: Vec<_> = (self.secrets.values().flatten())
            .map(|waiting| waiting.secret.time)
            .collect();
        let (_, oldest_kept, _) = times.select_nth_unstable(PER_PROCESS / 4);
        let oldest_kept = *oldest_kept;
        let before = self.count;
        self.count = 0;
        self.secrets.retain(|_, secrets| {
            secrets.retain(|waiting| waiting.secret.time >= oldest_kept);
            self.count += secrets.len();
            !secrets.is_empty()
        });
        if self.count == before {
            // All of one moment.
            self.secrets.clear();
            self.count = 0;
        }
        (before - self.count) as u64
    }
}

/// The secret as the TLS room takes it; `None` for labels that protect no record.
pub(crate) fn from_event(event: &TlsSecret) -> Option<Secret> {
    Some(Secret {
        label: Label::from_name(event.label)?,
        bytes: event.secret.clone(),
        client_random: event.client_random,
        time: Time(event.time.0),
        origin: event.origin.map(NonZeroU64::get),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use zeroize::Zeroizing;

    fn secret(time: u64) -> Secret {
        Secret {
            label: Label::ClientApplication,
            bytes: Zeroizing::new(vec![7; 32]),
            client_random: None,
            time: Time(time),
            origin: None,
        }
    }

    const A: ConnectionId = ConnectionId(1);
    const B: ConnectionId = ConnectionId(2);

    #[test]
    fn claimed_secrets_leave_the_pool() {
        let mut pool = SecretPool::default();
        pool.insert(Pid(1), None, false, secret(1));
        pool.insert(Pid(1), None, false, secret(2));
        pool.insert(Pid(2), None, false, secret(3));
        assert_eq!(
            pool.offer(Pid(1), A, Choice::Likely, |secret, _| secret.time == Time(2)),
            1
        );
        assert_eq!(pool.offer(Pid(1), A, Choice::Likely, |_, _| true), 1);
        assert_eq!(pool.offer(Pid(1), A, Choice::Likely, |_, _| true), 0);
        assert_eq!(pool.offer(Pid(2), A, Choice::Likely, |_, _| true), 1);
    }

    #[test]
    fn a_secret_is_offered_to_the_connection_it_is_meant_for_once_and_to_others_only_in_need() {
        let mut pool = SecretPool::default();
        pool.insert(Pid(1), Some(A), false, secret(1));
        let offered = |pool: &mut SecretPool, id, choice| {
            let mut count = 0;
            pool.offer(Pid(1), id, choice, |_, _| {
                count += 1;
                false
            });
            count
        };
        assert_eq!(offered(&mut pool, B, Choice::Likely), 0);
        assert_eq!(offered(&mut pool, A, Choice::Likely), 1);
        assert_eq!(offered(&mut pool, A, Choice::Likely), 0);
        assert_eq!(offered(&mut pool, B, Choice::All), 1);
    }

    #[test]
    fn secrets_of_one_moment_are_bounded_too() {
        let mut pool = SecretPool::default();
        let dropped: u64 = (0..=PER_PROCESS)
            .map(|_| pool.insert(Pid(1), None, false, secret(1)))
            .sum();
        assert_eq!(dropped, PER_PROCESS as u64);
        assert_eq!(pool.offer(Pid(1), A, Choice::All, |_, _| true), 1);
    }

    #[test]
    fn the_pool_is_bounded_per_process_and_in_time() {
        let mut pool = SecretPool::default();
        let dropped: u64 = (0..PER_PROCESS as u64 + 44)
            .map(|time| pool.insert(Pid(1), None, false, secret(time)))
            .sum();
        assert_eq!(dropped, PER_PROCESS as u64 / 4);
        pool.insert(Pid(2), Some(A), true, secret(5));
        assert_eq!(pool.expire(KernelTime(10)), 0);
        assert_eq!(
            pool.expire(KernelTime(70_000_000_000)) + dropped,
            PER_PROCESS as u64 + 44,
            "what was given is no loss"
        );
    }
}
