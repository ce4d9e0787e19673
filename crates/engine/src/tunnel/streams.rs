//! The tunnels of a connection, by the stream that each is on.

use qtap_capture::KernelTime;
use qtap_protocol::{RequestHead, Side, StreamKey, Time};
use qtap_tls::Secret;

use super::{Place, TOO_DEEP, Tunnel};
use crate::ConnectionFacts;
use crate::application::Plain;
use crate::assembler::TransactionTally;
use crate::context::Context;
use crate::hash::HashMap;

/// Tunnels of one connection that are read at a time; of one more it is only told that it was there.
const TUNNELS: usize = 1024;
const TOO_MANY: &str = "too many tunnels at a time on one connection";

/// All of them. What a walk over them would find is kept up to date, as bytes come far more often than there is anything to look for.
pub(crate) struct Tunnels {
    open: HashMap<StreamKey, Box<Tunnel>>,
    begun: u64,
    sums: Sums,
    due: KernelTime,
}

/// Sums over tunnels.
#[derive(Clone, Copy, Default)]
struct Sums {
    /// Bytes held.
    held: usize,
    /// How many want secrets.
    seeking: usize,
    /// How many have ciphertext that waits for one.
    waiting: usize,
}

impl Sums {
    fn of(tunnel: &Tunnel) -> Self {
        Self {
            held: tunnel.held(),
            seeking: usize::from(tunnel.seeks_secrets()),
            waiting: usize::from(tunnel.is_waiting()),
        }
    }

    fn add(&mut self, one: Self) {
        self.held += one.held;
        self.seeking += one.seeking;
        self.waiting += one.waiting;
    }

    fn subtract(&mut self, one: Self) {
        self.held -= one.held;
        self.seeking -= one.seeking;
        self.waiting -= one.waiting;
    }
}

impl Tunnels {
    pub(crate) fn new() -> Self {
        Self {
            open: HashMap::default(),
            begun: 0,
            sums: Sums::default(),
            due: KernelTime(u64::MAX),
        }
    }

    /// `request`, on stream `key` of what is spoken in `place`, made one.
    pub(crate) fn begin(
        &mut self,
        key: StreamKey,
        request: &RequestHead,
        place: Place,
        facts: &ConnectionFacts,
        tally: &mut TransactionTally,
    ) {
        if self.open.len() >= TUNNELS {
            tally.tunnels.count(Some(TOO_MANY));
            return;
        }
        let Some(place) = place.inside(self.begun) else {
            tally.tunnels.count(Some(TOO_DEEP));
            return;
        };
        self.begun += 1;
        let tunnel = Box::new(Tunnel::new(facts, Some(request), place));
        self.sums.add(Sums::of(&tunnel));
        if let Some(former) = self.open.insert(key, tunnel) {
            self.sums.subtract(Sums::of(&former));
            debug_assert!(false, "stream {key:?} became a tunnel twice");
        }
    }

    /// Whether stream `key` is one.
    pub(crate) fn has(&self, key: StreamKey) -> bool {
        !self.open.is_empty() && self.open.contains_key(&key)
    }

    /// Whether the bytes of any are read.
    pub(crate) fn are_read(&self) -> bool {
        self.open.values().any(|tunnel| !tunnel.is_off())
    }

    /// The next piece on stream `key`.
    pub(crate) fn piece(
        &mut self,
        key: StreamKey,
        side: Side,
        piece: Plain,
        time: Time,
        cx: &mut Context<'_>,
    ) {
        self.with(key, cx, |tunnel, cx| tunnel.piece(side, piece, time, cx));
    }

    /// `side` of stream `key` sends no more.
    pub(crate) fn eof(&mut self, key: StreamKey, side: Side, time: Time, cx: &mut Context<'_>) {
        self.with(key, cx, |tunnel, cx| tunnel.eof(side, time, cx));
    }

    /// Stream `key` is over. Tells what the transactions inside came to.
    pub(crate) fn end(
        &mut self,
        key: StreamKey,
        end_lost: bool,
        time: Time,
        cx: &mut Context<'_>,
    ) -> Option<TransactionTally> {
        if !self.has(key) {
            return None;
        }
        self.with(key, cx, |tunnel, cx| {
            if end_lost {
                tunnel.lose_end();
            }
            tunnel.close(time, cx);
        });
        let tunnel = self.open.remove(&key)?;
        self.sums.subtract(Sums::of(&tunnel));
        Some(tunnel.tally())
    }

    /// Those under way, added up.
    pub(crate) fn tally(&self, sum: &mut TransactionTally) {
        for tunnel in self.open.values() {
            sum.add(&tunnel.tally());
        }
    }

    /// Bytes held.
    pub(crate) const fn held(&self) -> usize {
        self.sums.held
    }

    /// Whether a secret may be of use to any.
    pub(crate) const fn seek_secrets(&self) -> bool {
        self.sums.seeking > 0
    }

    /// Whether ciphertext waits for a secret.
    pub(crate) const fn are_waiting(&self) -> bool {
        self.sums.waiting > 0
    }

    /// When one of them wants to be looked at.
    pub(crate) const fn due(&self) -> KernelTime {
        self.due
    }

    /// Whether one has waited for half of the time allowed for a secret.
    pub(crate) fn wait_in_vain(&self, now: KernelTime, settings: &crate::Settings) -> bool {
        self.sums.waiting > 0
            && self
                .open
                .values()
                .any(|tunnel| tunnel.waits_in_vain(now, settings))
    }

    /// A secret of the process. Tells whether it is the own one of any.
    pub(crate) fn offer(&mut self, secret: &Secret, cx: &mut Context<'_>) -> bool {
        if self.sums.seeking == 0 {
            return false;
        }
        self.any(cx, |tunnel, cx| {
            tunnel.seeks_secrets() && tunnel.offer(secret, cx)
        })
    }

    /// Looks for what is due.
    pub(crate) fn check(&mut self, cx: &mut Context<'_>) {
        if self.due <= cx.now {
            self.any(cx, |tunnel, cx| {
                if tunnel.due(cx) <= cx.now {
                    tunnel.check(cx);
                }
                false
            });
            self.due = (self.open.values().map(|tunnel| tunnel.due(cx)))
                .min()
                .unwrap_or(KernelTime(u64::MAX));
        }
    }

    /// Memory is short.
    pub(crate) fn relieve(&mut self, cx: &mut Context<'_>) {
        self.any(cx, |tunnel, cx| {
            tunnel.relieve(cx);
            false
        });
    }

    /// Runs `step` on the tunnel of stream `key`.
    fn with(
        &mut self,
        key: StreamKey,
        cx: &mut Context<'_>,
        step: impl FnOnce(&mut Tunnel, &mut Context<'_>),
    ) {
        if let Some(tunnel) = self.open.get_mut(&key) {
            let before = Sums::of(tunnel);
            step(tunnel, cx);
            self.sums.subtract(before);
            self.sums.add(Sums::of(tunnel));
            self.due = self.due.min(tunnel.due(cx));
        }
    }

    /// Runs `step` on one after the other until it is true.
    fn any(
        &mut self,
        cx: &mut Context<'_>,
        mut step: impl FnMut(&mut Tunnel, &mut Context<'_>) -> bool,
    ) -> bool {
        let found = self.open.values_mut().any(|tunnel| step(tunnel, cx));
        self.sums = Sums::default();
        for tunnel in self.open.values() {
            self.sums.add(Sums::of(tunnel));
            self.due = self.due.min(tunnel.due(cx));
        }
        found
    }
}
