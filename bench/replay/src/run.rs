//! Plays recordings as fast as they go, and says what that cost.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use qtap_capture::{KernelTime, cpu_time, thread_cpu_time};
use qtap_config::Config;
use serde::Serialize;

use crate::agent::{Agent, Outcome};
use crate::recording::Recording;
use crate::score::Score;

/// What is played before the clock starts.
const WARM_UP: Duration = Duration::from_millis(300);
/// Where records go that nobody reads.
const NOWHERE: &str = "/dev/null";
/// Kernel time of the first lap.
const START: u64 = 1_000_000_000;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Recordings
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Levels of `http_capture`, separated by commas
    #[arg(long, value_delimiter = ',', default_value = "summary,headers,full")]
    levels: Vec<String>,
    /// A configuration of your own instead
    #[arg(long)]
    config: Option<PathBuf>,
    /// How long each is played
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Copies played at the same time, shifted against each other
    #[arg(long, default_value_t = 8)]
    replicas: u64,
    /// Where the records go. With `--once` they are the same in every run
    #[arg(long, default_value = NOWHERE)]
    output: PathBuf,
    /// Print JSON lines
    #[arg(long)]
    json: bool,
    /// Play one lap only: to see that a recording is whole
    #[arg(long)]
    once: bool,
}

/// One measurement.
#[derive(Serialize)]
struct Figures {
    recording: String,
    level: String,
    /// Transactions that came out.
    transactions: u64,
    /// Those that the laps have.
    expected: u64,
    /// Transactions a second of processor time, all threads together.
    per_core: f64,
    /// Processor time of a transaction: all threads, and the thread of the engine and the plugins alone.
    cpu_us: f64,
    worker_us: f64,
    wall_seconds: f64,
    records: u64,
    bytes_a_transaction: f64,
    /// Records that the store lost.
    lost: u64,
    /// Socket bytes that the engine counts as lost.
    gap_bytes: u64,
}

/// Plays every recording at every level. Fails when a transaction is missing or a record was lost.
pub(crate) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let mut code = ExitCode::SUCCESS;
    for file in &options.files {
        let recording = Recording::read(file)?;
        for (level, config) in configs(options)? {
            let figures = measure(options, file, &level, &config, &recording)?;
            print(&figures, options.json)?;
            if figures.transactions != figures.expected || figures.lost + figures.gap_bytes > 0 {
                eprintln!("{level}: something is missing");
                code = ExitCode::FAILURE;
            }
        }
    }
    Ok(code)
}

/// Name and configuration of each case.
fn configs(options: &Options) -> anyhow::Result<Vec<(String, Config)>> {
    let parse = |name: &str, text: &str| match Config::parse(name, text) {
        Ok((config, _)) => Ok(config),
        Err(diagnostics) => Err(anyhow::anyhow!("{}", diagnostics.render(false))),
    };
    if let Some(path) = &options.config {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {name}"))?;
        let config = parse(&name, &text)?;
        return Ok(vec![(name, config)]);
    }
    (options.levels.iter())
        .map(|level| Ok((level.clone(), parse("built in", &built_in(level))?)))
        .collect()
}

fn built_in(level: &str) -> String {
    format!(
        "version: 2
services:
  event_stores: [{{type: stdout}}]
  object_stores: [{{type: stdout}}]
stacks:
  bench:
    plugins:
      - type: http_capture
        config: {{level: {level}, format: json}}
tap:
  direction: all
  ignore_loopback: false
  http: {{stack: bench}}
"
    )
}

fn measure(
    options: &Options,
    file: &Path,
    level: &str,
    config: &Config,
    recording: &Recording,
) -> anyhow::Result<Figures> {
    let in_one_lap = play(config, recording, 1, Path::new(NOWHERE), |laps, _| laps == 1)?
        .outcome
        .transactions;
    anyhow::ensure!(
        in_one_lap > 0,
        "{} has no transaction that {level} shows",
        file.display()
    );
    let time = Duration::from_secs_f64(options.seconds);
    let played = play(
        config,
        recording,
        options.replicas,
        &options.output,
        |laps, since| {
            if options.once { laps == 1 } else { since >= time }
        },
    )?;
    let measured = played.measured_transactions.max(1) as f64;
    let micros = |time: Duration| time.as_secs_f64() * 1e6 / measured;
    Ok(Figures {
        recording: stem(file),
        level: level.to_owned(),
        transactions: played.outcome.transactions,
        expected: in_one_lap * options.replicas * played.laps,
        per_core: 1e6 / micros(played.cpu),
        cpu_us: micros(played.cpu),
        worker_us: micros(played.worker),
        wall_seconds: played.wall.as_secs_f64(),
        records: played.outcome.records,
        bytes_a_transaction: played.outcome.bytes_written as f64 / played.outcome.transactions.max(1) as f64,
        lost: played.outcome.lost,
        gap_bytes: played.outcome.gap_bytes,
    })
}

/// The file's name without its endings.
fn stem(file: &Path) -> String {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    name.split('.').next().unwrap_or_default().to_owned()
}

struct Played {
    outcome: Outcome,
    laps: u64,
    measured_transactions: u64,
    cpu: Duration,
    worker: Duration,
    wall: Duration,
}

/// Plays laps until `enough` of their number and of the time measured.
fn play(
    config: &Config,
    recording: &Recording,
    replicas: u64,
    output: &Path,
    enough: impl Fn(u64, Duration) -> bool,
) -> anyhow::Result<Played> {
    let mut agent = Agent::new(config, &recording.programs, output)?;
    let mut score = Score::new(recording, replicas);
    let began = Instant::now();
    let (mut laps, mut mark) = (0, Mark::now(&agent));
    let start = |lap: u64, score: &Score| KernelTime(START + lap * score.period());
    loop {
        let at = start(laps, &score);
        score.lap(at, laps, false, |event, now| agent.take(event, now));
        laps += 1;
        if enough(laps, mark.wall.elapsed()) {
            break;
        }
        if began.elapsed() < WARM_UP {
            mark = Mark::now(&agent);
        }
    }
    let at_end = Mark::now(&agent);
    let at = start(laps, &score);
    score.lap(at, laps, true, |event, now| agent.take(event, now));
    agent.finish(start(laps + 1, &score));
    Ok(Played {
        outcome: agent.outcome(),
        laps,
        measured_transactions: at_end.transactions - mark.transactions,
        cpu: at_end.cpu.saturating_sub(mark.cpu),
        worker: at_end.worker.saturating_sub(mark.worker),
        wall: at_end.wall - mark.wall,
    })
}

/// The clocks at one moment.
#[derive(Clone, Copy)]
struct Mark {
    transactions: u64,
    cpu: Duration,
    worker: Duration,
    wall: Instant,
}

impl Mark {
    fn now(agent: &Agent) -> Self {
        Self {
            transactions: agent.outcome().transactions,
            cpu: cpu_time(),
            worker: thread_cpu_time(),
            wall: Instant::now(),
        }
    }
}

fn print(figures: &Figures, as_json: bool) -> anyhow::Result<()> {
    if as_json {
        println!("{}", serde_json::to_string(figures)?);
    } else {
        println!(
            "{:15} {:8} {:9.0} transactions/s a core  {:6.2} us each, of that the worker {:6.2}  ({} of {} in {:.1} s, {:.0} bytes each, {} lost)",
            figures.recording,
            figures.level,
            figures.per_core,
            figures.cpu_us,
            figures.worker_us,
            figures.transactions,
            figures.expected,
            figures.wall_seconds,
            figures.bytes_a_transaction,
            figures.lost,
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails so")]
    use super::*;

    /// Transactions of one lap: each request was seen at both ends.
    const RECORDINGS: [(&str, u64); 5] = [
        ("http1-plain", 400),
        ("http1-tls", 400),
        ("http2-tls", 400),
        ("http1-plain-1k", 120),
        ("http1-tls-1k", 120),
    ];

    #[test]
    fn every_transaction_of_a_recording_comes_out_in_every_lap() {
        let config = Config::parse("test", &built_in("full")).unwrap().0;
        for (name, expected) in RECORDINGS {
            let file = format!("{}/../recordings/{name}.jsonl.zst", env!("CARGO_MANIFEST_DIR"));
            let recording = Recording::read(Path::new(&file)).unwrap();
            let played = play(&config, &recording, 3, Path::new(NOWHERE), |laps, _| laps == 2).unwrap();
            assert_eq!(played.outcome.transactions, expected * 3 * 2, "{name}");
            assert_eq!((played.outcome.lost, played.outcome.gap_bytes), (0, 0), "{name}");
        }
    }
}
