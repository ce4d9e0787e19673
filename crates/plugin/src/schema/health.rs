//! `health` of a connection event (DESIGN §6).

use qtap_engine::{Check, Health};
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

/// The verdict, as JSON.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HealthRecord {
    /// `healthy`, `degraded`, `blind` or `ignored`.
    pub status: &'static str,
    /// Step → `ok`, `missing`, `partial` or `n/a`, in the order of the steps.
    pub checks: Checks,
    /// Why it is not healthy.
    pub reasons: Vec<ReasonRecord>,
    /// The kernel's own count; absent while the connection is open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub socket_bytes_sent: Option<u64>,
    /// As above.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub socket_bytes_received: Option<u64>,
    /// Of those received, what the process had not read when it closed, such as a last `close_notify`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub socket_bytes_unread: Option<u64>,
    /// Socket bytes captured.
    pub captured_bytes_sent: u64,
    /// As above.
    pub captured_bytes_received: u64,
    /// Socket bytes that were to be captured and were not.
    pub gap_bytes: u64,
    /// Data records received.
    pub data_event_count: u64,
    /// A whole ClientHello was seen.
    #[serde(rename = "gotTLSClientHelloEvent")]
    pub got_tls_client_hello_event: bool,
    /// The protocol was identified.
    pub got_protocol_event: bool,
}

/// One cause.
#[derive(Clone, Debug, Serialize)]
pub struct ReasonRecord {
    /// From the closed list.
    pub code: &'static str,
    /// Particulars.
    pub detail: String,
}

/// The steps; a JSON map.
#[derive(Clone, Debug)]
pub struct Checks(Vec<Check>);

impl Serialize for Checks {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for check in &self.0 {
            map.serialize_entry(check.name.name(), check.state.name())?;
        }
        map.end()
    }
}

impl From<&Health> for HealthRecord {
    fn from(health: &Health) -> Self {
        let reasons = health
            .reasons
            .iter()
            .map(|reason| ReasonRecord {
                code: reason.code.code(),
                detail: reason.detail.clone(),
            })
            .collect();
        Self {
            status: health.status.name(),
            checks: Checks(health.checks.clone()),
            reasons,
            socket_bytes_sent: health.socket_bytes_sent,
            socket_bytes_received: health.socket_bytes_received,
            socket_bytes_unread: health.socket_bytes_unread,
            captured_bytes_sent: health.captured_bytes_sent,
            captured_bytes_received: health.captured_bytes_received,
            gap_bytes: health.gap_bytes,
            data_event_count: health.data_event_count,
            got_tls_client_hello_event: health.got_tls_client_hello,
            got_protocol_event: health.got_protocol,
        }
    }
}
