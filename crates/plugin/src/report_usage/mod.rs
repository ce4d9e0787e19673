//! `report_usage`: a `request`, `grpc_request` or `database_request` event for each transaction (`surface.md` §4.4).

mod database;
mod token;

use std::sync::Arc;

use qtap_config::ReportUsage as Settings;
use qtap_engine::{ConnectionFacts, Interest};
use qtap_protocol::{Command, Field, RequestHead};

use crate::agent::Agent;
use crate::command_exchange::CommandExchange;
use crate::exchange::{Exchange, text};
use crate::mime;
use crate::plugin::{Context, Plugin};
use crate::rpc::{Rpc, response_fields};
use crate::schema::{Event, GrpcRequestEvent, HeaderMap, Notes, RequestEvent, Timestamp};
use crate::sink::EventStore;

/// Reports transactions.
pub(crate) struct ReportUsage {
    headers: Vec<String>,
    store: Arc<dyn EventStore>,
    agent: Arc<Agent>,
}

impl ReportUsage {
    pub(crate) fn new(settings: &Settings, context: &Context) -> Self {
        Self {
            headers: settings.headers.clone(),
            store: context.stores.default_events(),
            agent: Arc::clone(&context.agent),
        }
    }

    fn event(&self, exchange: &Exchange<'_>) -> RequestEvent {
        let (connection, transaction) = (exchange.connection, exchange.transaction);
        let content_type = exchange.response_field("content-type");
        let token = token::find(&transaction.request, &self.agent).unwrap_or_default();
        RequestEvent {
            connection_id: Arc::clone(&connection.public_id),
            endpoint_id: Arc::clone(&exchange.labels.endpoint_id),
            request_id: Arc::clone(&transaction.id),
            tls_probe_types_detected: connection.tls_implementations.clone().unwrap_or_default(),
            tls_probe_introspected: connection.tls.as_ref().is_some_and(|tls| tls.source.is_some()),
            tags: Arc::clone(&exchange.labels.tags),
            timestamp: Timestamp(transaction.finished),
            direction: connection.direction.name(),
            url: exchange.url().into_owned(),
            path: exchange.path().into_owned(),
            method: exchange.method().into_owned(),
            status: exchange.compatible_status(),
            duration: exchange.duration_ms(),
            category: mime::category(&content_type),
            content_type: content_type.into_owned(),
            agent: exchange.request_field("user-agent").into_owned(),
            bytes_sent: exchange.sent().counts.total(),
            bytes_received: exchange.received().counts.total(),
            auth_token_mask: token.mask,
            auth_token_hash: token.hash,
            auth_token_source: token.source,
            auth_token_type: token.kind,
            headers: self.promoted(exchange),
            request_body_bytes: transaction.request_half.counts.body_bytes,
            response_body_bytes: transaction.response_half.counts.body_bytes,
            body_truncated: transaction.request_half.body.truncated
                || transaction.response_half.body.truncated,
            notes: Notes::new(transaction),
        }
    }

    fn call_event(&self, exchange: &Exchange<'_>, rpc: &Rpc<'_>) -> GrpcRequestEvent {
        let mut request = self.event(exchange);
        request.status = rpc.compatible_status();
        request.notes = rpc.http_notes();
        GrpcRequestEvent {
            request,
            rpc: rpc.fields(),
            notes: rpc.notes(),
        }
    }

    /// The configured headers that occur (of a call, trailers too), by the configured spelling, found without regard to case.
    fn promoted(&self, exchange: &Exchange<'_>) -> HeaderMap<'static> {
        let mut map = HeaderMap::default();
        let transaction = exchange.transaction;
        let trailers = match &transaction.grpc {
            Some(_) => &transaction.response_half.trailers[..],
            None => &[],
        };
        for name in &self.headers {
            promote(&mut map, "req", name, transaction.request.fields.iter());
            let response = response_fields(transaction.response.as_ref(), trailers);
            promote(&mut map, "res", name, response);
        }
        map
    }
}

fn promote<'a>(
    map: &mut HeaderMap<'static>,
    side: &str,
    name: &str,
    fields: impl Iterator<Item = &'a Field>,
) {
    for field in fields.filter(|field| field.name.eq_ignore_ascii_case(name.as_bytes())) {
        map.push(
            format!("{side}.{name}").into(),
            text(&field.value).into_owned().into(),
        );
    }
}

impl Plugin for ReportUsage {
    fn interest(&self, _connection: &ConnectionFacts, _request: &RequestHead) -> Interest {
        if self.store.discards() {
            Interest::None
        } else {
            Interest::Head
        }
    }

    fn progress(&self, exchange: &Exchange<'_>) {
        self.transaction(exchange);
    }

    fn transaction(&self, exchange: &Exchange<'_>) {
        self.store.save(match Rpc::of(exchange) {
            Some(rpc) => Event::GrpcRequest(Box::new(self.call_event(exchange, &rpc))),
            None => Event::Request(Box::new(self.event(exchange))),
        });
    }

    fn wants_command(&self, _connection: &ConnectionFacts, _command: &Command) -> bool {
        !self.store.discards()
    }

    fn command(&self, exchange: &CommandExchange<'_>) {
        self.store
            .save(Event::DatabaseRequest(Box::new(database::event(exchange))));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{
        Memory, agent, connection, event_stream, exchange, field, transaction, websocket, without_response,
    };

    fn reported(headers: &[&str], transaction: &qtap_engine::Transaction) -> String {
        let memory = Arc::new(Memory::default());
        let context = Context {
            agent: Arc::new(agent()),
            stores: memory.stores(),
            output: Arc::clone(&memory) as _,
            terminal: crate::Terminal::piped(),
        };
        let settings = Settings {
            headers: headers.iter().map(|name| (*name).to_owned()).collect(),
        };
        let plugin = ReportUsage::new(&settings, &context);
        plugin.transaction(&exchange(&connection(), transaction));
        serde_json::to_string(&memory.events.lock().unwrap()[0]).unwrap()
    }

    #[test]
    fn request_event() {
        assert_eq!(
            reported(&["user-AGENT", "set-cookie", "absent"], &transaction()),
            concat!(
                r#"{"type":"request","connectionId":"d3tsmvg7p3qggmf8pdi0","endpointId":"httpbin.org","requestId":"d3tsmvg7p3qggmf8pdj0","#,
                r#""tlsProbeTypesDetected":["openssl"],"tlsProbeIntrospected":true,"#,
                r#""tags":["bin:curl","host:box","ip:10.0.0.5","protocol:http1","strategy:observe","env:test"],"#,
                r#""timestamp":"2026-01-01T10:00:00.200000000Z","direction":"egress-external","#,
                r#""url":"https://httpbin.org/get?a=1","path":"/get?a=1","method":"GET","status":200,"duration":87,"#,
                r#""contentType":"application/json","category":"json","agent":"curl/7.88.1","bytesSent":80,"bytesReceived":132,"#,
                r#""authTokenMask":"","authTokenHash":"","authTokenSource":"","authTokenType":"","#,
                r#""headers":{"req.user-AGENT":"curl/7.88.1","res.set-cookie":["a=1","b=2"]},"response_body_bytes":12,"#,
                r#""outcome":"complete","ttfb_ms":85.0,"total_ms":90.0}"#,
            )
        );
    }

    #[test]
    fn no_response_is_422_marked_unknown_with_its_outcome() {
        let json: serde_json::Value = serde_json::from_str(&reported(&[], &without_response())).unwrap();
        assert_eq!(json["status"], 422);
        assert_eq!(json["status_unknown"], true);
        assert_eq!(json["outcome"], "canceled");
    }

    #[test]
    fn a_websocket_has_counts_and_its_close() {
        let json = reported(&[], &websocket());
        let expected = concat!(
            r#""outcome":"upgraded","upgraded_to":"websocket","ttfb_ms":86.0,"total_ms":90.0,"#,
            r#""messages":{"request":{"count":1,"bytes":5,"largest":5,"text":1,"frames":2},"#,
            r#""response":{"count":1,"bytes":2,"largest":2,"binary":1,"frames":2}},"#,
            r#""websocket":{"subprotocol":"chat","closed_by":"client","close_code":1000,"close_reason":"done","clean":true}}"#,
        );
        assert!(json.ends_with(expected), "{json}");
        assert!(!json.contains("hello"), "payload is for those that show bodies");
    }

    #[test]
    fn an_event_stream_that_goes_on_is_open() {
        let mut stream = event_stream();
        stream.request_half.first_byte = Some(qtap_protocol::Time(1_000_000_000));
        let json = reported(&[], &stream);
        assert!(json.contains(r#""outcome":"open","partial":true,"#), "{json}");
        let expected = concat!(
            r#""events":{"count":1,"bytes":7,"largest":7,"first_ms":120.0,"last_ms":120.0,"#,
            r#""last_id":"7"}}"#
        );
        assert!(json.ends_with(expected), "{json}");
    }

    #[test]
    fn tokens_never_appear_whole() {
        let secret = "sk-verysecretverysecretverysecret";
        let mut with_token = transaction();
        with_token
            .request
            .fields
            .push(field("Authorization", format!("Bearer {secret}")));
        let json = reported(&[], &with_token);
        assert!(!json.contains(secret));
        assert!(json.contains(r#""authTokenMask":"sk-v…cret""#), "{json}");
        assert!(json.contains(r#""authTokenType":"bearer""#), "{json}");
    }
}
