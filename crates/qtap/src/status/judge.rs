//! How it stands with one process, from what the rooms know of it.

use qtap_engine::{Account, Problem, ReasonCode};
use qtap_probe::ProcessTls;
use qtap_process::Process;

use super::report::{ByteCounts, Connections, ProcessReport, ReasonReport, State, TlsReport};

/// Characters kept of a path or a reason.
const TEXT: usize = 240;
/// Files with TLS code told of one process.
const LIBRARIES: usize = 16;

/// Everything known of a process.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Known<'a> {
    pub(super) pid: u32,
    pub(super) start_ns: u64,
    pub(super) running: bool,
    pub(super) process: Option<&'a Process>,
    pub(super) account: Option<&'a Account>,
    pub(super) tls: Option<&'a ProcessTls>,
    /// Why nothing of it can be read, if its TLS code says so.
    pub(super) tls_problem: Option<&'a (ReasonCode, String)>,
    /// The configuration leaves it out.
    pub(super) excluded: Option<(ReasonCode, &'static str)>,
    /// Open connections that the kernel side left out.
    pub(super) filtered: u64,
}

impl Known<'_> {
    pub(super) fn report(&self) -> ProcessReport {
        let account = self.account.cloned().unwrap_or_default();
        let state = self.state(&account);
        let [wire_sent, wire_received] = account.wire_bytes;
        let [plaintext_sent, plaintext_received] = account.plaintext_bytes;
        let [healthy, degraded, blind, _] = account.verdicts;
        let process = self.process;
        ProcessReport {
            pid: self.pid,
            start_ns: self.start_ns,
            running: self.running,
            exe: process.map_or_else(String::new, |process| cut(&process.exe)),
            user: process.map(user),
            container: process
                .and_then(|process| process.container.as_ref())
                .map(|container| container.id.chars().take(12).collect()),
            state,
            by: by(&account),
            connections: Connections {
                open: account.open,
                ended: account.ended,
                unused: account.unused,
                tls: account.tls,
                quic: account.quic,
                by_secrets: account.secrets,
                by_calls: account.calls,
                by_kernel: account.kernel,
                plaintext: account.plain,
                pending: account.pending,
                unread: account.unread_connections,
                excluded: account.excluded + self.filtered,
                healthy,
                degraded,
                blind,
            },
            bytes: ByteCounts {
                wire_sent,
                wire_received,
                wire_tls: account.tls_wire_bytes,
                plaintext_sent,
                plaintext_received,
                unread: account.unread_bytes,
                unwanted: account.unwanted_bytes,
            },
            coverage: account
                .coverage_permille()
                .map(|permille| permille as f64 / 1000.0),
            tls: self.libraries(),
            reasons: self.reasons(state, &account),
        }
    }

    fn state(&self, account: &Account) -> State {
        let read = account.secrets + account.calls + account.kernel + account.plain;
        if self.excluded.is_some() && account.used() == 0 {
            State::Excluded
        } else if account.unread_connections > 0 && read == 0 {
            State::Unreadable
        } else if account.unread_connections > 0
            || account.unread_bytes > 0
            || account.problems.keys().any(|&code| is_problem(code))
        {
            State::Partial
        } else if read > 0 {
            State::Capturing
        } else if account.used() > 0 {
            State::Waiting
        } else if account.excluded + self.filtered > 0 {
            State::Excluded
        } else if self.tls_problem.is_some() {
            State::Unready
        } else if self.tls.is_some() && account.is_empty() {
            State::Ready
        } else {
            State::Unused
        }
    }

    fn libraries(&self) -> Vec<TlsReport> {
        let libraries = self.tls.map(|tls| tls.libraries.as_slice()).unwrap_or_default();
        let report = |library: &qtap_probe::LibraryTls| TlsReport {
            implementations: library
                .implementations
                .iter()
                .map(|implementation| implementation.name().to_owned())
                .collect(),
            path: cut(&library.path),
            secrets: library.secrets_since.is_some(),
            calls: library.calls_since.is_some(),
            reason: library.reason.as_deref().map(cut),
        };
        libraries.iter().take(LIBRARIES).map(report).collect()
    }

    fn reasons(&self, state: State, account: &Account) -> Vec<ReasonReport> {
        let mut reasons: Vec<ReasonReport> = account
            .problems
            .iter()
            .map(|(&code, problem)| reason(code, problem))
            .collect();
        let mut add = |code: ReasonCode, detail: String, connections| {
            if !reasons.iter().any(|reason| reason.code == code.code()) {
                reasons.push(reason(code, &Problem { connections, detail }));
            }
        };
        if let Some((code, detail)) = self.excluded {
            add(code, detail.to_owned(), account.excluded + self.filtered);
        } else if self.filtered > 0 {
            let detail = "open connections that the direction, or the loopback interface, leaves out";
            add(ReasonCode::FilteredDirection, detail.to_owned(), self.filtered);
        }
        if let (State::Unready, Some((code, detail))) = (state, self.tls_problem) {
            add(*code, detail.clone(), 0);
        }
        reasons.sort_by_key(|reason| (!reason.is_problem, std::cmp::Reverse(reason.connections)));
        reasons
    }
}

fn reason(code: ReasonCode, problem: &Problem) -> ReasonReport {
    ReasonReport {
        code: code.code().to_owned(),
        detail: cut(&problem.detail),
        remedy: code.remedy().to_owned(),
        connections: problem.connections,
        is_problem: is_problem(code),
    }
}

/// How connections of the process are read, what is most of it first.
fn by(account: &Account) -> Vec<String> {
    let mut ways = [
        (account.secrets, "secrets"),
        (account.calls, "calls"),
        (account.kernel, "kernel"),
        (account.plain, "plaintext"),
    ];
    ways.sort_by_key(|&(connections, _)| std::cmp::Reverse(connections));
    let used = ways.iter().filter(|(connections, _)| *connections > 0);
    used.map(|(_, name)| (*name).to_owned()).collect()
}

/// Whether bytes that pass are not read for this reason. The others say what was before the agent, what is not parsed, or
/// what the configuration leaves out.
pub(super) const fn is_problem(code: ReasonCode) -> bool {
    match code {
        ReasonCode::TlsLibraryUnsupported
        | ReasonCode::JavaTlsUnsupported
        | ReasonCode::TlsLibraryStripped
        | ReasonCode::TlsProbeLate
        | ReasonCode::TlsSecretMissing
        | ReasonCode::TlsCipherUnsupported
        | ReasonCode::QuicUnsupported
        | ReasonCode::TlsHelloMissing
        | ReasonCode::TlsUnauthenticated
        | ReasonCode::NoData
        | ReasonCode::RingFull
        | ReasonCode::QueueFull
        | ReasonCode::CallCap
        | ReasonCode::MemoryFault
        | ReasonCode::UnreadableBytes
        | ReasonCode::IoUring
        | ReasonCode::BytesUnaccounted
        | ReasonCode::HpackUnsynced
        | ReasonCode::TransactionIncomplete
        | ReasonCode::MemoryBudget
        | ReasonCode::LoadShed
        | ReasonCode::EndUnknown => true,
        ReasonCode::JoinedMidstream
        | ReasonCode::ProcessUnknown
        | ReasonCode::FilteredProcess
        | ReasonCode::FilteredDirection
        | ReasonCode::FilteredStrategy
        | ReasonCode::NoStack
        | ReasonCode::TlsHandshakeUnfinished
        | ReasonCode::ProtocolUnknown
        | ReasonCode::QuicBytesUnknown
        | ReasonCode::ParserGaveUp
        | ReasonCode::TunnelUnread
        | ReasonCode::Resynchronised
        | ReasonCode::BodyTruncated => false,
    }
}

fn user(process: &Process) -> String {
    match &process.user.name {
        Some(name) => cut(name),
        None => process.user.id.to_string(),
    }
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(TEXT) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use qtap_capture::{KernelTime, Pid};
    use qtap_probe::{Implementation, LibraryTls};

    use super::*;

    fn account(change: impl FnOnce(&mut Account)) -> Account {
        let mut account = Account {
            open: 1,
            ..Account::default()
        };
        change(&mut account);
        account
    }

    fn with_problem(code: ReasonCode) -> Account {
        account(|account| {
            account.secrets = 1;
            let problem = Problem {
                connections: 1,
                detail: "why".to_owned(),
            };
            account.problems.insert(code, problem);
        })
    }

    fn state(account: &Account) -> State {
        let known = Known {
            account: Some(account),
            ..Known::default()
        };
        known.report().state
    }

    #[test]
    fn every_state_has_its_cause() {
        for (expected, account) in [
            (State::Capturing, account(|account| account.secrets = 1)),
            (State::Capturing, account(|account| account.plain = 1)),
            (
                State::Unreadable,
                account(|account| account.unread_connections = 1),
            ),
            (
                State::Partial,
                account(|account| (account.unread_connections, account.calls) = (1, 1)),
            ),
            (
                State::Partial,
                account(|account| (account.secrets, account.unread_bytes) = (1, 1)),
            ),
            (State::Partial, with_problem(ReasonCode::RingFull)),
            (State::Capturing, with_problem(ReasonCode::JoinedMidstream)),
            (State::Capturing, with_problem(ReasonCode::BodyTruncated)),
            (State::Waiting, account(|account| account.pending = 1)),
            (State::Unused, account(|account| account.unused = 1)),
            (State::Excluded, account(|account| account.excluded = 1)),
        ] {
            assert_eq!(state(&account), expected, "{account:?}");
        }
    }

    #[test]
    fn a_process_without_a_connection_says_whether_it_could_be_read() {
        let tls = |since, reason: Option<&str>| ProcessTls {
            libraries: vec![LibraryTls {
                implementations: vec![Implementation::OpenSsl],
                path: Arc::from("/lib/libssl.so"),
                secrets_since: since,
                calls_since: None,
                reason: reason.map(str::to_owned),
            }],
        };
        let probed = tls(Some(KernelTime(1)), None);
        let known = Known {
            tls: Some(&probed),
            ..Known::default()
        };
        let report = known.report();
        assert_eq!((report.state, report.reasons.len()), (State::Ready, 0));
        assert!(report.tls[0].secrets && !report.tls[0].calls && report.coverage.is_none());

        let refused = tls(None, Some("too old"));
        let problem = (ReasonCode::TlsLibraryUnsupported, "too old".to_owned());
        let known = Known {
            tls: Some(&refused),
            tls_problem: Some(&problem),
            ..Known::default()
        };
        let report = known.report();
        assert_eq!(report.state, State::Unready);
        assert_eq!(report.reasons[0].code, "tls_library_unsupported");
        assert_eq!(report.reasons[0].detail, "too old");
        assert!(!report.reasons[0].remedy.is_empty());
    }

    #[test]
    fn what_the_kernel_side_left_out_is_counted_with_its_cause() {
        let known = Known {
            filtered: 3,
            ..Known::default()
        };
        let report = known.report();
        assert_eq!((report.state, report.connections.excluded), (State::Excluded, 3));
        assert_eq!(report.reasons[0].code, "filtered_direction");
        let known = Known {
            excluded: Some((ReasonCode::FilteredProcess, "by a rule")),
            ..known
        };
        let report = known.report();
        assert_eq!(report.reasons.len(), 1);
        assert_eq!(report.reasons[0].code, "filtered_process");
        assert_eq!(report.reasons[0].connections, 3);
    }

    #[test]
    fn problems_come_before_what_is_only_worth_knowing() {
        let mut account = with_problem(ReasonCode::JoinedMidstream);
        account
            .problems
            .extend(with_problem(ReasonCode::RingFull).problems);
        let known = Known {
            account: Some(&account),
            ..Known::default()
        };
        let codes: Vec<_> = known
            .report()
            .reasons
            .into_iter()
            .map(|reason| reason.code)
            .collect();
        assert_eq!(codes, ["ring_full", "joined_midstream"]);
    }

    #[test]
    fn long_paths_are_cut() {
        let process = Process {
            exe: "é".repeat(5000),
            ..Process::unknown(Pid(1))
        };
        let known = Known {
            process: Some(&process),
            ..Known::default()
        };
        assert_eq!(known.report().exe.chars().count(), TEXT + 1);
    }
}
