//! A connection in its first packets.

use super::crypto::Crypto;
use super::frames::{Frame, each_frame};
use super::packet::{Initial, Version};
use super::protection::InitialKeys;
use crate::Side;
use crate::hello::{ClientHello, ServerHello, parse_client_hello, parse_server_hello};

/// Types of handshake messages (RFC 8446 §4).
const CLIENT_HELLO: u8 = 1;
const SERVER_HELLO: u8 = 2;

/// What one side sent.
#[derive(Debug, Default)]
struct Half {
    largest: Option<u64>,
    crypto: Crypto,
    /// Its hello was read, or is not one.
    is_done: bool,
}

/// A connection, from the first packet of its client that authenticated.
pub struct Opening {
    /// Of the last packet that authenticated; a server may change it (RFC 9368).
    version: Version,
    /// The connection ID that the keys follow from.
    origin: Vec<u8>,
    keys: InitialKeys,
    /// The version of `keys`.
    keyed: Version,
    halves: [Half; 2],
    client: Option<ClientHello>,
    server: Option<ServerHello>,
    closed: Option<u64>,
}

impl Opening {
    /// Begins with the first packet of a client, from which its keys follow; `None` if it does not authenticate.
    #[must_use]
    pub fn begin(packet: &Initial<'_>) -> Option<Self> {
        let keys = InitialKeys::derive(packet.version, packet.destination)?;
        let mut opening = Self {
            version: packet.version,
            origin: packet.destination.to_vec(),
            keys,
            keyed: packet.version,
            halves: Default::default(),
            client: None,
            server: None,
            closed: None,
        };
        opening.add(Side::Client, packet).then_some(opening)
    }

    /// Takes a further packet that `side` sent. False: it does not authenticate, so that it is not of this connection, or after a
    /// Retry ([`Self::retry`]).
    pub fn add(&mut self, side: Side, packet: &Initial<'_>) -> bool {
        if packet.version != self.keyed {
            let Some(keys) = InitialKeys::derive(packet.version, &self.origin) else {
                return false;
            };
            // Nothing changes before the packet has proved itself.
            if keys.open(side, packet, self.largest(side)).is_none() {
                return false;
            }
            self.keys = keys;
            self.keyed = packet.version;
        }
        let Some((number, payload)) = self.keys.open(side, packet, self.largest(side)) else {
            return false;
        };
        self.version = packet.version;
        let half = half(&mut self.halves, side);
        half.largest = half.largest.max(Some(number));
        let (crypto, is_done, closed) = (&mut half.crypto, half.is_done, &mut self.closed);
        // What follows a frame that must not be there is not read.
        let _whole = each_frame(&payload, |frame| match frame {
            Frame::Crypto { offset, data } if !is_done => {
                crypto.add(offset, data);
            }
            Frame::Crypto { .. } => {}
            Frame::Close(code) => {
                closed.get_or_insert(code);
            }
        });
        self.read(side);
        true
    }

    /// Takes a packet of the client that came after a Retry: its keys follow from its own connection ID, and it has a token. False: it
    /// is none.
    pub fn retry(&mut self, packet: &Initial<'_>) -> bool {
        if packet.token.is_empty() || self.server.is_some() {
            return false;
        }
        let Some(mut fresh) = Self::begin(packet) else {
            return false;
        };
        // The client sends the same hello again; what came of it stays until it has.
        if fresh.client.is_none() {
            fresh.client = self.client.take();
        }
        *self = fresh;
        true
    }

    fn largest(&self, side: Side) -> Option<u64> {
        self.halves.get(side.index()).and_then(|half| half.largest)
    }

    /// Reads the messages of `side` that are whole.
    fn read(&mut self, side: Side) {
        let half = half(&mut self.halves, side);
        while !half.is_done {
            let Some((kind, body)) = half.crypto.message() else {
                return;
            };
            half.is_done = true;
            match (side, kind) {
                (Side::Client, CLIENT_HELLO) => self.client = parse_client_hello(body),
                (Side::Server, SERVER_HELLO) => match parse_server_hello(body) {
                    // The client comes again, and so does the server.
                    Some(parsed) if parsed.hello.retry => half.is_done = false,
                    parsed => self.server = parsed.map(|parsed| parsed.hello),
                },
                _ => {}
            }
            if half.is_done {
                half.crypto.clear();
            }
        }
    }

    /// The version it is spoken in, as far as is known.
    #[must_use]
    pub const fn version(&self) -> Version {
        self.version
    }

    /// The client's hello, once it is whole.
    #[must_use]
    pub const fn client_hello(&self) -> Option<&ClientHello> {
        self.client.as_ref()
    }

    /// The server's hello, once it is whole.
    #[must_use]
    pub const fn server_hello(&self) -> Option<&ServerHello> {
        self.server.as_ref()
    }

    /// The error code with which a side gave up before the handshake was over: `0x100` and more are alerts of TLS (RFC 9001 §4.8).
    #[must_use]
    pub const fn closed(&self) -> Option<u64> {
        self.closed
    }

    /// Bytes held for pieces of hellos.
    #[must_use]
    pub fn held(&self) -> usize {
        self.halves.iter().map(|half| half.crypto.held()).sum()
    }
}

fn half(halves: &mut [Half; 2], side: Side) -> &mut Half {
    let [client, server] = halves;
    match side {
        Side::Client => client,
        Side::Server => server,
    }
}

impl std::fmt::Debug for Opening {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opening")
            .field("version", &self.version)
            .field("client", &self.client)
            .field("server", &self.server)
            .finish_non_exhaustive()
    }
}

/// What must hold whatever comes in. Run by the fuzz target and on random bytes by a test.
#[cfg(any(test, fuzzing))]
pub(super) mod checks {
    use super::*;
    use crate::quic::{Packet, packets};

    /// A datagram as it is: nothing in it authenticates by chance, and walking it ends. Then its bytes as the frames of a packet.
    pub(in super::super) fn run(bytes: &[u8]) {
        let count = packets(bytes).take(bytes.len() + 1).count();
        assert!(count <= bytes.len());
        for packet in packets(bytes) {
            if let Packet::Initial(initial) = packet {
                assert!(initial.number_at <= initial.bytes.len() && initial.bytes.len() <= bytes.len());
                let _opening = Opening::begin(&initial);
            }
        }
        let mut crypto = Crypto::default();
        let _whole = each_frame(bytes, |frame| {
            if let Frame::Crypto { offset, data } = frame {
                crypto.add(offset, data);
            }
        });
        while crypto.message().is_some() {}
        assert!(crypto.held() <= 256 << 10);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_bytes_end_and_make_nothing_up() {
        let mut state = 7_u32;
        let mut bytes = Vec::new();
        for round in 0..if cfg!(miri) { 200 } else { 5_000_u32 } {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            bytes.push(if state >> 30 == 0 {
                (state >> 20) as u8
            } else {
                (state >> 24) as u8 % 8
            });
            let mut datagram = bytes
                .get(bytes.len().saturating_sub(300)..)
                .unwrap_or_default()
                .to_vec();
            if round % 2 == 0 {
                datagram.splice(..0, [0xc0, 0, 0, 0, 1, 4]);
            }
            checks::run(&datagram);
        }
    }

    #[test]
    fn a_packet_of_no_length_opens_nothing() {
        checks::run(&[0xc0, 0, 0, 0, 1, 0, 1, 0, 0, 0]);
    }
}
