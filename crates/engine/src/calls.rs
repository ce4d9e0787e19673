//! Calls of gRPC among the HTTP transactions of a connection.

use qtap_protocol::detect::Protocol;
use qtap_protocol::grpc::{Call, Dialect, Tracker};
use qtap_protocol::{Outcome, RequestHead, ResponseHead, Side};

use crate::{ConnectionFacts, Half};

/// The call that a request begins, if it is or may be one.
pub(crate) fn begin(head: &RequestHead, facts: &mut ConnectionFacts) -> Option<Box<Tracker>> {
    let call = Tracker::begin(head).map(Box::new)?;
    if call.is_certain() {
        name_protocol(call.dialect(), facts);
    }
    Some(call)
}

/// Takes the head of the response, which may tell that it is a call, or that it is none.
pub(crate) fn response(slot: &mut Option<Box<Tracker>>, head: &ResponseHead, facts: &mut ConnectionFacts) {
    let Some(call) = slot else { return };
    if !call.response(head) {
        *slot = None;
    } else if call.is_certain() {
        name_protocol(call.dialect(), facts);
    }
}

/// The transaction is over.
pub(crate) fn finish(
    mut call: Box<Tracker>,
    outcome: Outcome,
    halves: [&mut Half; 2],
    facts: &mut ConnectionFacts,
) -> Option<Box<Call>> {
    for (half, side) in halves.iter().zip([Side::Client, Side::Server]) {
        let body = &half.body;
        let is_whole = body.gap_bytes == 0 && !body.truncated && body.decode_error.is_none();
        if is_whole && !body.data.is_empty() {
            call.recount(side, &body.data);
        }
    }
    let dialect = call.dialect();
    let [request, response] = halves;
    let ended = [request.ended, response.ended];
    let mut call = call.finish(&response.trailers, outcome, ended)?;
    response.trailers.append(&mut call.web_trailers);
    name_protocol(dialect, facts);
    Some(Box::new(call))
}

/// A connection of HTTP/2 on which there was a call is one of gRPC. One of gRPC-Web stays what it is: that is made to pass for HTTP.
fn name_protocol(dialect: Dialect, facts: &mut ConnectionFacts) {
    if dialect == Dialect::Native && facts.protocol == Some(Protocol::Http2) {
        facts.protocol = Some(Protocol::Grpc);
    }
}
