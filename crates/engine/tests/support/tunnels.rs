//! Bytes of tunnels, and how they pass.
#![allow(dead_code, reason = "each test file uses a part")]

use qtap_capture::{Event, KernelTime, Role, TlsSecret};
use qtap_engine::ProcessTls;
use qtap_protocol::Side;
use qtap_tls::Secret;
use rustls::SupportedCipherSuite;

use crate::handshakes::{Pair, Recording, Step};
use crate::support::{Bench, PID};

/// Pieces as they pass.
pub(crate) type Wire = Vec<(Side, Vec<u8>)>;

pub(crate) const CONNECT: &[u8] = b"CONNECT inner.example:443 HTTP/1.1\r\nhost: inner.example:443\r\n\r\n";
pub(crate) const CONNECTED: &[u8] = b"HTTP/1.1 200 Connection established\r\n\r\n";

/// A request and its response, under TLS.
pub(crate) fn inner(suite: SupportedCipherSuite, path: &str) -> Recording {
    let request = format!("GET {path} HTTP/1.1\r\nhost: inner.example\r\n\r\n");
    Pair::new(suite).run(&[
        Step::Send(Side::Client, request.into_bytes()),
        Step::Send(
            Side::Server,
            b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello".to_vec(),
        ),
        Step::Close(Side::Client),
        Step::Close(Side::Server),
    ])
}

/// CONNECT of HTTP/1.1 and what passes through the tunnel.
pub(crate) fn http1_tunnel(inside: &Wire) -> Wire {
    let head = [
        (Side::Client, CONNECT.to_vec()),
        (Side::Server, CONNECTED.to_vec()),
    ];
    head.into_iter().chain(inside.iter().cloned()).collect()
}

/// `wire` as the payload of a TLS connection.
pub(crate) fn under_tls(suite: SupportedCipherSuite, wire: &Wire) -> Recording {
    let steps: Vec<_> = wire
        .iter()
        .map(|(side, bytes)| Step::Send(*side, bytes.clone()))
        .collect();
    let mut pair = Pair::new(suite);
    pair.client.alpn_protocols.clear();
    pair.run(&steps)
}

/// A frame of HTTP/2.
pub(crate) fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags, 0, 0, 0, stream], payload].concat()
}

/// A field that is not indexed, by its name's place in the static table.
pub(crate) fn field(name: u8, value: &str) -> Vec<u8> {
    [&[name, u8::try_from(value.len()).unwrap()], value.as_bytes()].concat()
}

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

/// The preface, and settings of both sides.
pub(crate) fn http2() -> Wire {
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let settings = frame(4, 0, 0, b"");
    vec![
        (Side::Client, [&preface[..], &settings].concat()),
        (Side::Server, settings),
    ]
}

/// CONNECT on a stream, and what passes through the tunnel, in frames of at most `frame_bytes`.
pub(crate) fn http2_tunnel(stream: u8, authority: &str, inside: &Wire, frame_bytes: usize) -> Wire {
    let block = [field(2, "CONNECT"), field(1, authority)].concat();
    let mut wire = vec![
        (Side::Client, frame(1, END_HEADERS, stream, &block)),
        (Side::Server, frame(1, END_HEADERS, stream, &[0x88])),
    ];
    for (side, bytes) in inside {
        for part in bytes.chunks(frame_bytes) {
            wire.push((*side, frame(0, 0, stream, part)));
        }
    }
    for side in [Side::Client, Side::Server] {
        wire.push((side, frame(0, END_STREAM, stream, b"")));
    }
    wire
}

pub(crate) fn opened() -> Bench {
    let mut bench = Bench::new();
    bench.host.0.lock().unwrap().tls = Some(ProcessTls::default());
    bench.open(Role::Client, false);
    bench
}

pub(crate) fn passes(bench: &mut Bench, side: Side, bytes: &[u8]) {
    match side {
        Side::Client => bench.writes(bytes),
        Side::Server => bench.reads(bytes),
    }
}

pub(crate) fn derives(bench: &mut Bench, secrets: &[Secret], hinted: bool) {
    for secret in secrets {
        bench.send(Event::Secret(TlsSecret {
            time: KernelTime(bench.now),
            pid: PID,
            tid: PID.0,
            label: secret.label.name(),
            secret: secret.bytes.clone(),
            client_random: secret.client_random,
            connection: hinted.then_some(bench.id),
            origin: None,
        }));
    }
}

/// Plays `wire`, and the secrets before the piece of that number.
pub(crate) fn play(bench: &mut Bench, wire: &Wire, secrets: &[(usize, &[Secret])], hinted: bool) {
    for (number, (side, bytes)) in wire.iter().enumerate() {
        for (_, secrets) in secrets.iter().filter(|(at, _)| *at == number) {
            derives(bench, secrets, hinted);
        }
        passes(bench, *side, bytes);
    }
}
