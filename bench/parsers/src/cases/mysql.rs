//! MySQL beside mysql_common: packets, columns and text rows.

use std::sync::Arc;

use anyhow::ensure;
use bytes::BytesMut;
use mysql_common::io::ParseBuf;
use mysql_common::packets::Column;
use mysql_common::proto::codec::PacketCodec;
use mysql_common::proto::{MyDeserialize as _, Text};
use mysql_common::row::RowDeserializer;
use mysql_common::value::ServerSide;
use qtap_protocol::{Detail, Event, Limits, Side, mysql};

use crate::exchange::{Case, Exchange, text};

const QUERIES: u64 = 100;
const ROWS: usize = 10;
const COLUMNS: [&str; 4] = ["id", "customer", "state", "note"];

/// CLIENT_PROTOCOL_41, CLIENT_DEPRECATE_EOF, CLIENT_PLUGIN_AUTH.
const FLAGS: u32 = 1 | 1 << 9 | 1 << 15 | 1 << 24 | 1 << 19;

fn packet(sequence: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or_default().to_le_bytes();
    let [first, second, third, _] = length;
    [&[first, second, third, sequence], payload].concat()
}

/// Texts below 251 bytes.
fn string(text: &str) -> Vec<u8> {
    let mut data = vec![u8::try_from(text.len()).unwrap_or_default()];
    data.extend_from_slice(text.as_bytes());
    data
}

fn login(exchange: &mut Exchange) {
    let [low0, low1, high0, high1] = FLAGS.to_le_bytes();
    let mut greeting = b"\x0a8.4.0\0\x07\0\0\0challeng\0".to_vec();
    greeting.extend_from_slice(&[low0, low1, 0x21, 2, 0, high0, high1, 21]);
    greeting.extend_from_slice(&[0; 10]);
    greeting.extend_from_slice(b"challenge123\0caching_sha2_password\0");
    exchange.server(packet(0, &greeting));
    let mut login = FLAGS.to_le_bytes().to_vec();
    login.extend_from_slice(&[0, 0, 0, 1, 0x21]);
    login.extend_from_slice(&[0; 23]);
    login.extend_from_slice(b"alice\0\x07hunter2caching_sha2_password\0");
    exchange.client(packet(1, &login));
    exchange.server(packet(2, &[0, 0, 0, 2, 0, 0, 0]));
}

fn column(name: &str) -> Vec<u8> {
    let mut data = Vec::new();
    for part in ["def", "shop", "orders", "orders", name, name] {
        data.extend_from_slice(&string(part));
    }
    data.extend_from_slice(&[12, 0x21, 0, 255, 0, 0, 0, 0xfd, 0, 0, 0, 0, 0]);
    data
}

fn reply(query: u64) -> Vec<u8> {
    let mut payloads = vec![vec![COLUMNS.len() as u8]];
    payloads.extend(COLUMNS.iter().map(|name| column(name)));
    for row in 0..ROWS {
        let id = (query * 10 + row as u64).to_string();
        let values = [id.as_str(), "Ada Lovelace", "shipped", &text(60)].map(string);
        payloads.push(values.concat());
    }
    payloads.push(vec![0xfe, 0, 0, 2, 0, 0, 0]);
    let numbered = payloads.iter().zip(1..);
    numbered
        .flat_map(|(payload, sequence)| packet(sequence, payload))
        .collect()
}

pub(crate) fn case() -> Case {
    let mut exchange = Exchange::default();
    login(&mut exchange);
    for query in 0..QUERIES {
        let statement = format!(
            "select id, customer, state, note from orders where customer_id = {query} order by id limit 10"
        );
        exchange.client(packet(0, &[b"\x03", statement.as_bytes()].concat()));
        exchange.server(reply(query));
    }
    let theirs = exchange.clone();
    let mut events = Vec::new();
    Case {
        name: "mysql",
        peer: "mysql_common (PacketCodec, Column, RowDeserializer)",
        what: "queries and results of ten rows",
        bytes: exchange.bytes(),
        messages: 2 * QUERIES,
        ours: Box::new(move || {
            let mut parser = mysql::start(Limits::default(), Detail::default(), false);
            exchange.parse(&mut *parser, &mut events, |event| {
                matches!(
                    event,
                    Event::Command { .. } | Event::CommandEnd { result: Some(_), .. }
                )
            })
        }),
        theirs: Box::new(move || read(&theirs)),
    }
}

type TextRow = RowDeserializer<ServerSide, Text>;

/// Packets of both sides; of results the columns and rows.
fn read(exchange: &Exchange) -> anyhow::Result<u64> {
    let mut codec = PacketCodec::default();
    let (mut input, mut payload) = (BytesMut::new(), Vec::new());
    let mut count = 0;
    for (index, piece) in exchange.pieces().iter().enumerate() {
        input.extend_from_slice(&piece.data);
        // Of the login each packet continues the one before.
        if index >= 3 && piece.side == Side::Client {
            codec.reset_seq_id();
        }
        let (mut columns, mut left): (Vec<Column>, usize) = (Vec::new(), 0);
        let mut described: Arc<[Column]> = Arc::new([]);
        let mut is_first = true;
        while {
            payload.clear();
            codec.decode(&mut input, &mut payload)?
        } {
            if index < 3 {
                continue;
            }
            if piece.side == Side::Client {
                count += u64::from(payload.first() == Some(&3));
            } else if is_first {
                left = usize::from(payload.first().copied().unwrap_or_default());
            } else if left > 0 {
                columns.push(Column::deserialize((), &mut ParseBuf(&payload))?);
                left -= 1;
                if left == 0 {
                    described = std::mem::take(&mut columns).into();
                }
            } else if payload.first() == Some(&0xfe) {
                count += 1;
            } else {
                let row: TextRow =
                    RowDeserializer::deserialize(Arc::clone(&described), &mut ParseBuf(&payload))?;
                ensure!(row.into_inner().len() == COLUMNS.len(), "a row is cut");
            }
            is_first = false;
        }
    }
    Ok(count)
}
