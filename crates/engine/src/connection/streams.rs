//! Records put in order, and what is missing between them.

use qtap_capture::{Data, Direction, KernelTime, Layer, Loss};

use super::wire::Wire;
use super::{Connection, index, side_of};
use crate::context::Context;
use crate::reassembly::{Piece, Reassembler, Record};

/// Least body bytes certain to follow for which a verdict to skip them is worth its while.
const WORTH_SKIPPING: u64 = 64 << 10;

const LAYERS: [(Layer, Direction); 4] = [
    (Layer::Socket, Direction::Egress),
    (Layer::Socket, Direction::Ingress),
    (Layer::Calls, Direction::Egress),
    (Layer::Calls, Direction::Ingress),
];

impl Connection {
    pub(super) fn take(&mut self, data: Data, cx: &mut Context<'_>) {
        self.last_pid = Some(data.pid);
        let direction = data.direction;
        let layer = match data.layer {
            Layer::KernelTls => {
                self.begin_kernel_tls(&data, cx);
                Layer::Socket
            }
            layer => layer,
        };
        let is_hole = matches!(data.missing, Some((_, Loss::QueueFull | Loss::RingFull)));
        if layer == Layer::Socket && !is_hole {
            self.first_bytes.get_or_insert(data.time);
            self.tally.data_events += 1;
            cx.stats.bytes.add(data.bytes.len() as u64);
        }
        // What is missing in the other direction came after the records that this one waits behind: it is told after them, too.
        let queues = self
            .stream(layer, direction)
            .is_some_and(|stream| stream.queues(data.position));
        if !queues {
            self.settle(layer, direction.opposite(), data.other_settled, data.time, cx);
        }
        if let Some(stream) = self.stream(layer, direction)
            && stream.takes_next(&data)
        {
            // Nearly always: there is nothing to put in order.
            self.note_seen(layer, direction, data.time);
            self.note_reordering(cx);
            let piece = Piece::Bytes {
                data: data.bytes,
                time: data.time,
                call_start: data.call_start,
            };
            self.piece(direction, layer, piece, cx);
            if layer == Layer::Socket {
                self.skip_unwanted(direction, cx);
            }
            return;
        }
        let mut pieces = Vec::new();
        self.pass_skipped(layer, direction, data.position, data.time, &mut pieces);
        if let Some(stream) = self.stream(layer, direction) {
            let record = Record {
                data: data.bytes,
                missing: data.missing,
                time: data.time,
                call_start: data.call_start,
                other_settled: if queues { data.other_settled } else { 0 },
            };
            stream.push(data.position, record, &mut pieces);
        }
        self.note_seen(layer, direction, data.time);
        for piece in pieces {
            self.piece(direction, layer, piece, cx);
        }
        self.let_due_go(layer, cx);
        self.note_reordering(cx);
        if layer == Layer::Socket {
            self.skip_unwanted(direction, cx);
        }
    }

    /// Whether `data` can be what comes next of the calls that way.
    pub(crate) fn goes_on_with(&self, data: &Data) -> bool {
        let stream = self.calls.get(index(data.direction));
        stream.is_none_or(|stream| stream.position() <= data.position)
    }

    /// The call that `data` tells of is the first of its stream that is known to be this connection's: those before it were not seen, or
    /// were not kept until it was known. A response must not overtake the request behind them while it is waited for them in vain.
    pub(crate) fn join_calls(&mut self, data: &Data) {
        if let Some(stream) = self.stream(Layer::Calls, data.direction) {
            stream.begin(data.position);
        }
    }

    /// What has not come before `end` is lost. Told before anything behind it comes, so that a response is not taken for the
    /// answer to the request before the one that is missing.
    pub(super) fn settle(
        &mut self,
        layer: Layer,
        direction: Direction,
        end: u64,
        time: KernelTime,
        cx: &mut Context<'_>,
    ) {
        if self.is_settled(layer, direction, end) {
            return;
        }
        self.settle_up_to_due(layer, direction, end, time, cx);
        self.let_due_go(layer, cx);
    }

    fn is_settled(&mut self, layer: Layer, direction: Direction, end: u64) -> bool {
        let stream = self.stream(layer, direction);
        stream.is_some_and(|stream| stream.position() >= end)
    }

    fn settle_up_to_due(
        &mut self,
        layer: Layer,
        direction: Direction,
        end: u64,
        time: KernelTime,
        cx: &mut Context<'_>,
    ) {
        let mut pieces = Vec::new();
        self.pass_skipped(layer, direction, end, time, &mut pieces);
        let loss = self.unseen_loss(layer, direction, time, cx);
        if let Some(stream) = self.stream(layer, direction) {
            stream.settle(end, loss, time, &mut pieces);
        }
        for piece in pieces {
            self.piece(direction, layer, piece, cx);
        }
    }

    /// Lets records go on that come next, each after what is known with it to be missing in the other direction.
    fn let_due_go(&mut self, layer: Layer, cx: &mut Context<'_>) {
        loop {
            let waiting = [Direction::Egress, Direction::Ingress].map(|direction| {
                let (end, time) = self.stream(layer, direction)?.due()?;
                Some((direction, end, time))
            });
            let mut waiting = waiting.into_iter().flatten();
            let Some(first) = waiting.next() else { return };
            let due = (std::iter::once(first).chain(waiting))
                .find(|(direction, end, _)| self.is_settled(layer, direction.opposite(), *end));
            let (direction, end, time) = due.unwrap_or(first);
            if due.is_none() {
                // That may stop at a record which is due there, and goes first if it waits for nothing here.
                self.settle_up_to_due(layer, direction.opposite(), end, time, cx);
                let other = self
                    .stream(layer, direction.opposite())
                    .and_then(|stream| stream.due());
                if other.is_some_and(|(end, _)| self.is_settled(layer, direction, end)) {
                    continue;
                }
            }
            let mut pieces = Vec::new();
            if let Some(stream) = self.stream(layer, direction) {
                stream.pass_due(&mut pieces);
            }
            for piece in pieces {
                self.piece(direction, layer, piece, cx);
            }
        }
    }

    /// What the kernel was told to pass over before `end` is not lost.
    pub(super) fn pass_skipped(
        &mut self,
        layer: Layer,
        direction: Direction,
        end: u64,
        time: KernelTime,
        pieces: &mut Vec<Piece>,
    ) {
        let skipped = self
            .verdict
            .skip_until
            .get(index(direction))
            .copied()
            .unwrap_or_default();
        if let Some(stream) = self.stream(layer, direction)
            && layer == Layer::Socket
            && !stream.is_waiting()
        {
            stream.settle(end.min(skipped), Loss::Skipped, time, pieces);
        }
    }

    /// Notes when the last record came, unless it waits for one before it.
    fn note_seen(&mut self, layer: Layer, direction: Direction, time: KernelTime) {
        let waits = self
            .stream(layer, direction)
            .is_none_or(|stream| stream.is_waiting());
        let place = self.last_seen.get_mut(layer as usize);
        if let (false, Some(last)) = (waits, place.and_then(|layer| layer.get_mut(index(direction)))) {
            *last = (*last).max(time);
        }
    }

    /// Why bytes that should have come before `time` did not: they were left out to shed load, or the ring was full.
    pub(super) fn unseen_loss(
        &self,
        layer: Layer,
        direction: Direction,
        time: KernelTime,
        cx: &Context<'_>,
    ) -> Loss {
        let last = (self.last_seen.get(layer as usize)).and_then(|layer| layer.get(index(direction)));
        let since = last.copied().unwrap_or_default();
        if cx.load.hid(self.opened_shed(), since, time) {
            Loss::LoadShed
        } else {
            Loss::RingFull
        }
    }

    /// It opened while new connections were only counted.
    pub(super) fn opened_shed(&self) -> bool {
        self.opened.as_ref().is_some_and(|opened| opened.shed)
    }

    pub(super) fn note_reordering(&mut self, cx: &Context<'_>) {
        let waiting = self.socket.iter().chain(&self.calls).any(Reassembler::is_waiting);
        match (waiting, self.reorder_since) {
            (true, None) => self.reorder_since = Some(cx.now),
            (false, Some(_)) => self.reorder_since = None,
            _ => {}
        }
    }

    pub(super) fn give_up_reordering(&mut self, cx: &mut Context<'_>) {
        self.reorder_since = None;
        for (layer, direction) in LAYERS {
            let mut pieces = Vec::new();
            let loss = self.unseen_loss(layer, direction, cx.now, cx);
            if let Some(stream) = self.stream(layer, direction) {
                stream.skip_to_early(loss, &mut pieces);
            }
            self.note_seen(layer, direction, cx.now);
            for piece in pieces {
                self.piece(direction, layer, piece, cx);
            }
            self.let_due_go(layer, cx);
        }
        self.note_reordering(cx);
    }

    pub(super) fn stream(&mut self, layer: Layer, direction: Direction) -> Option<&mut Reassembler> {
        match layer {
            Layer::Socket | Layer::KernelTls => self.socket.get_mut(index(direction)),
            Layer::Calls => self.calls.get_mut(index(direction)),
        }
    }

    pub(super) fn piece(&mut self, direction: Direction, layer: Layer, piece: Piece, cx: &mut Context<'_>) {
        let Some(role) = self.facts.as_ref().map(|facts| facts.role) else {
            return;
        };
        let side = side_of(role, direction);
        match layer {
            Layer::Socket | Layer::KernelTls => {
                self.count(direction, &piece, cx);
                if self.is_of_kernel_tls(direction, &piece) {
                    self.kernel_piece(side, direction, piece, cx);
                } else {
                    self.socket_piece(side, piece, cx);
                }
            }
            Layer::Calls => self.calls_piece(side, piece, cx),
        }
    }

    pub(super) fn count(&mut self, direction: Direction, piece: &Piece, cx: &Context<'_>) {
        let Some(captured) = self.tally.captured.get_mut(index(direction)) else {
            return;
        };
        match piece {
            Piece::Bytes { data, .. } => *captured += data.len() as u64,
            Piece::Gap {
                length,
                loss: Loss::Skipped,
                ..
            } => {
                *captured += length;
                self.tally.gap(Loss::Skipped, *length);
            }
            Piece::Gap {
                length,
                loss: Loss::TlsControl,
                ..
            } => *captured += length,
            Piece::Gap { length, loss, .. } => {
                self.tally.gap(*loss, *length);
                cx.stats.gap(*loss, *length);
            }
        }
    }

    /// Tells the kernel to pass over body bytes that are certain to come and that nobody wants. Plaintext
    /// sockets only: there, positions of the body are positions of the socket. To be called when every piece up to the
    /// stream's position is worked off.
    pub(super) fn skip_unwanted(&mut self, direction: Direction, cx: &mut Context<'_>) {
        if !matches!(self.wire, Wire::Plain) {
            return;
        }
        let Some(role) = self.facts.as_ref().map(|facts| facts.role) else {
            return;
        };
        let length = self.app.skippable(side_of(role, direction));
        if length < WORTH_SKIPPING {
            return;
        }
        let Some(stream) = self.socket.get(index(direction)) else {
            return;
        };
        // A margin keeps the end of the body, where the next message begins, in sight.
        let until = (stream.position() + length).saturating_sub(16 << 10);
        let mut verdict = self.verdict;
        if let Some(slot) = verdict.skip_until.get_mut(index(direction))
            && until > *slot
        {
            *slot = until;
            self.set_verdict(verdict, cx);
        }
    }
}
