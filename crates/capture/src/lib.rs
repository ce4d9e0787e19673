//! The kernel side: loads and attaches `bpf/`, reads its rings, hands out typed [`Event`]s.
//!
//! In: what programs do with their sockets. Out: [`Event`]s in kernel order per connection, and counters of
//! everything that could not be handed out. Back: [`Verdict`]s per connection, filters per process, and probe
//! attachments.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use qtap_capture::{Capture, Event, Options, Verdict};
//!
//! # fn main() -> Result<(), qtap_capture::Error> {
//! let mut capture = Capture::load(&Options::default())?;
//! for report in capture.attach() {
//!     println!("{}: {}", report.group, report.problem.as_deref().unwrap_or("works"));
//! }
//! let mut reader = capture.reader()?;
//! let control = capture.control();
//! capture.scan_existing()?;
//! loop {
//!     reader.poll(Duration::from_millis(100), &mut |event| {
//!         if let Event::Opened(opened) = event {
//!             println!("{} -> {}", opened.local, opened.remote);
//!             control.verdict(opened.id, Verdict::COUNT_ONLY);
//!         }
//!     })?;
//! }
//! # }
//! ```
//!
//! Needs root, or `CAP_BPF` and `CAP_PERFMON`, and the host's pid namespace: process ids in events are those of the first
//! namespace ([`HostFacts`] tells). Secrets pass through the control ring, whose pages only the kernel can write: there they
//! stay until other records overwrite them.

mod arena;
mod bindings;
mod capture;
mod census;
#[cfg(any(test, fuzzing))]
mod checks;
mod clock;
mod control;
mod counters;
mod decode;
mod error;
mod event;
mod go_calls;
mod group;
mod hook;
mod host;
mod mappings;
mod object;
mod options;
mod priority;
mod programs;
mod quic;
mod reader;
mod ring;
mod seccomp;
mod shared;
mod trace;
mod uprobe;
mod verdict;
mod window;

/// Decodes `record` and checks what must hold; for the fuzz target.
#[cfg(fuzzing)]
pub fn check_record(record: &[u8]) {
    checks::run(record);
}

pub use capture::Capture;
pub use census::Census;
pub use clock::{cpu_time, now, thread_cpu_time};
pub use control::Control;
pub use counters::Counters;
pub use error::Error;
pub use event::{
    Closed, ConnectionId, Data, Datagram, Direction, Event, ExecutableMapped, KernelTime, Layer, Living,
    Loss, Misfit, Opened, Pid, ProcessEvent, ProcessExec, QuicBytes, QuicDatagram, Role, TlsSecret,
    Unattributed, WallClock,
};
pub use group::{Group, GroupReport};
pub use hook::Hook;
pub use host::{HostFacts, KernelVersion, LEAST_KERNEL, probes_are_perf_events};
pub use mappings::MappingEvents;
pub use options::{DirectionFilter, Options, Settings};
pub use priority::{Priority, ThreadId, can_return_from_background, set_priority};
pub use reader::Reader;
pub use seccomp::filter_system_calls;
pub use trace::{Trace, TraceModule};
pub use uprobe::ProbeLinks;
pub use verdict::{ProcessVerdict, Shed, Verdict};
