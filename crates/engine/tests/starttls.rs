//! TLS that begins in the middle of a protocol that is not known: STARTTLS, and what lies behind a SOCKS proxy.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "tests"
)]

#[path = "../../tls/tests/common/mod.rs"]
mod handshakes;
mod support;

use handshakes::{Pair, Recording, Step};
use qtap_capture::{Direction, Event, KernelTime, Layer, Role, TlsSecret, Verdict};
use qtap_engine::{ConnectionReport, HealthStatus, Positions, ProcessTls, ReasonCode, TlsSource};
use qtap_protocol::{Outcome, Side, detect::Protocol};
use rustls::crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256;
use support::{Bench, PID};

use Side::{Client, Server};

/// A name, and the pieces of each side in turn.
type Beginning = (&'static str, &'static [(Side, &'static [u8])]);

/// What passes before TLS, as the documents of each protocol have it.
#[rustfmt::skip] // one exchange a line
const BEGINNINGS: &[Beginning] = &[
    // RFC 3207
    ("smtp", &[(Server, b"220 mail.example ESMTP\r\n"), (Client, b"EHLO client.example\r\n"),
        (Server, b"250-mail.example\r\n250-SIZE 52428800\r\n250 STARTTLS\r\n"), (Client, b"STARTTLS\r\n"), (Server, b"220 2.0.0 Ready\r\n")]),
    // RFC 9051
    ("imap", &[(Server, b"* OK [CAPABILITY IMAP4rev2 STARTTLS LOGINDISABLED] ready\r\n"), (Client, b"a1 STARTTLS\r\n"),
        (Server, b"a1 OK begin TLS\r\n")]),
    // RFC 2595
    ("pop3", &[(Server, b"+OK ready\r\n"), (Client, b"STLS\r\n"), (Server, b"+OK begin\r\n")]),
    // RFC 4217
    ("ftp", &[(Server, b"220 ready\r\n"), (Client, b"AUTH TLS\r\n"), (Server, b"234 go ahead\r\n")]),
    // RFC 4642
    ("nntp", &[(Server, b"200 ready\r\n"), (Client, b"STARTTLS\r\n"), (Server, b"382 continue\r\n")]),
    // RFC 4511 §4.14: the extended request 1.3.6.1.4.1.1466.20037 in BER
    ("ldap", &[(Client, b"\x30\x1d\x02\x01\x01\x77\x18\x80\x161.3.6.1.4.1.1466.20037"),
        (Server, b"\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\x00\x04\x00\x04\x00")]),
    // RFC 6120 §5
    ("xmpp", &[(Client, b"<?xml version='1.0'?><stream:stream to='a.example' version='1.0' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>"),
        (Server, b"<?xml version='1.0'?><stream:stream id='1' from='a.example' version='1.0'><stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:features>"),
        (Client, b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"), (Server, b"<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")]),
    // RFC 5804
    ("sieve", &[(Server, b"\"IMPLEMENTATION\" \"x\"\r\n\"STARTTLS\"\r\nOK\r\n"), (Client, b"STARTTLS\r\n"), (Server, b"OK\r\n")]),
    // RFC 1928: no authentication, then a name
    ("socks5", &[(Client, b"\x05\x01\x00"), (Server, b"\x05\x00"), (Client, b"\x05\x01\x00\x03\x0dinner.example\x01\xbb"),
        (Server, b"\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00")]),
    // SOCKS 4a
    ("socks4a", &[(Client, b"\x04\x01\x01\xbb\x00\x00\x00\x01\x00inner.example\x00"), (Server, b"\x00\x5a\x00\x00\x00\x00\x00\x00")]),
    // haproxy's PROXY protocol, versions 1 and 2
    ("proxy1", &[(Client, b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n")]),
    ("proxy2", &[(Client, b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c\xc0\x00\x02\x01\xc0\x00\x02\x02\xdc\x04\x01\xbb")]),
];

fn inside(request: &[u8], response: &[u8]) -> Recording {
    let mut pair = Pair::new(TLS13_AES_128_GCM_SHA256);
    pair.client.alpn_protocols.clear();
    pair.run(&[
        Step::Send(Client, request.to_vec()),
        Step::Send(Server, response.to_vec()),
        Step::Close(Client),
        Step::Close(Server),
    ])
}

fn http() -> Recording {
    inside(
        b"GET /inside HTTP/1.1\r\nhost: inner.example\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
    )
}

fn opened(role: Role) -> Bench {
    let mut bench = Bench::new();
    bench.host.0.lock().unwrap().tls = Some(ProcessTls::default());
    bench.open(role, false);
    bench
}

/// Bytes of `side`, in as many calls as there are `parts`.
fn passes(bench: &mut Bench, role: Role, side: Side, parts: &[&[u8]]) {
    let egress = (role == Role::Client) == (side == Client);
    let direction = if egress {
        Direction::Egress
    } else {
        Direction::Ingress
    };
    for part in parts {
        let data = bench.record(direction, Layer::Socket, part, None);
        bench.send(Event::Data(data));
    }
}

fn tls(bench: &mut Bench, role: Role, recording: &Recording, split_header: bool) {
    for secret in &recording.secrets {
        bench.send(Event::Secret(TlsSecret {
            time: KernelTime(bench.now),
            pid: PID,
            tid: PID.0,
            label: secret.label.name(),
            secret: secret.bytes.clone(),
            client_random: secret.client_random,
            connection: Some(bench.id),
            origin: None,
        }));
    }
    for (side, bytes) in &recording.wire {
        let cut = if split_header {
            5.min(bytes.len())
        } else {
            bytes.len()
        };
        let (header, body) = bytes.split_at(cut);
        passes(bench, role, *side, &[header, body]);
    }
}

fn is_tls_told(report: &ConnectionReport) {
    let tls = report.facts.tls.as_ref().expect("TLS");
    assert!(tls.client_hello && tls.server_hello, "{tls:?}");
    assert_eq!(tls.sni.as_deref(), Some("example.test"));
    assert_eq!(tls.source, Some(TlsSource::Secrets));
}

#[test]
fn tls_behind_any_beginning_is_read_at_either_end() {
    let recording = http();
    for (name, beginning) in BEGINNINGS {
        for role in [Role::Client, Role::Server] {
            let mut bench = opened(role);
            for (side, bytes) in *beginning {
                passes(&mut bench, role, *side, &[bytes]);
            }
            // A server reads the header of a record before the rest.
            tls(&mut bench, role, &recording, role == Role::Server);
            let survey = bench.worker.survey(&Positions::new(), KernelTime(bench.now));
            let account = survey.accounts.into_values().next().expect("an account");
            bench.close();
            bench.wait_ms(400);
            let transactions = bench.transactions();
            assert_eq!(transactions.len(), 1, "{name} {role:?}");
            assert_eq!(transactions[0].outcome, Outcome::Complete, "{name}");
            let report = bench.final_report();
            is_tls_told(&report);
            assert_eq!(report.facts.protocol, Some(Protocol::Http1));
            assert_eq!(report.health.reasons, [], "{name} {role:?}");
            assert_eq!(report.health.status, HealthStatus::Healthy);
            assert_eq!((account.unread_bytes, account.secrets), (0, 1), "{name} {role:?}");
        }
    }
}

/// What goes on inside is the protocol from before, which is not known: the connection is TLS, of no known protocol.
#[test]
fn a_protocol_that_is_not_known_stays_so_inside_of_its_tls() {
    let recording = inside(b"EHLO client.example\r\n", b"250 mail.example\r\n");
    let (_, beginning) = BEGINNINGS[0];
    let mut bench = opened(Role::Client);
    for (side, bytes) in beginning {
        passes(&mut bench, Role::Client, *side, &[bytes]);
    }
    tls(&mut bench, Role::Client, &recording, false);
    bench.close();
    bench.wait_ms(400);
    let report = bench.final_report();
    is_tls_told(&report);
    assert_eq!(report.facts.protocol, None);
    assert_eq!(bench.codes(), [ReasonCode::ProtocolUnknown]);
    assert!(bench.transactions().is_empty());
}

/// Without TLS nothing changes: the connection is counted once enough has passed.
#[test]
fn a_connection_in_which_no_tls_begins_is_copied_no_longer() {
    let mut bench = opened(Role::Client);
    let last = |bench: &Bench| bench.host.0.lock().unwrap().verdicts.last().copied();
    bench.reads(b"220 mail.example ESMTP\r\n");
    for _ in 0..20 {
        bench.writes(b"NOOP\r\n");
        bench.reads(b"250 OK\r\n");
    }
    assert_eq!(last(&bench), None, "TLS may begin");
    bench.writes(&b"a long message\r\n".repeat(2000));
    assert_eq!(
        last(&bench).map(|(_, verdict)| verdict),
        Some(Verdict::COUNT_ONLY)
    );
    bench.close();
    assert_eq!(bench.codes(), [ReasonCode::ProtocolUnknown]);
    assert_eq!(bench.final_report().facts.tls, None);
}

/// A record of TLS that a program sends as data, not at the beginning of a write, is data.
#[test]
fn what_looks_like_a_hello_inside_of_a_write_is_none() {
    let recording = http();
    let hello = &recording.wire[0].1;
    let mut bench = opened(Role::Client);
    bench.writes(&[&b"\x80\x01 see this: "[..], hello].concat());
    bench.reads(&[&[0x90, 0xfe][..], &recording.wire[1].1].concat());
    bench.close();
    assert_eq!(bench.final_report().facts.tls, None);
}
