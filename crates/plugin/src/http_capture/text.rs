//! The text form: blocks *Metadata*, *Request*, *Response*.

use std::fmt::Write;

use crate::schema::{
    BodyNotes, Captured, GrpcTransaction, HeaderMap, HeaderValue, HttpTransaction, Metadata, Notes,
    RequestPart, ResponsePart, SideMessages,
};

/// The whole document.
pub(super) fn render(transaction: &HttpTransaction<'_>) -> String {
    let mut text = Text("HTTP Transaction\n================\n".to_owned());
    text.metadata(
        &transaction.metadata,
        &transaction.transaction_time.to_string(),
        transaction.duration_ms,
        transaction.direction,
        &transaction.notes,
    );
    text.request(&transaction.request, Bodies::Shown);
    text.response(&transaction.response, &transaction.notes, Bodies::Shown);
    text.captured(&transaction.captured);
    text.0
}

/// The same of a call of gRPC. Its bodies are no text: their messages are told by count and size.
pub(super) fn render_call(call: &GrpcTransaction<'_>) -> String {
    let mut text = Text("gRPC Transaction\n================\n".to_owned());
    text.metadata(
        &call.metadata,
        &call.transaction_time.to_string(),
        call.duration_ms,
        call.direction,
        &call.notes,
    );
    text.title("RPC");
    text.pair("Service", &call.service);
    text.pair("Method", &call.method);
    text.pair("Type", call.grpc_notes.call_type);
    if call.status.grpc_status.is_empty() {
        text.pair("Status", "unknown");
    } else {
        let status = &call.status;
        text.pair(
            "Status",
            &format!("{} ({})", status.grpc_status_name, status.grpc_status),
        );
    }
    text.pair("Message", &call.status.grpc_message);
    if let Some(timeout) = call.grpc_notes.timeout_ms {
        text.pair("Timeout", &format!("{timeout}ms"));
    }
    text.messages("Request Messages", &call.grpc_notes.messages.request);
    text.messages("Response Messages", &call.grpc_notes.messages.response);
    text.request(&call.request.http, Bodies::LeftOut);
    text.response(&call.response.http, &call.notes, Bodies::LeftOut);
    text.0
}

/// What is done with bodies.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Bodies {
    Shown,
    LeftOut,
}

/// The document so far. Writing to a String cannot fail.
struct Text(String);

impl Text {
    fn metadata(
        &mut self,
        metadata: &Metadata<'_>,
        time: &str,
        duration_ms: Option<u64>,
        direction: &str,
        notes: &Notes,
    ) {
        self.title("Metadata");
        self.pair("Transaction Time", time);
        if let Some(duration) = duration_ms {
            self.pair("Duration", &format!("{duration}ms"));
        }
        self.pair("Direction", direction);
        self.pair("Request ID", metadata.request_id);
        self.pair("Connection ID", metadata.connection_id);
        self.pair("Process ID", &metadata.process_id);
        self.pair("Process", metadata.process_exe);
        self.pair("Bytes Sent", &metadata.bytes_sent.to_string());
        self.pair("Bytes Received", &metadata.bytes_received.to_string());
        self.pair("Tags", &metadata.tags.join(", "));
        self.pair("Outcome", notes.outcome);
        if notes.gap_bytes > 0 {
            self.pair("Bytes Not Captured", &notes.gap_bytes.to_string());
        }
        if notes.request_aborted {
            self.pair("Request", "aborted by the server after its response");
        }
        self.pair("Upgraded To", notes.upgraded_to.as_deref().unwrap_or_default());
    }

    fn request(&mut self, request: &RequestPart<'_>, bodies: Bodies) {
        self.title("Request");
        self.pair("Method", &request.method);
        self.pair("URL", &request.url);
        self.pair("Content-Type", &request.content_type);
        self.headers("Headers", &request.headers);
        if bodies == Bodies::Shown {
            self.body(&request.body, &request.body_notes);
        }
        self.headers("Trailers", &request.trailers);
    }

    fn response(&mut self, response: &ResponsePart<'_>, notes: &Notes, bodies: Bodies) {
        self.title("Response");
        if notes.status_unknown {
            self.pair("Status", "unknown");
        } else {
            self.pair("Status", &response.status.to_string());
        }
        self.pair("Content-Type", &response.content_type);
        self.headers("Headers", &response.headers);
        if bodies == Bodies::Shown {
            self.body(&response.body, &response.body_notes);
        }
        self.headers("Trailers", &response.trailers);
    }

    /// `2, 70 bytes, 1 compressed (gzip)`.
    fn messages(&mut self, title: &str, messages: &SideMessages) {
        let mut told = format!("{}, {} bytes", messages.count, messages.bytes);
        if messages.compressed > 0 {
            let encoding = messages.encoding.as_deref().unwrap_or("encoding unknown");
            _ = write!(told, ", {} compressed ({encoding})", messages.compressed);
        }
        if messages.unfinished {
            told.push_str(", one more unfinished");
        }
        if let Some(reason) = messages.incomplete_reason {
            _ = write!(told, ", perhaps more: {reason}");
        }
        self.pair(title, &told);
    }

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
