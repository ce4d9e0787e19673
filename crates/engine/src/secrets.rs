//! Secrets that wait for the connection they belong to.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use qtap_capture::{KernelTime, Pid, TlsSecret};
use qtap_tls::{Label, Secret, Time};

/// Unclaimed secrets kept for one process.
const PER_PROCESS: usize = 256;
/// Processes with unclaimed secrets.
const PROCESSES: usize = 4096;
/// How long a secret stays unclaimed: the application secrets of a connection opened in advance wait for its
/// first request.
const LIFETIME: Duration = Duration::from_secs(60);

/// Unclaimed secrets by process. What leaves it is wiped.
#[derive(Debug, Default)]
pub(crate) struct SecretPool {
    unclaimed: HashMap<Pid, VecDeque<Secret>>,
}

impl SecretPool {
    /// Keeps a secret; returns how many had to go for it.
    pub(crate) fn insert(&mut self, pid: Pid, secret: Secret) -> u64 {
        if !self.unclaimed.contains_key(&pid) && self.unclaimed.len() >= PROCESSES {
            return 1;
        }
        let secrets = self.unclaimed.entry(pid).or_default();
        secrets.push_back(secret);
        let excess = secrets.len().saturating_sub(PER_PROCESS);
        secrets.drain(..excess);
        excess as u64
    }

    /// Offers the secrets of `pid`, oldest first, and drops those that are claimed.
    pub(crate) fn offer(&mut self, pid: Pid, mut claim: impl FnMut(&Secret) -> bool) -> u64 {
        let Some(secrets) = self.unclaimed.get_mut(&pid) else {
            return 0;
        };
        let before = secrets.len();
        secrets.retain(|secret| !claim(secret));
        let claimed = before - secrets.len();
        if secrets.is_empty() {
            self.unclaimed.remove(&pid);
        }
        claimed as u64
    }

    /// Drops what is too old; returns how many.
    pub(crate) fn expire(&mut self, now: KernelTime) -> u64 {
        let oldest = now
            .0
            .saturating_sub(u64::try_from(LIFETIME.as_nanos()).unwrap_or(u64::MAX));
        let mut expired = 0;
        self.unclaimed.retain(|_, secrets| {
            let before = secrets.len();
            secrets.retain(|secret| secret.time.0 >= oldest);
            expired += (before - secrets.len()) as u64;
            !secrets.is_empty()
        });
        expired
    }
}

/// The secret as the TLS room takes it; `None` for labels that protect no record.
pub(crate) fn from_event(event: &TlsSecret) -> Option<Secret> {
    let label = match event.label {
        "CLIENT_EARLY_TRAFFIC_SECRET" => Label::ClientEarly,
        "CLIENT_HANDSHAKE_TRAFFIC_SECRET" => Label::ClientHandshake,
        "SERVER_HANDSHAKE_TRAFFIC_SECRET" => Label::ServerHandshake,
        "CLIENT_TRAFFIC_SECRET_0" => Label::ClientApplication,
        "SERVER_TRAFFIC_SECRET_0" => Label::ServerApplication,
        "CLIENT_RANDOM" => Label::Master,
        _ => return None,
    };
    Some(Secret {
        label,
        bytes: event.secret.clone(),
        client_random: event.client_random,
        time: Time(event.time.0),
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
        }
    }

    #[test]
    fn claimed_secrets_leave_the_pool() {
        let mut pool = SecretPool::default();
        pool.insert(Pid(1), secret(1));
        pool.insert(Pid(1), secret(2));
        pool.insert(Pid(2), secret(3));
        assert_eq!(pool.offer(Pid(1), |secret| secret.time == Time(2)), 1);
        assert_eq!(pool.offer(Pid(1), |_| true), 1);
        assert_eq!(pool.offer(Pid(1), |_| true), 0);
        assert_eq!(pool.offer(Pid(2), |_| true), 1);
    }

    #[test]
    fn the_pool_is_bounded_per_process_and_in_time() {
        let mut pool = SecretPool::default();
        let dropped: u64 = (0..300).map(|time| pool.insert(Pid(1), secret(time))).sum();
        assert_eq!(dropped, 300 - PER_PROCESS as u64);
        assert_eq!(pool.expire(KernelTime(10)), 0);
        assert_eq!(pool.expire(KernelTime(70_000_000_000)), PER_PROCESS as u64);
    }
}
