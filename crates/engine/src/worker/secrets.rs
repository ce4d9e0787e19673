//! Secrets of processes, offered to the connections that they may be of.

use qtap_capture::{ConnectionId, KernelTime, Pid, TlsSecret};

use super::{Worker, context};
use crate::connection::Connection;
use crate::secrets::{Choice, from_event};

impl Worker {
    /// Offers the waiting secrets of `pid` to a connection that just got bytes.
    pub(super) fn offer_pool(&mut self, id: ConnectionId, pid: Pid, now: KernelTime) {
        if let Some(seeking) = self
            .connections
            .get_mut(&id)
            .map(|connection| Seeking::of(connection))
        {
            self.serve(seeking, id, pid, now);
        }
    }

    pub(super) fn serve(&mut self, seeking: Seeking, id: ConnectionId, pid: Pid, now: KernelTime) {
        if seeking.secrets {
            self.seeking.entry(pid).or_default().insert(id);
            let choice = if seeking.inside {
                Choice::Again
            } else {
                Choice::Likely
            };
            self.offer_secrets(id, pid, choice, now);
        }
    }

    pub(super) fn offer_secrets(&mut self, id: ConnectionId, pid: Pid, choice: Choice, now: KernelTime) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        let mut cx = context(&self.shared, self.consumer.as_mut(), &mut self.scratch, now);
        let claimed = self.secrets.offer(pid, id, choice, |secret, is_meant| {
            connection.offer(secret, is_meant, &mut cx)
        });
        self.shared.stats.secrets_bound.add(claimed);
    }

    /// Offers a secret to the connection it is most likely of, or to all that seek one; it then waits in the pool
    /// until one of them proves that it is its own.
    pub(super) fn secret(&mut self, event: &TlsSecret, now: KernelTime) {
        self.shared.stats.secrets.add(1);
        let Some(secret) = from_event(event) else { return };
        let mut cx = context(&self.shared, self.consumer.as_mut(), &mut self.scratch, now);
        let (mut claimed, mut given) = (false, false);
        if let Some(hint) = event.connection {
            if let Some(connection) = self.connections.get_mut(&hint)
                && connection.wants_secrets()
            {
                given = true;
                claimed = connection.offer(&secret, true, &mut cx);
            }
        } else if let Some(ids) = self.seeking.get_mut(&event.pid) {
            let connections = &mut self.connections;
            ids.retain(|id| {
                let Some(connection) = connections.get_mut(id) else {
                    return false;
                };
                claimed =
                    claimed || (connection.wants_secrets() && connection.offer(&secret, false, &mut cx));
                connection.wants_secrets()
            });
        }
        if claimed {
            self.shared.stats.secrets_bound.add(1);
        } else {
            self.shared.stats.secrets_expired.add(self.secrets.insert(
                event.pid,
                event.connection,
                given,
                secret,
            ));
        }
    }
}

/// What a connection that just got bytes looks for.
pub(super) struct Seeking {
    secrets: bool,
    /// For TLS inside of a tunnel.
    inside: bool,
}

impl Seeking {
    pub(super) fn of(connection: &mut Connection) -> Self {
        Self {
            secrets: connection.seeks_secrets(),
            inside: connection.seeks_inside(),
        }
    }
}
