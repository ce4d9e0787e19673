//! A query with its answer, as consumers get it.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use qtap_capture::KernelTime;
use qtap_protocol::dns::Exchange;

use crate::context::Context;

/// One query of DNS with what became of it. Times follow P-T1 and are differences of the kernel's monotonic clock.
#[derive(Clone, Debug)]
pub struct DnsTransaction {
    /// Sortable, globally unique, 20 characters: `requestId` in events.
    pub id: Arc<str>,
    /// Wall time of its first byte.
    pub started: SystemTime,
    /// Wall time of its end.
    pub finished: SystemTime,
    /// What was asked, and what came of it.
    pub exchange: Exchange,
}

impl DnsTransaction {
    /// With an id and wall times.
    pub(crate) fn new(exchange: Exchange, cx: &Context<'_>) -> Self {
        let finished = cx.clock.at(KernelTime(exchange.ended.0));
        let lasted = exchange.ended.0.saturating_sub(exchange.started.0);
        let started = finished - Duration::from_nanos(lasted);
        Self {
            id: cx.ids.next(started),
            started,
            finished,
            exchange,
        }
    }
}
