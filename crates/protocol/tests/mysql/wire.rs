//! Packets, written as the documentation of MySQL and MariaDB has them.

use std::io::Write as _;

use flate2::{Compression, write::ZlibEncoder};

/// `CLIENT_PROTOCOL_41`, which all clients have, with a length before the credential.
pub(crate) const PROTOCOL_41: u32 = 1 << 9 | 1 << 15;
pub(crate) const CONNECT_WITH_DB: u32 = 1 << 3;
pub(crate) const COMPRESS: u32 = 1 << 5;
pub(crate) const SSL: u32 = 1 << 11;
pub(crate) const PLUGIN_AUTH: u32 = 1 << 19;
pub(crate) const CONNECT_ATTRIBUTES: u32 = 1 << 20;
pub(crate) const SESSION_TRACK: u32 = 1 << 23;
pub(crate) const DEPRECATE_EOF: u32 = 1 << 24;
pub(crate) const OPTIONAL_METADATA: u32 = 1 << 25;
pub(crate) const QUERY_ATTRIBUTES: u32 = 1 << 27;
/// Not set by MariaDB, which then has capabilities of its own.
pub(crate) const LONG_PASSWORD: u32 = 1;
pub(crate) const EXTENDED_METADATA: u32 = 1 << 3;
pub(crate) const CACHE_METADATA: u32 = 1 << 4;

pub(crate) const IN_TRANSACTION: u16 = 1;
pub(crate) const AUTOCOMMIT: u16 = 2;
pub(crate) const MORE_RESULTS: u16 = 8;
pub(crate) const CURSOR_EXISTS: u16 = 0x40;
pub(crate) const SESSION_CHANGED: u16 = 0x4000;

pub(crate) const VARCHAR: u8 = 0xfd;
pub(crate) const INT: u8 = 3;

/// A payload in as many packets as it needs.
pub(crate) fn packet(sequence: u8, payload: &[u8]) -> Vec<u8> {
    let mut data = Vec::new();
    let mut number = sequence;
    let mut rest = payload;
    loop {
        let (part, after) = rest.split_at(rest.len().min(0xff_ffff));
        data.extend_from_slice(&(part.len() as u32).to_le_bytes()[..3]);
        data.push(number);
        data.extend_from_slice(part);
        number = number.wrapping_add(1);
        rest = after;
        if part.len() < 0xff_ffff {
            return data;
        }
    }
}

/// Payloads as packets that follow each other from `sequence`.
pub(crate) fn packets(sequence: u8, payloads: &[Vec<u8>]) -> Vec<u8> {
    let numbered = payloads.iter().enumerate();
    let packets = numbered.map(|(index, payload)| packet(sequence.wrapping_add(index as u8), payload));
    packets.collect::<Vec<_>>().concat()
}

/// The packets of a reply.
pub(crate) fn reply(payloads: &[Vec<u8>]) -> Vec<u8> {
    packets(1, payloads)
}

pub(crate) fn string(text: impl AsRef<[u8]>) -> Vec<u8> {
    let text = text.as_ref();
    let mut data = number(text.len() as u64);
    data.extend_from_slice(text);
    data
}

pub(crate) fn number(value: u64) -> Vec<u8> {
    let bytes = value.to_le_bytes();
    match value {
        0..=0xfa => vec![bytes[0]],
        0xfb..=0xffff => [&[0xfc], &bytes[..2]].concat(),
        0x1_0000..=0xff_ffff => [&[0xfd], &bytes[..3]].concat(),
        _ => [&[0xfe], &bytes[..]].concat(),
    }
}

pub(crate) fn greeting(flags: u32, mariadb: u32) -> Vec<u8> {
    let flags = flags.to_le_bytes();
    let payload = [
        b"\x0a8.4.0-test\0\x07\0\0\0",
        &b"challeng\0"[..],
        &flags[..2],
        b"\x21\x02\0",
        &flags[2..],
        b"\x15\0\0\0\0\0\0",
        &mariadb.to_le_bytes(),
        b"challenge123\0caching_sha2_password\0",
    ];
    packet(0, &payload.concat())
}

/// The answer to a greeting.
pub(crate) fn login(sequence: u8, flags: u32, mariadb: u32, database: &str, program: &str) -> Vec<u8> {
    let mut payload = ssl_payload(flags, mariadb);
    payload.extend_from_slice(b"alice\0\x07hunter2");
    if flags & CONNECT_WITH_DB != 0 {
        payload.extend_from_slice(format!("{database}\0").as_bytes());
    }
    if flags & PLUGIN_AUTH != 0 {
        payload.extend_from_slice(b"caching_sha2_password\0");
    }
    if flags & CONNECT_ATTRIBUTES != 0 {
        let attributes = [
            string("_client_name"),
            string("libmariadb"),
            string("program_name"),
            string(program),
        ];
        payload.extend_from_slice(&string(attributes.concat()));
    }
    packet(sequence, &payload)
}

fn ssl_payload(flags: u32, mariadb: u32) -> Vec<u8> {
    let parts = [
        &flags.to_le_bytes()[..],
        b"\0\0\0\x01\x21",
        &[0; 19],
        &mariadb.to_le_bytes(),
    ];
    parts.concat()
}

/// Asks for TLS.
pub(crate) fn ssl_request(flags: u32) -> Vec<u8> {
    packet(1, &ssl_payload(flags | SSL, 0))
}

/// A command: its first byte and the rest.
pub(crate) fn command(opcode: u8, rest: &[u8]) -> Vec<u8> {
    packet(0, &[&[opcode], rest].concat())
}

pub(crate) fn query(statement: &str) -> Vec<u8> {
    command(3, statement.as_bytes())
}

pub(crate) fn prepare(statement: &str) -> Vec<u8> {
    command(0x16, statement.as_bytes())
}

/// With one number as parameter.
pub(crate) fn execute(id: u32, parameter: u32) -> Vec<u8> {
    let parts = [
        &id.to_le_bytes()[..],
        b"\0\x01\0\0\0\0\x01\x03\0",
        &parameter.to_le_bytes(),
    ];
    command(0x17, &parts.concat())
}

pub(crate) fn close(id: u32) -> Vec<u8> {
    command(0x19, &id.to_le_bytes())
}

pub(crate) fn ok(affected: u64, insert_id: u64, status: u16) -> Vec<u8> {
    success(0, affected, insert_id, status)
}

/// What ends rows without a packet of their own kind.
pub(crate) fn end(status: u16) -> Vec<u8> {
    success(0xfe, 0, 0, status)
}

fn success(first: u8, affected: u64, insert_id: u64, status: u16) -> Vec<u8> {
    let parts = [
        vec![first],
        number(affected),
        number(insert_id),
        status.to_le_bytes().to_vec(),
        vec![0, 0],
    ];
    parts.concat()
}

/// Success that tells of another database.
pub(crate) fn ok_database(name: &str) -> Vec<u8> {
    let change = [vec![1], string(string(name))].concat();
    let parts = [
        ok(0, 0, SESSION_CHANGED | AUTOCOMMIT),
        string("done"),
        string(change),
    ];
    parts.concat()
}

pub(crate) fn eof(status: u16) -> Vec<u8> {
    [&[0xfe, 0, 0], &status.to_le_bytes()[..]].concat()
}

pub(crate) fn error(code: u16, state: &str, message: &str) -> Vec<u8> {
    [
        &[0xff],
        &code.to_le_bytes()[..],
        format!("#{state}{message}").as_bytes(),
    ]
    .concat()
}

pub(crate) fn column(name: &str, kind: u8) -> Vec<u8> {
    column_with(name, kind, &[])
}

/// With extended metadata, its length included.
pub(crate) fn column_with(name: &str, kind: u8, metadata: &[u8]) -> Vec<u8> {
    let parts = [
        string("def"),
        string("shop"),
        string("t"),
        string("t"),
        string(name),
        string(name),
        metadata.to_vec(),
        vec![12, 0x21, 0, 11, 0, 0, 0, kind, 0, 0, 0, 0, 0],
    ];
    parts.concat()
}

pub(crate) fn row(values: &[Option<&str>]) -> Vec<u8> {
    let parts = values.iter().map(|value| match value {
        None => vec![0xfb],
        Some(text) => string(text),
    });
    parts.collect::<Vec<_>>().concat()
}

/// A row in binary: a number and a text.
pub(crate) fn binary_row(first: u32, second: Option<&str>) -> Vec<u8> {
    let nulls = if second.is_some() { 0 } else { 8 };
    let parts = [
        vec![0, nulls],
        first.to_le_bytes().to_vec(),
        second.map(string).unwrap_or_default(),
    ];
    parts.concat()
}

/// Definitions of columns of texts, as newer versions send them.
pub(crate) fn columns(names: &[&str]) -> Vec<Vec<u8>> {
    let definitions = names.iter().map(|name| column(name, VARCHAR));
    [vec![number(names.len() as u64)], definitions.collect()].concat()
}

/// A result with one column and one row, as newer versions send it.
pub(crate) fn one_row(value: &str) -> Vec<u8> {
    let payloads = [columns(&["a"]), vec![row(&[Some(value)]), end(AUTOCOMMIT)]];
    reply(&payloads.concat())
}

pub(crate) fn prepared(id: u32, columns: u16, parameters: u16) -> Vec<u8> {
    [
        &[0],
        &id.to_le_bytes()[..],
        &columns.to_le_bytes(),
        &parameters.to_le_bytes(),
        &[0, 0, 0],
    ]
    .concat()
}

/// Bytes of packets in a frame of the compressed protocol: deflated, if that makes them shorter, or as they are.
pub(crate) fn frame(sequence: u8, packets: &[u8], is_deflated: bool) -> Vec<u8> {
    if !is_deflated {
        return coded_frame(sequence, packets, 0);
    }
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(packets).unwrap();
    let deflated = encoder.finish().unwrap();
    match deflated.len() < packets.len() {
        true => coded_frame(sequence, &deflated, packets.len()),
        false => coded_frame(sequence, packets, 0),
    }
}

pub(crate) fn zstd_frame(sequence: u8, packets: &[u8]) -> Vec<u8> {
    coded_frame(sequence, &zstd::encode_all(packets, 3).unwrap(), packets.len())
}

fn coded_frame(sequence: u8, coded: &[u8], decoded: usize) -> Vec<u8> {
    let parts = [
        &(coded.len() as u32).to_le_bytes()[..3],
        &[sequence],
        &(decoded as u32).to_le_bytes()[..3],
        coded,
    ];
    parts.concat()
}
