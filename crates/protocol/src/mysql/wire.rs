//! From the bytes of a connection to packets: as they are, or out of compressed frames (P-My7).

use super::compress::{Frames, Unpacked, command_frame};
use super::{Parser, start};
use crate::detect::Fit;
use crate::{Event, ParseError, Side, Time};

/// How packets are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    Plain,
    Compressed,
    /// The next command of the client tells.
    Unknown,
}

/// Of one connection.
#[derive(Debug)]
pub(super) struct Wire {
    framing: Framing,
    frames: [Frames; 2],
    /// While unknown: bytes of the client that may begin a command.
    probe: Vec<u8>,
    may_try: bool,
}

impl Wire {
    /// `may_try`: while unknown, the next byte of the client may begin a command.
    pub(super) const fn new(framing: Framing, may_try: bool) -> Self {
        Self {
            framing,
            frames: [Frames::new(Side::Client), Frames::new(Side::Server)],
            probe: Vec::new(),
            may_try,
        }
    }

    pub(super) const fn framing(&self) -> Framing {
        self.framing
    }

    pub(super) const fn is_compressed(&self) -> bool {
        matches!(self.framing, Framing::Compressed)
    }

    pub(super) fn held(&self, side: Side) -> usize {
        let [client, server] = &self.frames;
        match side {
            Side::Client => client.held() + self.probe.len(),
            Side::Server => server.held(),
        }
    }

    /// More was decoded than was handed out.
    const fn is_pending(&self, side: Side) -> bool {
        let [client, server] = &self.frames;
        match side {
            Side::Client => client.is_pending(),
            Side::Server => server.is_pending(),
        }
    }

    /// The next byte of `side` begins a message: the other one has sent something.
    pub(super) fn turn(&mut self, side: Side) {
        let [client, server] = &mut self.frames;
        match side {
            Side::Client => {
                client.turn();
                self.hole();
            }
            Side::Server => server.turn(),
        }
    }

    /// Where frames of `side` begin is not known.
    pub(super) fn lose(&mut self, side: Side, may_try: bool) {
        let [client, server] = &mut self.frames;
        match side {
            Side::Client => client.lose(may_try),
            Side::Server => server.lose(may_try),
        }
        self.probe.clear();
    }

    /// Bytes of the client are missing: what follows may begin a command.
    fn hole(&mut self) {
        self.probe.clear();
        self.may_try = true;
    }

    /// Looks for the beginning of a command in the bytes of a client, to learn how packets are sent. `None` while not found.
    fn sniff(&mut self, data: &[u8]) -> Option<Vec<u8>> {
        for (index, byte) in data.iter().enumerate() {
            if !self.may_try {
                return None;
            }
            self.probe.push(*byte);
            let fits = [start::command(&self.probe), command_frame(&self.probe)];
            self.framing = match fits {
                [Fit::Yes, _] => Framing::Plain,
                [Fit::No, Fit::Yes] => Framing::Compressed,
                [Fit::No, Fit::No] => {
                    self.probe.clear();
                    self.may_try = false;
                    continue;
                }
                _ => continue,
            };
            let mut whole = std::mem::take(&mut self.probe);
            whole.extend_from_slice(data.get(index + 1..).unwrap_or_default());
            return Some(whole);
        }
        None
    }
}

impl Parser {
    /// The next bytes of a side.
    pub(super) fn unpack(
        &mut self,
        side: Side,
        data: &[u8],
        time: Time,
        out: &mut Vec<Event>,
    ) -> Result<(), ParseError> {
        match (self.wire.framing, side) {
            (Framing::Plain, _) => self.packets(side, data, time, out),
            (Framing::Compressed, _) => self.inflate(side, data, time, out),
            (Framing::Unknown, Side::Server) => Ok(()),
            (Framing::Unknown, Side::Client) => match self.wire.sniff(data) {
                None => Ok(()),
                Some(data) => {
                    // Here a command begins, and its reply after it.
                    self.client.turn();
                    self.server.turn();
                    self.wire.lose(Side::Server, true);
                    self.unpack(side, &data, time, out)
                }
            },
        }
    }

    fn inflate(
        &mut self,
        side: Side,
        data: &[u8],
        time: Time,
        out: &mut Vec<Event>,
    ) -> Result<(), ParseError> {
        let [client, server] = &mut self.wire.frames;
        let (frames, peer) = match side {
            Side::Client => (client, server.sequence()),
            Side::Server => (server, client.sequence()),
        };
        let found: Vec<u8>;
        let mut data = if frames.is_lost() {
            match frames.search(data, peer) {
                Some(whole) => found = whole,
                None => return Ok(()),
            }
            found.as_slice()
        } else {
            data
        };
        while self.wire.framing == Framing::Compressed && (!data.is_empty() || self.wire.is_pending(side)) {
            let [client, server] = &mut self.wire.frames;
            let unpacked = match side {
                Side::Client => client.take(&mut data),
                Side::Server => server.take(&mut data),
            };
            match unpacked {
                Unpacked::Some => {}
                Unpacked::Bytes(bytes) => self.packets(side, &bytes, time, out)?,
                Unpacked::Gap(length) => self.missing(side, length, time, out)?,
                Unpacked::Bad(reason) => {
                    self.wire.lose(side, false);
                    self.lose(side, Some(reason), time, out)?;
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// A hole in the bytes of a side.
    pub(super) fn unpack_gap(
        &mut self,
        side: Side,
        length: u64,
        time: Time,
        out: &mut Vec<Event>,
    ) -> Result<(), ParseError> {
        if self.wire.framing != Framing::Compressed {
            if side == Side::Client {
                self.wire.hole();
            }
            return self.missing(side, length, time, out);
        }
        let may_try = side == Side::Client;
        let [client, server] = &mut self.wire.frames;
        let passed = match side {
            Side::Client => client.pass(length),
            Side::Server => server.pass(length),
        };
        match passed {
            None => {
                self.wire.lose(side, may_try);
                self.lose(side, None, time, out)
            }
            Some(Unpacked::Gap(length)) => self.missing(side, length, time, out),
            Some(_) => Ok(()),
        }
    }
}
