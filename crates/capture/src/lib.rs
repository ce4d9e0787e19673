//! The kernel side: loads and attaches `bpf/`, reads its rings, hands out typed [`Event`]s.
//!
//! In: what programs do with their sockets. Out: [`Event`]s in kernel order per connection, and counters of
//! everything that could not be handed out. Back: [`Verdict`]s per connection, filters per process, and probe
//! attachments.

mod event;
mod hook;
mod verdict;

pub use event::{
    Closed, ConnectionId, Data, Direction, Event, ExecutableMapped, KernelTime, Layer, Loss, Opened, Pid,
    ProcessEvent, ProcessExec, Role, TlsSecret, Unattributed, WallClock,
};
pub use hook::Hook;
pub use verdict::{ProcessVerdict, Verdict};
