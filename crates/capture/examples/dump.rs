//! Prints what the kernel side tells: `dump [SECONDS] [PID …]`, all processes when no pid is given.

use std::time::{Duration, Instant};

use qtap_capture::{Capture, Event, Options, Pid, ProcessEvent};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse::<u32>());
    let seconds = arguments.next().transpose()?.unwrap_or(10);
    let pids = arguments.collect::<Result<Vec<_>, _>>()?;

    let mut capture = Capture::load(&Options::default())?;
    for report in capture.attach() {
        eprintln!("{}: {}", report.group, report.problem.as_deref().unwrap_or("ok"));
    }
    let mut reader = capture.reader()?;
    capture.scan_existing()?;

    let deadline = Instant::now() + Duration::from_secs(u64::from(seconds));
    while Instant::now() < deadline {
        reader.poll(Duration::from_millis(100), &mut |event| {
            if pids.is_empty() || pid_of(&event).is_none_or(|pid| pids.contains(&pid.0)) {
                println!("{event:?}");
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

fn pid_of(event: &Event) -> Option<Pid> {
    match event {
        Event::Opened(event) => Some(event.pid),
        Event::Data(event) => Some(event.pid),
        Event::Closed(_) => None,
        Event::Secret(event) => Some(event.pid),
        Event::Unattributed(event) => Some(event.pid),
        Event::Mapped(event) => Some(event.pid),
        Event::Process(ProcessEvent::Forked { pid, .. } | ProcessEvent::Exited { pid, .. }) => Some(*pid),
        Event::Process(ProcessEvent::Exec(event)) => Some(event.pid),
    }
}
