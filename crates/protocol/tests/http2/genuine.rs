//! Bytes of a real implementation: client and server of the `h2` crate over an in-memory pipe that is tapped.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use qtap_protocol::http2::{Parser, Start};
use qtap_protocol::{Event, Limits, Outcome, Parser as _, Side, Time};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::wire::seen;

type Log = Arc<Mutex<Vec<(Side, Vec<u8>)>>>;

/// Passes bytes from one pipe to another and writes them down.
async fn relay(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    side: Side,
    log: Log,
) {
    let mut buffer = vec![0; 7000];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        log.lock().unwrap().push((side, buffer[..count].to_vec()));
        if to.write_all(&buffer[..count]).await.is_err() {
            break;
        }
    }
}

fn letter(n: usize) -> u8 {
    b'a' + u8::try_from(n % 26).unwrap()
}

async fn serve(io: DuplexStream) {
    let mut connection = h2::server::Builder::new()
        .max_concurrent_streams(1000)
        .handshake::<_, Bytes>(io)
        .await
        .unwrap();
    while let Some(request) = connection.accept().await {
        let (request, mut respond) = request.unwrap();
        tokio::spawn(async move {
            let tag = request.headers()["x-tag"].clone();
            let mut body = request.into_body();
            let mut got = 0;
            while let Some(chunk) = body.data().await {
                let chunk = chunk.unwrap();
                got += chunk.len();
                body.flow_control().release_capacity(chunk.len()).unwrap();
            }
            let trailers = body.trailers().await.unwrap();
            let response = http::Response::builder()
                .status(201)
                .header("x-tag", &tag)
                .header("x-got", got);
            let mut send = respond.send_response(response.body(()).unwrap(), false).unwrap();
            let n: usize = tag.to_str().unwrap().parse().unwrap();
            send.send_data(Bytes::from(vec![letter(n); n * 331]), false)
                .unwrap();
            let mut end = http::HeaderMap::new();
            end.insert("x-end", tag);
            end.insert("x-seen", trailers.map_or(0, |fields| fields.len()).into());
            send.send_trailers(end).unwrap();
        });
    }
}

async fn request(mut client: h2::client::SendRequest<Bytes>, n: usize) {
    let request = http::Request::builder()
        .method(if n.is_multiple_of(2) { "POST" } else { "PATCH" })
        .uri(format!("https://example.com/item/{n}?q=%20"))
        .header("x-tag", n)
        .header("cookie", format!("session={:0>40}", n % 7))
        .body(())
        .unwrap();
    let (response, mut send) = client.send_request(request, false).unwrap();
    send.send_data(Bytes::from(vec![letter(n); n * 200]), false)
        .unwrap();
    let mut end = http::HeaderMap::new();
    end.insert("x-sum", n.into());
    send.send_trailers(end).unwrap();
    let mut body = response.await.unwrap().into_body();
    while let Some(chunk) = body.data().await {
        body.flow_control()
            .release_capacity(chunk.unwrap().len())
            .unwrap();
    }
    body.trailers().await.unwrap();
}

const REQUESTS: usize = 200;

/// 200 concurrent exchanges with bodies and trailers both ways, as writes in order.
fn record() -> Vec<(Side, Vec<u8>)> {
    let log = Log::default();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    runtime.block_on(async {
        let (client_io, client_end) = tokio::io::duplex(1 << 16);
        let (server_io, server_end) = tokio::io::duplex(1 << 16);
        let (from_client, to_client) = tokio::io::split(client_end);
        let (from_server, to_server) = tokio::io::split(server_end);
        tokio::spawn(relay(from_client, to_server, Side::Client, log.clone()));
        tokio::spawn(relay(from_server, to_client, Side::Server, log.clone()));
        tokio::spawn(serve(server_io));
        let mut builder = h2::client::Builder::new();
        let (client, connection) = builder
            .initial_max_send_streams(REQUESTS)
            .header_table_size(8192)
            .handshake(client_io)
            .await
            .unwrap();
        tokio::spawn(connection);
        let all: Vec<_> = (0..REQUESTS)
            .map(|n| tokio::spawn(request(client.clone(), n)))
            .collect();
        let done = async {
            for one in all {
                one.await.unwrap();
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(20), done)
            .await
            .unwrap();
    });
    drop(runtime);
    Arc::try_unwrap(log).unwrap().into_inner().unwrap()
}

fn parse(writes: &[(Side, Vec<u8>)], start: Start) -> Vec<Event> {
    let mut parser = Parser::new(Limits::default(), start);
    let mut events = Vec::new();
    for (n, (side, bytes)) in writes.iter().enumerate() {
        parser
            .bytes(*side, Bytes::copy_from_slice(bytes), Time(n as u64), &mut events)
            .unwrap();
    }
    parser.close(Time(writes.len() as u64), &mut events);
    events
}

#[test]
fn two_hundred_concurrent_streams_of_the_h2_crate() {
    let events = parse(&record(), Start::Preface);
    let all = seen(&events);
    assert_eq!(all.len(), REQUESTS);
    assert!(
        !events
            .iter()
            .any(|event| matches!(event, Event::Resync { .. } | Event::Orphan { .. }))
    );
    for seen in all {
        let tag = String::from_utf8_lossy(seen.request.field("x-tag").unwrap()).into_owned();
        let n: usize = tag.parse().unwrap();
        let response = seen.response.clone().unwrap();
        assert_eq!(
            &seen.request.method[..],
            if n.is_multiple_of(2) {
                &b"POST"[..]
            } else {
                b"PATCH"
            }
        );
        assert_eq!(seen.path(), format!("/item/{n}?q=%20"));
        assert_eq!(seen.request.authority.as_deref(), Some(&b"example.com"[..]));
        assert_eq!(
            (response.status, response.field("x-tag")),
            (201, Some(tag.as_bytes()))
        );
        assert_eq!(response.field("x-got"), Some((n * 200).to_string().as_bytes()));
        assert!(seen.body[0] == vec![letter(n); n * 200] && seen.body[1] == vec![letter(n); n * 331]);
        assert_eq!(seen.trailers[0], [("x-sum".to_owned(), tag.clone())]);
        assert_eq!(
            seen.trailers[1],
            [("x-end".to_owned(), tag), ("x-seen".to_owned(), "1".to_owned())]
        );
        assert_eq!(seen.outcome(), Some(Outcome::Complete));
    }
}

/// Whatever part of the connection is missing at its beginning, what is reported is true.
#[test]
fn late_attach_to_the_h2_crate_reports_only_what_is_so() {
    let writes = record();
    let truth = seen(&parse(&writes, Start::Preface));
    for skip in (1..writes.len()).step_by(writes.len() / 12 + 1) {
        for seen in seen(&parse(&writes[skip..], Start::Midstream)) {
            let original = truth.iter().find(|other| other.id == seen.id).unwrap();
            assert!(seen.path() == original.path() || (seen.path() == "*" && seen.request.partial));
            for field in &seen.request.fields {
                assert!(
                    original.request.fields.contains(field),
                    "{field:?} was never sent"
                );
            }
            for (body, whole) in seen.body.iter().zip(&original.body) {
                assert!(body.len() <= whole.len() && body.iter().all(|byte| whole.first() == Some(byte)));
            }
            if seen.outcome() == Some(Outcome::Complete) {
                assert!(seen.body == original.body);
            }
        }
    }
}
