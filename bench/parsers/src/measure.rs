//! Time and figures.

use std::fmt;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use qtap_capture::thread_cpu_time;
use serde::Serialize;

use crate::exchange::{Case, Lap};

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Which {
    /// The parser of this project.
    Ours,
    /// The public one.
    Peer,
}

/// What came out for one protocol.
#[derive(Serialize)]
pub(crate) struct Figures {
    protocol: &'static str,
    peer: &'static str,
    /// What a message is.
    messages: &'static str,
    bytes_a_message: f64,
    ours: Option<Speed>,
    theirs: Option<Speed>,
    /// Ours over theirs, median of the rounds.
    ratio: Option<f64>,
}

/// Of one second of processor time.
#[derive(Clone, Copy, Serialize)]
pub(crate) struct Speed {
    megabytes: f64,
    messages: f64,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let show = |speed: Option<Speed>| {
            speed.map_or_else(
                || "-".to_owned(),
                |speed| format!("{:.0} MB/s, {:.0}/s", speed.megabytes, speed.messages),
            )
        };
        write!(
            f,
            "{:10} {} of {:.0} bytes: {}; {}: {}",
            self.protocol,
            self.messages,
            self.bytes_a_message,
            show(self.ours),
            self.peer,
            show(self.theirs)
        )?;
        match self.ratio {
            Some(ratio) => write!(f, "; ratio {ratio:.2}"),
            None => Ok(()),
        }
    }
}

/// Laps of one second of processor time.
fn run(lap: &mut Lap, expected: u64, least: Duration) -> anyhow::Result<f64> {
    let began = thread_cpu_time();
    let mut laps = 0_u32;
    loop {
        let found = lap()?;
        ensure!(found == expected, "{found} messages were found of {expected}");
        laps += 1;
        let spent = thread_cpu_time().saturating_sub(began);
        if spent >= least {
            return Ok(f64::from(laps) / spent.as_secs_f64());
        }
    }
}

/// Runs a case: each parser in each round, by turns first.
pub(crate) fn measure(
    case: &mut Case,
    rounds: usize,
    seconds: f64,
    only: Option<Which>,
) -> anyhow::Result<Figures> {
    let least = Duration::from_secs_f64(seconds);
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 0..=rounds {
        let mut order = [Which::Ours, Which::Peer];
        if round % 2 == 1 {
            order.reverse();
        }
        for which in order
            .into_iter()
            .filter(|which| only.is_none_or(|only| only == *which))
        {
            let (name, lap, found) = match which {
                Which::Ours => ("qtap", &mut case.ours, &mut ours),
                Which::Peer => (case.peer, &mut case.theirs, &mut theirs),
            };
            let laps = run(lap, case.messages, least).with_context(|| format!("{}: {name}", case.name))?;
            // The first round is for the caches.
            if round > 0 {
                found.push(laps);
            }
        }
    }
    let ratios = ours
        .iter()
        .zip(&theirs)
        .map(|(ours, theirs)| ours / theirs)
        .collect();
    let (bytes, messages) = (case.bytes as f64, case.messages as f64);
    let speed = |laps: Vec<f64>| {
        median(laps).map(|laps| Speed {
            megabytes: laps * bytes / 1e6,
            messages: laps * messages,
        })
    };
    Ok(Figures {
        protocol: case.name,
        peer: case.peer,
        messages: case.what,
        bytes_a_message: bytes / messages,
        ours: speed(ours),
        theirs: speed(theirs),
        ratio: median(ratios),
    })
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}
