//! Transactions and connections with fixed ids and times, and stores that remember.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use qtap_capture::{ConnectionId, Pid, Role};
use qtap_engine::{
    Body, Check, CheckName, CheckState, CommandTransaction, ConnectionFacts, ConnectionReport,
    DirectionLabel, DnsTransaction, EventStream, Half, Health, HealthStatus, Messages, Reason, ReasonCode,
    TlsFacts, TlsSource, Transaction, Transport, WebSocket,
};
use qtap_process::{Process, User};
use qtap_protocol::detect::Protocol;
use qtap_protocol::sse::Decoder;
use qtap_protocol::websocket::{self, Agreement};
use qtap_protocol::{Command, CommandError, CommandResult, CommandText, CommandTraffic, Session};
use qtap_protocol::{
    Counts, Field, Outcome, RequestHead, ResponseHead, Side, Time, Upgrade, Version, dns, grpc,
};

use crate::agent::Agent;
use crate::exchange::{Exchange, Labels};
use crate::schema::{Artifact, ArtifactRecord, Event};
use crate::sink::{EventStore, LineSink, ObjectStore, Stores};

pub(crate) fn field(name: &str, value: impl AsRef<[u8]>) -> Field {
    Field {
        name: Bytes::copy_from_slice(name.as_bytes()),
        value: Bytes::copy_from_slice(value.as_ref()),
    }
}

/// 2026-01-01T10:00:00Z and so many milliseconds.
pub(crate) fn at(milliseconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_767_261_600) + Duration::from_millis(milliseconds)
}

pub(crate) fn agent() -> Agent {
    Agent::new("box".into(), "run1".into(), vec![("env".into(), "test".into())]).unwrap()
}

fn process() -> Process {
    Process {
        parent: Some(Pid(1)),
        start_ns: 1,
        exe: "/usr/bin/curl".into(),
        args: vec!["curl".into()],
        user: User {
            id: 1000,
            name: Some("alice".into()),
        },
        hostname: Some("box".into()),
        cgroup: "/".into(),
        ..Process::unknown(Pid(4242))
    }
}

pub(crate) fn connection() -> ConnectionFacts {
    ConnectionFacts {
        id: ConnectionId(7),
        public_id: "d3tsmvg7p3qggmf8pdi0".into(),
        role: Role::Client,
        direction: DirectionLabel::EgressExternal,
        transport: Transport::Tcp,
        local: "10.0.0.5:50312".parse().unwrap(),
        remote: "198.51.100.7:443".parse().unwrap(),
        netns: 1,
        opened: at(0),
        joined_midstream: false,
        cookie: 0,
        process: Some(Arc::new(process())),
        tls: Some(TlsFacts {
            sni: Some("httpbin.org".into()),
            alpn_offered: vec!["h2".into(), "http/1.1".into()],
            alpn: Some("http/1.1".into()),
            versions_offered: vec![0x0304, 0x0303],
            version: Some(0x0304),
            cipher_suite: Some(0x1302),
            source: Some(TlsSource::Secrets),
            client_hello: true,
            server_hello: true,
        }),
        quic: None,
        tls_implementations: Some(vec!["openssl"]),
        protocol: Some(Protocol::Http1),
        domain: Some("httpbin.org".into()),
        domain_by_dns: false,
    }
}

pub(crate) fn server_connection() -> ConnectionFacts {
    ConnectionFacts {
        role: Role::Server,
        direction: DirectionLabel::Ingress,
        local: "10.0.0.5:443".parse().unwrap(),
        remote: "198.51.100.7:50312".parse().unwrap(),
        ..connection()
    }
}

fn half(first: u64, head: u64, last: u64, head_bytes: u64, body: &'static [u8]) -> Half {
    Half {
        first_byte: Some(Time(first)),
        head_end: Some(Time(head)),
        last_byte: Some(Time(last)),
        ended: true,
        trailers: Vec::new(),
        trailers_partial: false,
        counts: Counts {
            head_bytes,
            body_bytes: body.len() as u64,
            gap_bytes: 0,
        },
        body: Body {
            data: Bytes::from_static(body),
            total: body.len() as u64,
            ..Body::default()
        },
    }
}

/// `GET https://httpbin.org/get?a=1` → 200 with a small JSON body.
pub(crate) fn transaction() -> Transaction {
    const MS: u64 = 1_000_000;
    Transaction {
        id: "d3tsmvg7p3qggmf8pdj0".into(),
        protocol: Protocol::Http1,
        stream: 1,
        started: at(100),
        finished: at(200),
        request: RequestHead {
            method: Bytes::from_static(b"GET"),
            target: Bytes::from_static(b"/get?a=1"),
            scheme: None,
            authority: Some(Bytes::from_static(b"httpbin.org")),
            protocol: None,
            version: Version::Http11,
            fields: vec![
                field("Host", "httpbin.org"),
                field("User-Agent", "curl/7.88.1"),
                field("Accept", "*/*"),
            ],
            partial: false,
            truncated: false,
            framing_conflict: false,
        },
        response: Some(ResponseHead {
            status: 200,
            reason: Bytes::from_static(b"OK"),
            version: Version::Http11,
            fields: vec![
                field("Content-Type", "application/json"),
                field("Set-Cookie", "a=1"),
                field("Set-Cookie", "b=2"),
            ],
            partial: false,
            truncated: false,
            framing_conflict: false,
        }),
        request_half: half(100 * MS, 100 * MS, 101 * MS, 80, b""),
        response_half: half(186 * MS, 186 * MS + 500_000, 190 * MS, 120, b"{\"ok\": true}"),
        interim: Vec::new(),
        outcome: Outcome::Complete,
        upgraded_to: None,
        grpc: None,
        partial: false,
        messages: None,
    }
}

/// `pkg.Shop/List` with a deadline of 1.5 s → two messages, one of them gzip, and NOT_FOUND.
pub(crate) fn grpc_call() -> Transaction {
    const UP: &[u8] = b"\0\0\0\0\x03abc";
    const DOWN: &[u8] =
        b"\0\0\0\0\x02hi\x01\0\0\0\x17\x1f\x8b\x08\0\0\0\0\0\x02\xffKJM\x05\0i\xcc@\x91\x03\0\0\0";
    let base = transaction();
    let head = |pairs: &[(&str, &str)]| pairs.iter().map(|(name, value)| field(name, value)).collect();
    let request = RequestHead {
        method: Bytes::from_static(b"POST"),
        target: Bytes::from_static(b"/pkg.Shop/List"),
        version: Version::Http2,
        fields: head(&[
            ("content-type", "application/grpc"),
            ("te", "trailers"),
            ("grpc-timeout", "1500m"),
        ]),
        ..base.request
    };
    let response = ResponseHead {
        reason: Bytes::new(),
        version: Version::Http2,
        fields: head(&[("content-type", "application/grpc"), ("grpc-encoding", "gzip")]),
        ..base.response.unwrap()
    };
    let mut tracker = grpc::Tracker::begin(&request).unwrap();
    assert!(tracker.response(&response));
    tracker.bytes(Side::Client, UP);
    tracker.bytes(Side::Server, DOWN);
    let trailers = head(&[("grpc-status", "5"), ("grpc-message", "no%20such+shop")]);
    let mut response_half = Half {
        trailers,
        ..base.response_half
    };
    response_half.body.data = Bytes::from_static(DOWN);
    response_half.body.total = DOWN.len() as u64;
    let mut request_half = base.request_half;
    request_half.body.data = Bytes::from_static(UP);
    request_half.body.total = UP.len() as u64;
    Transaction {
        protocol: Protocol::Http2,
        grpc: tracker
            .finish(&response_half.trailers, Outcome::Complete, [true; 2])
            .map(Box::new),
        request,
        response: Some(response),
        request_half,
        response_half,
        ..transaction()
    }
}

/// `transaction` on `connection`, with its labels. Those of a test are never freed.
pub(crate) fn exchange<'a>(connection: &'a ConnectionFacts, transaction: &'a Transaction) -> Exchange<'a> {
    Exchange {
        connection,
        transaction,
        labels: Box::leak(Box::new(Labels::new(connection, &agent()))),
    }
}

/// `GET /chat` → 101: one text of the client, an event of the server in answer, closed by the client with 1000.
pub(crate) fn websocket() -> Transaction {
    const MS: u64 = 1_000_000;
    let mut session = websocket::Session::new(
        Agreement {
            subprotocol: Some("chat".into()),
            ..Agreement::default()
        },
        1 << 10,
    );
    let mut messages = Vec::new();
    let mut say = |side, data: &[u8], ms| session.bytes(side, data, Time(ms * MS), &mut messages);
    say(Side::Client, b"\x81\x85\0\0\0\0hello", 1_100);
    say(Side::Server, b"\x82\x02\xff\x00", 1_150);
    say(Side::Client, b"\x88\x86\0\0\0\0\x03\xe8done", 1_160);
    say(Side::Server, b"\x88\x02\x03\xe8", 1_170);
    let sides = [Side::Client, Side::Server];
    let mut upgraded = transaction();
    upgraded.request.target = Bytes::from_static(b"/chat");
    if let Some(response) = &mut upgraded.response {
        response.status = 101;
        response.reason = Bytes::from_static(b"Switching Protocols");
        response.fields.clear();
    }
    upgraded.response_half.body = Body::default();
    Transaction {
        outcome: Outcome::Upgraded,
        upgraded_to: Some(Upgrade::WebSocket),
        messages: Some(Messages::WebSocket(Box::new(WebSocket {
            agreement: session.agreement().clone(),
            traffic: sides.map(|side| session.traffic(side).clone()),
            closing: sides.map(|side| session.closing(side).cloned()),
            messages,
            dropped: 0,
        }))),
        ..upgraded
    }
}

/// An event stream that goes on, with one event so far.
pub(crate) fn event_stream() -> Transaction {
    const MS: u64 = 1_000_000;
    let (mut decoder, mut events) = (Decoder::new(1 << 10), Vec::new());
    decoder.bytes(
        b"id: 7\nevent: tick\ndata: {\"n\":1}\n\n",
        Time(1_120 * MS),
        &mut events,
    );
    Transaction {
        partial: true,
        messages: Some(Messages::Events(Box::new(EventStream {
            traffic: decoder.traffic().clone(),
            events,
            dropped: 3,
            decode_error: None,
        }))),
        ..transaction()
    }
}

/// The client closed before an answer.
pub(crate) fn without_response() -> Transaction {
    Transaction {
        response: None,
        response_half: Half::default(),
        outcome: Outcome::Canceled,
        ..transaction()
    }
}

pub(crate) fn report(finalized: bool) -> ConnectionReport {
    let check = |name, state| Check { name, state };
    ConnectionReport {
        facts: connection(),
        part: 1,
        finalized,
        closed: finalized.then(|| at(1_500)),
        duration_ns: 1_500_000_000,
        bytes_sent: 812,
        bytes_received: 5321,
        transactions: 1,
        upgraded_to: None,
        reset: false,
        health: Health {
            status: HealthStatus::Degraded,
            checks: vec![
                check(CheckName::Socket, CheckState::Ok),
                check(CheckName::TlsProbe, CheckState::Partial),
                check(CheckName::Data, CheckState::NotApplicable),
            ],
            reasons: vec![Reason {
                code: ReasonCode::RingFull,
                detail: "12 bytes".into(),
            }],
            socket_bytes_sent: finalized.then_some(812),
            socket_bytes_received: finalized.then_some(5321),
            socket_bytes_unread: finalized.then_some(24),
            captured_bytes_sent: 812,
            captured_bytes_received: 5309,
            gap_bytes: 12,
            data_event_count: 9,
            got_tls_client_hello: true,
            got_protocol: true,
        },
    }
}

/// `SET k v`, which the server refused after 2.5 ms.
pub(crate) fn command() -> CommandTransaction {
    let words = ["SET", "k", "v"].map(str::to_owned).to_vec();
    let counts = |head_bytes| Counts {
        head_bytes,
        ..Counts::default()
    };
    CommandTransaction {
        id: "d3tsmvg7p3qggmf8pdk0".into(),
        protocol: Protocol::Redis,
        stream: 1,
        started: at(100),
        finished: at(103),
        first_byte: Time(1_000_000),
        last_byte: Time(1_500_000),
        command: Command {
            name: "SET".into(),
            text: CommandText::Words(words),
            prepared: None,
            parameters: Vec::new(),
            session: Session::default(),
            truncated: false,
            redacted: false,
        },
        result: Some(CommandResult {
            kind: "error",
            error: Some(CommandError {
                code: "OOM".into(),
                message: "OOM command not allowed".into(),
            }),
            ..CommandResult::default()
        }),
        traffic: CommandTraffic {
            request: counts(27),
            response: counts(40),
            first_byte: Some(Time(3_000_000)),
            last_byte: Some(Time(3_500_000)),
        },
        outcome: Outcome::Complete,
    }
}

/// A query for `api.test` at 10.0.0.53, answered after 2.5 ms.
pub(crate) fn lookup() -> (ConnectionFacts, DnsTransaction) {
    let query = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x03api\x04test\0\0\x01\0\x01";
    let answer = b"\x12\x34\x85\x80\0\x01\0\x02\0\0\0\0\x03api\x04test\0\0\x01\0\x01\
        \xc0\x0c\0\x01\0\x01\0\0\x01\x2c\0\x04\x0a\0\0\x01\xc0\x0c\0\x10\0\x01\0\0\0\x3c\0\x02\x01x";
    let extent = |time, bytes: &[u8]| dns::Extent {
        started: Time(time),
        ended: Time(time),
        bytes: bytes.len() as u64,
        gap_bytes: 0,
    };
    let mut pairing = dns::Pairing::new(1);
    let asked = dns::Message::parse(query).unwrap();
    pairing.query(asked, extent(1_000_000, query), |()| true, || ());
    let said = dns::Message::parse(answer).unwrap();
    let answered = pairing.response(said, answer, extent(3_500_000, answer), |()| true);
    let dns::Answered::Exchange((), exchange) = answered else {
        panic!("it is answered");
    };
    let facts = ConnectionFacts {
        transport: Transport::Udp,
        direction: DirectionLabel::EgressInternal,
        local: "10.0.0.5:40000".parse().unwrap(),
        remote: "10.0.0.53:53".parse().unwrap(),
        tls: None,
        tls_implementations: None,
        protocol: Some(Protocol::Dns),
        domain: None,
        ..connection()
    };
    let transaction = DnsTransaction {
        id: "d3tsmvg7p3qggmf8pdl0".into(),
        started: at(100),
        finished: at(103),
        exchange: *exchange,
    };
    (facts, transaction)
}

/// Remembers everything.
#[derive(Default)]
pub(crate) struct Memory {
    pub(crate) events: Mutex<Vec<Event>>,
    pub(crate) artifacts: Mutex<Vec<Kept>>,
    pub(crate) records: Mutex<Vec<String>>,
}

impl Memory {
    pub(crate) fn stores(self: &Arc<Self>) -> Stores {
        Stores {
            events: vec![Arc::clone(self) as _],
            objects: vec![Arc::clone(self) as _],
        }
    }

    pub(crate) fn printed(&self) -> Vec<String> {
        self.records.lock().unwrap().clone()
    }
}

impl EventStore for Memory {
    fn save(&self, event: Event) {
        self.events.lock().unwrap().push(event);
    }

    fn record(&self, _record: &ArtifactRecord<'_>) {}
}

/// An artifact that was stored.
pub(crate) struct Kept {
    pub(crate) provenance: String,
    pub(crate) mime_type: &'static str,
    pub(crate) content: String,
    pub(crate) digest: String,
    pub(crate) summary: String,
}

impl ObjectStore for Memory {
    fn put(&self, artifact: &Artifact<'_>) {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        self.artifacts.lock().unwrap().push(Kept {
            provenance: text(artifact.provenance),
            mime_type: artifact.content.mime_type(),
            content: text(artifact.content.bytes()),
            digest: text(artifact.digest().bytes()),
            summary: text(artifact.summary),
        });
    }
}

impl LineSink for Memory {
    fn write_record(&self, record: Vec<u8>) {
        self.records
            .lock()
            .unwrap()
            .push(String::from_utf8(record).unwrap());
    }
}
