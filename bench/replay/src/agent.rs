//! The agent without a kernel: engine, plugins and store as `qtap` wires them, one worker, on the caller's thread.

use std::collections::HashMap;
use std::fs::OpenOptions;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use anyhow::Context as _;
use qtap_capture::{ConnectionId, Event, KernelTime, Pid, Verdict, WallClock};
use qtap_config::Config;
use qtap_engine::{
    Budget, Exclusion, Host, IdSource, ProcessLookup, ProcessTls, Settings, Shared, Stats, Worker,
};
use qtap_plugin::{Context, Deployment, Generation, LineSink, Metrics, Stacks, Terminal};
use qtap_process::{Process, User};
use qtap_store::{Output, OutputLimits};

use crate::recording::Program;

/// Records that may wait for the writer; then the events wait for it, as the ring would keep them.
const WAITING: usize = 4096;
/// Events between two looks at the store's queue.
const LOOK: u64 = 128;

/// What plays the part of the agent.
pub(crate) struct Agent {
    worker: Worker,
    output: Output,
    stats: Arc<Stats>,
    events: u64,
}

/// What came out so far.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outcome {
    pub(crate) transactions: u64,
    pub(crate) records: u64,
    pub(crate) bytes_written: u64,
    pub(crate) lost: u64,
    /// Socket bytes that the engine counts as lost.
    pub(crate) gap_bytes: u64,
}

impl Agent {
    /// An agent that knows `programs`, runs `config` and writes to `output`.
    pub(crate) fn new(config: &Config, programs: &[Program], output: &Path) -> anyhow::Result<Self> {
        let sink = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .open(output)
            .with_context(|| format!("cannot open {}", output.display()))?;
        let output = Output::new(sink, OutputLimits::for_bodies(config.tap.limits.body))?;
        let metrics = Arc::new(Metrics::default());
        let lines: Arc<dyn LineSink> = Arc::new(output.clone());
        let context = Context {
            agent: Arc::new(qtap_plugin::Agent::new(
                "host".to_owned(),
                "replay".to_owned(),
                Vec::new(),
            )?),
            stores: qtap_store::build(&config.services, &output),
            output: lines,
            terminal: Terminal::detect(),
        };
        let deployment = Deployment::new(Generation::new(config, &context, &metrics)?);
        let settings = Settings {
            memory: config.tap.limits.memory,
            ..Settings::default()
        };
        let stats = Arc::new(Stats::default());
        let shared = Shared {
            host: Arc::new(Replayed::of(programs)),
            settings,
            clock: WallClock::new(UNIX_EPOCH),
            ids: Arc::new(IdSource::new(1)),
            stats: Arc::clone(&stats),
            budget: Arc::new(Budget::new(settings.memory)),
            load: Arc::default(),
            audits_dns: Arc::default(),
            names: Arc::default(),
            unbound: Arc::default(),
        };
        Ok(Self {
            worker: Worker::new(shared, Box::new(Stacks::new(deployment))),
            output,
            stats,
            events: 0,
        })
    }

    /// Works off one event, as the loop of a worker does.
    pub(crate) fn take(&mut self, event: Event, now: KernelTime) {
        self.worker.event(event, now);
        self.events += 1;
        if self.events.is_multiple_of(LOOK) {
            self.worker.tick(now);
            self.wait_for_writer(WAITING);
        }
    }

    /// Closes what is open, and waits until everything is written.
    pub(crate) fn finish(&mut self, now: KernelTime) {
        self.worker.shut_down(now);
        self.wait_for_writer(0);
    }

    pub(crate) fn outcome(&self) -> Outcome {
        let counters = self.output.counters();
        Outcome {
            transactions: self.stats.transactions.get(),
            records: counters.emitted,
            bytes_written: counters.emitted_bytes,
            lost: counters.lost_total(),
            gap_bytes: self.stats.gap_bytes(),
        }
    }

    fn wait_for_writer(&self, most: usize) {
        while self.output.counters().waiting_records as usize > most {
            std::thread::park_timeout(Duration::from_micros(200));
        }
    }
}

/// Knows the recorded programs; nothing of what it is asked to do has an effect.
struct Replayed {
    processes: HashMap<Pid, Arc<Process>>,
}

impl Replayed {
    fn of(programs: &[Program]) -> Self {
        let process = |program: &Program| Process {
            start_ns: 1,
            exe: program.exe.clone(),
            args: vec![program.exe.clone()],
            user: User {
                id: 0,
                name: Some("root".to_owned()),
            },
            cgroup: "/".to_owned(),
            ..Process::unknown(Pid(program.pid))
        };
        Self {
            processes: (programs.iter())
                .map(|program| (Pid(program.pid), Arc::new(process(program))))
                .collect(),
        }
    }
}

impl Host for Replayed {
    fn ticket(&self) -> u64 {
        0
    }

    fn process(&self, pid: Pid, _at: KernelTime, _ticket: u64) -> ProcessLookup {
        self.processes
            .get(&pid)
            .map_or(ProcessLookup::Missing, |process| {
                ProcessLookup::Known(Arc::clone(process))
            })
    }

    fn exclusion(&self, _process: &Process) -> Exclusion {
        Exclusion::default()
    }

    fn tls(&self, _pid: Pid) -> Option<ProcessTls> {
        Some(ProcessTls {
            implementations: vec!["openssl"],
            secrets_since: Some(KernelTime(0)),
            ..ProcessTls::default()
        })
    }

    fn verdict(&self, _id: ConnectionId, _verdict: Verdict) {}

    fn ignore(&self, _process: &Process) {}

    fn need_calls(&self, _pid: Pid) {}

    fn calls_done(&self, _pid: Pid) {}
}
