//! One call while it passes.

use super::framer::{Framer, MISSING};
use super::{Dialect, Messages};
use crate::{Field, Outcome, RequestHead, ResponseHead, Side};

/// Follows one HTTP transaction that is a call.
///
/// ```
/// use bytes::Bytes;
/// use qtap_protocol::grpc::Tracker;
/// use qtap_protocol::{Field, Outcome, RequestHead, Side, Version};
///
/// let head = RequestHead {
///     method: Bytes::from_static(b"POST"),
///     target: Bytes::from_static(b"/pkg.Service/Method"),
///     scheme: None,
///     authority: None,
///     protocol: None,
///     version: Version::Http2,
///     fields: vec![Field { name: "content-type".into(), value: "application/grpc".into() }],
///     partial: false,
///     truncated: false,
///     framing_conflict: false,
/// };
/// let Some(mut tracker) = Tracker::begin(&head) else { panic!("no call") };
/// tracker.bytes(Side::Client, b"\0\0\0\0\x03abc\0\0\0");
/// let Some(call) = tracker.finish(&[], Outcome::Canceled, [false; 2]) else { panic!("no call") };
/// let sent = &call.messages[0];
/// assert_eq!((sent.count, sent.bytes, sent.unfinished), (1, 3, true));
/// ```
pub struct Tracker {
    framers: [Framer; 2],
    /// Neither head has named a content type: fields of the request are unknown, and it may be another kind of request.
    assumed: bool,
}

/// A call that ended, beyond what its HTTP transaction says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// How the bodies of the client and the server are laid out.
    pub dialects: [Dialect; 2],
    /// What the client and the server sent.
    pub messages: [Messages; 2],
    /// Trailers in the body of the response of gRPC-Web.
    pub web_trailers: Vec<Field>,
}

impl Tracker {
    /// Follows the call that a request begins; `None` if it is none. One whose content type could not be decoded may be one: the
    /// response will tell.
    #[must_use]
    pub fn begin(head: &RequestHead) -> Option<Self> {
        let dialect = match head.field("content-type") {
            Some(content_type) => Some(Dialect::of(content_type)?),
            None if head.partial => None,
            None => return None,
        };
        let native = dialect.unwrap_or(Dialect::Native);
        Some(Self {
            framers: [framer(native, &head.fields), Framer::new(native)],
            assumed: dialect.is_none(),
        })
    }

    /// Whether one of the heads says so: it is a call.
    #[must_use]
    pub const fn is_certain(&self) -> bool {
        !self.assumed
    }

    /// How the client's messages are laid out.
    #[must_use]
    pub const fn dialect(&self) -> Dialect {
        let [client, _] = &self.framers;
        client.dialect()
    }

    /// Takes the head of the response. Returns whether it (still) is, or may be, a call.
    pub fn response(&mut self, head: &ResponseHead) -> bool {
        let [client, server] = &mut self.framers;
        let dialect = head.field("content-type").map(Dialect::of);
        match dialect {
            Some(None) if self.assumed => return false,
            // An intermediary's own words.
            Some(None) => *server = Framer::off(server.dialect(), None),
            Some(Some(dialect)) => {
                *server = framer(dialect, &head.fields);
                if self.assumed && dialect != client.dialect() {
                    // It was taken for another dialect up to here.
                    *client = if client.is_untouched() {
                        Framer::new(dialect)
                    } else {
                        Framer::off(dialect, Some("its content type is not known"))
                    };
                }
                self.assumed = false;
            }
            None if self.assumed && !head.partial => return false,
            None => {}
        }
        if head.status == 0 {
            // The head itself is lost, and perhaps more with it.
            server.gap(0);
        }
        true
    }

    /// The next bytes of a body, transfer coding removed.
    pub fn bytes(&mut self, side: Side, data: &[u8]) {
        self.framer(side).bytes(data);
    }

    /// `length` bytes of a body are missing; with 0 it is not known how many.
    pub fn gap(&mut self, side: Side, length: u64) {
        self.framer(side).gap(length);
    }

    /// Counts anew, in a body that is whole and whose content coding was removed. Does nothing for one that had none.
    pub fn recount(&mut self, side: Side, body: &[u8]) {
        let framer = self.framer(side);
        if framer.is_coded() {
            let mut anew = Framer::new(framer.dialect());
            anew.bytes(body);
            *framer = anew;
        }
    }

    /// The transaction is over. `ended`: which halves were seen to their end. `None` if it is no call: where neither head named a content
    /// type, it is one if there is a `grpc-status`, or if both bodies are whole messages from their first byte to their last.
    #[must_use]
    pub fn finish(self, trailers: &[Field], outcome: Outcome, ended: [bool; 2]) -> Option<Call> {
        let [client, server] = self.framers;
        let dialects = [client.dialect(), server.dialect()];
        let ((client, _), (server, web_trailers)) = (client.finish(), server.finish());
        let is_framed = |side: &Messages| side.count > 0 && !side.unfinished && side.lost.is_none();
        let has_status = |field: &Field| field.name.eq_ignore_ascii_case(b"grpc-status");
        let is_told = trailers.iter().any(has_status)
            || (ended == [true; 2] && is_framed(&client) && is_framed(&server));
        if self.assumed && !is_told {
            return None;
        }
        let mut messages = [client, server];
        if outcome == Outcome::Incomplete {
            for (messages, _) in messages.iter_mut().zip(ended).filter(|(_, ended)| !ended) {
                messages.lost.get_or_insert(MISSING);
            }
        }
        Some(Call {
            dialects,
            messages,
            web_trailers,
        })
    }

    const fn framer(&mut self, side: Side) -> &mut Framer {
        let [client, server] = &mut self.framers;
        match side {
            Side::Client => client,
            Side::Server => server,
        }
    }
}

/// One for a body whose head has these fields.
fn framer(dialect: Dialect, fields: &[Field]) -> Framer {
    let is_coded = fields.iter().any(|field| {
        field.name.eq_ignore_ascii_case(b"content-encoding") && !field.value.eq_ignore_ascii_case(b"identity")
    });
    if is_coded {
        Framer::coded(dialect)
    } else {
        Framer::new(dialect)
    }
}
