//! The load breaker's thread: looks at what the agent uses, and puts the level in force.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use qtap_capture::{Control, cpu_time};
use qtap_engine::{Breaker, Budget, Counter, Load, LoadLevel, Mean, Step, Usage};

/// How often it looks.
const LOOK: Duration = Duration::from_millis(500);
/// How often it says that even counting is too much.
const REMINDER: Duration = Duration::from_secs(60);

/// What it is told, and what it found, for metrics.
#[derive(Debug)]
pub(crate) struct LoadGauges {
    pub(crate) load: Arc<Load>,
    /// `tap.limits.cpu_percent`.
    pub(crate) cpu_limit: AtomicU32,
    /// Mean over the last seconds.
    pub(crate) cpu_percent: AtomicU64,
    pub(crate) steps_down: Counter,
    pub(crate) steps_up: Counter,
}

impl LoadGauges {
    pub(super) fn new(cpu_limit: u32) -> Self {
        Self {
            load: Arc::new(Load::default()),
            cpu_limit: AtomicU32::new(cpu_limit),
            cpu_percent: AtomicU64::new(0),
            steps_down: Counter::default(),
            steps_up: Counter::default(),
        }
    }
}

/// The running breaker.
pub(super) struct LoadBreaker {
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

impl LoadBreaker {
    /// Starts it, at level full.
    pub(super) fn start(
        gauges: Arc<LoadGauges>,
        control: Control,
        budget: Arc<Budget>,
    ) -> anyhow::Result<Self> {
        let (stop, stopped) = bounded(1);
        let looks = Looks {
            breaker: Breaker::new(gauges.cpu_limit.load(Ordering::Relaxed)),
            gauges,
            control,
            budget,
            reminded: None,
        };
        let thread = super::spawn("qtap-load", move || looks.run(&stopped))?;
        Ok(Self { stop, thread })
    }

    pub(super) fn stop(self) {
        // Dropping the sender is what the thread waits for.
        drop(self.stop);
        if self.thread.join().is_err() {
            tracing::error!("the load breaker ended by a panic");
        }
    }
}

struct Looks {
    breaker: Breaker,
    gauges: Arc<LoadGauges>,
    control: Control,
    budget: Arc<Budget>,
    /// When it last said that even counting is too much.
    reminded: Option<Instant>,
}

impl Looks {
    fn run(mut self, stopped: &Receiver<()>) {
        let (mut looked, mut used) = (Instant::now(), cpu_time());
        while stopped.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
            let (now, used_now) = (Instant::now(), cpu_time());
            let usage = Usage {
                elapsed: now - looked,
                cpu: used_now.saturating_sub(used),
                memory_permille: self.budget.used_permille(),
            };
            (looked, used) = (now, used_now);
            self.look(usage);
        }
    }

    fn look(&mut self, usage: Usage) {
        let limit = self.gauges.cpu_limit.load(Ordering::Relaxed);
        self.breaker.set_limit(limit);
        let step = self.breaker.look(usage);
        let mean = self.breaker.latest();
        self.gauges.cpu_percent.store(mean.cpu_percent, Ordering::Relaxed);
        match step {
            Some(step) => {
                self.put_in_force(step);
                tell(step, mean, limit);
            }
            None => self.remind(mean.cpu_percent, limit),
        }
    }

    fn put_in_force(&self, step: Step) {
        match step {
            Step::Down(level) => {
                self.gauges.steps_down.add(1);
                self.gauges.load.set(level, qtap_capture::now());
                self.control.shed(level.shed());
            }
            Step::Up(level) => {
                self.gauges.steps_up.add(1);
                self.control.shed(level.shed());
                self.gauges.load.set(level, qtap_capture::now());
            }
        }
    }

    /// There is nothing left to leave out.
    fn remind(&mut self, cpu_percent: u64, limit: u32) {
        let is_due = self.reminded.is_none_or(|at| at.elapsed() >= REMINDER);
        if self.breaker.level() == LoadLevel::Counted && cpu_percent > u64::from(limit) && is_due {
            self.reminded = Some(Instant::now());
            tracing::warn!(
                cpu_percent,
                limit,
                "counting connections and processes alone takes more than the configured share"
            );
        }
    }
}

/// Says which level is in force, and why.
fn tell(step: Step, mean: Mean, limit: u32) {
    // The severity of a log call is part of the call.
    macro_rules! tell {
        ($severity:ident, $share:literal, $level:expr) => {
            tracing::$severity!(
                level = $level.name(),
                cpu_percent = mean.cpu_percent,
                limit,
                memory_percent = mean.memory_permille / 10,
                "{} the configured share: {}",
                $share,
                says($level)
            )
        };
    }
    match step {
        Step::Down(level) => tell!(warn, "over", level),
        Step::Up(level) => tell!(info, "below", level),
    }
}

const fn says(level: LoadLevel) -> &'static str {
    match level {
        LoadLevel::Full => "everything is captured again",
        LoadLevel::Headers => "bodies are not kept",
        LoadLevel::NewCounted => "connections that open are only counted",
        LoadLevel::Counted => "all connections are only counted",
    }
}
