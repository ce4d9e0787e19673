//! What the engine asks of the rest of the agent, and tells back to the kernel.

use std::net::SocketAddr;
use std::sync::Arc;

use qtap_capture::{ConnectionId, KernelTime, Pid, QuicBytes, Verdict};
use qtap_process::Process;
use qtap_tls::{FoundSecrets, OwnSecret};

use crate::ReasonCode;

/// Answer to a look-up of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProcessLookup {
    /// Events up to the ticket are not worked off yet: ask again.
    Pending,
    /// Known.
    Known(Arc<Process>),
    /// Not known though all events up to the ticket are worked off; it may be found in /proc a little later.
    Missing,
}

/// Layers of a process that the configuration leaves out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exclusion {
    /// Everything: nothing of it is reported.
    pub whole: bool,
    /// Payload.
    pub data: bool,
    /// TLS is not decrypted.
    pub tls: bool,
    /// HTTP is not parsed.
    pub http: bool,
    /// What it asks DNS for is not reported. Nothing else is left out of its connections for that.
    pub dns: bool,
    /// It is the process' own `QPOINT_STRATEGY` that asks for it.
    pub by_strategy: bool,
}

impl Exclusion {
    /// Whether anything is left out of connections of every kind.
    #[must_use]
    pub const fn any(&self) -> bool {
        self.whole || self.data || self.tls || self.http
    }
}

/// TLS in one process, as far as its mappings were looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProcessTls {
    /// Names for `tlsProbeTypesDetected`.
    pub implementations: Vec<&'static str>,
    /// Since when key derivation is probed in all libraries where it can be; `None` when in none.
    pub secrets_since: Option<KernelTime>,
    /// Since when the calls are probed in this process; `None` when they are not.
    pub calls_since: Option<KernelTime>,
    /// Why something cannot be read.
    pub problem: Option<(ReasonCode, String)>,
}

/// Whether a key log opens a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyOutcome {
    /// Its secrets were told.
    Told,
    /// It is older than the capture, and so are its secrets.
    Midstream,
    /// Its cipher suite cannot be opened here, so that no record could prove a secret, and its library does not tell the client
    /// random with the secret.
    Unproven,
    /// Its plaintext comes from calls, which show no secrets.
    Calls,
    /// No secret of it was seen.
    NoSecret,
}

/// What is known of the secrets in the memory of a process.
#[derive(Clone, Debug)]
pub enum MemorySearch {
    /// It is not searched: nothing is known to be there, or it may not be.
    Impossible,
    /// It is being searched, or will be: ask again.
    Pending,
    /// What a search found.
    Found(Arc<FoundSecrets>),
}

/// The agent around the engine. Every method returns at once; none may block a worker.
pub trait Host: Send + Sync {
    /// How many process events were handed on so far.
    fn ticket(&self) -> u64;

    /// The process that ran as `pid` at the time `at`, as of `ticket`.
    fn process(&self, pid: Pid, at: KernelTime, ticket: u64) -> ProcessLookup;

    /// What the configuration leaves out of `process`.
    fn exclusion(&self, process: &Process) -> Exclusion;

    /// TLS implementations of `pid`; `None` while they were not looked at.
    fn tls(&self, pid: Pid) -> Option<ProcessTls>;

    /// Whether [`Host::search_memory`] may find something in `pid`, as far as that is known yet.
    fn may_search_memory(&self, _pid: Pid) -> bool {
        false
    }

    /// The traffic secrets in the memory of `pid`, which is searched for them if that was not done lately, or by the search `but` only.
    fn search_memory(&self, _pid: Pid, _but: Option<u64>) -> MemorySearch {
        MemorySearch::Impossible
    }

    /// Tells the kernel what to copy of a connection.
    fn verdict(&self, id: ConnectionId, verdict: Verdict);

    /// Tells the kernel to leave out further connections of `process`, until it execs.
    fn ignore(&self, process: &Process);

    /// A connection of `pid` can be read in the calls of its TLS library only. Balanced by [`Host::calls_done`].
    fn need_calls(&self, pid: Pid);

    /// That connection is over.
    fn calls_done(&self, pid: Pid);

    /// Datagrams that the kernel side could not hand on so far.
    fn datagrams_lost(&self) -> u64 {
        0
    }

    /// What a socket of QUIC has moved, or sent to one `peer`; `None` when that is not known.
    fn quic_bytes(&self, _socket: u64, _peer: Option<SocketAddr>) -> Option<QuicBytes> {
        None
    }

    /// A secret proved to be a connection's own; only with [`crate::Settings::export_secrets`].
    fn own_secret(&self, _own: &OwnSecret) {}

    /// A record of a connection of `pid` authenticated under a secret that the function at the address `origin` told.
    fn origin_proved(&self, _pid: Pid, _origin: u64) {}

    /// The first record of a connection of `pid` did not authenticate under the secret that the function at the address `origin` told for
    /// it, though both were seen whole. `is_certain`: the secret named the connection by its client random; else its thread did, which
    /// may err.
    fn origin_failed(&self, _pid: Pid, _origin: u64, _is_certain: bool) {}

    /// What became of the secrets of a TLS connection that is over; only with [`crate::Settings::export_secrets`].
    fn keys_of_connection(&self, _outcome: KeyOutcome) {}
}
