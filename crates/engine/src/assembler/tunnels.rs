//! Tunnels on streams of HTTP/2 (P-C1): the request that made one is over with its response head, its stream goes on.

use qtap_capture::KernelTime;
use qtap_protocol::detect::Protocol;
use qtap_protocol::{Counts, Outcome, Side, StreamKey, Time};
use qtap_tls::Secret;

use super::{Assembler, TransactionTally};
use crate::application::Plain;
use crate::context::Context;
use crate::{ConnectionFacts, Settings};

impl Assembler {
    /// Whether a transaction has a stream of its own, which it may turn into something else.
    pub(super) fn protocol_has_streams(&self) -> bool {
        matches!(self.protocol, Protocol::Http2 | Protocol::Grpc)
    }

    /// The stream `key` is a tunnel from here on. `counts`: its bytes so far, `[request, response]`; without them it is over already, and
    /// told at its end.
    pub(crate) fn begin_tunnel(
        &mut self,
        key: StreamKey,
        counts: Option<[Counts; 2]>,
        time: Time,
        facts: &mut ConnectionFacts,
        cx: &mut Context<'_>,
    ) {
        let Some([request, response]) = counts else { return };
        let Some(mut open) = self.open.remove(&key) else {
            return;
        };
        self.tunnels
            .begin(key, &open.request, self.place, facts, &mut self.tally);
        // Bytes of the tunnel that came with the head are none of its own.
        for (side, counts) in [(Side::Client, request), (Side::Server, response)] {
            open.half(side).0.counts = Counts {
                head_bytes: counts.head_bytes,
                ..Counts::default()
            };
        }
        self.finish(key, open, Outcome::Upgraded, time, facts, cx);
    }

    /// Missing bytes of a tunnel, or such as were passed over on request. A length of 0: frames were lost, and maybe some of its own.
    pub(super) fn tunnel_gap(
        &mut self,
        key: StreamKey,
        side: Side,
        length: u64,
        time: Time,
        cx: &mut Context<'_>,
    ) {
        let piece = if self.skipping {
            Plain::Skipped(length)
        } else {
            Plain::Gap(length.max(1))
        };
        self.tunnels.piece(key, side, piece, time, cx);
    }

    pub(super) fn end_tunnel(&mut self, key: StreamKey, time: Time, cx: &mut Context<'_>) {
        if let Some(tally) = self.tunnels.end(key, self.end_lost, time, cx) {
            self.tally.add(&tally);
        }
    }

    /// Transactions so far, those in tunnels included.
    pub(crate) fn tally(&self) -> TransactionTally {
        let mut tally = self.tally;
        self.tunnels.tally(&mut tally);
        tally
    }

    /// Bytes that tunnels hold.
    pub(crate) const fn tunnels_held(&self) -> usize {
        self.tunnels.held()
    }

    /// When a tunnel wants to be looked at.
    pub(crate) const fn tunnels_due(&self) -> KernelTime {
        self.tunnels.due()
    }

    /// Looks at those that are due.
    pub(crate) fn check_tunnels(&mut self, cx: &mut Context<'_>) {
        self.tunnels.check(cx);
    }

    /// Whether ciphertext in a tunnel waits for a secret.
    pub(crate) const fn is_waiting(&self) -> bool {
        self.tunnels.are_waiting()
    }

    /// Whether a secret may be of use to TLS in a tunnel.
    pub(crate) const fn seeks_secrets(&self) -> bool {
        self.tunnels.seek_secrets()
    }

    /// Whether it has waited for half of the time allowed.
    pub(crate) fn waits_in_vain(&self, now: KernelTime, settings: &Settings) -> bool {
        self.tunnels.wait_in_vain(now, settings)
    }

    /// A secret of the process. Tells whether it is that of a tunnel.
    pub(crate) fn offer(&mut self, secret: &Secret, cx: &mut Context<'_>) -> bool {
        self.tunnels.offer(secret, cx)
    }

    /// Gives up what tunnels hold.
    pub(crate) fn relieve_tunnels(&mut self, cx: &mut Context<'_>) {
        self.tunnels.relieve(cx);
    }
}
