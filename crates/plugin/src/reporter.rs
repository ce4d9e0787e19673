//! Connection reports: the built-in reporter to the default event store.

use std::collections::BTreeMap;

use qtap_capture::Role;
use qtap_engine::{ConnectionFacts, ConnectionReport, QuicFacts, TlsFacts};
use qtap_process::{Container, Process};

use crate::agent::Agent;
use crate::exchange::tags;
use crate::schema::{
    Address, ConnectionEvent, ConnectionMeta, ContainerRef, Endpoint, HealthRecord, PodRef, Quic, System,
    Timestamp, Tls, cipher_suite_name, tls_version_name, upgrade_name,
};

/// The event that says `report`.
pub(crate) fn connection_event(report: &ConnectionReport, agent: &Agent) -> ConnectionEvent {
    let facts = &report.facts;
    let tls = facts.tls.as_ref();
    let (source, destination) = ends(facts);
    let socket_bytes = |bytes| if report.finalized { bytes } else { 0 };
    ConnectionEvent {
        meta: meta(facts),
        tags: tag_map(facts, agent),
        finalized: report.finalized,
        timestamp: Timestamp(facts.opened),
        created_at: Timestamp(facts.opened),
        closed_at: report.closed.map(Timestamp),
        duration_ms: report.duration_ns / 1_000_000,
        direction: facts.direction.name(),
        part: u64::from(report.part),
        socket_protocol: facts.transport.name(),
        l7_protocol: facts
            .protocol
            .map_or("other", qtap_protocol::detect::Protocol::name),
        tls_version: tls.and_then(|tls| tls.version).map(tls_version_name),
        tls: tls.map(tls_record),
        quic: facts.quic.map(quic_record),
        system: System {
            hostname: agent.hostname.clone(),
            agent: "tap",
            agent_instance: agent.instance.clone(),
        },
        source,
        destination,
        bytes_received: socket_bytes(report.bytes_received),
        bytes_sent: socket_bytes(report.bytes_sent),
        transactions: report.transactions,
        joined_midstream: facts.joined_midstream,
        upgraded_to: report.upgraded_to.as_ref().map(|to| upgrade_name(to).to_owned()),
        reset: report.reset,
        health: HealthRecord::from(&report.health),
    }
}

fn meta(facts: &ConnectionFacts) -> ConnectionMeta {
    let source = facts.tls.as_ref().and_then(|tls| tls.source);
    ConnectionMeta {
        connection_id: facts.public_id.to_string(),
        endpoint_id: facts.endpoint_id(),
        tls_probe_types_detected: facts.tls_implementations.clone(),
        tls_probe_introspected: source.is_some(),
        tls_source: source.map(qtap_engine::TlsSource::name),
    }
}

fn tag_map(facts: &ConnectionFacts, agent: &Agent) -> BTreeMap<String, Vec<String>> {
    let mut map = BTreeMap::<String, Vec<String>>::new();
    for (key, value) in tags(facts, agent) {
        map.entry(key).or_default().push(value);
    }
    map
}

fn tls_record(tls: &TlsFacts) -> Tls {
    Tls {
        sni: tls.sni.clone(),
        alpn: tls.alpn.clone(),
        alpn_offered: tls.alpn_offered.clone(),
        versions_offered: tls
            .versions_offered
            .iter()
            .copied()
            .map(tls_version_name)
            .collect(),
        cipher: tls.cipher_suite.map(cipher_suite_name),
    }
}

fn quic_record(quic: QuicFacts) -> Quic {
    Quic {
        version: quic.version,
        error: quic.error.map(|code| format!("0x{code:x}")),
    }
}

fn bare_end(address: Address) -> Endpoint {
    Endpoint {
        address,
        hostname: None,
        exe: None,
        pid: None,
        user: None,
        user_id: None,
        container: None,
    }
}

/// The client's end and the server's.
pub(crate) fn ends(facts: &ConnectionFacts) -> (Endpoint, Endpoint) {
    let local = local_end(facts);
    let remote = bare_end(facts.remote.into());
    match facts.role {
        Role::Client => (local, remote),
        Role::Server => (remote, local),
    }
}

fn local_end(facts: &ConnectionFacts) -> Endpoint {
    let bare = bare_end(facts.local.into());
    match facts.process.as_deref() {
        None => bare,
        Some(process) => with_process(bare, process),
    }
}

fn with_process(bare: Endpoint, process: &Process) -> Endpoint {
    Endpoint {
        hostname: process.hostname.clone(),
        exe: (!process.exe.is_empty()).then(|| process.exe.clone()),
        pid: Some(process.pid.0),
        user: process.user.name.clone(),
        // The room of processes says u32::MAX for a user it does not know.
        user_id: (process.user.id != u32::MAX).then_some(process.user.id),
        container: process.container.as_ref().map(container_ref),
        ..bare
    }
}

pub(crate) fn container_ref(container: &Container) -> ContainerRef {
    ContainerRef {
        id: container.id.clone(),
        pod: container.pod_uid.clone().map(|uid| PodRef { uid }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::Event;
    use crate::testing::{agent, report, server_connection};

    fn json(report: &ConnectionReport) -> String {
        serde_json::to_string(&Event::Connection(Box::new(connection_event(report, &agent())))).unwrap()
    }

    #[test]
    fn final_report_of_a_client_over_tls() {
        assert_eq!(
            json(&report(true)),
            concat!(
                r#"{"type":"connection","meta":{"connectionId":"d3tsmvg7p3qggmf8pdi0","endpointId":"httpbin.org","#,
                r#""tlsProbeTypesDetected":["openssl"],"tlsProbeIntrospected":true,"tlsSource":"secrets"},"#,
                r#""tags":{"bin":["curl"],"env":["test"],"host":["box"],"ip":["10.0.0.5"],"protocol":["http1"],"strategy":["observe"]},"#,
                r#""finalized":true,"timestamp":"2026-01-01T10:00:00.000000000Z","createdAt":"2026-01-01T10:00:00.000000000Z","#,
                r#""closedAt":"2026-01-01T10:00:01.500000000Z","duration_ms":1500,"direction":"egress-external","part":1,"#,
                r#""socketProtocol":"tcp","l7Protocol":"http1","tlsVersion":"TLS 1.3","#,
                r#""tls":{"sni":"httpbin.org","alpn":"http/1.1","alpnOffered":["h2","http/1.1"],"versionsOffered":["TLS 1.3","TLS 1.2"],"cipher":"TLS_AES_256_GCM_SHA384"},"#,
                r#""system":{"hostname":"box","agent":"tap","agentInstance":"run1"},"#,
                r#""source":{"address":{"family":"ipv4","ip":"10.0.0.5","port":50312},"hostname":"box","exe":"/usr/bin/curl","pid":4242,"user":"alice","userId":1000},"#,
                r#""destination":{"address":{"family":"ipv4","ip":"198.51.100.7","port":443}},"bytesReceived":5321,"bytesSent":812,"transactions":1,"#,
                r#""health":{"status":"degraded","checks":{"socket":"ok","tls_probe":"partial","data":"n/a"},"#,
                r#""reasons":[{"code":"ring_full","detail":"12 bytes"}],"socketBytesSent":812,"socketBytesReceived":5321,"socketBytesUnread":24,"#,
                r#""capturedBytesSent":812,"capturedBytesReceived":5309,"gapBytes":12,"dataEventCount":9,"gotTLSClientHelloEvent":true,"gotProtocolEvent":true}}"#,
            )
        );
    }

    #[test]
    fn open_reports_carry_no_socket_bytes() {
        let json: serde_json::Value = serde_json::from_str(&json(&report(false))).unwrap();
        assert_eq!(json.get("bytesSent"), None);
        assert_eq!(json.get("finalized"), None);
    }

    #[test]
    fn a_connection_of_quic_says_so() {
        let mut quic = report(true);
        quic.facts.transport = qtap_engine::Transport::Udp;
        quic.facts.protocol = Some(qtap_protocol::detect::Protocol::Http3);
        quic.facts.quic = Some(QuicFacts {
            version: Some(2),
            error: Some(0x128),
        });
        quic.bytes_received = 0;
        let json: serde_json::Value = serde_json::from_str(&json(&quic)).unwrap();
        assert_eq!(
            (&json["socketProtocol"], &json["l7Protocol"]),
            (&"udp".into(), &"http3".into())
        );
        assert_eq!(json["quic"], serde_json::json!({"version": 2, "error": "0x128"}));
        assert_eq!(json.get("bytesReceived"), None);
    }

    #[test]
    fn on_ingress_the_destination_is_local() {
        let mut accepted = report(true);
        accepted.facts = server_connection();
        let json: serde_json::Value = serde_json::from_str(&json(&accepted)).unwrap();
        assert_eq!(json["destination"]["pid"], 4242);
        assert_eq!(json["source"].get("pid"), None);
        assert_eq!(json["direction"], "ingress");
    }
}
