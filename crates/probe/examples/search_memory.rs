//! Searches the memory of a process for traffic secrets, and says what that cost: `cargo run -p qtap-probe --example search_memory -- PID`.

use std::process::ExitCode;
use std::time::Instant;

use qtap_capture::Pid;
use qtap_probe::{MemoryLimits, search_memory};

fn main() -> ExitCode {
    let Some(pid) = std::env::args().nth(1).and_then(|pid| pid.parse().ok()) else {
        eprintln!("usage: search_memory PID");
        return ExitCode::from(2);
    };
    let start = Instant::now();
    match search_memory(Pid(pid), MemoryLimits::default(), || true) {
        Ok(harvest) => {
            println!(
                "{} bytes read in {:.1?}, {} candidates, {} unreadable pieces",
                harvest.bytes,
                start.elapsed(),
                harvest.secrets.len(),
                harvest.faults
            );
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("cannot search process {pid}: {error}");
            ExitCode::FAILURE
        }
    }
}
