//! `http_capture`: each transaction as an artifact for an object store (`surface.md` §4.3).

mod direct;
mod fragments;
mod grpc;
mod json;
mod text;

use std::cell::RefCell;
use std::sync::Arc;

use qtap_config::{CaptureFormat, HttpCapture as Settings, Level};
use qtap_engine::{ConnectionFacts, Interest};
use qtap_protocol::RequestHead;

pub(crate) use fragments::Fragments;

use crate::exchange::Exchange;
use crate::json::{Object, append, key};
use crate::plugin::{Context, Plugin, body_interest};
use crate::rpc::Rpc;
use crate::schema::{Artifact, ArtifactKind, Content, Timestamp};
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

    /// Makes the artifact in `scratch`, which is empty, and stores it.
    fn store(&self, exchange: &Exchange<'_>, scratch: &mut Vec<u8>) -> serde_json::Result<()> {
        let labels = exchange.labels;
        let fragments = labels
            .fragments
            .get_or_init(|| Fragments::new(exchange.connection, labels));
        let rpc = Rpc::of(exchange);
        let kind = match &rpc {
            Some(_) => ArtifactKind::GrpcTransaction,
            None => ArtifactKind::HttpTransaction,
        };
        write_provenance(kind, exchange, fragments, scratch);
        let provenance_end = scratch.len();
        write_summary(exchange, rpc.as_ref(), fragments, scratch);
        let summary_end = scratch.len();
        self.write_content(exchange, rpc.as_ref(), fragments, scratch)?;
        let content = scratch.get(summary_end..).unwrap_or_default();
        self.store.put(&Artifact {
            provenance: scratch.get(..provenance_end).unwrap_or_default(),
            content: match self.format {
                CaptureFormat::Text => Content::Text(content),
                CaptureFormat::Json => Content::Json(content),
            },
            summary: scratch.get(provenance_end..summary_end).unwrap_or_default(),
        });
        Ok(())
    }

    fn write_content(
        &self,
        exchange: &Exchange<'_>,
        rpc: Option<&Rpc<'_>>,
        fragments: &Fragments,
        out: &mut Vec<u8>,
    ) -> serde_json::Result<()> {
        if rpc.is_none() && self.format == CaptureFormat::Json && direct::covers(exchange.transaction) {
            direct::write(exchange, fragments, self.level, out);
            return Ok(());
        }
        let http = json::transaction(exchange, self.level);
        match (rpc, self.format) {
            (None, CaptureFormat::Text) => out.extend_from_slice(text::render(&http).as_bytes()),
            (None, CaptureFormat::Json) => append(&http, out)?,
            (Some(rpc), format) => {
                let call = grpc::transaction(http, rpc, self.level, self.body_limit);
                match format {
                    CaptureFormat::Text => out.extend_from_slice(text::render_call(&call).as_bytes()),
                    CaptureFormat::Json => append(&call, out)?,
                }
            }
        }
        Ok(())
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

    fn progress(&self, exchange: &Exchange<'_>) {
        self.transaction(exchange);
    }

    fn transaction(&self, exchange: &Exchange<'_>) {
        SCRATCH.with_borrow_mut(|scratch| {
            scratch.clear();
            // Maps with text keys and no custom failure: serialisation into memory has nothing to fail on.
            if let Err(error) = self.store(exchange, scratch) {
                tracing::error!(%error, "transaction not serialised");
            }
            if scratch.capacity() > SCRATCH_BYTES {
                *scratch = Vec::new();
            }
        });
    }
}

/// The members of [`Artifact::provenance`].
fn write_provenance(kind: ArtifactKind, exchange: &Exchange<'_>, fragments: &Fragments, out: &mut Vec<u8>) {
    let mut object = Object::members(out);
    object.word(key!("kind"), kind.name());
    object.parts(fragments.provenance());
    object.text(key!("requestId"), exchange.transaction.id.as_bytes());
    object.parts(fragments.tags());
    object.value(key!("timestamp"), |out| {
        Timestamp(exchange.transaction.finished).write(out)
    });
    // The comma behind the last member.
    out.pop();
}

/// The flat map of `surface.md` §7.6, and `request_path`.
fn write_summary(exchange: &Exchange<'_>, rpc: Option<&Rpc<'_>>, fragments: &Fragments, out: &mut Vec<u8>) {
    let (transaction, request) = (exchange.transaction, &exchange.transaction.request);
    let response = transaction.response.as_ref();
    let content_type = response.and_then(|head| head.field("content-type"));
    Object::write(out, |summary| {
        if let Some(duration) = exchange.duration_ms() {
            summary.number(key!("duration_ms"), duration);
        }
        summary.parts(fragments.summary());
        summary.text(key!("request_id"), transaction.id.as_bytes());
        summary.parts(fragments.summary_connection());
        summary.text_if_any(key!("request_method"), &request.method);
        summary.text_if_any(key!("request_scheme"), exchange.raw_scheme());
        let authority = request.authority.as_deref();
        summary.text_if_any(key!("request_host"), authority.unwrap_or_default());
        summary.text_if_any(key!("request_path"), exchange.raw_path());
        summary.word(key!("request_protocol"), transaction.protocol.name());
        let request_type = request.field("content-type");
        summary.text_if_any(key!("request_content_type"), request_type.unwrap_or_default());
        let status = rpc.map_or_else(|| exchange.compatible_status(), Rpc::compatible_status);
        summary.number(key!("response_status"), status.into());
        summary.text_if_any(key!("response_content_type"), content_type.unwrap_or_default());
        if let Some(rpc) = rpc {
            let fields = rpc.fields();
            summary.text_if_any(key!("grpc_service"), fields.grpc_service.as_bytes());
            summary.text_if_any(key!("grpc_method"), fields.grpc_method.as_bytes());
            summary.text_if_any(key!("grpc_status"), fields.grpc_status.as_bytes());
            summary.text_if_any(key!("grpc_status_name"), fields.grpc_status_name.as_bytes());
        }
    });
}

#[cfg(test)]
mod tests;
