//! `http_capture`: each transaction as an artifact for an object store (`surface.md` §4.3).

mod fragments;
mod json;
mod text;
mod transaction;

use std::cell::RefCell;
use std::sync::Arc;

use qtap_config::{CaptureFormat, HttpCapture as Settings, Level};
use qtap_engine::{ConnectionFacts, Interest};
use qtap_protocol::RequestHead;

pub(crate) use fragments::Fragments;

use crate::exchange::{Exchange, text as lossy};
use crate::json::{Object, key};
use crate::plugin::{Context, Plugin, body_interest};
use crate::schema::{Artifact, Content, Timestamp};
use crate::sink::{Discard, ObjectStore};

/// What a thread keeps for its next artifact.
const SCRATCH_BYTES: usize = 64 << 10;

thread_local! {
    /// Where artifacts are made, so that none costs an allocation.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Stores transactions.
pub(crate) struct HttpCapture {
    level: Level,
    format: CaptureFormat,
    body_limit: usize,
    store: Arc<dyn ObjectStore>,
}

impl HttpCapture {
    pub(crate) fn new(settings: &Settings, context: &Context, body_limit: usize) -> Self {
        let chosen = settings
            .object_store
            .and_then(|index| context.stores.objects.get(index));
        Self {
            level: settings.level,
            format: settings.format,
            body_limit,
            store: chosen.map_or_else(|| Arc::new(Discard) as Arc<dyn ObjectStore>, Arc::clone),
        }
    }

    /// Makes the artifact in `scratch` and stores it.
    fn store(&self, exchange: &Exchange<'_>, scratch: &mut Vec<u8>) {
        let labels = exchange.labels;
        let fragments = labels
            .fragments
            .get_or_init(|| Fragments::new(exchange.connection, labels));
        write_provenance(exchange, fragments, scratch);
        let provenance_end = scratch.len();
        write_summary(exchange, fragments, scratch);
        let summary_end = scratch.len();
        let text;
        let content = match self.format {
            CaptureFormat::Json => {
                json::write(exchange, fragments, self.level, scratch);
                Content::Json(scratch.get(summary_end..).unwrap_or_default())
            }
            CaptureFormat::Text => {
                text = text::render(&transaction::of(exchange, self.level));
                Content::Text(text.as_bytes())
            }
        };
        self.store.put(&Artifact {
            provenance: scratch.get(..provenance_end).unwrap_or_default(),
            content,
            summary: scratch.get(provenance_end..summary_end).unwrap_or_default(),
        });
    }
}

impl Plugin for HttpCapture {
    fn interest(&self, _connection: &ConnectionFacts, _request: &RequestHead) -> Interest {
        if self.store.discards() {
            return Interest::None;
        }
        match self.level {
            Level::None => Interest::None,
            Level::Summary | Level::Headers => Interest::Head,
            Level::Full => body_interest(self.body_limit),
        }
    }

    fn transaction(&self, exchange: &Exchange<'_>) {
        SCRATCH.with_borrow_mut(|scratch| {
            scratch.clear();
            self.store(exchange, scratch);
            if scratch.capacity() > SCRATCH_BYTES {
                *scratch = Vec::new();
            }
        });
    }
}

/// The members of [`Artifact::provenance`].
fn write_provenance(exchange: &Exchange<'_>, fragments: &Fragments, out: &mut Vec<u8>) {
    let mut object = Object::members(out);
    object.parts(&fragments.provenance);
    object.text(key!("requestId"), &exchange.transaction.id);
    object.parts(&fragments.tags);
    object.value(key!("timestamp"), |out| {
        Timestamp(exchange.transaction.finished).write(out)
    });
    // The comma behind the last member.
    out.pop();
}

/// The flat map of `surface.md` §7.6, and `request_path`.
fn write_summary(exchange: &Exchange<'_>, fragments: &Fragments, out: &mut Vec<u8>) {
    let transaction = exchange.transaction;
    let authority = transaction.request.authority.as_ref();
    Object::write(out, |summary| {
        if let Some(duration) = exchange.duration_ms() {
            summary.number(key!("duration_ms"), duration);
        }
        summary.parts(&fragments.summary);
        summary.text(key!("request_id"), &transaction.id);
        summary.text(key!("connection_id"), &exchange.connection.public_id);
        summary.text_if_any(key!("request_method"), &exchange.method());
        summary.text_if_any(key!("request_scheme"), &exchange.scheme());
        summary.text_if_any(key!("request_host"), &authority.map(lossy).unwrap_or_default());
        summary.text_if_any(key!("request_path"), &exchange.path());
        summary.word(key!("request_protocol"), transaction.protocol.name());
        summary.text_if_any(
            key!("request_content_type"),
            &exchange.request_field("content-type"),
        );
        summary.number(key!("response_status"), exchange.compatible_status().into());
        summary.text_if_any(
            key!("response_content_type"),
            &exchange.response_field("content-type"),
        );
    });
}

#[cfg(test)]
mod tests;
