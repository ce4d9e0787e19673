//! Is this capture healthy, and if not, why (DESIGN §6).

/// The verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HealthStatus {
    /// Everything was seen.
    Healthy,
    /// Something is missing, the rest is useful.
    Degraded,
    /// Encrypted and unread, or not parsed.
    Blind,
    /// Left out by configuration.
    Ignored,
}

impl HealthStatus {
    /// Name in events.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Blind => "blind",
            Self::Ignored => "ignored",
        }
    }
}

/// The steps of a healthy capture, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CheckName {
    /// The socket was seen from its beginning to its end.
    Socket,
    /// The process is known.
    Process,
    /// Both hellos were seen.
    TlsHello,
    /// Plaintext was obtained.
    TlsProbe,
    /// The application protocol is known.
    Protocol,
    /// Payload arrived.
    Data,
    /// Captured bytes equal the kernel's own count.
    Bytes,
    /// Every transaction ended with all of its parts.
    Transactions,
}

impl CheckName {
    /// All steps in order.
    pub const ALL: [Self; 8] = [
        Self::Socket,
        Self::Process,
        Self::TlsHello,
        Self::TlsProbe,
        Self::Protocol,
        Self::Data,
        Self::Bytes,
        Self::Transactions,
    ];

    /// Key in events.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Socket => "socket",
            Self::Process => "process",
            Self::TlsHello => "tls_hello",
            Self::TlsProbe => "tls_probe",
            Self::Protocol => "protocol",
            Self::Data => "data",
            Self::Bytes => "bytes",
            Self::Transactions => "transactions",
        }
    }
}

/// How a step came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CheckState {
    /// As it should be.
    Ok,
    /// Not there at all.
    Missing,
    /// There in part.
    Partial,
    /// Does not apply to this connection.
    NotApplicable,
}

impl CheckState {
    /// Value in events.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Missing => "missing",
            Self::Partial => "partial",
            Self::NotApplicable => "n/a",
        }
    }
}

/// One step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Check {
    /// Which.
    pub name: CheckName,
    /// How it came out.
    pub state: CheckState,
}

/// Closed list of causes. `docs/health.md` explains each and what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ReasonCode {
    /// The connection is older than the agent.
    JoinedMidstream,
    /// The process ended before its facts could be read.
    ProcessUnknown,
    /// A process filter left it out.
    FilteredProcess,
    /// `tap.direction` or `ignore_loopback` left it out.
    FilteredDirection,
    /// `QPOINT_STRATEGY` left it out.
    FilteredStrategy,
    /// No stack is configured for its protocol.
    NoStack,
    /// No library that speaks TLS was recognised in the process.
    TlsLibraryUnsupported,
    /// Java's own TLS: byte code, which probes cannot reach.
    JavaTlsUnsupported,
    /// The library is known, but the functions to probe were not found in it.
    TlsLibraryStripped,
    /// The library was found after the handshake.
    TlsProbeLate,
    /// The secrets of this connection did not come.
    TlsSecretMissing,
    /// The suite or version cannot be decrypted, and the calls were not seen.
    TlsCipherUnsupported,
    /// What QUIC carries is not decrypted.
    QuicUnsupported,
    /// Bytes of QUIC that cannot be told from those of other connections.
    QuicBytesUnknown,
    /// The hello was not seen whole.
    TlsHelloMissing,
    /// The connection ended before anything was encrypted.
    TlsHandshakeUnfinished,
    /// Records did not authenticate.
    TlsUnauthenticated,
    /// None of the known protocols.
    ProtocolUnknown,
    /// The protocol's parser gave up.
    ParserGaveUp,
    /// What passed through a tunnel in it could not be read.
    TunnelUnread,
    /// Messages that could not be understood were passed over.
    Resynchronised,
    /// No byte was seen.
    NoData,
    /// Ring buffers were full.
    RingFull,
    /// A queue in user space was full.
    QueueFull,
    /// A call was larger than `tap.limits.call`.
    CallCap,
    /// User memory could not be read.
    MemoryFault,
    /// Bytes without user memory: sendfile, splice.
    UnreadableBytes,
    /// Bytes of io_uring that could not be read or seen.
    IoUring,
    /// The kernel moved bytes that no call showed.
    BytesUnaccounted,
    /// Header fields refer to a table begun before the capture.
    HpackUnsynced,
    /// A body was longer than `tap.limits.body`.
    BodyTruncated,
    /// A transaction misses bytes.
    TransactionIncomplete,
    /// The memory budget was reached.
    MemoryBudget,
    /// The agent was over its share of CPU or memory and looked at less.
    LoadShed,
    /// The event of its end was lost.
    EndUnknown,
}

impl ReasonCode {
    /// Code in events.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::JoinedMidstream => "joined_midstream",
            Self::ProcessUnknown => "process_unknown",
            Self::FilteredProcess => "filtered_process",
            Self::FilteredDirection => "filtered_direction",
            Self::FilteredStrategy => "filtered_strategy",
            Self::NoStack => "no_stack",
            Self::TlsLibraryUnsupported => "tls_library_unsupported",
            Self::JavaTlsUnsupported => "java_tls_unsupported",
            Self::TlsLibraryStripped => "tls_library_stripped",
            Self::TlsProbeLate => "tls_probe_late",
            Self::TlsSecretMissing => "tls_secret_missing",
            Self::TlsCipherUnsupported => "tls_cipher_unsupported",
            Self::QuicUnsupported => "quic_unsupported",
            Self::QuicBytesUnknown => "quic_bytes_unknown",
            Self::TlsHelloMissing => "tls_hello_missing",
            Self::TlsHandshakeUnfinished => "tls_handshake_unfinished",
            Self::TlsUnauthenticated => "tls_unauthenticated",
            Self::ProtocolUnknown => "protocol_unknown",
            Self::ParserGaveUp => "parser_gave_up",
            Self::TunnelUnread => "tunnel_unread",
            Self::Resynchronised => "resynchronised",
            Self::NoData => "no_data",
            Self::RingFull => "ring_full",
            Self::QueueFull => "queue_full",
            Self::CallCap => "call_cap",
            Self::MemoryFault => "memory_fault",
            Self::UnreadableBytes => "unreadable_bytes",
            Self::IoUring => "io_uring",
            Self::BytesUnaccounted => "bytes_unaccounted",
            Self::HpackUnsynced => "hpack_unsynced",
            Self::BodyTruncated => "body_truncated",
            Self::TransactionIncomplete => "transaction_incomplete",
            Self::MemoryBudget => "memory_budget",
            Self::LoadShed => "load_shed",
            Self::EndUnknown => "end_unknown",
        }
    }
}

/// One cause.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// Which.
    pub code: ReasonCode,
    /// Particulars, a phrase: path of the library, number of bytes.
    pub detail: String,
}

/// Verdict on one connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// The verdict.
    pub status: HealthStatus,
    /// The eight steps in order.
    pub checks: Vec<Check>,
    /// Why it is not healthy, each code at most once.
    pub reasons: Vec<Reason>,
    /// Payload bytes sent by the kernel's own count; `None` while the connection is open.
    pub socket_bytes_sent: Option<u64>,
    /// The same for received.
    pub socket_bytes_received: Option<u64>,
    /// Of those received, what the process had not read when it closed; `None` while open.
    pub socket_bytes_unread: Option<u64>,
    /// Socket bytes captured (or skipped on request), sent.
    pub captured_bytes_sent: u64,
    /// The same for received.
    pub captured_bytes_received: u64,
    /// Socket bytes that were to be captured and were not, both directions.
    pub gap_bytes: u64,
    /// Data records received.
    pub data_event_count: u64,
    /// A whole ClientHello was seen.
    pub got_tls_client_hello: bool,
    /// The protocol was identified.
    pub got_protocol: bool,
}
