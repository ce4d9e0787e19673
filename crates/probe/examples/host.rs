//! Lists the TLS code of every running process, without attaching anything: `cargo run -p qtap-probe --example host`

use std::path::Path;
use std::time::Instant;

use qtap_capture::{Hook, Pid};
use qtap_probe::{Attacher, Source, Tracker};

/// Attaches nothing.
struct Nobody;

impl Attacher for Nobody {
    type Links = ();

    fn attach(&self, _file: &Path, _pid: Option<Pid>, _points: &[(Hook, u64)]) -> Result<(), String> {
        Ok(())
    }

    fn mark_known(&self, _device: u64, _inode: u64) {}

    fn forget(&self, _device: u64, _inode: u64) {}

    fn forget_go_calls(&self, _pid: Pid) {}
}

fn main() -> std::io::Result<()> {
    let mut tracker = Tracker::new(Nobody, Source::Auto);
    let implementations = tracker.implementations();
    let start = Instant::now();
    tracker.start();
    let elapsed = start.elapsed();
    let pids = std::fs::read_dir("/proc")?
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    for pid in pids.map(Pid) {
        let Some(found) = implementations.of(pid) else {
            continue;
        };
        println!("{}", pid.0);
        for library in &found.libraries {
            let names: Vec<&str> = library.implementations.iter().map(|found| found.name()).collect();
            println!(
                "  {} {} {}",
                names.join(","),
                library.path,
                library.reason.as_deref().unwrap_or("")
            );
        }
    }
    println!(
        "{:#?}\nlooked around in {elapsed:.1?}",
        implementations.counters()
    );
    Ok(())
}
