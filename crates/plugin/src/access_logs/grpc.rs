//! Calls of gRPC: JSON lines, a line for people, or a box.

use qtap_config::Level;
use qtap_engine::Half;
use qtap_protocol::grpc::Messages;
use serde::Serialize;

use super::boxes::{Page, fields, network, process};
use super::style::{Brush, Colour, human_bytes};
use super::summary::{arrow, clean, notes};
use super::terminal::Terminal;
use crate::exchange::Exchange;
use crate::rpc::Rpc;
use crate::schema::{GrpcNotes, Notes, Timestamp};

const MESSAGE: &str = "gRPC transaction";

/// One line of JSON with its line end.
pub(super) fn json(exchange: &Exchange<'_>, rpc: &Rpc<'_>, mode: Level) -> Vec<u8> {
    let result = match mode {
        Level::None | Level::Summary => crate::json::to_vec(&Summary::new(exchange, rpc)),
        Level::Headers | Level::Full => crate::json::to_vec(&Details::new(exchange, rpc)),
    };
    // Maps with text keys and no custom failure: serialisation into memory has nothing to fail on.
    let mut line =
        result.unwrap_or_else(|error| format!("{{\"msg\":\"not serialised: {error}\"}}").into_bytes());
    line.push(b'\n');
    line
}

/// A line, or a box, for people.
pub(super) fn console(exchange: &Exchange<'_>, rpc: &Rpc<'_>, terminal: Terminal, mode: Level) -> Vec<u8> {
    let colour = match &rpc.status {
        None => Colour::White,
        Some(status) if status.code.is_ok() => Colour::Green,
        Some(_) => Colour::Red,
    };
    let brush = Brush { terminal, colour };
    if mode == Level::Summary {
        return format!(" {}\n", line(exchange, rpc, brush)).into_bytes();
    }
    let mut page = Page {
        out: String::new(),
        brush,
    };
    page.border('╭', None);
    page.line(&line(exchange, rpc, brush));
    page.border('├', None);
    page.blank();
    process(&mut page, exchange);
    network(&mut page, exchange);
    call(&mut page, rpc);
    let transaction = exchange.transaction;
    let [request, response] = rpc.messages();
    page.border('├', Some("REQUEST"));
    half(
        &mut page,
        &transaction.request.fields,
        &transaction.request_half,
        request,
    );
    page.border('├', Some("RESPONSE"));
    let head = transaction.response.as_ref().map_or(&[][..], |head| &head.fields);
    half(&mut page, head, &transaction.response_half, response);
    page.border('╰', None);
    page.out.into_bytes()
}

/// `■ app → pkg.Service/Method OK`, then in brackets what is unusual about it.
fn line(exchange: &Exchange<'_>, rpc: &Rpc<'_>, brush: Brush) -> String {
    let binary = exchange.process().map_or("", |process| process.binary());
    let (service, method) = rpc.service_and_method();
    let mut parts = vec![brush.paint("■"), clean(binary.as_bytes())];
    parts.push(brush.paint(arrow(exchange)));
    parts.push(brush.bold(&clean(format!("{service}/{method}").as_bytes())));
    parts.push(
        brush.paint(
            rpc.status
                .as_ref()
                .map_or("— status unknown", |status| status.code.name()),
        ),
    );
    for note in notes(exchange) {
        parts.push(brush.warn(&format!("[{note}]")));
    }
    parts.retain(|part| !part.is_empty());
    parts.join(" ")
}

fn call(page: &mut Page, rpc: &Rpc<'_>) {
    let (service, method) = rpc.service_and_method();
    let notes = rpc.notes();
    page.border('├', Some("RPC"));
    page.blank();
    page.line(&format!("Service  {}", clean(service.as_bytes())));
    page.line(&format!("Method   {}", clean(method.as_bytes())));
    page.line(&format!("Type     {}", notes.call_type));
    match &rpc.status {
        None => page.line("Status   unknown"),
        Some(status) => {
            let known_from = if status.source.is_sent() {
                String::new()
            } else {
                format!(", concluded: {}", status.source.name())
            };
            let value = clean(status.value.as_bytes());
            let told = format!("Status   {} ({value}){known_from}", status.code.name());
            page.line(&page.brush.paint(&told));
        }
    }
    let message = rpc.status.as_ref().and_then(|status| status.message.as_deref());
    if let Some(message) = message.filter(|message| !message.is_empty()) {
        page.line(&format!("Message  {}", clean(message.as_bytes())));
    }
    if let Some(timeout) = notes.timeout_ms {
        page.line(&format!("Timeout  {timeout} ms"));
    }
    page.blank();
}

fn half(page: &mut Page, head: &[qtap_protocol::Field], half: &Half, messages: &Messages) {
    page.blank();
    page.line(&told(messages));
    fields(page, "Headers", head);
    fields(page, "Trailers", &half.trailers);
    page.blank();
}

/// `2 messages, 1.2 kB, 1 compressed`.
fn told(messages: &Messages) -> String {
    let plural = if messages.count == 1 { "" } else { "s" };
    let mut parts = vec![
        format!("{} message{plural}", messages.count),
        human_bytes(messages.bytes),
    ];
    if messages.compressed > 0 {
        parts.push(format!("{} compressed", messages.compressed));
    }
    if messages.unfinished {
        parts.push("one more unfinished".to_owned());
    }
    if let Some(reason) = messages.lost {
        parts.push(format!("perhaps more: {reason}"));
    }
    parts.join(", ")
}

/// At the end of either form.
#[derive(Serialize)]
struct Additions<'a> {
    /// Time of completion.
    ts: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    duration_ms: Option<u64>,
    connection_id: &'a str,
    /// Address and port of the other end.
    peer: String,
    #[serde(flatten)]
    grpc: GrpcNotes,
    #[serde(flatten)]
    notes: Notes,
}

impl<'a> Additions<'a> {
    fn new(exchange: &Exchange<'a>, rpc: &Rpc<'_>) -> Self {
        Self {
            ts: Timestamp(exchange.transaction.finished),
            duration_ms: exchange.duration_ms(),
            connection_id: &exchange.connection.public_id,
            peer: exchange.connection.remote.to_string(),
            grpc: rpc.notes(),
            notes: rpc.http_notes(),
        }
    }
}

#[derive(Serialize)]
struct Summary<'a> {
    msg: &'static str,
    bin: &'a str,
    direction: &'static str,
    service: String,
    method: String,
    grpc_status: String,
    grpc_status_name: &'static str,
    request_id: &'a str,
    #[serde(skip_serializing_if = "String::is_empty")]
    grpc_message: String,
    #[serde(flatten)]
    additions: Additions<'a>,
}

impl<'a> Summary<'a> {
    fn new(exchange: &Exchange<'a>, rpc: &Rpc<'_>) -> Self {
        let fields = rpc.fields();
        Self {
            msg: MESSAGE,
            bin: exchange.exe(),
            direction: exchange.connection.direction.name(),
            service: fields.grpc_service,
            method: fields.grpc_method,
            grpc_status: fields.grpc_status,
            grpc_status_name: fields.grpc_status_name,
            request_id: &exchange.transaction.id,
            grpc_message: fields.grpc_message,
            additions: Additions::new(exchange, rpc),
        }
    }
}

#[derive(Serialize)]
struct Details<'a> {
    msg: &'static str,
    meta: Meta<'a>,
    direction: &'static str,
    rpc: RpcPart<'a>,
    #[serde(flatten)]
    additions: Additions<'a>,
}

#[derive(Serialize)]
struct Meta<'a> {
    bytes_sent: u64,
    bytes_received: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<u32>,
    #[serde(skip_serializing_if = "str::is_empty")]
    exe: &'a str,
}

#[derive(Serialize)]
struct RpcPart<'a> {
    service: String,
    method: String,
    status: String,
    status_name: &'static str,
    request_id: &'a str,
    #[serde(skip_serializing_if = "String::is_empty")]
    message: String,
}

impl<'a> Details<'a> {
    fn new(exchange: &Exchange<'a>, rpc: &Rpc<'_>) -> Self {
        let fields = rpc.fields();
        Self {
            msg: MESSAGE,
            meta: Meta {
                bytes_sent: exchange.sent().counts.total(),
                bytes_received: exchange.received().counts.total(),
                pid: exchange.process().map(|process| process.pid.0),
                exe: exchange.exe(),
            },
            direction: exchange.connection.direction.name(),
            rpc: RpcPart {
                service: fields.grpc_service,
                method: fields.grpc_method,
                status: fields.grpc_status,
                status_name: fields.grpc_status_name,
                request_id: &exchange.transaction.id,
                message: fields.grpc_message,
            },
            additions: Additions::new(exchange, rpc),
        }
    }
}
