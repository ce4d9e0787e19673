//! `http_capture`: each transaction as an artifact for an object store (`surface.md` §4.3).

mod grpc;
mod json;
mod text;

use std::sync::Arc;

use qtap_config::{CaptureFormat, HttpCapture as Settings, Level};
use qtap_engine::{ConnectionFacts, Interest};
use qtap_protocol::RequestHead;

use crate::exchange::Exchange;
use crate::json::JsonLine;
use crate::plugin::{Context, Plugin, body_interest};
use crate::rpc::Rpc;
use crate::schema::{
    Artifact, ArtifactKind, Content, HttpTransaction, Provenance, Rendered, Summary, Timestamp,
};
use crate::sink::{Discard, ObjectStore};

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

    fn artifact(&self, exchange: &Exchange<'_>) -> serde_json::Result<Artifact> {
        let transaction = json::transaction(exchange, self.level);
        if let Some(rpc) = Rpc::of(exchange) {
            return self.call_artifact(exchange, transaction, &rpc);
        }
        Ok(Artifact {
            content: match self.format {
                CaptureFormat::Text => Content::Text(text::render(&transaction).into()),
                CaptureFormat::Json => Content::Json(JsonLine::of(&transaction)?),
            },
            summary: JsonLine::of(&summary(transaction))?,
            provenance: provenance(ArtifactKind::HttpTransaction, exchange)?,
        })
    }

    fn call_artifact(
        &self,
        exchange: &Exchange<'_>,
        http: HttpTransaction<'_>,
        rpc: &Rpc<'_>,
    ) -> serde_json::Result<Artifact> {
        let call = grpc::transaction(http, rpc, self.level, self.body_limit);
        Ok(Artifact {
            content: match self.format {
                CaptureFormat::Text => Content::Text(text::render_call(&call).into()),
                CaptureFormat::Json => Content::Json(JsonLine::of(&call)?),
            },
            summary: JsonLine::of(&grpc::summary(summary(call.into_http()), rpc))?,
            provenance: provenance(ArtifactKind::GrpcTransaction, exchange)?,
        })
    }
}

fn provenance(kind: ArtifactKind, exchange: &Exchange<'_>) -> serde_json::Result<Rendered<Provenance>> {
    Rendered::new(Provenance {
        kind,
        connection_id: Arc::clone(&exchange.connection.public_id),
        request_id: Arc::clone(&exchange.transaction.id),
        tags: Arc::clone(&exchange.labels.tags),
        timestamp: Timestamp(exchange.transaction.finished),
        endpoint_id: Arc::clone(&exchange.labels.endpoint_id),
    })
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
        match self.artifact(exchange) {
            Ok(artifact) => self.store.put(artifact),
            // Maps with text keys and no custom failure: serialisation into memory has nothing to fail on.
            Err(error) => tracing::error!(%error, "transaction not serialised"),
        }
    }
}

/// The flat map of `surface.md` §7.6, and `request_path`.
fn summary(transaction: HttpTransaction<'_>) -> Summary<'_> {
    let (metadata, request, response) = (transaction.metadata, transaction.request, transaction.response);
    let mut summary = Summary::default();
    if let Some(duration) = transaction.duration_ms {
        summary.number("duration_ms", duration);
    }
    summary.text("direction", transaction.direction);
    summary.text("process_exe", metadata.process_exe);
    summary.text("request_id", &**metadata.request_id);
    summary.text("connection_id", &**metadata.connection_id);
    summary.text("request_method", request.method);
    summary.text("request_scheme", request.scheme);
    summary.text("request_host", request.authority);
    summary.text("request_path", request.path);
    summary.text("request_protocol", request.protocol);
    summary.text("request_content_type", request.content_type);
    summary.number("response_status", u64::from(response.status));
    summary.text("response_content_type", response.content_type);
    summary
}

#[cfg(test)]
mod tests;
