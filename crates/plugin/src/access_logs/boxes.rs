//! Details and full: a box open at the right.

use std::fmt::Write;

use qtap_engine::{Body, DirectionLabel, Half, TlsSource};
use qtap_protocol::Field;

use super::body::as_text;
use super::sanitise::sanitise;
use super::style::{Brush, Colour, human_bytes};
use super::summary::{arrow, clean, notes, status_text, text};
use super::terminal::Terminal;
use crate::exchange::Exchange;
use crate::schema::{Captured, tls_version_name};

/// Widest border.
const MAX_WIDTH: usize = 50;

/// The whole box.
pub(super) fn record(exchange: &Exchange<'_>, terminal: Terminal, bodies: bool) -> Vec<u8> {
    let brush = Brush {
        terminal,
        colour: Colour::of_status(exchange.status()),
    };
    let mut page = Page {
        out: String::new(),
        brush,
    };
    page.border('╭', None);
    page.line(&text(exchange, brush));
    page.border('├', None);
    page.blank();
    process(&mut page, exchange);
    network(&mut page, exchange);
    request(&mut page, exchange, bodies);
    response(&mut page, exchange, bodies);
    if bodies {
        messages(&mut page, exchange);
    }
    page.border('╰', None);
    page.out.into_bytes()
}

pub(super) fn process(page: &mut Page, exchange: &Exchange<'_>) {
    page.line("Process");
    match exchange.process() {
        None => page.line("  • unknown"),
        Some(process) => {
            let pid = process.pid.0;
            match clean(process.exe.as_bytes()) {
                exe if exe.is_empty() => page.line(&format!("  • PID {pid}")),
                exe => page.line(&format!("  • PID {pid} @ {exe}")),
            }
            if let Some(container) = &process.container {
                page.line(&format!("  • Container: {}", clean(container.id.as_bytes())));
            }
        }
    }
    page.blank();
}

pub(super) fn network(page: &mut Page, exchange: &Exchange<'_>) {
    let connection = exchange.connection;
    let direction = match connection.direction {
        DirectionLabel::Ingress => "Ingress",
        DirectionLabel::EgressInternal => "Egress (internal)",
        DirectionLabel::EgressExternal => "Egress (external)",
    };
    page.line("Network");
    page.line(&format!(
        "  {} {direction} {} {} {}",
        arrow(exchange),
        connection.local,
        arrow(exchange),
        connection.remote
    ));
    page.line(&format!(
        "  ↑ {} sent   ↓ {} received",
        human_bytes(exchange.sent().counts.total()),
        human_bytes(exchange.received().counts.total())
    ));
    if let Some(tls) = &connection.tls {
        let version = tls.version.map_or_else(|| "TLS".to_owned(), tls_version_name);
        let how = match tls.source {
            Some(TlsSource::Secrets) => ", read with its secrets",
            Some(TlsSource::Calls) => ", read in the library's calls",
            Some(TlsSource::Kernel) => ", done by the kernel, read at the socket",
            None => "",
        };
        page.line(&format!("  • {version}{how}"));
    }
    if let Some(times) = times(exchange) {
        page.line(&format!("  • {times}"));
    }
    for note in notes(exchange) {
        page.line(&format!("  {} {}", page.brush.warn("!"), page.brush.warn(&note)));
    }
    page.blank();
}

/// `87 ms to the response, 90 ms in all`.
fn times(exchange: &Exchange<'_>) -> Option<String> {
    let total = exchange.transaction.total_ns()?.div_ceil(1_000_000).max(1);
    Some(match exchange.duration_ms() {
        Some(head) => format!("{head} ms to the response, {total} ms in all"),
        None => format!("{total} ms in all"),
    })
}

fn request(page: &mut Page, exchange: &Exchange<'_>, bodies: bool) {
    let transaction = exchange.transaction;
    page.border('├', Some(&format!("REQUEST {}", transaction.protocol.name())));
    page.blank();
    page.line(&format!(
        "{} {}",
        clean(&transaction.request.method),
        clean(&transaction.request.target)
    ));
    let content_type = exchange.request_field("content-type");
    half(
        page,
        &transaction.request.fields,
        &transaction.request_half,
        &content_type,
        bodies,
    );
}

fn response(page: &mut Page, exchange: &Exchange<'_>, bodies: bool) {
    let transaction = exchange.transaction;
    page.border('├', Some(&format!("RESPONSE {}", status_text(exchange))));
    if !transaction.interim.is_empty() {
        let interim: Vec<_> = transaction.interim.iter().map(u16::to_string).collect();
        page.blank();
        page.line(&format!("Interim {}", interim.join(", ")));
    }
    if let Some(head) = &transaction.response {
        let content_type = exchange.response_field("content-type");
        half(
            page,
            &head.fields,
            &transaction.response_half,
            &content_type,
            bodies,
        );
    }
}

/// Messages of a WebSocket or an event stream, one line each.
fn messages(page: &mut Page, exchange: &Exchange<'_>) {
    let captured = Captured::new(exchange);
    if captured.is_empty() {
        return;
    }
    page.border('├', Some("MESSAGES"));
    page.blank();
    for message in &captured.captured_messages {
        let arrow = if message.direction == "sent" { '↑' } else { '↓' };
        let shown = match (&message.payload, message.close_code) {
            (Some(text), _) => clean(text.as_bytes()),
            (None, Some(code)) => {
                let reason = message.close_reason.as_deref().unwrap_or_default();
                format!("{code} {}", clean(reason.as_bytes()))
            }
            (None, None) => String::new(),
        };
        let size = human_bytes(message.length);
        page.line(format!("{arrow} {} {size} {shown}", message.opcode).trim_end());
    }
    for event in &captured.captured_events {
        let name = if event.event.is_empty() {
            "message"
        } else {
            event.event
        };
        let size = human_bytes(event.length);
        let data = clean(event.data.as_bytes());
        page.line(&format!("↓ {} {size} {data}", clean(name.as_bytes())));
    }
    if captured.not_captured > 0 {
        page.line(
            &page
                .brush
                .warn(&format!("{} not captured", captured.not_captured)),
        );
    }
    page.blank();
}

fn half(page: &mut Page, headers: &[Field], half: &Half, content_type: &str, bodies: bool) {
    fields(page, "Headers", headers);
    if bodies {
        body(page, &half.body, content_type);
    }
    fields(page, "Trailers", &half.trailers);
}

pub(super) fn fields(page: &mut Page, title: &str, fields: &[Field]) {
    if fields.is_empty() {
        return;
    }
    page.blank();
    page.line(title);
    for field in fields {
        page.line(&format!("  • {}: {}", clean(&field.name), clean(&field.value)));
    }
}

fn body(page: &mut Page, body: &Body, content_type: &str) {
    page.blank();
    page.line("Body");
    if let Some(notes) = body_notes(body) {
        page.line(&format!("  {}", page.brush.warn(&notes)));
    }
    if body.data.is_empty() {
        page.line(if body.total == 0 {
            "  (empty)"
        } else {
            "  (not captured)"
        });
        return;
    }
    match as_text(body, content_type) {
        Some(text) => page.raw(text),
        None => page.line(&format!(
            "  Body is in binary format ({}, {})",
            if content_type.is_empty() {
                "unknown type".to_owned()
            } else {
                clean(content_type.as_bytes())
            },
            human_bytes(body.data.len() as u64)
        )),
    }
}

/// `gzip not removed: …; first 1.0 MB of 67.1 MB; 512 B not captured`.
fn body_notes(body: &Body) -> Option<String> {
    let mut notes = Vec::new();
    if let Some(error) = &body.decode_error {
        let coding = clean(body.encoding.as_deref().unwrap_or("coding").as_bytes());
        notes.push(format!("{coding} not removed: {}", clean(error.as_bytes())));
    }
    if body.truncated {
        notes.push(format!(
            "cut at {}, {} as sent",
            human_bytes(body.data.len() as u64),
            human_bytes(body.total)
        ));
    }
    if body.gap_bytes > 0 {
        notes.push(format!("{} not captured", human_bytes(body.gap_bytes)));
    }
    (!notes.is_empty()).then(|| format!("({})", notes.join("; ")))
}

/// The box being drawn.
pub(super) struct Page {
    pub(super) out: String,
    pub(super) brush: Brush,
}

impl Page {
    /// `├───╼ TITLE ╾───┄`, of one width for all.
    pub(super) fn border(&mut self, corner: char, title: Option<&str>) {
        let width = usize::from(self.brush.terminal.columns)
            .saturating_sub(2)
            .min(MAX_WIDTH);
        let border = match title {
            None => format!("{corner}{}┄", "─".repeat(width)),
            Some(title) => {
                let head = format!("───╼ {title} ╾");
                let rest = width.saturating_sub(head.chars().count());
                format!("{corner}{head}{}┄", "─".repeat(rest))
            }
        };
        self.out.push_str(&self.brush.paint(&border));
        self.out.push('\n');
    }

    /// A line without text.
    pub(super) fn blank(&mut self) {
        self.out.push_str(&self.brush.paint("│"));
        self.out.push('\n');
    }

    /// A line inside; `text` is fit for a terminal.
    pub(super) fn line(&mut self, text: &str) {
        // Writing to a String cannot fail.
        _ = writeln!(self.out, "{}  {text}", self.brush.paint("│"));
    }

    /// Text of the peer, without border, so that it can be copied.
    fn raw(&mut self, text: &str) {
        sanitise(&mut self.out, text.as_bytes(), true);
        if !self.out.ends_with('\n') {
            self.out.push('\n');
        }
    }
}
