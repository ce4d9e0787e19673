//! What is answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::extract::State as Extract;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::{Readiness, Samples, State};

/// OpenMetrics 1.0, "Content Type".
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";

/// The agent and what the server counts of itself.
pub(crate) struct Context {
    pub(crate) state: Arc<dyn State>,
    pub(crate) counters: Counters,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) requests: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) timed_out: AtomicU64,
    pub(crate) failed: AtomicU64,
}

pub(crate) fn router(context: Arc<Context>) -> Router {
    Router::new()
        .route("/readyz", get(ready))
        .route("/healthz", get(healthy))
        .route("/status", get(status))
        .route("/metrics", get(product_metrics))
        .route("/system/metrics", get(system_metrics))
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .with_state(context)
}

async fn ready(Extract(context): Extract<Arc<Context>>) -> Response {
    answer(&context, &context.state.readiness(), "ready")
}

async fn healthy(Extract(context): Extract<Arc<Context>>) -> Response {
    answer(&context, &context.state.health(), "healthy")
}

fn answer(context: &Context, readiness: &Readiness, word: &str) -> Response {
    context.counters.requests.fetch_add(1, Ordering::Relaxed);
    let status = if readiness.is_ready() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, [(header::CONTENT_TYPE, TEXT)], readiness.to_text(word)).into_response()
}

async fn status(Extract(context): Extract<Arc<Context>>) -> Response {
    context.counters.requests.fetch_add(1, Ordering::Relaxed);
    let state = Arc::clone(&context.state);
    match tokio::task::spawn_blocking(move || state.status()).await {
        Ok(Some(text)) => ([(header::CONTENT_TYPE, JSON)], text.to_string()).into_response(),
        Ok(None) => not_found().await.into_response(),
        Err(error) => {
            tracing::error!(%error, "cannot make the status report");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

async fn product_metrics(Extract(context): Extract<Arc<Context>>) -> Response {
    context.counters.requests.fetch_add(1, Ordering::Relaxed);
    let mut samples = Samples::default();
    build_info(&mut samples);
    context.state.product_samples(&mut samples);
    exposition(samples)
}

async fn system_metrics(Extract(context): Extract<Arc<Context>>) -> Response {
    context.counters.requests.fetch_add(1, Ordering::Relaxed);
    let mut samples = Samples::default();
    build_info(&mut samples);
    context.state.samples(&mut samples);
    own_samples(&context.counters, &mut samples);
    exposition(samples)
}

fn own_samples(counters: &Counters, samples: &mut Samples) {
    for (name, help, counter) in [
        (
            "qtap_server_requests_total",
            "Requests answered",
            &counters.requests,
        ),
        (
            "qtap_server_connections_refused_total",
            "Connections over the limit",
            &counters.refused,
        ),
        (
            "qtap_server_timeouts_total",
            "Connections ended by a time limit",
            &counters.timed_out,
        ),
        (
            "qtap_server_failures_total",
            "Connections that could not be served",
            &counters.failed,
        ),
    ] {
        samples.counter(name, help, &[], counter.load(Ordering::Relaxed));
    }
    let rejected = samples.rejected() as f64;
    samples.gauge(
        "qtap_server_samples_rejected",
        "Numbers left out of this answer",
        &[],
        rejected,
    );
}

fn exposition(samples: Samples) -> Response {
    match samples.into_text() {
        Ok(text) => ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "cannot write metrics");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

fn build_info(samples: &mut Samples) {
    let labels = [
        ("version", env!("CARGO_PKG_VERSION")),
        ("arch", std::env::consts::ARCH),
    ];
    samples.gauge(
        "qtap_build_info",
        "The agent's build; the value is always 1",
        &labels,
        1.0,
    );
}

async fn not_found() -> impl IntoResponse {
    (
        StatusCode::NOT_FOUND,
        "not found; there are /readyz, /healthz, /status, /metrics and /system/metrics\n",
    )
}

async fn method_not_allowed() -> impl IntoResponse {
    (StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n")
}
