//! JSON lines. First key `msg`, since these lines are for people and not for stores.

use std::borrow::Cow;

use qtap_config::Level;
use qtap_engine::{Body, Half};
use serde::Serialize;

use super::body::as_text;
use crate::exchange::{Exchange, trailers};
use crate::json;
use crate::schema::{BodyNotes, Captured, HeaderMap, Notes, Timestamp};

const MESSAGE: &str = "HTTP transaction";

/// One line with its line end.
pub(super) fn line(exchange: &Exchange<'_>, mode: Level) -> Vec<u8> {
    let result = match mode {
        Level::None | Level::Summary => json::to_vec(&Summary::new(exchange)),
        Level::Headers | Level::Full => json::to_vec(&Details::new(exchange, mode == Level::Full)),
    };
    // Maps with text keys and no custom failure: serialisation into memory has nothing to fail on.
    let mut line =
        result.unwrap_or_else(|error| format!("{{\"msg\":\"not serialised: {error}\"}}").into_bytes());
    line.push(b'\n');
    line
}

/// Additions at the end of either form.
#[derive(Serialize)]
struct Additions<'a> {
    /// Time of completion.
    ts: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    duration_ms: Option<u64>,
    request_id: &'a str,
    connection_id: &'a str,
    /// Address and port of the other end.
    peer: String,
    #[serde(flatten)]
    notes: Notes,
}

impl<'a> Additions<'a> {
    fn new(exchange: &Exchange<'a>) -> Self {
        Self {
            ts: Timestamp(exchange.transaction.finished),
            duration_ms: exchange.duration_ms(),
            request_id: &exchange.transaction.id,
            connection_id: &exchange.connection.public_id,
            peer: exchange.connection.remote.to_string(),
            notes: Notes::new(exchange.transaction),
        }
    }
}

#[derive(Serialize)]
struct Summary<'a> {
    msg: &'static str,
    bin: &'a str,
    direction: &'static str,
    method: Cow<'a, str>,
    url: Cow<'a, str>,
    /// 422 when `status_unknown`.
    status: u16,
    qpoint_request_id: &'a str,
    #[serde(flatten)]
    additions: Additions<'a>,
}

impl<'a> Summary<'a> {
    fn new(exchange: &Exchange<'a>) -> Self {
        Self {
            msg: MESSAGE,
            bin: exchange.exe(),
            direction: exchange.connection.direction.name(),
            method: exchange.method(),
            url: exchange.url(),
            status: exchange.compatible_status(),
            qpoint_request_id: &exchange.transaction.id,
            additions: Additions::new(exchange),
        }
    }
}

#[derive(Serialize)]
struct Details<'a> {
    msg: &'static str,
    meta: Meta<'a>,
    direction: &'static str,
    request: Request<'a>,
    response: Response<'a>,
    #[serde(flatten)]
    additions: Additions<'a>,
    /// Level `full` only.
    #[serde(flatten)]
    captured: Captured<'a>,
}

#[derive(Serialize)]
struct Meta<'a> {
    /// Strings of digits, as in the original.
    bytes_sent: String,
    bytes_received: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<u32>,
    #[serde(skip_serializing_if = "str::is_empty")]
    exe: &'a str,
}

#[derive(Serialize)]
struct Request<'a> {
    url: Cow<'a, str>,
    method: Cow<'a, str>,
    proto: &'static str,
    qpoint_request_id: &'a str,
    headers: HeaderMap<'a>,
    #[serde(flatten)]
    body: BodyPart<'a>,
}

#[derive(Serialize)]
struct Response<'a> {
    /// 422 when `status_unknown`.
    status: u16,
    headers: HeaderMap<'a>,
    #[serde(flatten)]
    body: BodyPart<'a>,
}

#[derive(Serialize)]
struct BodyPart<'a> {
    #[serde(skip_serializing_if = "HeaderMap::is_empty")]
    trailers: HeaderMap<'a>,
    /// Text, or `<binary>`; level `full` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<&'a str>,
    #[serde(flatten)]
    notes: Option<BodyNotes>,
}

impl<'a> BodyPart<'a> {
    fn new(half: &'a Half, content_type: &str, bodies: bool) -> Self {
        Self {
            trailers: trailers(&half.trailers),
            body: bodies.then(|| shown(&half.body, content_type)),
            notes: bodies.then(|| BodyNotes::from(&half.body)),
        }
    }
}

fn shown<'a>(body: &'a Body, content_type: &str) -> &'a str {
    if body.data.is_empty() {
        ""
    } else {
        as_text(body, content_type).unwrap_or("<binary>")
    }
}

impl<'a> Details<'a> {
    fn new(exchange: &Exchange<'a>, bodies: bool) -> Self {
        let transaction = exchange.transaction;
        Self {
            msg: MESSAGE,
            meta: Meta {
                bytes_sent: exchange.sent().counts.total().to_string(),
                bytes_received: exchange.received().counts.total().to_string(),
                pid: exchange.process().map(|process| process.pid.0),
                exe: exchange.exe(),
            },
            direction: exchange.connection.direction.name(),
            request: Request {
                url: exchange.url(),
                method: exchange.method(),
                proto: transaction.protocol.name(),
                qpoint_request_id: &transaction.id,
                headers: exchange.request_headers(),
                body: BodyPart::new(
                    &transaction.request_half,
                    &exchange.request_field("content-type"),
                    bodies,
                ),
            },
            response: Response {
                status: exchange.compatible_status(),
                headers: exchange.response_headers(),
                body: BodyPart::new(
                    &transaction.response_half,
                    &exchange.response_field("content-type"),
                    bodies,
                ),
            },
            additions: Additions::new(exchange),
            captured: if bodies {
                Captured::new(exchange)
            } else {
                Captured::default()
            },
        }
    }
}
