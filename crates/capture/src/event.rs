//! What the kernel tells.

use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use zeroize::Zeroizing;

/// Our own number of a connection as one process' end sees it; never reused while the agent runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(pub u64);

/// Nanoseconds of `CLOCK_MONOTONIC` (`bpf_ktime_get_ns`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KernelTime(pub u64);

/// A process: the kernel's tgid, in the agent's pid namespace (the host's).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pid(pub u32);

/// Turns kernel times into wall time. Clones are one clock.
#[derive(Clone, Debug)]
pub struct WallClock {
    /// Nanoseconds from the epoch to the monotonic clock's zero.
    boot_ns: Arc<AtomicU64>,
}

impl WallClock {
    /// A clock whose monotonic zero is at `boot`; a time before 1970 is 1970.
    #[must_use]
    pub fn new(boot: SystemTime) -> Self {
        Self {
            boot_ns: Arc::new(AtomicU64::new(since_epoch_ns(boot))),
        }
    }

    /// Wall time of `time`.
    #[must_use]
    pub fn at(&self, time: KernelTime) -> SystemTime {
        let boot_ns = self.boot_ns.load(Ordering::Relaxed);
        SystemTime::UNIX_EPOCH + Duration::from_nanos(boot_ns.saturating_add(time.0))
    }

    /// Moves the zero to `boot`, for all times asked for from now on, if it is further away than `tolerance`. Returns how far it
    /// was moved, in seconds.
    pub fn follow(&self, boot: SystemTime, tolerance: Duration) -> Option<f64> {
        let (new, old) = (since_epoch_ns(boot), self.boot_ns.load(Ordering::Relaxed));
        if u128::from(new.abs_diff(old)) <= tolerance.as_nanos() {
            return None;
        }
        self.boot_ns.store(new, Ordering::Relaxed);
        Some((new as f64 - old as f64) / 1e9)
    }
}

fn since_epoch_ns(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// Seen from the traced process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// It read.
    Ingress,
    /// It wrote.
    Egress,
}

impl Direction {
    /// The other one.
    #[must_use]
    pub const fn opposite(self) -> Self {
        match self {
            Self::Ingress => Self::Egress,
            Self::Egress => Self::Ingress,
        }
    }
}

/// Which end of the connection the traced process holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// It dialled.
    Client,
    /// It accepted.
    Server,
}

/// Where bytes were seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Layer {
    /// At the socket: ciphertext when the connection is TLS.
    Socket,
    /// In the call of a TLS library: plaintext.
    Calls,
    /// At the socket, where the kernel does the TLS of the direction (kTLS): plaintext. Positions are those of [`Layer::Socket`].
    KernelTls,
}

/// Why bytes are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Loss {
    /// No room in the ring.
    RingFull,
    /// More than `tap.limits.call` in one call.
    CallCap,
    /// The user memory could not be read.
    Fault,
    /// There was no user memory: sendfile, splice.
    Unreadable,
    /// A request of io_uring whose memory is not known.
    IoUring,
    /// A verdict asked not to copy them; no loss, but a gap.
    Skipped,
    /// A queue in user space was full.
    QueueFull,
    /// The agent was over its share of the CPU ([`crate::Control::shed`]).
    LoadShed,
    /// A message of TLS itself, where the kernel does the TLS ([`Layer::KernelTls`]): nothing of the application is missing.
    TlsControl,
}

impl Loss {
    /// How many there are.
    pub const COUNT: usize = Self::TlsControl as usize + 1;
}

/// A connection that a process uses: sent once, before or shortly after its first [`Data`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// Which.
    pub id: ConnectionId,
    /// When it was established; when it was found, if it is older than the agent.
    pub time: KernelTime,
    /// The process that dialled or accepted.
    pub pid: Pid,
    /// Its thread.
    pub tid: u32,
    /// The descriptor, or -1 when not known.
    pub fd: i32,
    /// Which end.
    pub role: Role,
    /// Own address; v4-mapped addresses come as IPv4.
    pub local: SocketAddr,
    /// Peer's address; v4-mapped addresses come as IPv4.
    pub remote: SocketAddr,
    /// The socket is AF_INET6 (also with a v4-mapped peer).
    pub ipv6_socket: bool,
    /// The kernel's socket cookie, 0 when it has none.
    pub cookie: u64,
    /// It is older than the agent: bytes before [`Opened::time`] are unknown.
    pub midstream: bool,
    /// New connections are only counted at this time ([`crate::Shed::New`]), or all.
    pub shed: bool,
    /// Inode of its network namespace.
    pub netns: u32,
}

/// A datagram of UDP that looks like a message of DNS or QUIC, whatever its ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// When it was sent or received.
    pub time: KernelTime,
    /// The process that did.
    pub pid: Pid,
    /// Its thread.
    pub tid: u32,
    /// Egress or ingress.
    pub direction: Direction,
    /// Tells sockets apart that are open at the same time.
    pub socket: u64,
    /// Inode of the network namespace.
    pub netns: u32,
    /// Own address; unspecified where the socket is not bound to one.
    pub local: SocketAddr,
    /// Peer's address; `None` where the socket is not connected to one and the call does not tell. It does of what is sent if that is one
    /// of QUIC, and of DNS with [`crate::Settings::dns_queries`]; with that setting, on kernels without tracepoints for transfers, of
    /// what is received too.
    pub remote: Option<SocketAddr>,
    /// Bytes of it.
    pub length: u32,
    /// The first 1,500 of them at most, of QUIC the first 4,096.
    pub bytes: Bytes,
}

/// A datagram that begins with an Initial packet of QUIC, or several that went in one call and follow each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuicDatagram {
    /// What it is, and whose.
    pub datagram: Datagram,
    /// Payload bytes that the socket had moved before, since its first Initial packet: sent, received.
    pub bytes_before: [u64; 2],
    /// Of those sent, what went to this peer; 0 where the socket is connected to it, or who it is is not known.
    pub sent_before: u64,
    /// The socket is connected to its peer.
    pub is_connected: bool,
}

/// What a socket of QUIC has moved since its first Initial packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QuicBytes {
    /// Payload bytes of UDP: sent, received. Of one peer of a socket that is not connected only those sent are known.
    pub bytes: [u64; 2],
    /// Datagrams were sent of which it is not known to whom: the bytes sent to single peers are too few.
    pub unsplit: bool,
}

/// Bytes on a connection. `position` counts the bytes of this direction and layer since [`Opened`].
/// A record whose position is beyond the end of the former is a gap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Data {
    /// Which connection.
    pub id: ConnectionId,
    /// End of the call that moved them.
    pub time: KernelTime,
    /// The process that made the call (not always the one that opened).
    pub pid: Pid,
    /// Its thread.
    pub tid: u32,
    /// Which way.
    pub direction: Direction,
    /// Where.
    pub layer: Layer,
    /// Stream position of the first captured byte.
    pub position: u64,
    /// The captured bytes; may be empty when all were lost.
    pub bytes: Bytes,
    /// Bytes of the same call that follow `bytes` and were not captured, with the reason. They end where the next
    /// record of this direction and layer begins.
    pub missing: Option<(u32, Loss)>,
    /// First record of its call: a write boundary.
    pub call_start: bool,
    /// Bytes of the other direction and the same layer before this position that have not come by now are lost. Tells of a
    /// hole before anything behind it comes.
    pub other_settled: u64,
    /// Of a call, the number of the TLS session that it was made for: see [`Unattributed::session`].
    pub session: Option<NonZeroU64>,
}

/// The socket is gone. All bytes up to the positions given here are accounted for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    /// Which connection.
    pub id: ConnectionId,
    /// When.
    pub time: KernelTime,
    /// Bytes that the processes wrote by calls we saw: the end position of the socket layer, egress.
    pub written: u64,
    /// The same for reads.
    pub read: u64,
    /// The same two for [`Layer::Calls`].
    pub calls_written: u64,
    /// See `calls_written`.
    pub calls_read: u64,
    /// The kernel's own count of payload bytes sent since [`Opened`] (without SYN, FIN and retransmissions).
    pub kernel_sent: u64,
    /// The kernel's own count of payload bytes received since [`Opened`], read by the process or not.
    pub kernel_received: u64,
    /// Those of them that lay unread in the socket when it was closed.
    pub unread: u64,
    /// Bytes for which no record got out, by reason, both directions of the socket layer.
    pub lost_ring_full: u64,
    /// The peer or the process reset it.
    pub reset: bool,
    /// Some of its bytes were moved by io_uring; not all such requests show in `written` and `read` on all kernels.
    pub io_uring: bool,
}

/// A traffic secret that a TLS library derived.
#[derive(Clone, PartialEq, Eq)]
pub struct TlsSecret {
    /// When.
    pub time: KernelTime,
    /// Process.
    pub pid: Pid,
    /// Thread.
    pub tid: u32,
    /// The connection on which the thread last moved a handshake record: most likely its own, but only a record that
    /// opens under the secret proves it.
    pub connection: Option<ConnectionId>,
    /// Name in the NSS key log (`CLIENT_TRAFFIC_SECRET_0` …), whatever the hook called it; `UNNAMED_TRAFFIC_SECRET` for one of TLS
    /// 1.3 of which the hook cannot tell the name.
    pub label: &'static str,
    /// The secret: 32 or 48 bytes.
    pub secret: Zeroizing<Vec<u8>>,
    /// Client random, where the hook saw it.
    pub client_random: Option<[u8; 32]>,
    /// Address of the function that was probed, where it is one that is found by inference.
    pub origin: Option<NonZeroU64>,
}

impl std::fmt::Debug for TlsSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsSecret")
            .field("pid", &self.pid)
            .field("label", &self.label)
            .finish_non_exhaustive()
    }
}

/// Plaintext of a TLS call whose connection the kernel could not tell (memory BIO).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unattributed {
    /// Process.
    pub pid: Pid,
    /// Thread.
    pub tid: u32,
    /// Number of the library's session in this process. The next session at the same address has another, where the probes see that
    /// the library frees it or its connection ended.
    pub session: u64,
    /// Everything else as in [`Data`]; `id` is 0 and positions count per session.
    pub data: Data,
}

impl Unattributed {
    /// Its session.
    #[must_use]
    pub const fn key(&self) -> (Pid, u64) {
        (self.pid, self.session)
    }
}

/// A process image began (exec), with its arguments and the environment as the kernel laid them out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessExec {
    /// Process.
    pub pid: Pid,
    /// Parent.
    pub parent: Pid,
    /// When.
    pub time: KernelTime,
    /// `task->start_boottime` of the thread group leader; with `pid` the identity.
    pub start_ns: u64,
    /// Effective user id.
    pub uid: u32,
    /// Path that was executed.
    pub filename: Bytes,
    /// NUL-separated arguments, first 4 KiB.
    pub args: Bytes,
    /// NUL-separated `QPOINT_…` variables if they lie in the first 16 KiB of the environment; `None` when the
    /// environment is longer and has to be read from /proc.
    pub environment: Option<Bytes>,
    /// cgroup v2 id.
    pub cgroup_id: u64,
}

/// Life of processes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProcessEvent {
    /// A new process (not thread).
    Forked {
        /// The new process.
        pid: Pid,
        /// Its parent.
        parent: Pid,
        /// Start time of the child, see [`ProcessExec::start_ns`].
        start_ns: u64,
        /// When.
        time: KernelTime,
    },
    /// A successful exec.
    Exec(Box<ProcessExec>),
    /// The last thread is gone.
    Exited {
        /// Process.
        pid: Pid,
        /// Start time.
        start_ns: u64,
        /// Exit code or signal as in `wait(2)`.
        status: u32,
        /// When.
        time: KernelTime,
    },
}

impl ProcessEvent {
    /// When it happened.
    #[must_use]
    pub fn time(&self) -> KernelTime {
        match self {
            Self::Forked { time, .. } | Self::Exited { time, .. } => *time,
            Self::Exec(exec) => exec.time,
        }
    }
}

/// A file was mapped executable that was not marked as known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecutableMapped {
    /// Process.
    pub pid: Pid,
    /// When.
    pub time: KernelTime,
    /// Device as in `stat(2)` (`st_dev`).
    pub device: u64,
    /// Inode.
    pub inode: u64,
    /// Address of the mapping, for `/proc/PID/map_files`.
    pub address: u64,
}

/// A function that was found by inference was called with something else than what it was taken for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misfit {
    /// Process.
    pub pid: Pid,
    /// When.
    pub time: KernelTime,
    /// What it was taken for.
    pub hook: crate::Hook,
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A connection.
    Opened(Opened),
    /// Bytes.
    Data(Data),
    /// A datagram of DNS.
    Datagram(Box<Datagram>),
    /// A datagram of QUIC.
    Quic(Box<QuicDatagram>),
    /// End of a connection.
    Closed(Closed),
    /// A secret.
    Secret(TlsSecret),
    /// Plaintext without a connection.
    Unattributed(Box<Unattributed>),
    /// A process.
    Process(ProcessEvent),
    /// A mapping.
    Mapped(ExecutableMapped),
    /// A probe at the wrong place.
    Misfit(Misfit),
    /// A decision, while [`crate::Control::trace`] asks for them.
    Trace(crate::Trace),
    /// Which connections there are, from [`crate::Control::living`].
    Living(std::sync::Arc<Living>),
}

/// The connections that the kernel side knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Living {
    /// What opened before and is not among them has ended.
    pub time: KernelTime,
    /// Their ids.
    pub ids: std::collections::HashSet<ConnectionId>,
}
