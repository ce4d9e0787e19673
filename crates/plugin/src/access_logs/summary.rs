//! The summary line.

use qtap_capture::Role;
use qtap_engine::{DirectionLabel, Messages};
use qtap_protocol::Outcome;

use super::sanitise::sanitise;
use super::style::{Brush, Colour, human_bytes};
use super::terminal::Terminal;
use crate::exchange::Exchange;
use crate::schema::{MessageNotes, upgrade_name};

/// One line with its line end.
pub(super) fn line(exchange: &Exchange<'_>, terminal: Terminal) -> Vec<u8> {
    let brush = Brush {
        terminal,
        colour: Colour::of_status(exchange.status()),
    };
    format!(" {}\n", text(exchange, brush)).into_bytes()
}

/// `■ curl → GET https://httpbin.org/get 200 OK`, then in brackets what is unusual about it.
pub(super) fn text(exchange: &Exchange<'_>, brush: Brush) -> String {
    let mut parts = vec![brush.paint("■")];
    let binary = exchange.process().map_or("", |process| process.binary());
    if !binary.is_empty() {
        parts.push(clean(binary.as_bytes()));
    }
    parts.push(brush.paint(arrow(exchange)));
    parts.push(brush.bold(&clean(&exchange.transaction.request.method)));
    parts.push(clean(exchange.url().as_bytes()));
    parts.push(brush.paint(&status_text(exchange)));
    for note in notes(exchange) {
        parts.push(brush.warn(&format!("[{note}]")));
    }
    parts.join(" ")
}

/// `200 OK`, or `— no response`.
pub(super) fn status_text(exchange: &Exchange<'_>) -> String {
    let Some(response) = &exchange.transaction.response else {
        return "— no response".to_owned();
    };
    let reason = match clean(&response.reason) {
        sent if !sent.is_empty() => sent,
        _ => canonical_reason(response.status).to_owned(),
    };
    match (response.status, reason.is_empty()) {
        (0, _) => "— status unknown".to_owned(),
        (status, true) => status.to_string(),
        (status, false) => format!("{status} {reason}"),
    }
}

/// `→` for egress, `←` for ingress.
pub(super) const fn arrow(exchange: &Exchange<'_>) -> &'static str {
    arrow_of(exchange.connection.direction)
}

pub(super) const fn arrow_of(direction: DirectionLabel) -> &'static str {
    match direction {
        DirectionLabel::Ingress => "←",
        DirectionLabel::EgressInternal | DirectionLabel::EgressExternal => "→",
    }
}

/// What is unusual: how it ended unless complete, and what is missing of it.
pub(super) fn notes(exchange: &Exchange<'_>) -> Vec<String> {
    let transaction = exchange.transaction;
    let mut notes = Vec::new();
    match (transaction.outcome, &transaction.upgraded_to) {
        (_, Some(to)) => notes.push(format!("upgraded to {}", clean(upgrade_name(to).as_bytes()))),
        (Outcome::Complete, None) => {}
        (Outcome::Upgraded, None) => notes.push("upgraded".to_owned()),
        (Outcome::Canceled, None) => notes.push("canceled".to_owned()),
        (Outcome::Refused, None) => notes.push("refused".to_owned()),
        (Outcome::Timeout, None) => notes.push("timeout".to_owned()),
        (Outcome::Incomplete, None) => notes.push("incomplete".to_owned()),
        (Outcome::Reset(code), None) => notes.push(format!("reset: {}", reset_name(code))),
    }
    if transaction.is_request_aborted() {
        notes.push("request aborted".to_owned());
    }
    if transaction.partial {
        notes.push("open".to_owned());
    }
    notes.extend(
        transaction
            .messages
            .as_ref()
            .map(|messages| counts(messages, exchange)),
    );
    if transaction.gap_bytes() > 0 {
        notes.push(format!("{} not captured", human_bytes(transaction.gap_bytes())));
    }
    let partial =
        transaction.request.partial || transaction.response.as_ref().is_some_and(|head| head.partial);
    if partial {
        notes.push("headers partial".to_owned());
    }
    notes
}

/// `↑ 3 ↓ 20 messages, closed by the client: 1000 done`, or `12 events`.
fn counts(messages: &Messages, exchange: &Exchange<'_>) -> String {
    let socket = match messages {
        Messages::Events(stream) => return plural(stream.traffic.events, "event"),
        Messages::WebSocket(socket) => socket,
    };
    let [client, server] = &socket.traffic;
    let (sent, received) = match exchange.connection.role {
        Role::Client => (client, server),
        Role::Server => (server, client),
    };
    let mut text = format!("↑ {} ↓ {} messages", sent.messages(), received.messages());
    let notes = MessageNotes::new(exchange.transaction)
        .websocket
        .unwrap_or_default();
    if let Some(side) = notes.closed_by {
        text += &format!(", closed by the {side}");
        let code = notes.close_code.map(|code| code.to_string());
        let reason = notes.close_reason.map(|reason| clean(reason.as_bytes()));
        let said: Vec<_> = code.into_iter().chain(reason).collect();
        if !said.is_empty() {
            text += &format!(": {}", said.join(" "));
        }
    } else if notes.abrupt {
        text += ", not closed";
    }
    text
}

fn plural(count: u64, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// `bytes` on one line, fit for a terminal.
pub(super) fn clean(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    sanitise(&mut out, bytes, false);
    out
}

/// Names of HTTP/2 error codes (RFC 9113 §7).
fn reset_name(code: u32) -> String {
    const NAMES: [&str; 14] = [
        "NO_ERROR",
        "PROTOCOL_ERROR",
        "INTERNAL_ERROR",
        "FLOW_CONTROL_ERROR",
        "SETTINGS_TIMEOUT",
        "STREAM_CLOSED",
        "FRAME_SIZE_ERROR",
        "REFUSED_STREAM",
        "CANCEL",
        "COMPRESSION_ERROR",
        "CONNECT_ERROR",
        "ENHANCE_YOUR_CALM",
        "INADEQUATE_SECURITY",
        "HTTP_1_1_REQUIRED",
    ];
    let name = usize::try_from(code).ok().and_then(|index| NAMES.get(index));
    name.map_or_else(|| format!("code {code}"), |name| (*name).to_owned())
}

/// Reason phrases of the IANA registry "HTTP Status Codes", for HTTP/2 which sends none.
const fn canonical_reason(status: u16) -> &'static str {
    match status {
        101 => "Switching Protocols",
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        203 => "Non-Authoritative Information",
        204 => "No Content",
        205 => "Reset Content",
        206 => "Partial Content",
        207 => "Multi-Status",
        300 => "Multiple Choices",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        407 => "Proxy Authentication Required",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Range Not Satisfiable",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        422 => "Unprocessable Content",
        423 => "Locked",
        424 => "Failed Dependency",
        425 => "Too Early",
        426 => "Upgrade Required",
        428 => "Precondition Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        451 => "Unavailable For Legal Reasons",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        507 => "Insufficient Storage",
        508 => "Loop Detected",
        511 => "Network Authentication Required",
        _ => "",
    }
}
