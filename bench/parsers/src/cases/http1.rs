//! HTTP/1.1 beside httparse, which reads heads; the peer is shown where the body ends by Content-Length.

use anyhow::Context as _;
use qtap_protocol::http1::Parser;
use qtap_protocol::{Event, Limits, Side};

use crate::exchange::{Case, Exchange, text};

const EXCHANGES: u64 = 200;

fn exchange() -> Exchange {
    let mut exchange = Exchange::default();
    let body = text(1024);
    for number in 0..EXCHANGES {
        exchange.client(format!(
            "GET /api/v2/orders/{number}?expand=items&locale=en HTTP/1.1\r\nHost: shop.example.com\r\n\
             User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n\
             Accept: application/json, text/plain, */*\r\nAccept-Language: en-US,en;q=0.5\r\n\
             Accept-Encoding: gzip, deflate, br, zstd\r\nReferer: https://shop.example.com/orders\r\n\
             Cookie: session=4f1c1d0c9b7e4b0f8f2f6a2d8c1e9a77; theme=dark\r\nConnection: keep-alive\r\n\r\n"
        ));
        exchange.server(format!(
            "HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Sat, 28 Nov 2026 12:00:00 GMT\r\n\
             Content-Type: application/json; charset=utf-8\r\nContent-Length: {}\r\nConnection: keep-alive\r\n\
             Cache-Control: private, max-age=0\r\nETag: \"5f3759df-{number}\"\r\n\
             Strict-Transport-Security: max-age=63072000\r\nX-Request-Id: 7d6f0c1e-{number}\r\n\r\n{body}",
            body.len()
        ));
    }
    exchange
}

pub(crate) fn case() -> Case {
    let (ours, theirs) = (exchange(), exchange());
    let mut events = Vec::new();
    Case {
        name: "http1",
        peer: "httparse 1",
        what: "heads, every second with a body of 1 KiB,",
        bytes: ours.bytes(),
        messages: 2 * EXCHANGES,
        ours: Box::new(move || {
            let mut parser = Parser::new(Limits::default(), false);
            ours.parse(&mut parser, &mut events, |event| {
                matches!(event, Event::RequestHead { .. } | Event::ResponseHead { .. })
            })
        }),
        theirs: Box::new(move || {
            let mut count = 0;
            for piece in theirs.pieces() {
                count += u64::from(head(piece.side, &piece.data)?);
            }
            Ok(count)
        }),
    }
}

/// Whether the bytes are one whole message.
fn head(side: Side, data: &[u8]) -> anyhow::Result<bool> {
    let mut fields = [httparse::EMPTY_HEADER; 64];
    if side == Side::Client {
        let status = httparse::Request::new(&mut fields).parse(data)?;
        return Ok(status == httparse::Status::Complete(data.len()));
    }
    let mut response = httparse::Response::new(&mut fields);
    let httparse::Status::Complete(head) = response.parse(data)? else {
        return Ok(false);
    };
    let mut lengths = response.headers.iter();
    let length = lengths
        .find(|field| field.name.eq_ignore_ascii_case("content-length"))
        .context("no length")?;
    let length: usize = std::str::from_utf8(length.value)?.parse()?;
    Ok(head + length == data.len())
}
