//! What is known of a connection.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use qtap_capture::{ConnectionId, Opened, Role};
use qtap_process::Process;
use qtap_protocol::detect::Protocol;

use crate::context::Context;

/// Direction as events say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DirectionLabel {
    /// This host accepted.
    Ingress,
    /// This host dialled a private, link-local or loopback address.
    EgressInternal,
    /// This host dialled any other address.
    EgressExternal,
}

impl DirectionLabel {
    /// Name in events.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::EgressInternal => "egress-internal",
            Self::EgressExternal => "egress-external",
        }
    }
}

/// What carries a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP: what one socket and one peer say to each other.
    Udp,
}

impl Transport {
    /// Name in events.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

/// How plaintext was obtained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TlsSource {
    /// Decrypted with the secrets that the library derived.
    Secrets,
    /// Read in the library's read and write calls.
    Calls,
    /// Read at the socket, as the kernel does the TLS of at least one direction (kTLS); the other by secrets or calls.
    Kernel,
}

impl TlsSource {
    /// Name in events.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Secrets => "secrets",
            Self::Calls => "calls",
            Self::Kernel => "kernel",
        }
    }
}

/// What is known of the TLS of a connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFacts {
    /// Server name asked for.
    pub sni: Option<String>,
    /// Protocols offered.
    pub alpn_offered: Vec<String>,
    /// Protocol agreed on.
    pub alpn: Option<String>,
    /// Versions offered, as on the wire.
    pub versions_offered: Vec<u16>,
    /// Version agreed on, as on the wire (`0x0304`).
    pub version: Option<u16>,
    /// Suite agreed on, as on the wire.
    pub cipher_suite: Option<u16>,
    /// How it was read; `None` while or when it was not.
    pub source: Option<TlsSource>,
    /// A whole ClientHello was seen.
    pub client_hello: bool,
    /// A whole ServerHello was seen.
    pub server_hello: bool,
}

/// What is known of QUIC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QuicFacts {
    /// The version that its packets are of: 1 (RFC 9000) or 2 (RFC 9369).
    pub version: Option<u32>,
    /// The error code with which a side gave up during the handshake.
    pub error: Option<u64>,
}

/// What is known of a connection at one moment. Grows; nothing known is unlearned.
#[derive(Clone, Debug)]
pub struct ConnectionFacts {
    /// The kernel side's number.
    pub id: ConnectionId,
    /// Sortable, globally unique, 20 characters: `connectionId` in events.
    pub public_id: Arc<str>,
    /// Which end the local process holds.
    pub role: Role,
    /// Direction label.
    pub direction: DirectionLabel,
    /// What carries it.
    pub transport: Transport,
    /// Own address.
    pub local: SocketAddr,
    /// Peer's address.
    pub remote: SocketAddr,
    /// Inode of its network namespace.
    pub netns: u32,
    /// When it opened, or was found.
    pub opened: SystemTime,
    /// It is older than the agent.
    pub joined_midstream: bool,
    /// The kernel's socket cookie.
    pub cookie: u64,
    /// The process, once known.
    pub process: Option<Arc<Process>>,
    /// TLS, once a TLS record was seen.
    pub tls: Option<TlsFacts>,
    /// QUIC, if that is what is spoken over UDP.
    pub quic: Option<QuicFacts>,
    /// TLS implementations in the process: `tlsProbeTypesDetected`. `None` while not scanned.
    pub tls_implementations: Option<Vec<&'static str>>,
    /// Application protocol, once known.
    pub protocol: Option<Protocol>,
    /// Best name of the server: SNI, then what a client asked DNS for, then `Host` or `:authority`, never replaced by a worse one; `None`
    /// if only addresses are known.
    pub domain: Option<Arc<str>>,
    /// It is what a client asked DNS for.
    pub domain_by_dns: bool,
}

impl ConnectionFacts {
    /// What is known once it is opened, and its process known or known to stay unknown: the name too, if a client asked DNS for it.
    pub(crate) fn at_open(
        opened: &Opened,
        transport: Transport,
        process: Option<Arc<Process>>,
        cx: &Context<'_>,
    ) -> Self {
        let time = cx.clock.at(opened.time);
        let domain = (opened.role == Role::Client)
            .then(|| cx.names.of(opened))
            .flatten();
        Self {
            id: opened.id,
            public_id: cx.ids.next(time),
            role: opened.role,
            direction: crate::address::label(opened.role, opened.remote.ip()),
            transport,
            local: opened.local,
            remote: opened.remote,
            netns: opened.netns,
            opened: time,
            joined_midstream: opened.midstream,
            cookie: opened.cookie,
            process,
            tls: None,
            quic: None,
            tls_implementations: None,
            protocol: None,
            domain_by_dns: domain.is_some(),
            domain,
        }
    }

    /// `endpointId`: the domain, else the address of the server end.
    #[must_use]
    pub fn endpoint_id(&self) -> String {
        match (&self.domain, self.role) {
            (Some(domain), _) => domain.to_string(),
            (None, Role::Client) => self.remote.ip().to_string(),
            (None, Role::Server) => self.local.ip().to_string(),
        }
    }
}

impl TlsFacts {
    /// Plaintext came from `source`. Where the kernel does the TLS of one direction that is what is told of both.
    pub(crate) fn read_by(&mut self, source: TlsSource) {
        if self.source != Some(TlsSource::Kernel) {
            self.source = Some(source);
        }
    }
}
