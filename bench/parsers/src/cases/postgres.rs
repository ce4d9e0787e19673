//! PostgreSQL beside postgres-protocol, which reads what the server says; messages of the client are passed over by their length.

use anyhow::{Context as _, ensure};
use bytes::BytesMut;
use fallible_iterator::FallibleIterator as _;
use postgres_protocol::message::backend::Message;
use qtap_protocol::{Detail, Event, Limits, Side, postgres};

use crate::exchange::{Case, Exchange, text};

const QUERIES: u64 = 100;
const ROWS: usize = 10;
const COLUMNS: [&str; 4] = ["id", "customer", "state", "note"];

fn message(tag: u8, payload: &[u8]) -> Vec<u8> {
    let mut data = vec![tag];
    data.extend_from_slice(&(u32::try_from(payload.len()).unwrap_or_default() + 4).to_be_bytes());
    data.extend_from_slice(payload);
    data
}

fn login(exchange: &mut Exchange) {
    let pairs = b"user\0alice\0database\0shop\0application_name\0bench\0\0";
    let mut startup = (u32::try_from(pairs.len()).unwrap_or_default() + 8)
        .to_be_bytes()
        .to_vec();
    startup.extend_from_slice(&0x0003_0000_u32.to_be_bytes());
    startup.extend_from_slice(pairs);
    exchange.client(startup);
    exchange.server([message(b'R', &[0; 4]), message(b'Z', b"I")].concat());
}

fn reply(query: u64) -> Vec<u8> {
    let count = u16::try_from(COLUMNS.len()).unwrap_or_default().to_be_bytes();
    let mut description = count.to_vec();
    for name in COLUMNS {
        description.extend_from_slice(name.as_bytes());
        description.push(0);
        description.extend_from_slice(&[
            0, 0, 0, 1, 0, 1, 0, 0, 0, 25, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0,
        ]);
    }
    let mut reply = message(b'T', &description);
    for row in 0..ROWS {
        let id = (query * 10 + row as u64).to_string();
        let mut values = count.to_vec();
        for value in [id.as_str(), "Ada Lovelace", "shipped", &text(60)] {
            values.extend_from_slice(&u32::try_from(value.len()).unwrap_or_default().to_be_bytes());
            values.extend_from_slice(value.as_bytes());
        }
        reply.extend_from_slice(&message(b'D', &values));
    }
    reply.extend_from_slice(&message(b'C', b"SELECT 10\0"));
    reply.extend_from_slice(&message(b'Z', b"I"));
    reply
}

pub(crate) fn case() -> Case {
    let mut exchange = Exchange::default();
    login(&mut exchange);
    for query in 0..QUERIES {
        let statement = format!(
            "select id, customer, state, note from orders where customer_id = {query} order by id limit 10\0"
        );
        exchange.client(message(b'Q', statement.as_bytes()));
        exchange.server(reply(query));
    }
    let theirs = exchange.clone();
    let mut events = Vec::new();
    Case {
        name: "postgres",
        peer: "postgres-protocol 0.6 (backend)",
        what: "queries and results of ten rows",
        bytes: exchange.bytes(),
        messages: 2 * QUERIES,
        ours: Box::new(move || {
            let mut parser = postgres::start(Limits::default(), Detail::default(), false);
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

fn read(exchange: &Exchange) -> anyhow::Result<u64> {
    let mut input = BytesMut::new();
    let mut count = 0;
    // Startup has no tag.
    for piece in exchange.pieces().iter().skip(1) {
        if piece.side == Side::Client {
            let (_tag, rest) = piece.data.split_first_chunk::<1>().context("no tag")?;
            let (length, _) = rest.split_first_chunk::<4>().context("no length")?;
            ensure!(
                u32::from_be_bytes(*length) as usize == rest.len(),
                "more than one message"
            );
            count += 1;
            continue;
        }
        input.extend_from_slice(&piece.data);
        while let Some(message) = Message::parse(&mut input)? {
            match message {
                Message::DataRow(row) => ensure!(row.ranges().count()? == COLUMNS.len(), "a row is cut"),
                Message::RowDescription(row) => {
                    ensure!(row.fields().count()? == COLUMNS.len(), "columns are cut")
                }
                Message::CommandComplete(_) => count += 1,
                _ => {}
            }
        }
    }
    Ok(count)
}
