//! The transaction as stored.

use qtap_config::Level;
use qtap_engine::Body;

use crate::agent::Agent;
use crate::exchange::{Exchange, text, trailers};
use crate::schema::{
    BodyNotes, HeaderMap, HttpTransaction, Metadata, Notes, RequestPart, ResponsePart, Timestamp,
};

/// What `level` shows of the exchange.
pub(super) fn transaction(exchange: &Exchange<'_>, level: Level, agent: &Agent) -> HttpTransaction {
    HttpTransaction {
        metadata: metadata(exchange, agent),
        request: request(exchange, level),
        response: response(exchange, level),
        transaction_time: Timestamp(exchange.transaction.started),
        duration_ms: exchange.duration_ms(),
        direction: exchange.connection.direction.name(),
        notes: Notes::new(exchange.transaction),
    }
}

fn metadata(exchange: &Exchange<'_>, agent: &Agent) -> Metadata {
    Metadata {
        process_id: exchange
            .process()
            .map(|process| process.pid.0.to_string())
            .unwrap_or_default(),
        process_exe: exchange.exe().to_owned(),
        bytes_sent: exchange.sent().counts.total(),
        bytes_received: exchange.received().counts.total(),
        request_id: exchange.transaction.id.to_string(),
        connection_id: exchange.connection.public_id.to_string(),
        endpoint_id: exchange.connection.endpoint_id(),
        tags: exchange.tags(agent),
    }
}

fn request(exchange: &Exchange<'_>, level: Level) -> RequestPart {
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
        request_id: exchange.transaction.id.to_string(),
        user_agent: exchange.request_field("user-agent"),
        content_type: exchange.request_field("content-type"),
        headers: from_headers(level, || exchange.request_headers()),
        trailers: from_headers(level, || trailers(&half.trailers)),
        body,
        body_notes,
    }
}

fn response(exchange: &Exchange<'_>, level: Level) -> ResponsePart {
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

fn from_headers(level: Level, make: impl FnOnce() -> HeaderMap) -> HeaderMap {
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
