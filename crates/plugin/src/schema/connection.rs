//! `connection` events (`surface.md` §7.1).

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::Serialize;

use super::{HealthRecord, Timestamp, is_false, is_zero};

/// State of a connection: shortly after it opened, at intervals, and finally.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ConnectionEvent {
    /// Ids and how it was read.
    pub meta: ConnectionMeta,
    /// Key → values.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, Vec<String>>,
    /// It is over.
    #[serde(skip_serializing_if = "is_false")]
    pub finalized: bool,
    /// As `created_at` (the original's older name).
    pub timestamp: Timestamp,
    /// When it opened, or was found.
    pub created_at: Timestamp,
    /// When it closed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub closed_at: Option<Timestamp>,
    /// Milliseconds it lived so far.
    #[serde(rename = "duration_ms")]
    pub duration_ms: u64,
    /// Direction label.
    pub direction: &'static str,
    /// Count of reports before this one.
    #[serde(skip_serializing_if = "is_zero")]
    pub part: u64,
    /// `tcp`, or `udp` for a flow of DNS and for QUIC.
    pub socket_protocol: &'static str,
    /// `http1`, `http2` and the like, `http3` or `quic`; `other` when it is not known.
    pub l7_protocol: &'static str,
    /// Version agreed on, `TLS 1.3`; absent while only offers were seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_version: Option<String>,
    /// Particulars of TLS; absent without TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// Particulars of QUIC; absent without.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quic: Option<Quic>,
    /// The agent.
    pub system: System,
    /// The dialling end.
    pub source: Endpoint,
    /// The accepting end.
    pub destination: Endpoint,
    /// Bytes read from the socket; as in the original only in the final report, so that sums over reports are right.
    #[serde(skip_serializing_if = "is_zero")]
    pub bytes_received: u64,
    /// Bytes written to the socket, likewise.
    #[serde(skip_serializing_if = "is_zero")]
    pub bytes_sent: u64,
    /// Transactions that ended on it so far.
    pub transactions: u64,
    /// It is older than the agent.
    #[serde(skip_serializing_if = "is_false")]
    pub joined_midstream: bool,
    /// What it was upgraded to.
    #[serde(rename = "upgraded_to", skip_serializing_if = "Option::is_none")]
    pub upgraded_to: Option<String>,
    /// The peer or the process reset it.
    #[serde(skip_serializing_if = "is_false")]
    pub reset: bool,
    /// Verdict on the capture.
    pub health: HealthRecord,
}

/// `meta`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ConnectionMeta {
    /// The connection.
    pub connection_id: String,
    /// Domain, or address of the server end.
    pub endpoint_id: String,
    /// TLS implementations in the process; absent while not scanned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_probe_types_detected: Option<Vec<&'static str>>,
    /// Plaintext was read from TLS.
    #[serde(skip_serializing_if = "is_false")]
    pub tls_probe_introspected: bool,
    /// `secrets` or `calls`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_source: Option<&'static str>,
}

/// `tls`: an addition.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Tls {
    /// Server name asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sni: Option<String>,
    /// Protocol agreed on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alpn: Option<String>,
    /// Protocols offered.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub alpn_offered: Vec<String>,
    /// Versions offered.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub versions_offered: Vec<String>,
    /// Suite agreed on, by its IANA name, or `0x` and four digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cipher: Option<String>,
}

/// `quic`: an addition.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Quic {
    /// 1 (RFC 9000) or 2 (RFC 9369).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
    /// The error code with which a side gave up during the handshake, such as `0x128`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// `system`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct System {
    /// The host.
    pub hostname: String,
    /// Always `tap`.
    pub agent: &'static str,
    /// This run of the agent.
    pub agent_instance: String,
}

/// One end. The fields of the process are those of the local end only.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Endpoint {
    /// Address and port.
    pub address: Address,
    /// Host name inside the root of the process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// Path of the executable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exe: Option<String>,
    /// Process id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// Name of the user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Id of the user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_id: Option<u32>,
    /// Container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<ContainerRef>,
}

/// `container`.
#[derive(Clone, Debug, Serialize)]
pub struct ContainerRef {
    /// Full id.
    pub id: String,
    /// Pod it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<PodRef>,
}

/// `pod`.
#[derive(Clone, Debug, Serialize)]
pub struct PodRef {
    /// Uid from the cgroup.
    pub uid: String,
}

/// `address`.
#[derive(Clone, Debug, Serialize)]
pub struct Address {
    /// `ipv4` or `ipv6`.
    pub family: &'static str,
    /// Text form.
    pub ip: String,
    /// Port.
    pub port: u16,
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self {
            family: if address.is_ipv4() { "ipv4" } else { "ipv6" },
            ip: address.ip().to_string(),
            port: address.port(),
        }
    }
}

/// `TLS 1.3` for `0x0304`.
#[must_use]
pub fn tls_version_name(version: u16) -> String {
    match version {
        0x0300 => "SSL 3.0".to_owned(),
        0x0301 => "TLS 1.0".to_owned(),
        0x0302 => "TLS 1.1".to_owned(),
        0x0303 => "TLS 1.2".to_owned(),
        0x0304 => "TLS 1.3".to_owned(),
        other => format!("0x{other:04x}"),
    }
}

/// Name of a suite in the IANA registry "TLS Cipher Suites", for those in use.
#[must_use]
pub fn cipher_suite_name(suite: u16) -> String {
    let name = match suite {
        0x002f => "TLS_RSA_WITH_AES_128_CBC_SHA",
        0x0035 => "TLS_RSA_WITH_AES_256_CBC_SHA",
        0x003c => "TLS_RSA_WITH_AES_128_CBC_SHA256",
        0x003d => "TLS_RSA_WITH_AES_256_CBC_SHA256",
        0x009c => "TLS_RSA_WITH_AES_128_GCM_SHA256",
        0x009d => "TLS_RSA_WITH_AES_256_GCM_SHA384",
        0x009e => "TLS_DHE_RSA_WITH_AES_128_GCM_SHA256",
        0x009f => "TLS_DHE_RSA_WITH_AES_256_GCM_SHA384",
        0x1301 => "TLS_AES_128_GCM_SHA256",
        0x1302 => "TLS_AES_256_GCM_SHA384",
        0x1303 => "TLS_CHACHA20_POLY1305_SHA256",
        0x1304 => "TLS_AES_128_CCM_SHA256",
        0x1305 => "TLS_AES_128_CCM_8_SHA256",
        0xc009 => "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
        0xc00a => "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
        0xc013 => "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
        0xc014 => "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
        0xc023 => "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256",
        0xc024 => "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA384",
        0xc027 => "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256",
        0xc028 => "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA384",
        0xc02b => "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        0xc02c => "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
        0xc02f => "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
        0xc030 => "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
        0xcca8 => "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
        0xcca9 => "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        0xccaa => "TLS_DHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
        other => return format!("0x{other:04x}"),
    };
    name.to_owned()
}
