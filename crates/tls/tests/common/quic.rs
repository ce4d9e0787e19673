//! Seals Initial packets as an endpoint does (RFC 9001 §5), and makes the hellos in them.

#![allow(dead_code, unreachable_pub)] // each test file uses its own part
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests fail as tests do"
)]

use ring::aead::quic::{AES_128, HeaderProtectionKey};
use ring::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::hkdf;

pub const V1: u32 = 1;
pub const V2: u32 = 0x6b33_43cf;

struct Length(usize);

impl hkdf::KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

fn expand(secret: &hkdf::Prk, label: &str, length: usize) -> Vec<u8> {
    let label = format!("tls13 {label}");
    let info = [
        &(length as u16).to_be_bytes()[..],
        &[label.len() as u8],
        label.as_bytes(),
        &[0],
    ];
    let mut output = vec![0; length];
    secret
        .expand(&info, Length(length))
        .unwrap()
        .fill(&mut output)
        .unwrap();
    output
}

/// One connection: its version, and the number that its keys follow from.
pub struct Sealer {
    version: u32,
    origin: Vec<u8>,
}

impl Sealer {
    pub fn new(version: u32, origin: &[u8]) -> Self {
        Self {
            version,
            origin: origin.to_vec(),
        }
    }

    /// A packet of the client, whose own number is `source`.
    pub fn client(&self, number: u64, source: &[u8], token: &[u8], frames: &[u8]) -> Vec<u8> {
        self.seal("client in", number, &self.origin, source, token, frames)
    }

    /// A packet of the server.
    pub fn server(&self, number: u64, destination: &[u8], source: &[u8], frames: &[u8]) -> Vec<u8> {
        self.seal("server in", number, destination, source, b"", frames)
    }

    fn seal(
        &self,
        side: &str,
        number: u64,
        destination: &[u8],
        source: &[u8],
        token: &[u8],
        frames: &[u8],
    ) -> Vec<u8> {
        let (salt, prefix, first) = match self.version {
            V1 => ("38762cf7f55934b34d179ae6a4c80cadccbb7f0a", "quic", 0xc1),
            _ => ("0dede3def700a6db819381be6e269dcbf9bd2ed9", "quicv2", 0xd1),
        };
        let salt: Vec<u8> = (0..20)
            .map(|at| u8::from_str_radix(&salt[2 * at..2 * at + 2], 16).unwrap())
            .collect();
        let initial = hkdf::Salt::new(hkdf::HKDF_SHA256, &salt).extract(&self.origin);
        let secret = hkdf::Prk::new_less_safe(hkdf::HKDF_SHA256, &expand(&initial, side, 32));
        let key = expand(&secret, &format!("{prefix} key"), 16);
        let mut nonce: [u8; 12] = expand(&secret, &format!("{prefix} iv"), 12).try_into().unwrap();
        let mask_key = expand(&secret, &format!("{prefix} hp"), 16);

        let mut packet = vec![first];
        packet.extend(self.version.to_be_bytes());
        for id in [destination, source] {
            packet.push(id.len() as u8);
            packet.extend(id);
        }
        packet.extend((0x4000 | token.len() as u16).to_be_bytes());
        packet.extend(token);
        let mut payload = frames.to_vec();
        payload.resize(payload.len().max(4), 0);
        packet.extend((0x4000 | (2 + payload.len() + 16) as u16).to_be_bytes());
        let number_at = packet.len();
        packet.extend((number as u16).to_be_bytes());
        for (byte, part) in nonce[4..].iter_mut().zip(number.to_be_bytes()) {
            *byte ^= part;
        }
        let key = LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &key).unwrap());
        let nonce = Nonce::assume_unique_for_key(nonce);
        key.seal_in_place_append_tag(nonce, Aad::from(&packet), &mut payload)
            .unwrap();
        packet.extend(payload);
        let sample = packet[number_at + 4..number_at + 20].to_vec();
        let mask = HeaderProtectionKey::new(&AES_128, &mask_key)
            .unwrap()
            .new_mask(&sample)
            .unwrap();
        packet[0] ^= mask[0] & 0x0f;
        packet[number_at] ^= mask[1];
        packet[number_at + 1] ^= mask[2];
        packet
    }
}

/// A packet and the zero bytes that fill up its datagram.
pub fn datagram(packet: &[u8]) -> Vec<u8> {
    let mut datagram = packet.to_vec();
    datagram.resize(datagram.len().max(1200), 0);
    datagram
}

/// A CRYPTO frame.
pub fn crypto(offset: usize, data: &[u8]) -> Vec<u8> {
    let mut frame = vec![6];
    frame.extend((0x8000_0000 | offset as u32).to_be_bytes());
    frame.extend((0x4000 | data.len() as u16).to_be_bytes());
    frame.extend(data);
    frame
}

fn extension(number: u16, data: &[u8]) -> Vec<u8> {
    let mut extension = number.to_be_bytes().to_vec();
    extension.extend((data.len() as u16).to_be_bytes());
    extension.extend(data);
    extension
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut message = (u32::from(kind) << 24 | body.len() as u32).to_be_bytes().to_vec();
    message.extend(body);
    message
}

/// A ClientHello with a key share that makes it about `length` bytes.
pub fn client_hello(name: &str, protocols: &[&str], length: usize) -> Vec<u8> {
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.extend([0, 0, 2, 0x13, 0x01, 1, 0]);
    let mut names = vec![0];
    names.extend((name.len() as u16).to_be_bytes());
    names.extend(name.as_bytes());
    let mut list = Vec::new();
    for protocol in protocols {
        list.push(protocol.len() as u8);
        list.extend(protocol.as_bytes());
    }
    let behind_length = |data: &[u8]| [&(data.len() as u16).to_be_bytes()[..], data].concat();
    let mut extensions = extension(51, &vec![0x5a; length]);
    extensions.extend(extension(0, &behind_length(&names)));
    extensions.extend(extension(16, &behind_length(&list)));
    extensions.extend(extension(43, &[2, 3, 4]));
    body.extend(behind_length(&extensions));
    message(1, &body)
}

/// A ServerHello, or one that asks for another key share.
pub fn server_hello(retry: bool) -> Vec<u8> {
    let mut body = vec![3, 3];
    if retry {
        body.extend([
            0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91,
            0xc2, 0xa2, 0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c,
        ]);
    } else {
        body.extend([9; 32]);
    }
    body.extend([0, 0x13, 0x01, 0, 0, 6, 0, 43, 0, 2, 3, 4]);
    message(2, &body)
}
