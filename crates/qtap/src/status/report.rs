//! The report as JSON (`docs/status.md` says what each field means). One definition: the agent writes it, `qtap status` reads it.
//! A field that another version does not have is its default.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What the agent sees of the whole host.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Report {
    pub(crate) version: String,
    /// The agent's.
    pub(crate) pid: u32,
    pub(crate) uptime_seconds: u64,
    /// Level of the load breaker: `full` when nothing is left out.
    pub(crate) level: String,
    /// `tap.tls.source`.
    pub(crate) tls_source: String,
    /// Connections that ended longer ago are not counted.
    pub(crate) ended_within_seconds: u64,
    pub(crate) key_log: Option<KeyLogReport>,
    pub(crate) summary: Summary,
    pub(crate) left_out: LeftOut,
    pub(crate) processes: Vec<ProcessReport>,
}

/// Processes by state, those that are not listed included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Summary {
    pub(crate) processes: u64,
    pub(crate) unreadable: u64,
    pub(crate) partial: u64,
    pub(crate) unready: u64,
    pub(crate) capturing: u64,
    pub(crate) waiting: u64,
    pub(crate) unused: u64,
    pub(crate) ready: u64,
    pub(crate) excluded: u64,
}

/// What is in no line of the report.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct LeftOut {
    /// Processes over the bound of the list: those with the least to say.
    pub(crate) processes: u64,
    /// Connections that ended lately, of processes for which there was no room.
    pub(crate) ended_connections: u64,
    /// Workers that did not answer in time.
    pub(crate) silent_workers: u64,
    /// Why the counts of the kernel side are missing, if they are.
    pub(crate) kernel: Option<String>,
    /// Connections since the start that the kernel side left out by configuration, by reason.
    pub(crate) filtered: BTreeMap<String, u64>,
    /// Connections since the start that it could not follow, by reason.
    pub(crate) lost: BTreeMap<String, u64>,
}

/// The key log, if one is written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct KeyLogReport {
    pub(crate) file: String,
    /// Secrets written.
    pub(crate) lines: u64,
    /// TLS connections that ended, and that it opens.
    pub(crate) connections: u64,
    /// TLS connections that ended, and that it does not open, by reason.
    pub(crate) connections_without: BTreeMap<String, u64>,
    /// Secrets that could not be written, by reason.
    pub(crate) lost: BTreeMap<String, u64>,
    /// What went wrong last.
    pub(crate) error: Option<String>,
}

/// How it stands with a process. In the order of the list: problems first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum State {
    /// It has connections and nothing of them is read.
    Unreadable,
    /// Something of its connections is not read.
    Partial,
    /// It has TLS code that cannot be read, and no connection so far.
    Unready,
    /// Everything that passes is read.
    Capturing,
    /// It has connections and too little passed to tell.
    Waiting,
    /// It has connections on which no byte passed.
    Unused,
    /// It has TLS code that will be read, and no connection so far.
    Ready,
    /// Left out by configuration.
    Excluded,
    /// Said by another version.
    #[default]
    #[serde(other)]
    Unknown,
}

/// One process.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ProcessReport {
    pub(crate) pid: u32,
    /// With `pid` its identity: nanoseconds since boot, 0 when not known.
    pub(crate) start_ns: u64,
    pub(crate) running: bool,
    pub(crate) exe: String,
    pub(crate) user: Option<String>,
    pub(crate) container: Option<String>,
    pub(crate) state: State,
    /// How its connections are read: `secrets`, `calls`, `plaintext`.
    pub(crate) by: Vec<String>,
    pub(crate) connections: Connections,
    pub(crate) bytes: ByteCounts,
    /// Part of the bytes to be read that was read, from 0 to 1, rounded down; absent without any.
    pub(crate) coverage: Option<f64>,
    pub(crate) tls: Vec<TlsReport>,
    pub(crate) reasons: Vec<ReasonReport>,
}

/// Its connections, open and ended lately.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Connections {
    pub(crate) open: u64,
    pub(crate) ended: u64,
    /// No byte passed.
    pub(crate) unused: u64,
    pub(crate) tls: u64,
    /// Of those of TLS.
    pub(crate) quic: u64,
    pub(crate) by_secrets: u64,
    pub(crate) by_calls: u64,
    pub(crate) by_kernel: u64,
    pub(crate) plaintext: u64,
    pub(crate) pending: u64,
    pub(crate) unread: u64,
    /// Open now or lately, and left out by configuration.
    pub(crate) excluded: u64,
    pub(crate) healthy: u64,
    pub(crate) degraded: u64,
    pub(crate) blind: u64,
}

/// Its bytes, on connections that are not left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ByteCounts {
    pub(crate) wire_sent: u64,
    pub(crate) wire_received: u64,
    pub(crate) wire_tls: u64,
    pub(crate) plaintext_sent: u64,
    pub(crate) plaintext_received: u64,
    pub(crate) unread: u64,
    pub(crate) unwanted: u64,
}

/// One file with TLS code that it has mapped.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct TlsReport {
    /// Whose code; empty when it cannot be looked into.
    pub(crate) implementations: Vec<String>,
    pub(crate) path: String,
    /// Secrets derived in it are seen.
    pub(crate) secrets: bool,
    /// Calls of this process to it are seen.
    pub(crate) calls: bool,
    /// Why not what was asked for.
    pub(crate) reason: Option<String>,
}

/// Why something is not as it could be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ReasonReport {
    /// As in the health of connections.
    pub(crate) code: String,
    pub(crate) detail: String,
    pub(crate) remedy: String,
    /// How many connections; 0 when it is not about connections.
    pub(crate) connections: u64,
    /// Bytes are missing for it. Others are worth knowing and take nothing away.
    pub(crate) is_problem: bool,
}

impl Report {
    /// Whether everything that passes is read.
    pub(crate) fn is_all_read(&self) -> bool {
        self.summary.unreadable == 0 && self.summary.partial == 0
    }
}

impl Summary {
    /// Counts one more process.
    pub(crate) fn count(&mut self, state: State) {
        self.processes += 1;
        let place = match state {
            State::Unreadable => &mut self.unreadable,
            State::Partial => &mut self.partial,
            State::Unready => &mut self.unready,
            State::Capturing => &mut self.capturing,
            State::Waiting => &mut self.waiting,
            State::Unused => &mut self.unused,
            State::Ready => &mut self.ready,
            State::Excluded => &mut self.excluded,
            State::Unknown => return,
        };
        *place += 1;
    }
}
