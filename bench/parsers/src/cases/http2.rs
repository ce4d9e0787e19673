//! HTTP/2 beside the codec of h2: frames and HPACK, of a connection between a client and a server of h2.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use futures_core::Stream as _;
use qtap_protocol::http2::{Parser, Start};
use qtap_protocol::{Event, Limits, Side};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, split};

use crate::exchange::{Case, Exchange, Feed, text};

const EXCHANGES: u64 = 200;
const PREFACE: usize = 24;

type Log = Arc<Mutex<Exchange>>;

pub(crate) fn case() -> anyhow::Result<Case> {
    let exchange = record().context("recording a connection of HTTP/2")?;
    let mut client = exchange.of(Side::Client);
    // Servers read the preface before they hand over to the codec.
    if let Some(first) = client.first_mut() {
        drop(first.split_to(PREFACE.min(first.len())));
    }
    let sides = [client, exchange.of(Side::Server)];
    let mut events = Vec::new();
    Ok(Case {
        name: "http2",
        peer: "h2 0.4 (Codec)",
        what: "heads, every second with a body of 1 KiB,",
        bytes: exchange.bytes(),
        messages: 2 * EXCHANGES,
        ours: Box::new(move || {
            let mut parser = Parser::new(Limits::default(), Start::Preface);
            exchange.parse(&mut parser, &mut events, |event| {
                matches!(event, Event::RequestHead { .. } | Event::ResponseHead { .. })
            })
        }),
        theirs: Box::new(move || {
            let mut heads = 0;
            for side in &sides {
                heads += frames(Feed::new(side))?;
            }
            Ok(heads)
        }),
    })
}

/// Heads among the frames of one side.
fn frames(feed: Feed) -> anyhow::Result<u64> {
    let mut codec: h2::Codec<Feed, Bytes> = h2::Codec::new(feed);
    let mut context = Context::from_waker(Waker::noop());
    let mut heads = 0;
    loop {
        match Pin::new(&mut codec).poll_next(&mut context) {
            Poll::Ready(Some(Ok(h2::frame::Frame::Headers(_)))) => heads += 1,
            Poll::Ready(Some(Ok(_))) => {}
            Poll::Ready(Some(Err(error))) => bail!("{error:?}"),
            Poll::Ready(None) => return Ok(heads),
            Poll::Pending => bail!("bytes that are there are waited for"),
        }
    }
}

/// Requests, eight at a time, between a client and a server in this process.
fn record() -> anyhow::Result<Exchange> {
    let log = Log::default();
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    runtime.block_on(async {
        let (client, front) = tokio::io::duplex(1 << 16);
        let (back, server) = tokio::io::duplex(1 << 16);
        let (front_read, front_write) = split(front);
        let (back_read, back_write) = split(back);
        tokio::spawn(relay(front_read, back_write, Side::Client, Arc::clone(&log)));
        tokio::spawn(relay(back_read, front_write, Side::Server, Arc::clone(&log)));
        tokio::spawn(serve(server));
        ask(client).await
    })?;
    let exchange = log.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(exchange.clone())
}

async fn relay(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    side: Side,
    log: Log,
) {
    let mut buffer = vec![0; 16 << 10];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        let part = buffer.get(..count).unwrap_or_default();
        log.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(side, Bytes::copy_from_slice(part));
        if to.write_all(part).await.is_err() {
            break;
        }
    }
}

async fn serve(io: DuplexStream) -> anyhow::Result<()> {
    let mut connection = h2::server::handshake(io).await?;
    let body = Bytes::from(text(1024));
    let mut number = 0;
    while let Some(request) = connection.accept().await {
        let (_, mut respond) = request?;
        number += 1;
        let response = http::Response::builder()
            .header("server", "nginx/1.22.1")
            .header("date", "Sat, 28 Nov 2026 12:00:00 GMT")
            .header("content-type", "application/json; charset=utf-8")
            .header("content-length", body.len())
            .header("cache-control", "private, max-age=0")
            .header("etag", format!("\"5f3759df-{number}\""))
            .header("strict-transport-security", "max-age=63072000")
            .header("x-request-id", format!("7d6f0c1e-{number}"))
            .body(())?;
        respond
            .send_response(response, false)?
            .send_data(body.clone(), true)?;
    }
    Ok(())
}

async fn ask(io: DuplexStream) -> anyhow::Result<()> {
    let (client, connection) = h2::client::handshake(io).await?;
    let driver = tokio::spawn(connection);
    let mut number = 0;
    while number < EXCHANGES {
        let mut client = client.clone().ready().await?;
        let mut answers = Vec::new();
        for _ in 0..8 {
            let request = http::Request::builder()
                .uri(format!(
                    "https://shop.example.com/api/v2/orders/{number}?expand=items&locale=en"
                ))
                .header(
                    "user-agent",
                    "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
                )
                .header("accept", "application/json, text/plain, */*")
                .header("accept-language", "en-US,en;q=0.5")
                .header("accept-encoding", "gzip, deflate, br, zstd")
                .header("referer", "https://shop.example.com/orders")
                .header("cookie", "session=4f1c1d0c9b7e4b0f8f2f6a2d8c1e9a77")
                .body(())?;
            answers.push(client.send_request(request, true)?.0);
            number += 1;
        }
        for answer in answers {
            let mut body = answer.await?.into_body();
            while let Some(data) = body.data().await {
                body.flow_control().release_capacity(data?.len())?;
            }
        }
    }
    drop(client);
    driver.await??;
    Ok(())
}
