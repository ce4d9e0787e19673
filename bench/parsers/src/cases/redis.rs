//! Redis beside redis-protocol (RESP2, without copies).

use anyhow::Context as _;
use bytes::{Buf as _, Bytes};
use qtap_protocol::{Detail, Event, Limits, redis};
use redis_protocol::resp2::decode::decode_bytes;

use crate::exchange::{Case, Exchange, text};

const ROUNDS: u64 = 100;
/// Commands of a round.
const COMMANDS: u64 = 4;

fn command(arguments: &[&str]) -> String {
    let mut command = format!("*{}\r\n", arguments.len());
    for argument in arguments {
        command.push_str(&format!("${}\r\n{argument}\r\n", argument.len()));
    }
    command
}

pub(crate) fn case() -> Case {
    let mut exchange = Exchange::default();
    let value = text(200);
    for number in 0..ROUNDS {
        let key = format!("session:{number}");
        exchange.client(command(&["SET", &key, &value, "EX", "3600"]));
        exchange.server("+OK\r\n");
        exchange.client(command(&["GET", &key]));
        exchange.server(format!("${}\r\n{value}\r\n", value.len()));
        exchange.client(command(&["HGETALL", "user:7"]));
        exchange.server(command(&[
            "name",
            "Ada",
            "mail",
            "ada@example.com",
            "visits",
            "17",
        ]));
        exchange.client(command(&["INCR", "visits"]));
        exchange.server(format!(":{number}\r\n"));
    }
    let theirs: Vec<Bytes> = exchange.pieces().iter().map(|piece| piece.data.clone()).collect();
    let mut events = Vec::new();
    Case {
        name: "redis",
        peer: "redis-protocol 6 (decode_bytes)",
        what: "commands and replies",
        bytes: exchange.bytes(),
        messages: 2 * COMMANDS * ROUNDS,
        ours: Box::new(move || {
            let mut parser = redis::start(Limits::default(), Detail::default(), false);
            exchange.parse(&mut *parser, &mut events, |event| {
                matches!(
                    event,
                    Event::Command { .. } | Event::CommandEnd { result: Some(_), .. }
                )
            })
        }),
        theirs: Box::new(move || {
            let mut count = 0;
            for piece in &theirs {
                let mut rest = piece.clone();
                while !rest.is_empty() {
                    let (_frame, length) = decode_bytes(&rest)?.context("no whole frame")?;
                    rest.advance(length);
                    count += 1;
                }
            }
            Ok(count)
        }),
    }
}
