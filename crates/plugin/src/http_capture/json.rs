//! The transaction as stored.

use qtap_config::Level;
use qtap_engine::Body;

use crate::exchange::{Exchange, text, trailers};
use crate::schema::{
    BodyNotes, HeaderMap, HttpTransaction, Metadata, Notes, RequestPart, ResponsePart, Timestamp,
};

/// What `level` shows of the exchange.
pub(super) fn transaction<'a>(exchange: &Exchange<'a>, level: Level) -> HttpTransaction<'a> {
    HttpTransaction {
        metadata: metadata(exchange),
        request: request(exchange, level),
        response: response(exchange, level),
        transaction_time: Timestamp(exchange.transaction.started),
        duration_ms: exchange.duration_ms(),
        direction: exchange.connection.direction.name(),
        notes: Notes::new(exchange.transaction),
    }
}

fn metadata<'a>(exchange: &Exchange<'a>) -> Metadata<'a> {
    Metadata {
        process_id: exchange
            .process()
            .map(|process| process.pid.0.to_string())
            .unwrap_or_default(),
        process_exe: exchange.exe(),
        bytes_sent: exchange.sent().counts.total(),
        bytes_received: exchange.received().counts.total(),
        request_id: &exchange.transaction.id,
        connection_id: &exchange.connection.public_id,
        endpoint_id: &exchange.labels.endpoint_id,
        tags: &exchange.labels.tags,
    }
}

fn request<'a>(exchange: &Exchange<'a>, level: Level) -> RequestPart<'a> {
    let half = &exchange.transaction.request_half;
    let (body, body_notes) = body(&half.body, level);
    RequestPart {
        method: exchange.method(),
        url: exchange.url(),
        scheme: exchange.scheme(),
        path: exchange.path(),
        authority: exchange
            .transaction
            .request
            .authority
            .as_ref()
            .map(text)
            .unwrap_or_default(),
        protocol: exchange.transaction.protocol.name(),
        request_id: &exchange.transaction.id,
        user_agent: exchange.request_field("user-agent"),
        content_type: exchange.request_field("content-type"),
        headers: from_headers(level, || exchange.request_headers()),
        trailers: from_headers(level, || trailers(&half.trailers)),
        body,
        body_notes,
    }
}

fn response<'a>(exchange: &Exchange<'a>, level: Level) -> ResponsePart<'a> {
    let half = &exchange.transaction.response_half;
    let (body, body_notes) = body(&half.body, level);
    ResponsePart {
        status: exchange.compatible_status(),
        content_type: exchange.response_field("content-type"),
        headers: from_headers(level, || exchange.response_headers()),
        trailers: from_headers(level, || trailers(&half.trailers)),
        body,
        body_notes,
    }
}

fn from_headers<'a>(level: Level, make: impl FnOnce() -> HeaderMap<'a>) -> HeaderMap<'a> {
    if level >= Level::Headers {
        make()
    } else {
        HeaderMap::default()
    }
}

/// Another plugin may have wanted the body, so there can be one below level `full`: it is left out.
fn body(body: &Body, level: Level) -> (bytes::Bytes, BodyNotes) {
    if level == Level::Full {
        (body.data.clone(), BodyNotes::from(body))
    } else {
        (bytes::Bytes::new(), BodyNotes::default())
    }
}
