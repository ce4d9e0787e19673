//! WebSocket beside tungstenite: messages of one frame, those of the client masked.

use bytes::Bytes;
use qtap_protocol::websocket::{Agreement, Session};
use qtap_protocol::{Side, Time};
use tungstenite::Error;
use tungstenite::protocol::{Role, WebSocket};

use crate::exchange::{Case, Exchange, Feed, text};

const EXCHANGES: u64 = 200;
const KEEP: usize = 1 << 20;

fn frame(payload: &str, mask: Option<[u8; 4]>) -> Vec<u8> {
    let masked = if mask.is_some() { 0x80 } else { 0 };
    let mut frame = vec![0x81];
    match u8::try_from(payload.len()) {
        Ok(length @ ..=125) => frame.push(masked | length),
        _ => {
            frame.push(masked | 126);
            frame.extend_from_slice(&u16::try_from(payload.len()).unwrap_or_default().to_be_bytes());
        }
    }
    let mask = mask
        .inspect(|mask| frame.extend_from_slice(mask))
        .unwrap_or_default();
    frame.extend(
        payload
            .bytes()
            .zip(mask.iter().cycle())
            .map(|(byte, mask)| byte ^ mask),
    );
    frame
}

pub(crate) fn case() -> Case {
    let mut exchange = Exchange::default();
    for number in 0..EXCHANGES {
        let mask = (number as u32).wrapping_mul(0x9e37_79b9).to_be_bytes();
        exchange.client(frame(&text(120), Some(mask)));
        exchange.server(frame(&text(600), None));
    }
    let sides = [
        (Role::Server, exchange.of(Side::Client)),
        (Role::Client, exchange.of(Side::Server)),
    ];
    let mut messages = Vec::new();
    Case {
        name: "websocket",
        peer: "tungstenite 0.28",
        what: "messages",
        bytes: exchange.bytes(),
        messages: 2 * EXCHANGES,
        ours: Box::new(move || {
            let mut session = Session::new(Agreement::default(), KEEP);
            let mut count = 0;
            for (piece, time) in exchange.pieces().iter().zip(1..) {
                session.bytes(piece.side, &piece.data, Time(time), &mut messages);
                count += messages.drain(..).count() as u64;
            }
            Ok(count)
        }),
        theirs: Box::new(move || {
            let mut count = 0;
            for (role, pieces) in &sides {
                count += read(*role, pieces)?;
            }
            Ok(count)
        }),
    }
}

fn read(role: Role, pieces: &[Bytes]) -> anyhow::Result<u64> {
    let mut socket = WebSocket::from_raw_socket(Feed::new(pieces), role, None);
    let mut count = 0;
    loop {
        match socket.read() {
            Ok(_) => count += 1,
            // The end of the bytes.
            Err(Error::ConnectionClosed | Error::Protocol(_) | Error::Io(_)) => return Ok(count),
            Err(error) => return Err(error.into()),
        }
    }
}
