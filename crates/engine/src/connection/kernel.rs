//! TLS that the kernel does (kTLS): from a position on, a direction of the socket carries plaintext, and the kernel makes records of it.
//!
//! The program's library makes the handshake and hands the keys of one direction or both to the socket. What is captured
//! there is the application's, byte for byte; sendfile(2) shows as a gap of known length, which no call of the library would
//! tell. So in such a direction the socket is believed rather than calls or secrets. How many bytes the records take
//! on the wire only the kernel knows: its counts are higher than what was moved, and cannot be reconciled with it.

use bytes::Bytes;
use qtap_capture::{Closed, Data, Direction, Layer, Loss};
use qtap_protocol::{Side, Time};

use super::wire::Wire;
use super::{Connection, index};
use crate::context::Context;
use crate::reassembly::Piece;

impl Connection {
    /// Whether the kernel does the TLS of `direction` by now.
    pub(super) fn is_by_kernel(&self, direction: Direction) -> bool {
        self.kernel_tls_from(direction).is_some()
    }

    fn kernel_tls_from(&self, direction: Direction) -> Option<u64> {
        self.tally.kernel_from.get(index(direction)).copied().flatten()
    }

    /// `data` is plaintext: so is everything behind it in its direction.
    pub(super) fn begin_kernel_tls(&mut self, data: &Data, cx: &mut Context<'_>) {
        let (direction, position) = (data.direction, data.position);
        if self
            .kernel_tls_from(direction)
            .is_some_and(|from| from <= position)
        {
            return;
        }
        // Ciphertext before it was not copied on request.
        let is_skipped = self.verdict_hides(direction);
        if let Some(from) = self.tally.kernel_from.get_mut(index(direction)) {
            *from = Some(position);
        }
        let mut pieces = Vec::new();
        if let Some(stream) = self.stream(Layer::Socket, direction)
            && is_skipped
            && !stream.is_waiting()
        {
            stream.settle(position, Loss::Skipped, data.time, &mut pieces);
        }
        for piece in pieces {
            self.piece(direction, Layer::Socket, piece, cx);
        }
    }

    /// Whether the next piece of the socket lies where the kernel does the TLS. To be called once for each, in order.
    pub(super) fn is_of_kernel_tls(&mut self, direction: Direction, piece: &Piece) -> bool {
        let length = match piece {
            Piece::Bytes { data, .. } => data.len() as u64,
            Piece::Gap { length, .. } => *length,
        };
        let Some(worked_off) = self.worked_off.get_mut(index(direction)) else {
            return false;
        };
        let position = *worked_off;
        *worked_off += length;
        self.kernel_tls_from(direction)
            .is_some_and(|from| from <= position)
    }

    /// What a program moved in a direction of which the kernel does the TLS.
    pub(super) fn kernel_piece(
        &mut self,
        side: Side,
        direction: Direction,
        piece: Piece,
        cx: &mut Context<'_>,
    ) {
        self.ensure_tls(cx);
        let Wire::Tls(tls) = &mut self.wire else { return };
        if let Some(kernel) = tls.kernel.get_mut(side.index()) {
            *kernel = true;
        }
        let is_of_unknown_length = direction == Direction::Ingress
            && matches!(
                piece,
                Piece::Gap {
                    loss: Loss::Unreadable,
                    ..
                }
            );
        self.with_session(cx, |session, events| match piece {
            Piece::Bytes { data, time, .. } => session.offloaded(side, data, Time(time.0), events),
            Piece::Gap {
                loss: Loss::TlsControl,
                time,
                ..
            } => session.offloaded(side, Bytes::new(), Time(time.0), events),
            Piece::Gap { length, time, .. } => session.offloaded_gap(side, length, Time(time.0), events),
        });
        if is_of_unknown_length {
            // splice(2) from the socket is known by its records, which are longer than what was in them.
            self.app.restart(true, self.facts.as_deref_mut(), cx);
        }
    }

    /// Only TLS is done by the kernel: whatever the first bytes looked like.
    fn ensure_tls(&mut self, cx: &mut Context<'_>) {
        let (midstream, pieces) = match &mut self.wire {
            Wire::Tls(_) | Wire::Off => return,
            Wire::Sniffing(sniffer) => (sniffer.midstream, std::mem::take(sniffer).into_pieces()),
            Wire::Plain => (true, Vec::new()),
        };
        self.begin_tls(midstream, cx);
        self.with_session(cx, |session, events| {
            for (side, data, time) in pieces {
                session.bytes(side, data, time, events);
            }
        });
    }

    /// Bytes on the wire, `[sent, received]`, of a connection that is over: what calls moved, or, where the kernel made records of it,
    /// what the kernel counted.
    pub(super) fn wire_bytes(&self, closed: &Closed) -> [u64; 2] {
        let received = closed.kernel_received.saturating_sub(closed.unread);
        let of = |direction, moved: u64, counted: u64| {
            if self.is_by_kernel(direction) {
                moved.max(counted)
            } else {
                moved
            }
        };
        [
            of(Direction::Egress, closed.written, closed.kernel_sent),
            of(Direction::Ingress, closed.read, received),
        ]
    }
}
