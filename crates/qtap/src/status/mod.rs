//! `qtap status` and `/status`: every process with connections or TLS code, how it is read, and how much of it.
//!
//! The agent's side is [`StatusSource`], which joins what the rooms know; [`judge`] decides on each process; [`request`] is the
//! command, and [`table`] what it prints.

mod judge;
mod report;
mod request;
mod table;
mod words;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use qtap_capture::{Census, Pid};
use qtap_config::TlsSource;
use qtap_engine::{Account, Host, ProcessKey, ReasonCode, Survey};
use qtap_probe::ProcessTls;
use qtap_process::Process;

use crate::agent::Gauges;
use crate::keylog::KeyLogGauges;
use judge::Known;
use report::{LeftOut, ProcessReport, Report, Summary};

pub(crate) use report::KeyLogReport;
pub(crate) use request::run;

/// Processes listed at most.
const PROCESSES: usize = 4096;
/// How long a worker may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// So long the last report is given again: asking often costs nothing.
const FRESH: Duration = Duration::from_millis(250);

/// Where the report is made.
pub(crate) struct StatusSource {
    gauges: Gauges,
    tls_source: TlsSource,
    key_log: Option<Arc<KeyLogGauges>>,
    started: Instant,
    /// One report at a time.
    latest: Mutex<Option<(Instant, Arc<str>)>>,
}

impl StatusSource {
    pub(crate) fn new(gauges: Gauges, tls_source: TlsSource, key_log: Option<Arc<KeyLogGauges>>) -> Self {
        Self {
            gauges,
            tls_source,
            key_log,
            started: Instant::now(),
            latest: Mutex::new(None),
        }
    }

    /// The report as JSON, on one line. Takes up to two seconds, mostly some milliseconds.
    pub(crate) fn json(&self) -> Arc<str> {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, text)) = latest.as_ref()
            && at.elapsed() < FRESH
        {
            return Arc::clone(text);
        }
        let text: Arc<str> = match serde_json::to_string(&self.report()) {
            Ok(text) => Arc::from(text + "\n"),
            Err(error) => Arc::from(format!("error: the report cannot be written: {error}\n")),
        };
        *latest = Some((Instant::now(), Arc::clone(&text)));
        text
    }

    fn report(&self) -> Report {
        let census = self.gauges.control.census();
        let (mut census, problem) = match census {
            Ok(census) => (census, None),
            Err(error) => (Census::default(), Some(error.to_string())),
        };
        let positions = std::mem::take(&mut census.positions);
        let survey = self.gauges.surveyor.survey(positions, PATIENCE);
        let mut left_out = self.left_out(problem);
        left_out.ended_connections = survey.left_out;
        left_out.silent_workers = survey.silent_workers;
        let mut processes = self.processes(survey, &census);
        let mut summary = Summary::default();
        for process in &processes {
            summary.count(process.state);
        }
        sort(&mut processes);
        left_out.processes = processes.len().saturating_sub(PROCESSES) as u64;
        processes.truncate(PROCESSES);
        Report {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            uptime_seconds: self.started.elapsed().as_secs(),
            level: self.gauges.load.load.level().name().to_owned(),
            tls_source: match self.tls_source {
                TlsSource::Auto => "auto",
                TlsSource::Calls => "calls",
                TlsSource::Secrets => "secrets",
            }
            .to_owned(),
            ended_within_seconds: Account::ENDED_WITHIN.as_secs(),
            key_log: self.key_log.as_ref().map(|gauges| gauges.report()),
            summary,
            left_out,
            processes,
        }
    }

    /// What the kernel side counted of connections that nobody is told of.
    fn left_out(&self, problem: Option<String>) -> LeftOut {
        let mut left_out = LeftOut {
            kernel: problem,
            ..LeftOut::default()
        };
        let counters = match self.gauges.control.counters() {
            Ok(counters) => counters,
            Err(error) => {
                left_out.kernel.get_or_insert(error.to_string());
                return left_out;
            }
        };
        for (name, count) in counters.iter().filter(|(_, count)| *count > 0) {
            if let Some(reason) = name.strip_prefix("connections_filtered_") {
                left_out.filtered.insert(reason.to_owned(), count);
            } else if matches!(
                name,
                "connections_table_full" | "connections_lost_ring_full" | "connections_lost_unseen"
            ) {
                left_out.lost.insert(name.to_owned(), count);
            }
        }
        left_out
    }

    /// Every process that has connections, or TLS code, or connections that are left out.
    fn processes(&self, survey: Survey, census: &Census) -> Vec<ProcessReport> {
        let own_pid = Pid(std::process::id());
        let running: HashMap<Pid, Arc<Process>> = (self.gauges.table.running().into_iter())
            .map(|process| (process.pid, process))
            .collect();
        let accounts = by_process(survey.accounts, &running);
        // What is known of numbers is of the processes that have them now.
        let mut current: HashSet<ProcessKey> = HashSet::new();
        let tls: HashMap<Pid, Arc<ProcessTls>> = self.gauges.implementations.all().into_iter().collect();
        let of_now = |pid: Pid| match running.get(&pid) {
            Some(process) => ProcessKey::of(process),
            None => ProcessKey { pid, start_ns: 0 },
        };
        let found = tls.keys().filter(|pid| running.contains_key(pid));
        current.extend(found.chain(census.filtered.keys()).copied().map(of_now));
        let mut keys: HashSet<ProcessKey> = accounts.keys().copied().collect();
        keys.extend(&current);
        keys.retain(|key| key.pid != own_pid);
        let report = |key: &ProcessKey| {
            let account = accounts.get(key);
            let now = running
                .get(&key.pid)
                .filter(|process| ProcessKey::of(process) == *key);
            let process = now.or_else(|| account.and_then(|account| account.process.as_ref()));
            // Its successor's number, its own libraries: they are told for a while after its end.
            let is_latest = now.is_some() || !running.contains_key(&key.pid);
            let tls = tls.get(&key.pid).filter(|_| is_latest);
            let host = &self.gauges.host;
            let problem = tls
                .and_then(|_| host.tls(key.pid))
                .and_then(|found| found.problem);
            Known {
                pid: key.pid.0,
                start_ns: key.start_ns,
                running: now.is_some(),
                process: process.map(AsRef::as_ref),
                account,
                tls: tls.map(AsRef::as_ref),
                tls_problem: problem.as_ref(),
                excluded: process.and_then(|process| self.excluded(process)),
                filtered: (is_latest.then(|| census.filtered.get(&key.pid)).flatten())
                    .copied()
                    .unwrap_or_default(),
            }
            .report()
        };
        keys.iter().map(report).collect()
    }

    fn excluded(&self, process: &Process) -> Option<(ReasonCode, &'static str)> {
        let exclusion = self.gauges.host.exclusion(process);
        match (exclusion.whole, exclusion.by_strategy) {
            (false, _) => None,
            (true, true) => Some((
                ReasonCode::FilteredStrategy,
                "its QPOINT_STRATEGY asks to leave it out",
            )),
            (true, false) => Some((ReasonCode::FilteredProcess, "a rule of tap.filters leaves it out")),
        }
    }
}

/// Connections that opened before the facts of their process were known belong to the process that has the number.
fn by_process(
    accounts: HashMap<ProcessKey, Account>,
    running: &HashMap<Pid, Arc<Process>>,
) -> HashMap<ProcessKey, Account> {
    let mut merged: HashMap<ProcessKey, Account> = HashMap::with_capacity(accounts.len());
    for (mut key, account) in accounts {
        if key.start_ns == 0
            && let Some(process) = running.get(&key.pid)
        {
            key = ProcessKey::of(process);
        }
        merged.entry(key).or_default().merge(&account);
    }
    merged
}

/// Problems first, and of two in the same state the one with more traffic.
fn sort(processes: &mut [ProcessReport]) {
    processes.sort_by_key(|process| {
        let bytes = process
            .bytes
            .wire_sent
            .saturating_add(process.bytes.wire_received);
        (
            process.state,
            std::cmp::Reverse(bytes),
            process.pid,
            process.start_ns,
        )
    });
}

#[cfg(test)]
mod tests {
    use super::report::State;
    use super::*;

    #[test]
    fn problems_come_first_and_then_what_carries_most() {
        let process = |pid, state, bytes| {
            let mut process = ProcessReport {
                pid,
                state,
                ..ProcessReport::default()
            };
            process.bytes.wire_received = bytes;
            process
        };
        let mut processes = [
            process(1, State::Ready, 0),
            process(2, State::Capturing, 10),
            process(3, State::Partial, 1),
            process(4, State::Capturing, 20),
            process(5, State::Unreadable, 0),
            process(6, State::Excluded, 0),
            process(7, State::Unready, 0),
        ];
        sort(&mut processes);
        assert_eq!(processes.map(|process| process.pid), [5, 3, 7, 4, 2, 1, 6]);
    }

    #[test]
    fn connections_from_before_the_facts_join_the_process_that_runs() {
        let key = |start_ns| ProcessKey {
            pid: Pid(7),
            start_ns,
        };
        let account = |open| Account {
            open,
            ..Account::default()
        };
        let running = HashMap::from([(
            Pid(7),
            Arc::new(Process {
                start_ns: 50_000_001,
                ..Process::unknown(Pid(7))
            }),
        )]);
        let accounts = HashMap::from([
            (key(0), account(1)),
            (key(50_000_000), account(2)),
            (key(40_000_000), account(4)),
        ]);
        let merged = by_process(accounts, &running);
        let mut open: Vec<_> = merged
            .iter()
            .map(|(key, account)| (key.start_ns, account.open))
            .collect();
        open.sort_unstable();
        assert_eq!(open, [(40_000_000, 4), (50_000_000, 3)]);
    }
}
