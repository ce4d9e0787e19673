//! A transaction on its way.

use std::sync::Arc;

use qtap_protocol::{Counts, RequestHead, ResponseHead, Side, Upgrade, grpc};

use crate::body::BodyCollector;
use crate::streaming::Live;
use crate::{Half, Interest};

/// A transaction on its way.
pub(super) struct Open {
    pub(super) id: Arc<str>,
    pub(super) interest: Interest,
    /// Bodies are wanted, but not kept, to shed load.
    pub(super) shed: bool,
    pub(super) request: RequestHead,
    pub(super) response: Option<ResponseHead>,
    pub(super) halves: [Half; 2],
    pub(super) bodies: [BodyCollector; 2],
    /// Bytes of each half that were passed over on request.
    pub(super) skipped: [u64; 2],
    pub(super) interim: Vec<u16>,
    pub(super) upgraded_to: Option<Upgrade>,
    /// It is a call of gRPC, or may be one.
    pub(super) call: Option<Box<grpc::Tracker>>,
    /// Its messages, if it goes on after the response head.
    pub(super) live: Option<Box<Live>>,
    /// What HTTP/1 counted before it handed the connection over.
    pub(super) carried: Option<[Counts; 2]>,
}

impl Open {
    /// What was kept of `side`.
    pub(super) fn half(&mut self, side: Side) -> (&mut Half, &mut BodyCollector) {
        let [client, server] = &mut self.halves;
        let [request, response] = &mut self.bodies;
        match side {
            Side::Client => (client, request),
            Side::Server => (server, response),
        }
    }
}
