//! Records what the kernel side tells of the connections of one server.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use qtap_capture::{Capture, ConnectionId, Event, KernelTime, Options, Pid};

use crate::recording::{Program, Recording};

/// Events kept: a recording is meant to be small.
const MOST: usize = 1 << 20;

/// Records the connections from and to `port` for `time`, with the TLS secrets that the functions of `library` derive. Prints
/// `ready` when the traffic may begin.
pub(crate) fn record(port: u16, library: Option<&PathBuf>, time: Duration) -> anyhow::Result<Recording> {
    let mut capture = Capture::load(&Options::default()).context("cannot load the kernel side")?;
    for report in capture.attach() {
        if let Some(problem) = report.problem {
            eprintln!("{}: {problem}", report.group);
        }
    }
    let _links = match library {
        Some(file) => {
            let points = secret_points(file)?;
            Some(capture.attach_uprobe(file, None, &points)?)
        }
        None => None,
    };
    let mut reader = capture.reader()?;
    println!("ready");
    let (mut events, mut seen) = (Vec::new(), 0);
    let until = Instant::now() + time;
    while Instant::now() < until {
        reader.poll(Duration::from_millis(50), &mut |event| {
            seen += 1;
            if events.len() < MOST {
                events.push(event);
            }
        })?;
    }
    anyhow::ensure!(seen == events.len(), "{seen} events are too many to keep");
    for (name, lost) in capture.control().counters()?.iter() {
        anyhow::ensure!(
            lost == 0 || !name.contains("lost"),
            "{name} {lost}: what was lost cannot be recorded"
        );
    }
    let recording = select(events, port);
    anyhow::ensure!(
        !recording.events.is_empty(),
        "no connection of port {port} was seen"
    );
    Ok(recording)
}

fn secret_points(library: &Path) -> anyhow::Result<Vec<(qtap_capture::Hook, u64)>> {
    let attempt = || format!("cannot read {}", library.display());
    let file = File::open(library).with_context(attempt)?;
    let found = qtap_probe::classify(&file).with_context(attempt)?;
    Ok(found
        .secrets
        .iter()
        .map(|point| (point.hook, point.offset))
        .collect())
}

/// The events of connections that opened and closed while we looked, with connections and time counted anew.
fn select(events: Vec<Event>, port: u16) -> Recording {
    let closed: BTreeSet<_> = (events.iter())
        .filter_map(|event| match event {
            Event::Closed(closed) => Some(closed.id),
            _ => None,
        })
        .collect();
    let mut numbers = HashMap::new();
    let mut pids = BTreeSet::new();
    for event in &events {
        if let Event::Opened(opened) = event
            && (opened.local.port() == port || opened.remote.port() == port)
            && closed.contains(&opened.id)
        {
            let next = ConnectionId(numbers.len() as u64 + 1);
            numbers.insert(opened.id, next);
            pids.insert(opened.pid);
        }
    }
    let number = |id: ConnectionId| numbers.get(&id).copied();
    let mut kept: Vec<_> = (events.into_iter())
        .filter_map(|event| renumbered(event, &number))
        .collect();
    let first = (kept.iter())
        .map(|event| time_of(event).0)
        .min()
        .unwrap_or_default();
    for event in &mut kept {
        if let Some(time) = time_mut(event) {
            time.0 -= first;
        }
    }
    Recording {
        programs: pids.into_iter().map(program).collect(),
        events: kept,
    }
}

fn program(pid: Pid) -> Program {
    let exe = std::fs::read_link(format!("/proc/{}/exe", pid.0));
    Program {
        pid: pid.0,
        // A load generator is gone by now.
        exe: exe.map_or_else(|_| "client".to_owned(), |path| path.display().to_string()),
    }
}

/// The event with the connection's new number; `None` when it is of another one.
fn renumbered(mut event: Event, number: &impl Fn(ConnectionId) -> Option<ConnectionId>) -> Option<Event> {
    match &mut event {
        Event::Opened(opened) => opened.id = number(opened.id)?,
        Event::Data(data) => data.id = number(data.id)?,
        Event::Closed(closed) => closed.id = number(closed.id)?,
        Event::Secret(secret) => secret.connection = Some(number(secret.connection?)?),
        _ => return None,
    }
    Some(event)
}

/// When `event` happened.
pub(crate) fn time_of(event: &Event) -> KernelTime {
    match event {
        Event::Opened(opened) => opened.time,
        Event::Data(data) => data.time,
        Event::Closed(closed) => closed.time,
        Event::Secret(secret) => secret.time,
        _ => KernelTime(0),
    }
}

fn time_mut(event: &mut Event) -> Option<&mut KernelTime> {
    match event {
        Event::Opened(opened) => Some(&mut opened.time),
        Event::Data(data) => Some(&mut data.time),
        Event::Closed(closed) => Some(&mut closed.time),
        Event::Secret(secret) => Some(&mut secret.time),
        _ => None,
    }
}
