//! Hellos and records of TLS beside tls-parser.

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use qtap_tls::{Event, Limits, Session, Side, Time};
use tls_parser::{
    TlsMessage, TlsMessageHandshake, parse_tls_encrypted, parse_tls_extensions, parse_tls_plaintext,
};

use crate::exchange::Case;

const HELLOS: u64 = 200;
const RECORDS: u64 = 60;
const RECORD_BYTES: usize = 16_384 + 17;

fn extension(kind: u16, data: &[u8]) -> Vec<u8> {
    let length = u16::try_from(data.len()).unwrap_or_default();
    [&kind.to_be_bytes(), &length.to_be_bytes(), data].concat()
}

fn record(kind: u8, data: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(data.len()).unwrap_or_default().to_be_bytes();
    [&[kind, 3, 3, high, low], data].concat()
}

/// As a browser's: TLS 1.3 with SNI, ALPN, a key share and padding, 517 bytes in all.
fn client_hello() -> Vec<u8> {
    let name = b"shop.example.com";
    let mut sni = vec![0, 19, 0, 0, 16];
    sni.extend_from_slice(name);
    let mut share = vec![0, 36, 0, 29, 0, 32];
    share.extend_from_slice(&[7; 32]);
    let mut extensions = [
        extension(0, &sni),
        extension(23, &[]),
        extension(0xff01, &[0]),
        extension(10, &[0, 8, 0, 29, 0, 23, 0, 24, 0, 25]),
        extension(11, &[1, 0]),
        extension(35, &[]),
        extension(16, b"\0\x0c\x02h2\x08http/1.1"),
        extension(5, &[1, 0, 0, 0, 0]),
        extension(13, &[0, 16, 4, 3, 8, 4, 4, 1, 5, 3, 8, 5, 5, 1, 8, 6, 6, 1]),
        extension(51, &share),
        extension(45, &[1, 1]),
        extension(43, &[4, 3, 4, 3, 3]),
    ]
    .concat();
    let ciphers: Vec<u8> = [
        0x1301_u16, 0x1302, 0x1303, 0xc02b, 0xc02f, 0xc02c, 0xc030, 0xcca9, 0xcca8,
    ]
    .iter()
    .flat_map(|cipher| cipher.to_be_bytes())
    .collect();
    let mut body = vec![3, 3];
    body.extend_from_slice(&[5; 32]);
    body.push(32);
    body.extend_from_slice(&[9; 32]);
    body.extend_from_slice(&[0, ciphers.len() as u8]);
    body.extend_from_slice(&ciphers);
    body.extend_from_slice(&[1, 0]);
    // Record, message, what is there, and the headers of extensions and padding.
    let padding = 517_usize.saturating_sub(5 + 4 + body.len() + 2 + extensions.len() + 4);
    extensions.extend_from_slice(&extension(21, &vec![0; padding]));
    body.extend_from_slice(&u16::try_from(extensions.len()).unwrap_or_default().to_be_bytes());
    body.extend_from_slice(&extensions);
    let [_, length @ ..] = u32::try_from(body.len()).unwrap_or_default().to_be_bytes();
    record(0x16, &[&[1], &length[..], &body].concat())
}

pub(crate) fn cases() -> anyhow::Result<Vec<Case>> {
    let hello = Bytes::from(client_hello());
    ensure!(hello.len() == 517, "{} bytes", hello.len());
    Ok(vec![hellos(hello.clone()), records(hello)])
}

fn hellos(hello: Bytes) -> Case {
    let theirs = hello.clone();
    let mut events = Vec::new();
    Case {
        name: "tls_hello",
        peer: "tls-parser 0.12 (plaintext, extensions)",
        what: "hellos",
        bytes: hello.len() * HELLOS as usize,
        messages: HELLOS,
        ours: Box::new(move || {
            let mut count = 0;
            for _ in 0..HELLOS {
                let mut session = Session::new(Limits::default(), false);
                session.bytes(Side::Client, hello.clone(), Time(1), &mut events);
                let found = events.drain(..).any(|event| is_hello(&event));
                count += u64::from(found);
            }
            Ok(count)
        }),
        theirs: Box::new(move || {
            let mut count = 0;
            for _ in 0..HELLOS {
                count += read(&theirs)?;
            }
            Ok(count)
        }),
    }
}

fn is_hello(event: &Event) -> bool {
    matches!(event, Event::ClientHello(..))
}

fn read(data: &[u8]) -> anyhow::Result<u64> {
    let (_, record) = parse_tls_plaintext(data).map_err(|error| anyhow::anyhow!("{error:?}"))?;
    for message in &record.msg {
        if let TlsMessage::Handshake(TlsMessageHandshake::ClientHello(hello)) = message {
            let extensions = hello.ext.context("no extensions")?;
            let (_, extensions) =
                parse_tls_extensions(extensions).map_err(|error| anyhow::anyhow!("{error:?}"))?;
            return Ok(u64::from(extensions.len() == 13));
        }
    }
    Ok(0)
}

/// Ciphertext whose secret is not there: it is cut into records, and waits up to its limit.
fn records(hello: Bytes) -> Case {
    let cipher = Bytes::from(record(0x17, &vec![0x5a; RECORD_BYTES]));
    let theirs = cipher.clone();
    let mut events = Vec::new();
    Case {
        name: "tls_records",
        peer: "tls-parser 0.12 (encrypted)",
        what: "records",
        bytes: cipher.len() * RECORDS as usize,
        messages: RECORDS,
        ours: Box::new(move || {
            let mut session = Session::new(Limits::default(), false);
            session.bytes(Side::Client, hello.clone(), Time(1), &mut events);
            events.clear();
            for time in 0..RECORDS {
                session.bytes(Side::Client, cipher.clone(), Time(2 + time), &mut events);
            }
            // All of them wait, and nothing was told of them.
            ensure!(events.is_empty(), "{events:?}");
            Ok((session.buffered() / RECORD_BYTES) as u64)
        }),
        theirs: Box::new(move || {
            let mut count = 0;
            for _ in 0..RECORDS {
                let (rest, _record) =
                    parse_tls_encrypted(&theirs).map_err(|error| anyhow::anyhow!("{error:?}"))?;
                count += u64::from(rest.is_empty());
            }
            Ok(count)
        }),
    }
}
