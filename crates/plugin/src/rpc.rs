//! A call of gRPC on its connection, with what every plugin says of it.

use std::borrow::Cow;
use std::time::Duration;

use qtap_protocol::grpc::{self, Call, Dialect, Status};
use qtap_protocol::{Field, ResponseHead};

use crate::exchange::{Exchange, text};
use crate::schema::{GrpcNotes, MessageCounts, MessagePart, Notes, RpcFields, SideMessages, StatusPart};

/// What is to be said of a call beyond its [`Exchange`].
pub(crate) struct Rpc<'a> {
    exchange: Exchange<'a>,
    call: &'a Call,
    /// How it ended, if that is known.
    pub(crate) status: Option<Status>,
    timeout: Option<Duration>,
}

/// One side of a call.
#[derive(Clone, Copy)]
enum Sender {
    Client,
    Server,
}

impl<'a> Rpc<'a> {
    /// The call that the exchange is; `None` if it is none.
    pub(crate) fn of(exchange: &Exchange<'a>) -> Option<Self> {
        let transaction = exchange.transaction;
        let call = transaction.grpc.as_deref()?;
        Some(Self {
            exchange: *exchange,
            call,
            status: transaction.grpc_status(),
            timeout: transaction.grpc_timeout(),
        })
    }

    /// `package.Service` and method; both `*` when the path is not known.
    pub(crate) fn service_and_method(&self) -> (String, String) {
        let path = self.exchange.path();
        let (service, method) = grpc::service_and_method(&path);
        (service.to_owned(), method.to_owned())
    }

    /// Status of HTTP for the compatible fields: that which stands for the status of the call (P-G2); of one that is OK, or not known, the
    /// one sent.
    pub(crate) fn compatible_status(&self) -> u16 {
        match &self.status {
            Some(status) if !status.code.is_ok() => status.code.http_status(),
            _ => self.exchange.compatible_status(),
        }
    }

    /// The same for the events.
    pub(crate) fn fields(&self) -> RpcFields {
        let (grpc_service, grpc_method) = self.service_and_method();
        let StatusPart {
            grpc_status,
            grpc_status_name,
            grpc_message,
        } = self.status_part();
        RpcFields {
            grpc_service,
            grpc_method,
            grpc_status,
            grpc_status_name,
            grpc_message,
        }
    }

    /// Status with empty texts where there is none.
    pub(crate) fn status_part(&self) -> StatusPart {
        let status = self.status.as_ref();
        StatusPart {
            grpc_status: status.map(|status| status.value.clone()).unwrap_or_default(),
            grpc_status_name: status.map_or("", |status| status.code.name()),
            grpc_message: status
                .and_then(|status| status.message.clone())
                .unwrap_or_default(),
        }
    }

    /// Notes on its HTTP transaction. Where the status of the call is known, that which stands for it is no stopgap.
    pub(crate) fn http_notes(&self) -> Notes {
        let notes = Notes::new(self.exchange.transaction);
        Notes {
            status_unknown: notes.status_unknown
                && self.status.as_ref().is_none_or(|status| status.code.is_ok()),
            ..notes
        }
    }

    /// Additions.
    pub(crate) fn notes(&self) -> GrpcNotes {
        let status = self.status.as_ref();
        let [request, response] = &self.call.messages;
        GrpcNotes {
            call_type: match (request.count > 1, response.count > 1) {
                (false, false) => "unary",
                (true, false) => "client_streaming",
                (false, true) => "server_streaming",
                (true, true) => "bidi_streaming",
            },
            grpc_web: match self.call.dialects {
                [Dialect::Native, _] => None,
                [Dialect::Web, _] => Some("binary"),
                [Dialect::WebText, _] => Some("text"),
            },
            http_status: self.exchange.status(),
            grpc_status_source: status.map(|status| status.source.name()),
            grpc_status_unknown: status.is_none(),
            grpc_status_details: status.is_some_and(|status| status.has_details),
            timeout_ms: self.timeout.map(milliseconds),
            messages: MessageCounts {
                request: self.side(Sender::Client),
                response: self.side(Sender::Server),
            },
        }
    }

    /// What the client and the server sent.
    pub(crate) const fn messages(&self) -> &'a [grpc::Messages; 2] {
        &self.call.messages
    }

    /// The messages of the client's body, as far as it was kept. No more than `limit` bytes.
    pub(crate) fn request_messages(&self, limit: usize) -> Vec<MessagePart> {
        self.split(Sender::Client, limit)
    }

    /// The same of the server's.
    pub(crate) fn response_messages(&self, limit: usize) -> Vec<MessagePart> {
        self.split(Sender::Server, limit)
    }

    fn split(&self, sender: Sender, limit: usize) -> Vec<MessagePart> {
        let transaction = self.exchange.transaction;
        let ([client, server], [from_client, from_server]) = (&self.call.messages, self.call.dialects);
        let (half, counted, dialect) = match sender {
            Sender::Client => (&transaction.request_half, client, from_client),
            Sender::Server => (&transaction.response_half, server, from_server),
        };
        if half.body.decode_error.is_some() {
            // It is still under its content coding.
            return Vec::new();
        }
        let split = grpc::split(&half.body.data, counted, dialect, self.encoding(sender), limit);
        let part = |message: grpc::Message| MessagePart {
            size: message.size.into(),
            compressed: message.compressed,
            data: message.data,
            truncated: message.truncated,
            decode_error: message.decode_error,
        };
        split.into_iter().map(part).collect()
    }

    fn side(&self, sender: Sender) -> SideMessages {
        let [client, server] = &self.call.messages;
        let messages = match sender {
            Sender::Client => client,
            Sender::Server => server,
        };
        let encoding = self.encoding(sender).map(text).map(Cow::into_owned);
        SideMessages {
            count: messages.count,
            bytes: messages.bytes,
            largest: messages.largest.into(),
            compressed: messages.compressed,
            encoding: encoding.filter(|name| !name.is_empty() && name != "identity"),
            unfinished: messages.unfinished,
            incomplete: messages.lost.is_some(),
            incomplete_reason: messages.lost,
        }
    }

    /// `grpc-encoding` of a side.
    fn encoding(&self, sender: Sender) -> Option<&'a [u8]> {
        let transaction = self.exchange.transaction;
        match sender {
            Sender::Client => transaction.request.field("grpc-encoding"),
            Sender::Server => transaction
                .response
                .as_ref()
                .and_then(|head| head.field("grpc-encoding")),
        }
    }
}

/// Head fields of a response and its trailers, among which the status is.
pub(crate) fn response_fields<'a>(
    head: Option<&'a ResponseHead>,
    trailers: &'a [Field],
) -> impl Iterator<Item = &'a Field> {
    head.into_iter().flat_map(|head| &head.fields).chain(trailers)
}

/// Milliseconds with three decimals.
fn milliseconds(duration: Duration) -> f64 {
    const MICROSECONDS: f64 = 1_000.0;
    (duration.as_secs_f64() * 1_000.0 * MICROSECONDS).round() / MICROSECONDS
}

#[cfg(test)]
#[path = "rpc_tests.rs"]
mod tests;
