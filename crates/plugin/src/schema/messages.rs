//! Messages of WebSockets and events of event streams: counts for every record, payload for those that show bodies.

use std::borrow::Cow;

use base64::{Engine, engine::general_purpose::STANDARD};
use qtap_capture::Role;
use qtap_engine::{EventStream, Messages, Transaction, WebSocket};
use qtap_protocol::websocket::{Closing, Kind, Message, Traffic};
use qtap_protocol::{Side, Time};
use serde::Serialize;

use super::notes::milliseconds;
use super::{Timestamp, is_false, is_zero};
use crate::exchange::{Exchange, text};

/// What the messages of a transaction came to, from its beginning; part of [`super::Notes`].
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct MessageNotes {
    /// Messages of a WebSocket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub messages: Option<SocketCounts>,
    /// What was agreed on, and how it closed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub websocket: Option<WebSocketNotes>,
    /// Events of an event stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub events: Option<EventCounts>,
}

impl MessageNotes {
    /// Those of `transaction`; empty for one that has no messages.
    #[must_use]
    pub fn new(transaction: &Transaction) -> Self {
        match &transaction.messages {
            None => Self::default(),
            Some(Messages::WebSocket(socket)) => {
                let [request, response] = &socket.traffic;
                Self {
                    messages: Some(SocketCounts {
                        request: SocketMessages::new(request),
                        response: SocketMessages::new(response),
                    }),
                    websocket: Some(WebSocketNotes::new(socket, transaction.partial)),
                    events: None,
                }
            }
            Some(Messages::Events(stream)) => Self {
                events: Some(EventCounts::new(stream, transaction)),
                ..Self::default()
            },
        }
    }
}

/// Messages of both sides.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SocketCounts {
    /// The client's.
    pub request: SocketMessages,
    /// The server's.
    pub response: SocketMessages,
}

/// Messages of one side.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SocketMessages {
    /// Text and binary messages.
    pub count: u64,
    /// Their payload as sent, headers of frames left out.
    pub bytes: u64,
    /// Bytes of the largest.
    #[serde(skip_serializing_if = "is_zero")]
    pub largest: u64,
    /// Text messages.
    #[serde(skip_serializing_if = "is_zero")]
    pub text: u64,
    /// Binary ones.
    #[serde(skip_serializing_if = "is_zero")]
    pub binary: u64,
    /// Those that were sent compressed.
    #[serde(skip_serializing_if = "is_zero")]
    pub compressed: u64,
    /// Those that came in several frames.
    #[serde(skip_serializing_if = "is_zero")]
    pub fragmented: u64,
    /// Pings.
    #[serde(skip_serializing_if = "is_zero")]
    pub pings: u64,
    /// Pongs.
    #[serde(skip_serializing_if = "is_zero")]
    pub pongs: u64,
    /// Frames of all kinds.
    pub frames: u64,
    /// Messages of which something is missing.
    #[serde(skip_serializing_if = "is_zero")]
    pub damaged: u64,
    /// There may be more than `count`.
    #[serde(skip_serializing_if = "is_false")]
    pub incomplete: bool,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub incomplete_reason: Option<&'static str>,
}

impl SocketMessages {
    fn new(traffic: &Traffic) -> Self {
        Self {
            count: traffic.messages(),
            bytes: traffic.bytes,
            largest: traffic.largest,
            text: traffic.text,
            binary: traffic.binary,
            compressed: traffic.compressed,
            fragmented: traffic.fragmented,
            pings: traffic.pings,
            pongs: traffic.pongs,
            frames: traffic.frames,
            damaged: traffic.incomplete,
            incomplete: traffic.fault.is_some(),
            incomplete_reason: traffic.fault,
        }
    }
}

/// Agreement and end of a WebSocket.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct WebSocketNotes {
    /// `Sec-WebSocket-Protocol` of the response.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subprotocol: Option<String>,
    /// `Sec-WebSocket-Extensions` of the response.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extensions: Option<String>,
    /// Who sent a close frame first: `client` or `server`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub closed_by: Option<&'static str>,
    /// Status code of that; absent when it had none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub close_code: Option<u16>,
    /// Reason in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub close_reason: Option<String>,
    /// Both sides sent a close frame.
    #[serde(skip_serializing_if = "is_false")]
    pub clean: bool,
    /// It ended without any.
    #[serde(skip_serializing_if = "is_false")]
    pub abrupt: bool,
}

impl WebSocketNotes {
    fn new(socket: &WebSocket, partial: bool) -> Self {
        let [client, server] = &socket.closing;
        let first = match (client, server) {
            (Some(client), Some(server)) if server.time < client.time => Some(("server", server)),
            (Some(client), _) => Some(("client", client)),
            (None, Some(server)) => Some(("server", server)),
            (None, None) => None,
        };
        let closing: Option<&Closing> = first.map(|(_, closing)| closing);
        Self {
            subprotocol: socket.agreement.subprotocol.clone(),
            extensions: socket.agreement.extensions.clone(),
            closed_by: first.map(|(side, _)| side),
            close_code: closing.and_then(|closing| closing.code),
            close_reason: closing
                .map(|closing| closing.reason.clone())
                .filter(|reason| !reason.is_empty()),
            clean: client.is_some() && server.is_some(),
            abrupt: !partial && first.is_none(),
        }
    }
}

/// Events of an event stream.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct EventCounts {
    /// Events.
    pub count: u64,
    /// Bytes of their data, content coding removed.
    pub bytes: u64,
    /// Bytes of the largest.
    #[serde(skip_serializing_if = "is_zero")]
    pub largest: u64,
    /// Comment lines, which keep the connection open.
    #[serde(skip_serializing_if = "is_zero")]
    pub comments: u64,
    /// Events of which something is missing; they are not among `count`.
    #[serde(skip_serializing_if = "is_zero")]
    pub damaged: u64,
    /// First byte of the request → end of the first event, milliseconds with microseconds as decimals.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_ms: Option<f64>,
    /// The same of the last event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_ms: Option<f64>,
    /// Last `id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_id: Option<String>,
    /// Last `retry`, milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_ms: Option<u64>,
    /// Why events are not told apart any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decode_error: Option<String>,
}

impl EventCounts {
    fn new(stream: &EventStream, transaction: &Transaction) -> Self {
        let begin = transaction.request_half.first_byte;
        let since = |time: Option<Time>| Some(milliseconds(time?.0.saturating_sub(begin?.0)));
        let traffic = &stream.traffic;
        Self {
            count: traffic.events,
            bytes: traffic.bytes,
            largest: traffic.largest,
            comments: traffic.comments,
            damaged: traffic.incomplete,
            first_ms: since(traffic.first),
            last_ms: since(traffic.last),
            last_id: traffic.last_id.clone(),
            retry_ms: traffic.retry_ms,
            decode_error: stream.decode_error.clone(),
        }
    }
}

/// Payload that was kept since the record before, for those that show bodies.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Captured<'a> {
    /// Messages of a WebSocket, control ones among them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub captured_messages: Vec<CapturedMessage<'a>>,
    /// Events of an event stream.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub captured_events: Vec<CapturedEvent<'a>>,
    /// Messages or events that were not kept, because of a limit.
    #[serde(skip_serializing_if = "is_zero")]
    pub not_captured: u64,
}

impl<'a> Captured<'a> {
    /// That of `exchange`.
    #[must_use]
    pub fn new(exchange: &Exchange<'a>) -> Self {
        let transaction = exchange.transaction;
        match &transaction.messages {
            None => Self::default(),
            Some(Messages::WebSocket(socket)) => Self {
                captured_messages: socket
                    .messages
                    .iter()
                    .map(|message| CapturedMessage::new(message, exchange))
                    .collect(),
                not_captured: socket.dropped,
                ..Self::default()
            },
            Some(Messages::Events(stream)) => Self {
                captured_events: stream
                    .events
                    .iter()
                    .map(|event| CapturedEvent {
                        time: Timestamp(transaction.wall_time(event.time)),
                        event: &event.name,
                        id: event.id.as_deref(),
                        length: event.length,
                        data: text(&event.data),
                        truncated: event.truncated,
                    })
                    .collect(),
                not_captured: stream.dropped,
                ..Self::default()
            },
        }
    }

    /// Nothing was kept, nor anything left out.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.captured_messages.is_empty() && self.captured_events.is_empty() && self.not_captured == 0
    }
}

/// A message of a WebSocket.
#[derive(Clone, Debug, Serialize)]
pub struct CapturedMessage<'a> {
    /// Its last byte.
    pub time: Timestamp,
    /// `sent` or `received`, as the local process sees it.
    pub direction: &'static str,
    /// `text`, `binary`, `close`, `ping`, `pong`, or `other`.
    pub opcode: &'static str,
    /// Bytes of payload as sent.
    pub length: u64,
    /// Text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload: Option<Cow<'a, str>>,
    /// What is no text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload_base64: Option<String>,
    /// Of a close.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub close_code: Option<u16>,
    /// Likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub close_reason: Option<Cow<'a, str>>,
    /// Frames, if more than one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frames: Option<u32>,
    /// It was sent compressed.
    #[serde(skip_serializing_if = "is_false")]
    pub compressed: bool,
    /// Bytes after inflation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inflated_length: Option<u64>,
    /// Why it was not inflated, or not to its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inflate_error: Option<&'static str>,
    /// The payload is only the beginning, because of a limit.
    #[serde(skip_serializing_if = "is_false")]
    pub truncated: bool,
    /// Its end was not seen.
    #[serde(skip_serializing_if = "is_false")]
    pub cut: bool,
    /// Bytes of it that were not captured.
    #[serde(skip_serializing_if = "is_zero")]
    pub gap_bytes: u64,
}

impl<'a> CapturedMessage<'a> {
    fn new(message: &'a Message, exchange: &Exchange<'_>) -> Self {
        let is_sent = (message.side == Side::Client) == (exchange.connection.role == Role::Client);
        let (mut payload, mut payload_base64, mut close) = (None, None, None);
        match message.kind {
            Kind::Text => payload = Some(text(&message.payload)),
            Kind::Close if message.gap_bytes == 0 && message.whole => {
                close = message
                    .payload
                    .split_first_chunk()
                    .map(|(code, reason)| (u16::from_be_bytes(*code), text(reason)));
            }
            _ if message.payload.is_empty() => {}
            _ => payload_base64 = Some(STANDARD.encode(&message.payload)),
        }
        let (close_code, close_reason) = close.unzip();
        Self {
            time: Timestamp(exchange.transaction.wall_time(message.time)),
            direction: if is_sent { "sent" } else { "received" },
            opcode: message.kind.name(),
            length: message.length,
            payload,
            payload_base64,
            close_code,
            close_reason: close_reason.filter(|reason| !reason.is_empty()),
            frames: (message.frames > 1).then_some(message.frames),
            compressed: message.compressed,
            inflated_length: message.inflated,
            inflate_error: message.inflate_error,
            truncated: message.truncated,
            cut: !message.whole,
            gap_bytes: message.gap_bytes,
        }
    }
}

/// An event of an event stream.
#[derive(Clone, Debug, Serialize)]
pub struct CapturedEvent<'a> {
    /// Its blank line.
    pub time: Timestamp,
    /// `event`.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub event: &'a str,
    /// `id` in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<&'a str>,
    /// Bytes of data.
    pub length: u64,
    /// Data.
    pub data: Cow<'a, str>,
    /// `data` is only the beginning, because of a limit.
    #[serde(skip_serializing_if = "is_false")]
    pub truncated: bool,
}
