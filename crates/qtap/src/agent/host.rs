//! What the engine sees of the rest of the agent.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use qtap_capture::{ConnectionId, Control, KernelTime, Pid, ProcessVerdict, QuicBytes, Verdict};
use qtap_config::{FilterLayer, Filters};
use qtap_engine::{
    Counter, Exclusion, Host, KeyOutcome, MemorySearch, ProcessLookup, ProcessTls, ReasonCode,
};
use qtap_probe::{Implementation, Implementations, Input};
use qtap_process::{Decision, IgnoreReason, Layers, Process, Table, decide};
use qtap_tls::OwnSecret;

use super::memory::MemorySearches;
use super::queue::Inlet;
use super::trace::Tracer;
use crate::keylog::KeyLogSink;

/// Which processes are looked at at all.
#[derive(Clone, Debug, Default)]
pub(crate) enum Scope {
    /// Every process of the host.
    #[default]
    Host,
    /// These processes and whatever they start.
    Family(Arc<RwLock<HashSet<Pid>>>),
}

impl Scope {
    /// A scope of `root` and its descendants.
    pub(crate) fn family(root: Pid) -> Self {
        Self::Family(Arc::new(RwLock::new(HashSet::from([root]))))
    }

    /// A child belongs to the scope if its parent does.
    pub(crate) fn forked(&self, parent: Pid, child: Pid) {
        if let Self::Family(members) = self
            && self.contains(parent)
        {
            members
                .write()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(child);
        }
    }

    pub(super) fn contains(&self, pid: Pid) -> bool {
        match self {
            Self::Host => true,
            Self::Family(members) => members
                .read()
                .unwrap_or_else(PoisonError::into_inner)
                .contains(&pid),
        }
    }
}

/// Process events handed on, and those worked off.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    pub(crate) sent: AtomicU64,
    pub(crate) done: AtomicU64,
}

/// Joins the rooms for the engine.
pub(crate) struct AgentHost {
    pub(crate) table: Table,
    pub(crate) progress: Arc<Progress>,
    pub(crate) control: Control,
    pub(crate) implementations: Implementations,
    pub(crate) tracker: Inlet<Input>,
    pub(crate) filters: RwLock<Arc<Filters>>,
    pub(crate) scope: Scope,
    pub(crate) own_pid: Pid,
    /// Connections of each process that need its calls.
    pub(crate) callers: Mutex<HashMap<Pid, u32>>,
    pub(crate) tracer: Tracer,
    /// Requests to the kernel or the tracker that could not be handed on.
    pub(crate) refused: Counter,
    /// Secrets in the memory of processes.
    pub(crate) memory: MemorySearches,
    pub(crate) key_log: Option<KeyLogSink>,
    /// Functions of processes whose secrets have opened records, as far as the tracker was told.
    pub(crate) proved: Mutex<HashMap<Pid, Vec<u64>>>,
}

/// Processes of which that is remembered, and functions of each; when there are more they are told anew.
const MAX_PROVED: usize = 4096;
const MAX_PROVED_OF_ONE: usize = 16;

impl AgentHost {
    fn decision(&self, process: &Process) -> Decision {
        let filters = Arc::clone(&self.filters.read().unwrap_or_else(PoisonError::into_inner));
        if !self.scope.contains(process.pid) {
            return Decision::Ignore(IgnoreReason::Agent);
        }
        decide(process, &filters, self.own_pid)
    }

    /// Tells the kernel about a process whose record is new or changed, before its first connection if possible.
    pub(crate) fn judge(&self, process: &Process) {
        let verdict = match self.decision(process) {
            Decision::Ignore(_) => ProcessVerdict::Ignore,
            Decision::Observe | Decision::Partial(_) => ProcessVerdict::Observe,
        };
        self.tell(process, verdict);
        // The kernel side forgets what it knows of a process when that exits: what comes later would stay.
        if verdict == ProcessVerdict::Ignore && !is_there(process.pid) {
            self.tell(process, ProcessVerdict::Observe);
        }
        self.tracer.consider(process);
    }

    /// The process has ended, or has another image: its addresses mean something else.
    pub(crate) fn forget_proofs(&self, pid: Pid) {
        let mut proved = self.proved.lock().unwrap_or_else(PoisonError::into_inner);
        proved.remove(&pid);
    }

    fn tell(&self, process: &Process, verdict: ProcessVerdict) {
        if let Err(error) = self.control.process(process.pid, verdict, process.as_of) {
            self.refused.add(1);
            tracing::debug!(pid = process.pid.0, %error, "process verdict refused");
        }
    }

    fn ask(&self, input: Input) {
        if self.tracker.try_send(input).is_err() {
            self.refused.add(1);
        }
    }

    /// Puts other filters in force and judges every running process again.
    pub(crate) fn set_filters(&self, filters: Filters) {
        *self.filters.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(filters);
        for process in self.table.running() {
            self.judge(&process);
        }
    }
}

/// Whether the process still has its entry in `/proc`. One that is dead and not waited for has it too, and exits no more; it counts as gone.
fn is_there(pid: Pid) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{}/stat", pid.0)) else {
        return false;
    };
    // proc(5): the state follows the name in parentheses.
    let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    !matches!(state, Some('Z' | 'X'))
}

impl Host for AgentHost {
    fn ticket(&self) -> u64 {
        self.progress.sent.load(Ordering::Acquire)
    }

    fn process(&self, pid: Pid, at: KernelTime, ticket: u64) -> ProcessLookup {
        if self.progress.done.load(Ordering::Acquire) < ticket {
            return ProcessLookup::Pending;
        }
        // A miss makes the table look in /proc; the engine asks again until its wait is over.
        // Its number may be another's by now. One that was found in /proc may be known from a later time only.
        self.table
            .find_at(pid, at)
            .or_else(|| self.table.find(pid))
            .map_or(ProcessLookup::Pending, ProcessLookup::Known)
    }

    fn exclusion(&self, process: &Process) -> Exclusion {
        match self.decision(process) {
            Decision::Observe => Exclusion::default(),
            Decision::Ignore(reason) => Exclusion {
                whole: true,
                by_strategy: matches!(reason, IgnoreReason::Strategy),
                ..Exclusion::default()
            },
            Decision::Partial(layers) => Exclusion {
                whole: false,
                data: layers.contains(FilterLayer::Data) && layers != Layers::PAYLOAD,
                tls: layers.contains(FilterLayer::Tls),
                http: layers.contains(FilterLayer::Http),
                dns: layers.contains(FilterLayer::Dns),
                by_strategy: process.strategy == qtap_process::Strategy::Audit,
            },
        }
    }

    fn tls(&self, pid: Pid) -> Option<ProcessTls> {
        let found = self.implementations.of(pid)?;
        let unsupported = found
            .libraries
            .iter()
            .any(|library| !library.implementations.is_empty());
        let code = if found.names().contains(&Implementation::JavaSsl.name()) {
            ReasonCode::JavaTlsUnsupported
        } else if unsupported {
            ReasonCode::TlsLibraryUnsupported
        } else {
            ReasonCode::TlsLibraryStripped
        };
        Some(ProcessTls {
            implementations: found.names(),
            secrets_since: found.all_secrets_since(),
            calls_since: found.calls_since(),
            problem: found.reason().map(|reason| (code, reason.to_owned())),
        })
    }

    fn may_search_memory(&self, pid: Pid) -> bool {
        self.memory.may_find(pid)
    }

    fn search_memory(&self, pid: Pid, but: Option<u64>) -> MemorySearch {
        self.memory.ask(pid, but)
    }

    fn verdict(&self, id: ConnectionId, verdict: Verdict) {
        self.control.verdict(id, verdict);
    }

    fn ignore(&self, process: &Process) {
        self.tell(process, ProcessVerdict::Ignore);
    }

    fn need_calls(&self, pid: Pid) {
        let mut callers = self.callers.lock().unwrap_or_else(PoisonError::into_inner);
        let count = callers.entry(pid).or_insert(0);
        *count += 1;
        if *count == 1 {
            self.ask(Input::NeedCalls(pid));
        }
    }

    fn datagrams_lost(&self) -> u64 {
        self.control.datagrams_lost().unwrap_or_else(|error| {
            tracing::debug!(%error, "cannot read the kernel side's counters");
            0
        })
    }

    fn origin_proved(&self, pid: Pid, origin: u64) {
        let mut proved = self.proved.lock().unwrap_or_else(PoisonError::into_inner);
        if proved.len() >= MAX_PROVED && !proved.contains_key(&pid) {
            proved.clear();
        }
        let of_process = proved.entry(pid).or_default();
        if of_process.contains(&origin) {
            return;
        }
        if of_process.len() >= MAX_PROVED_OF_ONE {
            of_process.clear();
        }
        of_process.push(origin);
        drop(proved);
        self.ask(Input::Proved { pid, address: origin });
    }

    fn origin_failed(&self, pid: Pid, origin: u64, is_certain: bool) {
        self.ask(Input::Failed {
            pid,
            address: origin,
            is_certain,
        });
    }

    fn own_secret(&self, own: &OwnSecret) {
        if let Some(key_log) = &self.key_log {
            key_log.write(own);
        }
    }

    fn keys_of_connection(&self, outcome: KeyOutcome) {
        if let Some(key_log) = &self.key_log {
            key_log.connection(outcome);
        }
    }

    fn quic_bytes(&self, socket: u64, peer: Option<SocketAddr>) -> Option<QuicBytes> {
        self.control.quic_bytes(socket, peer).unwrap_or_else(|error| {
            self.refused.add(1);
            tracing::debug!(%error, "cannot read what a socket of QUIC has moved");
            None
        })
    }

    fn calls_done(&self, pid: Pid) {
        let mut callers = self.callers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = callers.get_mut(&pid) {
            *count -= 1;
            if *count == 0 {
                callers.remove(&pid);
                self.ask(Input::CallsDone(pid));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn a_process_that_is_dead_is_gone_before_it_is_waited_for() {
        assert!(is_there(Pid(std::process::id())));
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = Pid(child.id());
        let deadline = Instant::now() + Duration::from_secs(20);
        while is_there(pid) {
            assert!(Instant::now() < deadline, "it does not end");
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(std::path::Path::new(&format!("/proc/{}", pid.0)).exists());
        child.wait().unwrap();
        assert!(!is_there(pid));
    }
}
