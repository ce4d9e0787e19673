//! What a user can do about each reason.

use crate::ReasonCode;

impl ReasonCode {
    /// Advice for the user, one sentence. The same text stands in `docs/health.md` (a test compares them).
    #[must_use]
    pub const fn remedy(self) -> &'static str {
        match self {
            Self::JoinedMidstream => {
                "start qtap before the program connects, or restart the program's connection; what follows from here on is captured"
            }
            Self::ProcessUnknown => {
                "nothing to do for this connection; if it happens often, look at qtap_process_… counters in /system/metrics for lost events"
            }
            Self::FilteredProcess => "remove the matching entry of tap.filters from the configuration",
            Self::FilteredDirection => "set tap.direction: all and tap.ignore_loopback: false",
            Self::FilteredStrategy => {
                "remove QPOINT_STRATEGY from the environment of the process and restart it"
            }
            Self::NoStack => "name a stack for this protocol under tap in the configuration",
            Self::TlsLibraryUnsupported => {
                "see docs/tls.md for the libraries that can be read; the connection is still counted"
            }
            Self::JavaTlsUnsupported => {
                "capture at the other end of the connection, or where a proxy beside the program ends TLS; the connection is still counted"
            }
            Self::TlsLibraryStripped => {
                "install the library with its symbols, or the distribution's build of it"
            }
            Self::TlsProbeLate => {
                "nothing to do for this connection; the next one of the same program is read from its start"
            }
            Self::TlsSecretMissing => {
                "check with `qtap doctor` that the tls probes attach; report the library's version if they do"
            }
            Self::TlsCipherUnsupported => {
                "plaintext is taken from the library's calls where it can be; prefer an AEAD cipher suite (AES-GCM, ChaCha20-Poly1305)"
            }
            Self::QuicUnsupported => {
                "nothing to do: the connection is named and counted; where a client can speak HTTP/2 over TCP too, that is read"
            }
            Self::QuicBytesUnknown => {
                "nothing to do: UDP counts bytes by socket, and this one serves several connections; the other end may have one socket for each"
            }
            Self::TlsHelloMissing => {
                "raise tap.limits.data_ring if records were lost; otherwise the peers did not complete a handshake"
            }
            Self::TlsHandshakeUnfinished => {
                "nothing was lost: a peer gave up or refused in the handshake; its alert, certificates and versions say why"
            }
            Self::TlsUnauthenticated => {
                "report it with the library's version: records were seen that the secrets of this connection do not open"
            }
            Self::ProtocolUnknown => "see docs/protocols.md for what is parsed; other protocols are counted",
            Self::ParserGaveUp => "report it with a capture if the peer speaks the protocol correctly",
            Self::Resynchronised => {
                "look at the bytes check: lost bytes are the usual cause; otherwise a peer sent malformed messages"
            }
            Self::NoData => {
                "the program may use io_uring, sendfile or a kernel TLS path that shows no bytes to system calls"
            }
            Self::RingFull => {
                "raise tap.limits.data_ring, or capture less (tap.direction, filters, a lower level)"
            }
            Self::TunnelUnread => {
                "nothing to do at a proxy, which passes on what it cannot read either; at the program that uses one see docs/protocols.md"
            }
            Self::QueueFull => "raise tap.limits.memory, give the agent more CPU, or capture less",
            Self::CallCap => "raise tap.limits.call",
            Self::MemoryFault => "nothing to do: the program's memory was not resident when it was read",
            Self::UnreadableBytes => {
                "bytes went by sendfile or splice and never were in the program's memory; turn it off in the server (nginx: sendfile off) to see them"
            }
            Self::IoUring => {
                "the program uses io_uring in a way that this kernel does not show; `qtap doctor` tells what it shows, docs/kernels.md what each kernel can"
            }
            Self::BytesUnaccounted => {
                "the program may use io_uring or close with unread data; compare the numbers"
            }
            Self::HpackUnsynced => {
                "restart the connection to see all header fields; fields that are shown are right"
            }
            Self::BodyTruncated => "raise tap.limits.body (or --http-buffer-size)",
            Self::TransactionIncomplete => "look at the bytes check for the cause of the loss",
            Self::MemoryBudget => "raise tap.limits.memory, or lower tap.limits.body",
            Self::EndUnknown => "raise tap.limits.control_ring, or give the agent more CPU",
            Self::LoadShed => {
                "raise tap.limits.cpu_percent, or capture less (tap.direction, filters, a lower level)"
            }
        }
    }

    /// All codes, in the order of `docs/health.md`.
    pub const ALL: [Self; 35] = [
        Self::JoinedMidstream,
        Self::ProcessUnknown,
        Self::FilteredProcess,
        Self::FilteredDirection,
        Self::FilteredStrategy,
        Self::NoStack,
        Self::TlsLibraryUnsupported,
        Self::JavaTlsUnsupported,
        Self::TlsLibraryStripped,
        Self::TlsProbeLate,
        Self::TlsSecretMissing,
        Self::TlsCipherUnsupported,
        Self::QuicUnsupported,
        Self::QuicBytesUnknown,
        Self::TlsHelloMissing,
        Self::TlsHandshakeUnfinished,
        Self::TlsUnauthenticated,
        Self::ProtocolUnknown,
        Self::ParserGaveUp,
        Self::TunnelUnread,
        Self::Resynchronised,
        Self::NoData,
        Self::RingFull,
        Self::QueueFull,
        Self::CallCap,
        Self::MemoryFault,
        Self::UnreadableBytes,
        Self::IoUring,
        Self::BytesUnaccounted,
        Self::HpackUnsynced,
        Self::BodyTruncated,
        Self::TransactionIncomplete,
        Self::MemoryBudget,
        Self::LoadShed,
        Self::EndUnknown,
    ];
}
