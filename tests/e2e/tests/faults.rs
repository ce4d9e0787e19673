//! What goes wrong on hosts: each time the workload is unharmed, the agent recovers or exits cleanly, and its message says what
//! happened.
//!
//! An agent that is killed under load is in `overload.rs`.

#[path = "faults/clock.rs"]
mod clock;
#[path = "faults/files.rs"]
mod files;
#[path = "faults/hostile.rs"]
mod hostile;
#[path = "faults/hostile_protocols.rs"]
mod hostile_protocols;
#[path = "faults/mounts.rs"]
mod mounts;
#[path = "faults/namespaces.rs"]
mod namespaces;
#[path = "faults/pause.rs"]
mod pause;
#[path = "faults/processes.rs"]
mod processes;
#[path = "faults/resources.rs"]
mod resources;
