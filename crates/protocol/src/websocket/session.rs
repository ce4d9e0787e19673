//! Both directions.

use super::frame::Rules;
use super::handshake::Agreement;
use super::lane::Lane;
use super::message::{Closing, Message, Traffic};
use crate::{Side, Time};

/// A WebSocket after its handshake.
#[derive(Debug)]
pub struct Session {
    agreement: Agreement,
    client: Lane,
    server: Lane,
}

impl Session {
    /// A session that keeps up to `keep` bytes of each message; with 0 messages are counted only, and nothing is inflated.
    #[must_use]
    pub fn new(agreement: Agreement, keep: usize) -> Self {
        let lane = |side| {
            let rules = Rules {
                masked: side == Side::Client,
                deflate: agreement.deflate.is_some(),
                foreign: agreement.is_foreign,
                shortest: false,
            };
            let takeover = agreement.deflate.is_some_and(|deflate| match side {
                Side::Client => !deflate.client_no_context_takeover,
                Side::Server => !deflate.server_no_context_takeover,
            });
            Lane::new(side, rules, takeover, keep)
        };
        Self {
            client: lane(Side::Client),
            server: lane(Side::Server),
            agreement,
        }
    }

    /// A session that is older than the capture: what was agreed on is not known, and the first frames are searched.
    #[must_use]
    pub fn joined(keep: usize) -> Self {
        Self {
            agreement: Agreement::default(),
            client: Lane::joined(Side::Client, keep),
            server: Lane::joined(Side::Server, keep),
        }
    }

    const fn lane(&self, side: Side) -> &Lane {
        match side {
            Side::Client => &self.client,
            Side::Server => &self.server,
        }
    }

    const fn lane_mut(&mut self, side: Side) -> &mut Lane {
        match side {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        }
    }

    /// The next bytes of `side`; messages that end in them are appended to `out`.
    pub fn bytes(&mut self, side: Side, data: &[u8], time: Time, out: &mut Vec<Message>) {
        self.lane_mut(side).bytes(data, time, out);
    }

    /// `length` bytes of `side` are missing here; 0 when it is not known how many.
    pub fn gap(&mut self, side: Side, length: u64, time: Time, out: &mut Vec<Message>) {
        self.lane_mut(side).gap(length, time, out);
    }

    /// `length` bytes of `side` were passed over on request ([`Self::certain`]): they miss to nobody.
    pub fn skip(&mut self, side: Side, length: u64, time: Time, out: &mut Vec<Message>) {
        self.lane_mut(side).skip(length, time, out);
    }

    /// Nothing more comes: messages under way are handed out as they are.
    pub fn close(&mut self, time: Time, out: &mut Vec<Message>) {
        self.client.end(time, out);
        self.server.end(time, out);
    }

    /// Gives up what it holds: messages under way lose what was kept, and windows are forgotten.
    pub fn relieve(&mut self) {
        self.client.relieve();
        self.server.relieve();
    }

    /// What the handshake settled.
    #[must_use]
    pub const fn agreement(&self) -> &Agreement {
        &self.agreement
    }

    /// What `side` sent so far.
    #[must_use]
    pub const fn traffic(&self, side: Side) -> &Traffic {
        &self.lane(side).traffic
    }

    /// The close frame of `side`.
    #[must_use]
    pub const fn closing(&self, side: Side) -> Option<&Closing> {
        self.lane(side).closing.as_ref()
    }

    /// Bytes held.
    #[must_use]
    pub fn held(&self) -> usize {
        self.client.held() + self.server.held()
    }

    /// Bytes of `side` that are certain to be payload of the frame under way.
    #[must_use]
    pub const fn certain(&self, side: Side) -> u64 {
        self.lane(side).certain()
    }
}
