//! Prints what the kernel side tells.
//!
//! `dump [SECONDS] [PID …] [HOOK=FILE@OFFSET …]`: all processes when no pid is given; probes where asked, for instance
//! `SslRead=/usr/lib/x86_64-linux-gnu/libssl.so.3@0x35470`.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use qtap_capture::{Capture, Event, Hook, Options, Pid, ProcessEvent, Settings};

const HOOKS: [Hook; 13] = [
    Hook::LogSecret,
    Hook::EvpKdfDerive,
    Hook::EvpPkeyDerive,
    Hook::NettleHkdfExpand,
    Hook::GnutlsPrfRaw,
    Hook::SslRead,
    Hook::SslReadEx,
    Hook::SslWrite,
    Hook::SslWriteEx,
    Hook::SslFree,
    Hook::GnutlsRecv,
    Hook::GnutlsSend,
    Hook::GnutlsDeinit,
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut numbers = Vec::new();
    let mut files: BTreeMap<String, Vec<(Hook, u64)>> = BTreeMap::new();
    for argument in std::env::args().skip(1) {
        match parse_probe(&argument) {
            Some((file, hook, offset)) => files.entry(file).or_default().push((hook, offset)),
            None => numbers.push(argument.parse::<u32>()?),
        }
    }
    let seconds = numbers.first().copied().unwrap_or(10);
    let pids = numbers.get(1..).unwrap_or_default();

    let settings = Settings {
        calls: files.values().flatten().any(|(hook, _)| *hook >= Hook::SslRead),
        ..Settings::default()
    };
    let mut capture = Capture::load(&Options {
        settings,
        ..Options::default()
    })?;
    for report in capture.attach() {
        eprintln!("{}: {}", report.group, report.problem.as_deref().unwrap_or("ok"));
    }
    let mut links = Vec::new();
    for (file, hooks) in &files {
        links.push(capture.attach_uprobe(file, None, hooks)?);
    }
    let mut reader = capture.reader()?;
    capture.scan_existing()?;
    eprintln!("ready");

    let deadline = Instant::now() + Duration::from_secs(u64::from(seconds));
    while Instant::now() < deadline {
        reader.poll(Duration::from_millis(100), &mut |event| {
            if pids.is_empty() || pid_of(&event).is_none_or(|pid| pids.contains(&pid.0)) {
                print(&event);
            }
        })?;
    }
    for (name, value) in capture
        .control()
        .counters()?
        .iter()
        .filter(|(_, value)| *value > 0)
    {
        eprintln!("{name} {value}");
    }
    Ok(())
}

fn parse_probe(argument: &str) -> Option<(String, Hook, u64)> {
    let (name, place) = argument.split_once('=')?;
    let (file, offset) = place.rsplit_once('@')?;
    let hook = HOOKS.into_iter().find(|hook| format!("{hook:?}") == name)?;
    let offset = u64::from_str_radix(offset.trim_start_matches("0x"), 16).ok()?;
    Some((file.to_owned(), hook, offset))
}

fn print(event: &Event) {
    if let Event::Secret(secret) = event {
        // An example for engineers on their own machines: unlike the agent it shows the secret, to be compared with a key log.
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let random = secret
            .client_random
            .map_or_else(String::new, |random| hex(&random));
        println!("{secret:?} {} {}", random, hex(&secret.secret));
    } else {
        println!("{event:?}");
    }
}

fn pid_of(event: &Event) -> Option<Pid> {
    match event {
        Event::Opened(event) => Some(event.pid),
        Event::Data(event) => Some(event.pid),
        Event::Datagram(event) => Some(event.pid),
        Event::Quic(event) => Some(event.datagram.pid),
        Event::Closed(_) | Event::Living(_) => None,
        Event::Secret(event) => Some(event.pid),
        Event::Unattributed(event) => Some(event.pid),
        Event::Mapped(event) => Some(event.pid),
        Event::Misfit(event) => Some(event.pid),
        Event::Trace(event) => Some(event.pid),
        Event::Process(ProcessEvent::Forked { pid, .. } | ProcessEvent::Exited { pid, .. }) => Some(*pid),
        Event::Process(ProcessEvent::Exec(event)) => Some(event.pid),
    }
}
