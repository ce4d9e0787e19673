//! The JSON form of usual transactions: what [`HttpTransaction`](crate::schema::HttpTransaction) serialises to, written without making
//! one. A test holds the two together. What [`covers`] refuses is serialised.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use qtap_config::Level;
use qtap_engine::{Body, Transaction};
use qtap_protocol::{Field, Outcome};

use super::fragments::Fragments;
use crate::exchange::{Exchange, RawUrl, text};
use crate::json::{Object, key};
use crate::schema::{
    HeaderMap, HeaderValue, Timestamp, is_headers_partial, outcome_name, write_milliseconds,
};

/// Whether [`write`] knows all that is to be said of `transaction`. What is seldom there it does not.
pub(super) fn covers(transaction: &Transaction) -> bool {
    transaction.interim.is_empty()
        && transaction.upgraded_to.is_none()
        && transaction.messages.is_none()
        && transaction.grpc.is_none()
        && transaction.request_half.trailers.is_empty()
        && transaction.response_half.trailers.is_empty()
}

/// Writes what `level` shows of the exchange at the end of `out`.
pub(super) fn write(exchange: &Exchange<'_>, fragments: &Fragments, level: Level, out: &mut Vec<u8>) {
    let transaction = exchange.transaction;
    Object::write(out, |object| {
        object.object(key!("metadata"), |metadata| {
            metadata.parts(fragments.process());
            metadata.number_if_any(key!("bytes_sent"), exchange.sent().counts.total());
            metadata.number_if_any(key!("bytes_received"), exchange.received().counts.total());
            metadata.text(key!("request_id"), transaction.id.as_bytes());
            metadata.parts(fragments.connection());
        });
        object.object(key!("request"), |request| write_request(request, exchange, level));
        object.object(key!("response"), |response| {
            write_response(response, exchange, level)
        });
        object.value(key!("transaction_time"), |out| {
            Timestamp(transaction.started).write(out)
        });
        if let Some(duration) = exchange.duration_ms() {
            object.number(key!("duration_ms"), duration);
        }
        object.word(key!("direction"), exchange.connection.direction.name());
        write_notes(object, transaction);
    });
}

fn write_request(object: &mut Object<'_>, exchange: &Exchange<'_>, level: Level) {
    let (transaction, request) = (exchange.transaction, &exchange.transaction.request);
    let authority = request.authority.as_deref().unwrap_or_default();
    let scheme = exchange.raw_scheme();
    object.text(key!("method"), &request.method);
    match exchange.raw_url() {
        RawUrl::Target(target) => object.text(key!("url"), target),
        RawUrl::OfServer(slash, target) if !authority.is_empty() => {
            object.joined(
                key!("url"),
                &[scheme, b"://", authority, slash.as_bytes(), target],
            );
        }
        RawUrl::OfServer(..) => object.text(key!("url"), exchange.url().as_bytes()),
    }
    object.text(key!("scheme"), scheme);
    object.text(key!("path"), exchange.raw_path());
    object.text_if_any(key!("authority"), authority);
    object.word(key!("protocol"), transaction.protocol.name());
    object.text(key!("request_id"), transaction.id.as_bytes());
    object.text_if_any(key!("user_agent"), field(request.field("user-agent")));
    object.text_if_any(key!("content_type"), field(request.field("content-type")));
    if level >= Level::Headers {
        let pseudo = [
            (":method", &request.method[..]),
            (":scheme", scheme),
            (":authority", authority),
            (":path", &request.target),
        ];
        write_headers(object, pseudo, &request.fields);
    }
    write_body(object, &transaction.request_half.body, level);
}

/// Value of a field that may not be there.
fn field(value: Option<&[u8]>) -> &[u8] {
    value.unwrap_or_default()
}

fn write_response(object: &mut Object<'_>, exchange: &Exchange<'_>, level: Level) {
    let transaction = exchange.transaction;
    object.number(key!("status"), exchange.compatible_status().into());
    if let Some(head) = &transaction.response {
        object.text_if_any(key!("content_type"), field(head.field("content-type")));
        if level >= Level::Headers {
            let mut status = itoa::Buffer::new();
            let pseudo = [(":status", status.format(head.status).as_bytes())];
            write_headers(object, pseudo, &head.fields);
        }
    }
    write_body(object, &transaction.response_half.body, level);
}

/// `pseudo` fields that are not empty, then `fields`.
fn write_headers<const N: usize>(
    object: &mut Object<'_>,
    pseudo: [(&'static str, &[u8]); N],
    fields: &[Field],
) {
    let known = pseudo.into_iter().filter(|(_, value)| !value.is_empty());
    if !are_distinct(fields) {
        let map = HeaderMap::new(known.map(|(name, value)| (name, text(value))), fields);
        object.object(key!("headers"), |object| {
            for (name, value) in map.iter() {
                match value {
                    HeaderValue::One(value) => object.entry(name.as_bytes(), value.as_bytes()),
                    HeaderValue::Many(values) => object.entry_list(name, values),
                }
            }
        });
        return;
    }
    object.object(key!("headers"), |object| {
        known.for_each(|(name, value)| object.entry(name.as_bytes(), value));
        fields
            .iter()
            .for_each(|field| object.entry(&field.name, &field.value));
    });
}

/// Whether the names are ASCII, no pseudo fields, and each occurs once.
fn are_distinct(fields: &[Field]) -> bool {
    // Places that names seen so far have in a small table: most are the first at theirs.
    let mut seen = 0_u64;
    fields.iter().enumerate().all(|(index, field)| {
        let (&[first, ..], &[.., last]) = (&field.name[..], &field.name[..]) else {
            return false;
        };
        let letter = |byte: u8| usize::from(byte | 0x20);
        let place = 1 << ((field.name.len() + 5 * letter(first) + 11 * letter(last)) % 64);
        let is_first = seen & place == 0;
        seen |= place;
        let occurred = |known: &Field| known.name.eq_ignore_ascii_case(&field.name);
        first != b':' && field.name.is_ascii() && (is_first || !fields.iter().take(index).any(occurred))
    })
}

/// Another plugin may have wanted the body, so there can be one below level `full`: it is left out.
fn write_body(object: &mut Object<'_>, body: &Body, level: Level) {
    if level < Level::Full {
        return;
    }
    if !body.data.is_empty() {
        object.word(key!("body"), &STANDARD.encode(&body.data));
    }
    object.flag(key!("body_truncated"), body.truncated);
    object.number_if_any(key!("body_size_total"), body.total);
    object.number_if_any(key!("body_gap_bytes"), body.gap_bytes);
    if let Some(encoding) = &body.encoding {
        object.text(key!("body_encoding"), encoding);
    }
    if let Some(error) = &body.decode_error {
        object.text(key!("decode_error"), error);
    }
}

fn write_notes(object: &mut Object<'_>, transaction: &Transaction) {
    let gap_bytes = transaction.gap_bytes();
    object.word(key!("outcome"), outcome_name(transaction.outcome));
    if let Outcome::Reset(code) = transaction.outcome {
        object.number(key!("error_code"), code.into());
    }
    let incomplete = gap_bytes > 0 || transaction.outcome == Outcome::Incomplete;
    object.flag(key!("incomplete"), incomplete);
    object.number_if_any(key!("gap_bytes"), gap_bytes);
    object.flag(key!("request_aborted"), transaction.is_request_aborted());
    let response = transaction.response.as_ref();
    object.flag(
        key!("status_unknown"),
        response.is_none_or(|head| head.status == 0),
    );
    object.flag(key!("headers_partial"), is_headers_partial(transaction));
    if let Some(ttfb) = transaction.ttfb_ns() {
        object.value(key!("ttfb_ms"), |out| write_milliseconds(ttfb, out));
    }
    if let Some(total) = transaction.total_ns() {
        object.value(key!("total_ms"), |out| write_milliseconds(total, out));
    }
}
