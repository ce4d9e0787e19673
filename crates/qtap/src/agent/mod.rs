//! The running agent: the rooms, the threads between them, and how they start and stop.

mod attach;
mod freezer;
mod hold;
mod host;
mod intact;
mod load;
mod memory;
mod queue;
mod state;
mod threads;
mod trace;

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context as _;
use crossbeam_channel::{Sender, bounded};
use qtap_capture::{
    Capture, Control, DirectionFilter, GroupReport, KernelTime, MappingEvents, Options, Pid, WallClock,
};
use qtap_config::{Config, Direction, MemorySearch, TlsSource};
use qtap_engine::{
    Budget, Clock, Consumer, Counter, Engine, IdSource, Settings, Shared, Stats, Surveyor, TlsMode,
};
use qtap_probe::{Admitted, Expected, Implementations, Input, ScanCache, Source, Tracker};
use qtap_process::Table;

use crate::cli::{TlsProbes, TraceQuery};
use crate::keylog::KeyLogSink;
use hold::Hold;
use host::{AgentHost, Progress};
use load::{LoadBreaker, LoadGauges};
use memory::MemorySearches;
use queue::queue;
use threads::{Lost, ReaderLoop, keep_processes};
use trace::Tracer;

pub(crate) use hold::{HoldCounters, HoldProcess, hold_programs};
pub(crate) use host::Scope;
pub(crate) use state::{AgentState, ReloadCounters};

/// Process events between the reader and the process table.
const PROCESS_QUEUE: usize = 1 << 16;
/// Files that are about to be executed, to the probe tracker: as many as the holder lets wait.
const EXPECTED_QUEUE: usize = 256;
/// Requests to the probe tracker.
const TRACKER_QUEUE: usize = 1 << 16;

/// Bytes of the ring for `--bpf-trace`.
const TRACE_RING: usize = 1 << 20;
/// How long nothing has to come before what connections older than the agent need is taken to be known, and at most.
const OLD_NEEDS: Duration = Duration::from_millis(20);
const OLD_NEEDS_AT_MOST: Duration = Duration::from_millis(200);
/// How long the start waits for the first look at all processes.
const PROBE_WAIT: Duration = Duration::from_secs(20);

/// Further apart the system's clock and ours are not left: corrections by NTP add up, and a set clock jumps.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(1);

/// How long the end waits until the probes are removed.
const DETACH_WAIT: Duration = Duration::from_secs(5);

/// What an agent is started with.
pub(crate) struct AgentOptions {
    /// Opened before privileges were dropped.
    pub(crate) mapping_events: MappingEvents,
    /// What is captured. Stacks and stores in it are the business of the consumers.
    pub(crate) config: Config,
    /// Which processes.
    pub(crate) scope: Scope,
    /// Which TLS libraries are probed.
    pub(crate) tls_probes: TlsProbes,
    /// What the kernel side is to print of its decisions.
    pub(crate) trace: TraceQuery,
    /// One for each worker.
    pub(crate) consumers: Vec<Box<dyn Consumer>>,
    /// Where secrets of connections go, if they are written at all.
    pub(crate) key_log: Option<KeyLogSink>,
    /// Holds programs that are new until they are probed.
    pub(crate) hold: Option<HoldProcess>,
    /// What former scans found.
    pub(crate) cache: ScanCache,
    /// For tests: how many of a million records of payload the kernel side loses.
    pub(crate) drop_per_million: Option<u32>,
}

/// Counters and handles that outlive the start.
#[derive(Clone)]
pub(crate) struct Gauges {
    pub(crate) engine: Arc<Stats>,
    pub(crate) budget: Arc<Budget>,
    pub(crate) control: Control,
    pub(crate) implementations: Implementations,
    pub(crate) table: Table,
    pub(crate) lost: Arc<Lost>,
    pub(crate) host: Arc<AgentHost>,
    pub(crate) groups: Arc<Vec<GroupReport>>,
    pub(crate) load: Arc<LoadGauges>,
    pub(crate) surveyor: Surveyor,
    pub(crate) held: Arc<HoldCounters>,
}

/// A running agent. Stop it with [`Agent::stop`]; when it is dropped instead, everything detaches but nothing is drained.
pub(crate) struct Agent {
    gauges: Gauges,
    stop: Arc<AtomicBool>,
    reader: Option<JoinHandle<()>>,
    processes: JoinHandle<()>,
    tracker: JoinHandle<()>,
    searcher: Option<JoinHandle<()>>,
    wall_clock: WallClock,
    breaker: LoadBreaker,
    hold: Option<Hold>,
    expected: Sender<Expected>,
    audits_dns: Arc<AtomicBool>,
    /// Kept so that the programs stay loaded until the end.
    capture: Arc<Capture>,
}

/// Workers for this host: two where it has two CPUs, of more CPUs half of them, four at most. One thread serves them all until one is behind.
pub(crate) fn worker_count() -> usize {
    std::thread::available_parallelism().map_or(1, |cpus| match cpus.get() {
        1 => 1,
        cpus => (cpus / 2).clamp(2, 4),
    })
}

impl Agent {
    /// Loads and attaches the kernel side, finds what runs already, and starts the threads. When it returns, events flow
    /// and the TLS libraries of the loader cache and of every running process are probed.
    ///
    /// # Errors
    /// When not even the socket hooks load, or the system refuses a thread.
    pub(crate) fn start(options: AgentOptions) -> anyhow::Result<Self> {
        let AgentOptions {
            mapping_events,
            config,
            scope,
            tls_probes,
            trace,
            consumers,
            key_log,
            hold,
            cache,
            drop_per_million,
        } = options;
        let own_pid = Pid(std::process::id());
        let export_secrets = key_log.is_some();
        let kernel_options = Options {
            drop_per_million,
            ..kernel_options(&config, own_pid, !trace.is_empty())
        };
        if let Some(rate) = drop_per_million {
            tracing::warn!(
                rate,
                "TEST ONLY: --drop-data-records is given, so this agent loses payload on purpose; never run it like this to observe anything"
            );
        }
        let mut capture =
            Capture::load_with(&kernel_options, mapping_events).context("cannot load the kernel side")?;
        let control = capture.control();
        let reader = capture.reader()?;
        let groups = capture.attach();
        for report in &groups {
            if let Some(problem) = &report.problem {
                if report.group.is_optional() {
                    tracing::debug!(group = %report.group, problem, "optional hook group is left out");
                } else {
                    tracing::warn!(group = %report.group, problem, "hook group is left out");
                }
            }
        }

        let (table, mut writer) = qtap_process::table(qtap_process::Limits::default(), &config.tags);
        let (tracker_tx, tracker_rx) = queue(TRACKER_QUEUE);
        let (expected_tx, expected_rx) = bounded::<Expected>(EXPECTED_QUEUE);
        let (process_tx, process_rx) = queue(PROCESS_QUEUE);
        let progress = Arc::new(Progress::default());
        let lost = Arc::new(Lost::default());
        if let Err(error) = capture.scan_existing() {
            tracing::warn!(%error, "connections older than the agent are not known until they carry data");
        }
        let capture = Arc::new(capture);
        let probes = tls_probes.names();
        for probe in &probes {
            tracing::debug!(probe, "registering TLS probe");
        }
        tracing::debug!(?probes, "starting TLS Probes");
        let mut tracker = Tracker::new(
            attach::KernelAttacher::new(Arc::clone(&capture), tls_probes),
            source(config.tap.tls_source),
        )
        .with_cache(cache);
        let implementations = tracker.implementations();
        let (ready, probed) = bounded::<()>(1);
        let (captures, capturing) = bounded::<()>(1);
        // At the same time as the first look at all processes: on a host with many both take long.
        let tracker = spawn("qtap-tracker", move || {
            tracker.start();
            // When the agent does not come that far, this comes at once, and what follows ends by itself.
            let _ = capturing.recv();
            // What connections older than the agent need: their next bytes may come at once.
            let until = Instant::now() + OLD_NEEDS_AT_MOST;
            while Instant::now() < until
                && let Ok(input) = tracker_rx.recv_timeout(OLD_NEEDS)
            {
                if matches!(input, Input::Stop) {
                    return;
                }
                tracker.handle(input);
            }
            // The agent may have given up waiting; the tracker goes on all the same.
            let _ = ready.try_send(());
            tracker.run(&tracker_rx, &expected_rx);
        })?;
        writer.snapshot().context("cannot read /proc")?;
        let searches_memory = config.tap.tls_memory_search == MemorySearch::Auto
            && config.tap.tls_source != TlsSource::Calls
            && probes.contains(&"rustls");
        let (memory, searcher) = if searches_memory {
            let (memory, searcher) = MemorySearches::start(implementations.clone())?;
            (memory, Some(searcher))
        } else {
            (MemorySearches::off(implementations.clone()), None)
        };
        let host = Arc::new(AgentHost {
            memory,
            table: table.clone(),
            progress: Arc::clone(&progress),
            control: control.clone(),
            implementations: implementations.clone(),
            tracker: tracker_tx.clone(),
            filters: RwLock::new(Arc::new(config.tap.filters.clone())),
            scope: scope.clone(),
            own_pid,
            callers: Mutex::new(HashMap::new()),
            tracer: Tracer::new(trace, control.clone(), table.clone()),
            refused: Counter::default(),
            key_log,
            proved: Mutex::new(HashMap::new()),
        });
        for process in table.running() {
            host.judge(&process);
        }

        let settings = Settings {
            export_secrets,
            ..engine_settings(&config)
        };
        let wall_clock = WallClock::new(boot_time());
        let load = Arc::new(LoadGauges::new(config.tap.limits.cpu_percent));
        let shared = Shared {
            host: Arc::clone(&host) as Arc<dyn qtap_engine::Host>,
            settings,
            clock: wall_clock.clone(),
            ids: Arc::new(IdSource::new(seed())),
            stats: Arc::new(Stats::default()),
            budget: Arc::new(Budget::new(settings.memory)),
            load: Arc::clone(&load.load),
            names: Arc::default(),
            unbound: Arc::default(),
            audits_dns: Arc::new(AtomicBool::new(config.tap.audit_include_dns)),
        };
        let clock: Clock = Arc::new(qtap_capture::now);
        let engine = Engine::start(&shared, &clock, consumers)?;
        let surveyor = engine.surveyor();
        let stop = Arc::new(AtomicBool::new(false));
        let keeper = Arc::clone(&host);
        let processes = spawn("qtap-process", move || {
            keep_processes(writer, &process_rx, &keeper)
        })?;
        let reader_loop = ReaderLoop {
            reader,
            engine,
            processes: process_tx,
            tracker: tracker_tx,
            progress,
            traces: host.tracer.start_printer()?,
            lost: Arc::clone(&lost),
            control: control.clone(),
            capture: Arc::clone(&capture),
            stop: Arc::clone(&stop),
            drain: Duration::from_secs(4),
        };
        let reader = spawn("qtap-reader", move || reader_loop.run())?;
        drop(captures);
        if probed.recv_timeout(PROBE_WAIT).is_err() {
            tracing::warn!(
                seconds = PROBE_WAIT.as_secs(),
                "still looking for TLS libraries; capture begins without them"
            );
        }
        // From here on: the first look at all processes is dear and sheds nothing.
        let breaker = LoadBreaker::start(Arc::clone(&load), control.clone(), Arc::clone(&shared.budget))?;
        let held = Arc::new(HoldCounters::default());
        let hold = hold
            .map(|process| Hold::start(process, scope, expected_tx.clone(), Arc::clone(&held)))
            .transpose()?;
        let gauges = Gauges {
            engine: shared.stats,
            budget: shared.budget,
            control,
            implementations,
            table,
            lost,
            host,
            groups: Arc::new(groups),
            load,
            surveyor,
            held,
        };
        Ok(Self {
            gauges,
            stop,
            reader: Some(reader),
            processes,
            tracker,
            searcher,
            wall_clock,
            breaker,
            hold,
            expected: expected_tx,
            audits_dns: shared.audits_dns,
            capture,
        })
    }

    /// Counters and handles.
    pub(crate) fn gauges(&self) -> &Gauges {
        &self.gauges
    }

    /// Puts what can change at run time in force: direction, loopback, DNS, filters, call cap, share of CPU.
    pub(crate) fn apply(&self, config: &Config) {
        self.audits_dns
            .store(config.tap.audit_include_dns, Ordering::Relaxed);
        self.gauges.control.settings(kernel_settings(config));
        self.gauges.host.set_filters(config.tap.filters.clone());
        let share = &self.gauges.load.cpu_limit;
        share.store(config.tap.limits.cpu_percent, Ordering::Relaxed);
    }

    /// Follows the system's clock where it was set; to be called now and then. Only the times in events are wall time:
    /// nothing waits or measures by it.
    pub(crate) fn follow_clock(&self) {
        if let Some(seconds) = self.wall_clock.follow(boot_time(), CLOCK_TOLERANCE) {
            tracing::warn!(
                seconds,
                "the system's clock was set: times in events follow it from now on"
            );
        }
    }

    /// Probes a file before it is executed. `None`: that is not done after `patience`.
    pub(crate) fn probe_ahead(&self, file: &Path, patience: Duration) -> Option<Admitted> {
        let (done, outcome) = bounded(1);
        let expected = Expected {
            file: file.to_owned(),
            // Nobody may be waiting any more.
            done: Box::new(move |admitted| {
                let _ = done.try_send(admitted);
            }),
        };
        self.expected.send_timeout(expected, patience).ok()?;
        outcome.recv_timeout(patience).ok()
    }

    /// An error when a part of it ended by itself, by a panic: without it nothing is captured, or less than is said.
    pub(crate) fn intact(&self) -> anyhow::Result<()> {
        let lost = self.gauges.engine.workers_lost.get() > 0;
        let threads = [
            ("the reader of the rings", self.reader.as_ref()),
            ("the process table", Some(&self.processes)),
            ("the probe tracker", Some(&self.tracker)),
            ("the search of memory", self.searcher.as_ref()),
        ];
        intact::check(lost, threads)
    }

    /// Detaches, drains what was captured within five seconds, and reports every open connection.
    pub(crate) fn stop(mut self) {
        if let Some(hold) = self.hold.take() {
            hold.stop();
        }
        self.breaker.stop();
        self.stop.store(true, Ordering::Release);
        self.gauges.host.memory.stop();
        let asked = self.gauges.host.tracker.insist(Input::Stop);
        if let Some(reader) = self.reader.take()
            && reader.join().is_err()
        {
            tracing::error!("the ring reader ended by a panic");
        }
        if self.processes.join().is_err() {
            tracing::error!("the process table's thread ended by a panic");
        }
        if let Some(searcher) = self.searcher.take()
            && searcher.join().is_err()
        {
            tracing::error!("the search of memory ended by a panic");
        }
        // Ending while the kernel is at the removal of a probe would leave its breakpoints behind.
        let until = Instant::now() + DETACH_WAIT;
        while !self.tracker.is_finished() && Instant::now() < until {
            std::thread::park_timeout(Duration::from_millis(2));
        }
        if asked.is_err() || !self.tracker.is_finished() {
            tracing::warn!(
                seconds = DETACH_WAIT.as_secs(),
                "probes are not removed yet; programs may keep breakpoints that cost them time until they end"
            );
        } else if self.tracker.join().is_err() {
            tracing::error!("the probe tracker ended by a panic");
        }
        drop(self.capture);
    }
}

/// What former scans found, in `folder`. Nothing, where it cannot be kept there. To be called before system calls are filtered.
pub(crate) fn open_cache(folder: &Path) -> ScanCache {
    ScanCache::open(folder).unwrap_or_else(|error| {
        tracing::warn!("what scans find is not kept for the next start: {error} (--cache-dir)");
        ScanCache::default()
    })
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> anyhow::Result<JoinHandle<()>> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(work)
        .with_context(|| format!("cannot start thread {name}"))
}

fn kernel_options(config: &Config, own_pid: Pid, traced: bool) -> Options {
    let size = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
    Options {
        data_ring: size(config.tap.limits.data_ring),
        control_ring: size(config.tap.limits.control_ring),
        own_pid: Some(own_pid),
        trace_ring: if traced { TRACE_RING } else { 0 },
        settings: kernel_settings(config),
        ..Options::default()
    }
}

fn kernel_settings(config: &Config) -> qtap_capture::Settings {
    qtap_capture::Settings {
        direction: match config.tap.direction {
            Direction::All => DirectionFilter::All,
            Direction::Ingress => DirectionFilter::Ingress,
            Direction::Egress => DirectionFilter::Egress,
            Direction::EgressInternal => DirectionFilter::EgressInternal,
            Direction::EgressExternal => DirectionFilter::EgressExternal,
        },
        ignore_loopback: config.tap.ignore_loopback,
        call_cap: u32::try_from(config.tap.limits.call).unwrap_or(u32::MAX),
        calls: config.tap.tls_source != TlsSource::Secrets,
        dns_queries: config.tap.audit_include_dns,
    }
}

fn engine_settings(config: &Config) -> Settings {
    Settings {
        tls: match config.tap.tls_source {
            TlsSource::Auto => TlsMode::Auto,
            TlsSource::Calls => TlsMode::Calls,
            TlsSource::Secrets => TlsMode::Secrets,
        },
        memory: config.tap.limits.memory,
        ..Settings::default()
    }
}

const fn source(source: TlsSource) -> Source {
    match source {
        TlsSource::Auto => Source::Auto,
        TlsSource::Calls => Source::Calls,
        TlsSource::Secrets => Source::Secrets,
    }
}

/// Wall time of the monotonic clock's zero.
#[expect(clippy::disallowed_methods, reason = "here kernel time meets wall time")]
fn boot_time() -> SystemTime {
    let KernelTime(since_boot) = qtap_capture::now();
    let since_boot = Duration::from_nanos(since_boot);
    SystemTime::now()
        .checked_sub(since_boot)
        .unwrap_or(SystemTime::UNIX_EPOCH)
}

/// Differs between runs and hosts: pid and start, and the host's name.
fn seed() -> u64 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    let mut hasher = RandomState::new().build_hasher();
    hasher.write_u32(std::process::id());
    hasher.finish()
}
