//! `qtap`: captures until a signal.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use qtap_capture::MappingEvents;
use qtap_config::{Config, ConfigFile, Diagnostics, Direction, TlsSource};
use qtap_engine::Consumer;
use qtap_plugin::{Context, Deployment, Generation, LineSink, Metrics, Stacks, Terminal};
use qtap_probe::HOLD_LIMIT;
use qtap_server::Server;
use qtap_store::{Output, OutputLimits};

use crate::agent::{
    Agent, AgentOptions, AgentState, HoldProcess, ReloadCounters, Scope, open_cache, worker_count,
};
use crate::cli::{ConfigSource, Settings};
use crate::console::ConsoleVerdicts;
use crate::control::{self, ControlSocket};
use crate::keylog::{KeyLog, KeyLogFile};
use crate::privileges::{Confinement, Role};
use crate::signals::{Request, SignalInbox};
use crate::status::StatusSource;

/// How often the configuration file and the system's clock are looked at.
const LOOK: Duration = Duration::from_millis(500);
/// After so long without traffic, a line says what is watched.
const SILENCE: Duration = Duration::from_secs(10);
/// What the stores get to write what they hold.
const FLUSH: Duration = Duration::from_secs(5);

/// The parts of the agent that a reload touches.
struct Running {
    agent: Agent,
    deployment: Arc<Deployment>,
    context: ContextSource,
    file: Option<ConfigFile>,
    config: Config,
    overrides: Overrides,
    reloads: Arc<ReloadCounters>,
    next_look: Instant,
}

/// Flags that win over the configuration.
#[derive(Clone, Copy)]
struct Overrides {
    body: Option<u64>,
}

impl Overrides {
    fn apply(self, mut config: Config) -> Config {
        if let Some(bytes) = self.body {
            config.tap.limits.body = bytes;
        }
        config
    }
}

/// What plugins are made with, for each configuration anew.
struct ContextSource {
    plugin_agent: Arc<qtap_plugin::Agent>,
    output: Output,
    terminal: Terminal,
    metrics: Arc<Metrics>,
    /// No configuration was given: on a terminal, what is printed is for a person.
    built_in: bool,
}

impl ContextSource {
    fn generation(&self, config: &Config) -> anyhow::Result<Generation> {
        let output: Arc<dyn LineSink> = Arc::new(self.output.clone());
        let mut stores = qtap_store::build(&config.services, &self.output);
        if self.built_in && self.terminal.is_terminal {
            stores.events = vec![Arc::new(ConsoleVerdicts::new(Arc::clone(&output), self.terminal))];
        }
        let context = Context {
            agent: Arc::clone(&self.plugin_agent),
            stores,
            output,
            terminal: self.terminal,
        };
        Ok(Generation::new(config, &context, &self.metrics)?)
    }
}

/// Runs until SIGINT or SIGTERM.
///
/// # Errors
/// When the agent cannot start.
pub(crate) fn run(settings: &Settings) -> anyhow::Result<ExitCode> {
    let (file, config) = load(&settings.config)?;
    // Its parent may be a folder in which only a privileged process can make one.
    let folder = control::own_folder(&settings.data_dir);
    let key_file = settings.key_log.as_deref().map(KeyLogFile::open).transpose()?;
    let role = Role::Agent {
        port: settings.listen.port(),
    };
    let mapping_events = MappingEvents::open();
    // It keeps what the agent gives up.
    let hold = (config.tap.tls_hold)
        .then(|| HoldProcess::start(settings.log, HOLD_LIMIT))
        .transpose()?;
    let mut confinement = Confinement::begin(role, settings.keep_privileges);
    if let Some(hold) = &hold {
        confinement.may_end(hold.pid());
    }
    let signals = SignalInbox::install()?;
    let overrides = Overrides {
        body: settings.http_buffer_bytes,
    };
    let config = overrides.apply(config);
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        pid = std::process::id(),
        "starting qtap"
    );

    let output = Output::stdout(OutputLimits::for_bodies(config.tap.limits.body))
        .context("cannot write to standard output")?;
    let tags = settings
        .tags
        .iter()
        .map(|tag| (tag.key.clone(), tag.value.clone()))
        .collect();
    let context = ContextSource {
        plugin_agent: Arc::new(qtap_plugin::Agent::new(hostname(), instance(), tags)?),
        output: output.clone(),
        terminal: Terminal::detect(),
        metrics: Arc::new(Metrics::default()),
        built_in: file.is_none(),
    };
    let deployment = Deployment::new(context.generation(&config)?);
    let consumers =
        (0..worker_count()).map(|_| Box::new(Stacks::new(Arc::clone(&deployment))) as Box<dyn Consumer>);
    let consumers = consumers.collect();
    let socket = folder
        .and_then(|()| ControlSocket::open(&settings.data_dir))
        .map_err(|error| tracing::warn!("`qtap reload-config` and `qtap status` will not work: {error:#}"))
        .ok();
    let key_log = (key_file.zip(settings.key_log.as_deref()))
        .map(|(file, path)| KeyLog::start(file, path))
        .transpose()?;
    if key_log.is_some() && config.tap.tls_source == TlsSource::Calls {
        tracing::warn!("--keylog: with tap.tls.source: calls no secrets are seen, and the file stays empty");
    }
    let agent = Agent::start(AgentOptions {
        mapping_events,
        config: config.clone(),
        scope: Scope::Host,
        tls_probes: settings.tls_probes.clone(),
        trace: settings.trace.clone(),
        consumers,
        key_log: key_log.as_ref().map(KeyLog::sink),
        hold,
        cache: open_cache(&settings.cache_dir),
        drop_per_million: settings.drop_per_million,
    })?;
    let key_gauges = key_log.as_ref().map(KeyLog::gauges);
    let status = Arc::new(StatusSource::new(
        agent.gauges().clone(),
        config.tap.tls_source,
        key_gauges.clone(),
    ));
    if let Some(socket) = &socket {
        let status = Arc::clone(&status);
        socket.provide_status(Box::new(move || status.json()));
    }
    let reloads = Arc::new(ReloadCounters::default());
    let stopping = Arc::new(AtomicBool::new(false));
    let state = AgentState {
        gauges: agent.gauges().clone(),
        plugins: Arc::clone(&context.metrics),
        output: output.clone(),
        reloads: Arc::clone(&reloads),
        stopping: Arc::clone(&stopping),
        key_log: key_gauges,
        status,
    };
    let server = Server::start(settings.listen, Arc::new(state)).context("cannot start the status server")?;
    confinement.finish();
    tracing::info!(listen = %server.address(), "eBPF program loaded and listening");

    let mut running = Running {
        agent,
        deployment,
        context,
        file,
        config,
        overrides,
        reloads,
        next_look: Instant::now(),
    };
    let intact = serve(&mut running, &signals, socket.as_ref());

    tracing::info!("stopping");
    stopping.store(true, Ordering::Relaxed);
    running.agent.stop();
    if let Some(key_log) = key_log {
        key_log.stop();
    }
    if !output.flush(FLUSH) {
        tracing::warn!(
            seconds = FLUSH.as_secs(),
            "standard output did not take everything in time"
        );
    }
    server.stop().context("cannot stop the status server")?;
    tracing::info!("stopped");
    intact.map(|()| ExitCode::SUCCESS)
}

/// Until it is asked to stop. An error when a part of the agent ended by itself.
fn serve(running: &mut Running, signals: &SignalInbox, socket: Option<&ControlSocket>) -> anyhow::Result<()> {
    let started = Instant::now();
    let mut silence_told = false;
    loop {
        match signals.wait(Duration::from_millis(100)) {
            Some(Request::Stop) => return Ok(()),
            Some(Request::Reload) => {
                running.reload("SIGHUP");
            }
            None => {}
        }
        running.agent.intact()?;
        if let Some(request) = socket.and_then(ControlSocket::next) {
            request.answer(running.reload("reload-config"));
        }
        if running.look_is_due() {
            running.agent.follow_clock();
            if running.file_changed() {
                running.reload("file change");
            }
        }
        if !silence_told && started.elapsed() >= SILENCE {
            silence_told = true;
            running.tell_silence();
        }
    }
}

impl Running {
    /// Whether it is time to look at the configuration file and the clock again: every [`LOOK`].
    fn look_is_due(&mut self) -> bool {
        let now = Instant::now();
        let is_due = now >= self.next_look;
        if is_due {
            self.next_look = now + LOOK;
        }
        is_due
    }

    fn file_changed(&mut self) -> bool {
        self.file.as_mut().is_some_and(ConfigFile::changed)
    }

    /// Loads the configuration again, all or nothing. Returns what is said to `reload-config`.
    fn reload(&mut self, cause: &str) -> String {
        let Some(file) = &mut self.file else {
            return "ok: the built-in configuration is in force, there is no file to load\n".to_owned();
        };
        let path = file.path().display().to_string();
        match file.reload() {
            Ok(None) => {
                self.reloads.unchanged.fetch_add(1, Ordering::Relaxed);
                tracing::info!(cause, path, "configuration is unchanged");
                format!("ok: {path} is unchanged\n")
            }
            Ok(Some((config, warnings))) => self.put_in_force(&path, config, &warnings, cause),
            Err(error) => {
                self.reloads.refused.fetch_add(1, Ordering::Relaxed);
                tracing::error!(
                    cause,
                    path,
                    "configuration is refused, the former one stays in force\n{error}"
                );
                format!("error: {path} is refused, the former configuration stays in force\n{error}\n")
            }
        }
    }

    fn put_in_force(&mut self, path: &str, config: Config, warnings: &Diagnostics, cause: &str) -> String {
        let config = self.overrides.apply(config);
        let generation = match self.context.generation(&config) {
            Ok(generation) => generation,
            Err(error) => {
                self.reloads.refused.fetch_add(1, Ordering::Relaxed);
                tracing::error!(cause, path, %error, "configuration is refused, the former one stays in force");
                return format!(
                    "error: {path} is refused, the former configuration stays in force\n{error:#}\n"
                );
            }
        };
        self.agent.apply(&config);
        self.deployment.replace(generation);
        self.reloads.applied.fetch_add(1, Ordering::Relaxed);
        tracing::info!(cause, path, "configuration loaded");
        let mut answer = format!("ok: {path} is in force\n");
        let (new, old) = (&config.tap, &self.config.tap);
        let ring = |config: &qtap_config::Limits| (config.data_ring, config.control_ring, config.memory);
        if ring(&new.limits) != ring(&old.limits)
            || new.tls_source != old.tls_source
            || new.tls_memory_search != old.tls_memory_search
            || new.tls_hold != old.tls_hold
            || config.tags != self.config.tags
        {
            let note = "tags, tap.tls and the rings and memory of tap.limits take effect at the next start";
            tracing::warn!("{note}");
            answer.push_str(&format!("warning: {note}\n"));
        }
        if !warnings.is_empty() {
            answer.push_str(&warnings.render(false));
        }
        self.config = config;
        answer
    }

    /// The commonest question of all: why do I see nothing?
    fn tell_silence(&self) {
        let stats = &self.agent.gauges().engine;
        if stats.opened.get() > 0 {
            return;
        }
        let tap = &self.config.tap;
        let direction = match tap.direction {
            Direction::All => "all",
            Direction::Ingress => "ingress",
            Direction::Egress => "egress",
            Direction::EgressInternal => "egress-internal",
            Direction::EgressExternal => "egress-external",
        };
        let filtered = self.agent.gauges().control.counters().map_or(0, |counters| {
            counters
                .iter()
                .filter(|(name, _)| name.starts_with("connections_filtered"))
                .map(|(_, count)| count)
                .sum()
        });
        tracing::info!(
            direction,
            ignore_loopback = tap.ignore_loopback,
            filters = tap.filters.rules.len(),
            stack = tap.http.as_deref().unwrap_or("none"),
            connections_left_out = filtered,
            "no traffic seen yet; this is what is watched"
        );
    }
}

fn load(source: &ConfigSource) -> anyhow::Result<(Option<ConfigFile>, Config)> {
    match source {
        ConfigSource::BuiltIn => {
            tracing::info!(
                "no configuration is given: everything this host sends and receives goes to the access log"
            );
            Ok((None, Config::built_in()))
        }
        ConfigSource::File(path) => {
            let (file, config, warnings) = ConfigFile::open(path)?;
            if !warnings.is_empty() {
                tracing::warn!("{}", warnings.render(false));
            }
            Ok((Some(file), config))
        }
    }
}

/// This host's name, as the kernel has it.
pub(crate) fn hostname() -> String {
    let text = std::fs::read_to_string(Path::new("/proc/sys/kernel/hostname")).unwrap_or_default();
    text.trim().to_owned()
}

/// Unique for this run.
fn instance() -> String {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/uuid").unwrap_or_default();
    boot.trim().to_owned()
}
