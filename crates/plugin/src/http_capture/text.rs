//! The text form: blocks *Metadata*, *Request*, *Response*.

use std::fmt::Write;

use crate::schema::{BodyNotes, Captured, HeaderMap, HeaderValue, HttpTransaction};

/// The whole document.
pub(super) fn render(transaction: &HttpTransaction<'_>) -> String {
    let mut text = Text("HTTP Transaction\n================\n".to_owned());
    let (metadata, request, response) = (&transaction.metadata, &transaction.request, &transaction.response);
    text.title("Metadata");
    text.pair("Transaction Time", &transaction.transaction_time.to_string());
    if let Some(duration) = transaction.duration_ms {
        text.pair("Duration", &format!("{duration}ms"));
    }
    text.pair("Direction", transaction.direction);
    text.pair("Request ID", metadata.request_id);
    text.pair("Connection ID", metadata.connection_id);
    text.pair("Process ID", &metadata.process_id);
    text.pair("Process", metadata.process_exe);
    text.pair("Bytes Sent", &metadata.bytes_sent.to_string());
    text.pair("Bytes Received", &metadata.bytes_received.to_string());
    text.pair("Tags", &metadata.tags.join(", "));
    text.pair("Outcome", transaction.notes.outcome);
    if transaction.notes.gap_bytes > 0 {
        text.pair("Bytes Not Captured", &transaction.notes.gap_bytes.to_string());
    }
    text.pair(
        "Upgraded To",
        transaction.notes.upgraded_to.as_deref().unwrap_or_default(),
    );

    text.title("Request");
    text.pair("Method", &request.method);
    text.pair("URL", &request.url);
    text.pair("Content-Type", &request.content_type);
    text.headers("Headers", &request.headers);
    text.body(&request.body, &request.body_notes);
    text.headers("Trailers", &request.trailers);

    text.title("Response");
    if transaction.notes.status_unknown {
        text.pair("Status", "unknown");
    } else {
        text.pair("Status", &response.status.to_string());
    }
    text.pair("Content-Type", &response.content_type);
    text.headers("Headers", &response.headers);
    text.body(&response.body, &response.body_notes);
    text.headers("Trailers", &response.trailers);
    text.captured(&transaction.captured);
    text.0
}

/// The document so far. Writing to a String cannot fail.
struct Text(String);

impl Text {
    fn title(&mut self, title: &str) {
        _ = writeln!(self.0, "\n{title}:");
    }

    fn pair(&mut self, key: &str, value: &str) {
        if !value.is_empty() {
            _ = writeln!(self.0, "  {key}: {value}");
        }
    }

    fn headers(&mut self, title: &str, headers: &HeaderMap<'_>) {
        if headers.is_empty() {
            return;
        }
        _ = writeln!(self.0, "  {title}:");
        for (name, value) in headers.iter() {
            let values = match value {
                HeaderValue::One(value) => std::slice::from_ref(value),
                HeaderValue::Many(values) => values,
            };
            for value in values {
                _ = writeln!(self.0, "    {name}: {value}");
            }
        }
    }

    /// Messages of a WebSocket or an event stream, one line each.
    fn captured(&mut self, captured: &Captured<'_>) {
        if captured.is_empty() {
            return;
        }
        self.title("Messages");
        for message in &captured.captured_messages {
            let payload = message
                .payload
                .as_deref()
                .or(message.payload_base64.as_deref())
                .or(message.close_reason.as_deref())
                .unwrap_or_default();
            let code = message
                .close_code
                .map(|code| format!(" {code}"))
                .unwrap_or_default();
            _ = writeln!(
                self.0,
                "  {} {} {}{code} {} B: {payload}",
                message.time, message.direction, message.opcode, message.length
            );
        }
        for event in &captured.captured_events {
            let name = if event.event.is_empty() {
                "message"
            } else {
                event.event
            };
            _ = writeln!(
                self.0,
                "  {} {name} {} B: {}",
                event.time, event.length, event.data
            );
        }
        if captured.not_captured > 0 {
            self.pair("Not Captured", &captured.not_captured.to_string());
        }
    }

    fn body(&mut self, body: &[u8], notes: &BodyNotes) {
        if notes.body_truncated {
            let cut = format!("first {} bytes; {} as sent", body.len(), notes.body_size_total);
            self.pair("Body Truncated", &cut);
        }
        if let Some(encoding) = &notes.body_encoding {
            let state = notes
                .decode_error
                .as_ref()
                .map_or("removed".to_owned(), |error| format!("kept: {error}"));
            self.pair("Body Encoding", &format!("{encoding} ({state})"));
        }
        if !body.is_empty() {
            _ = writeln!(self.0, "  Body:\n{}", String::from_utf8_lossy(body));
        }
    }
}
