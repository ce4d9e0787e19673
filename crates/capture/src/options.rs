//! What the kernel side is told: once at load, and at any time.

use crate::Pid;

/// Fixed when the object is loaded.
#[derive(Clone, Debug)]
pub struct Options {
    /// Bytes of the ring for payload; rounded up to a power of two of pages.
    pub data_ring: usize,
    /// Bytes of the ring for everything else; rounded up to a power of two of pages.
    pub control_ring: usize,
    /// Bytes of the ring for `--bpf-trace`; one page when 0. Its size limits the rate.
    pub trace_ring: usize,
    /// Connections known at one time, those being established and those filtered included.
    pub max_connections: u32,
    /// The process that is never observed: the agent. `None` observes everything.
    pub own_pid: Option<Pid>,
    /// Use the build for Linux 5.10 and its ways to attach on any kernel; for tests, and to tell a fault of ours from one of the
    /// kernel.
    pub oldest_build: bool,
    /// Watch the exit of all system calls also where the kernel shows what sockets transfer, see
    /// [`crate::Capture::sees_transfers`]; for tests.
    pub watch_system_calls: bool,
    /// For tests: so many of a million records of payload are lost at random and counted, as if [`Self::data_ring`] had no room for
    /// them. The kernel's map `.data.drops` has the rate, so that a test can change it. `None`: the programs cannot do that.
    pub drop_per_million: Option<u32>,
    /// What can be changed later.
    pub settings: Settings,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            data_ring: 16 << 20,
            control_ring: 1 << 20,
            trace_ring: 0,
            max_connections: 65_536,
            own_pid: Some(Pid(std::process::id())),
            oldest_build: false,
            watch_system_calls: false,
            drop_per_million: None,
            settings: Settings::default(),
        }
    }
}

/// Which connections are observed, by who dialled and where to. Loopback and link-local peers are internal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DirectionFilter {
    /// Only accepted connections.
    Ingress,
    /// Only dialled connections.
    Egress,
    /// Only dialled connections to internal addresses: loopback, link-local, RFC 1918, fc00::/7, 100.64/10.
    EgressInternal,
    /// Only dialled connections to other addresses.
    EgressExternal,
    /// Everything.
    #[default]
    All,
}

/// Can be changed while the agent runs; holds for connections that open from then on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Which connections.
    pub direction: DirectionFilter,
    /// Leave out connections to the host itself.
    pub ignore_loopback: bool,
    /// Bytes copied of one system call or TLS call.
    pub call_cap: u32,
    /// Plaintext of TLS calls is told with its connection. Costs a look-up per call on a socket, from the first probe of such a
    /// call on.
    pub calls: bool,
    /// Tell every datagram of DNS, not only answers that a process received ([`crate::Event::Datagram`]).
    pub dns_queries: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            direction: DirectionFilter::All,
            ignore_loopback: false,
            call_cap: 1 << 20,
            calls: false,
            dns_queries: false,
        }
    }
}
