//! Opens Initial packets (RFC 9001 §5.2 to §5.4).

use ring::aead::quic::{self as header, HeaderProtectionKey};
use ring::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::hkdf;

use super::packet::{Initial, Version};
use crate::Side;
use crate::keys::expand_secret;

const SALT_V1: [u8; 20] = [
    0x38, 0x76, 0x2c, 0xf7, 0xf5, 0x59, 0x34, 0xb3, 0x4d, 0x17, 0x9a, 0xe6, 0xa4, 0xc8, 0x0c, 0xad, 0xcc,
    0xbb, 0x7f, 0x0a,
];
/// RFC 9369 §3.3.1.
const SALT_V2: [u8; 20] = [
    0x0d, 0xed, 0xe3, 0xde, 0xf7, 0x00, 0xa6, 0xdb, 0x81, 0x93, 0x81, 0xbe, 0x6e, 0x26, 0x9d, 0xcb, 0xf9,
    0xbd, 0x2e, 0xd9,
];
/// Bytes of what is sampled for the protection of the header, from four bytes after the packet number begins.
const SAMPLE_BYTES: usize = 16;

/// Salt and labels of a version.
struct Scheme {
    salt: &'static [u8],
    key: &'static [u8],
    iv: &'static [u8],
    header: &'static [u8],
}

const fn scheme(version: Version) -> Scheme {
    match version {
        Version::V1 => Scheme {
            salt: &SALT_V1,
            key: b"quic key",
            iv: b"quic iv",
            header: b"quic hp",
        },
        Version::V2 => Scheme {
            salt: &SALT_V2,
            key: b"quicv2 key",
            iv: b"quicv2 iv",
            header: b"quicv2 hp",
        },
    }
}

/// Keys of one side. Anybody on the way can derive them: they are no secret.
struct SideKeys {
    packet: LessSafeKey,
    iv: [u8; 12],
    header: HeaderProtectionKey,
}

impl SideKeys {
    fn derive(scheme: &Scheme, initial: &hkdf::Prk, side: Side) -> Option<Self> {
        let label: &[u8] = match side {
            Side::Client => b"client in",
            Side::Server => b"server in",
        };
        let mut secret = [0; 32];
        expand_secret(initial, label, &mut secret)?;
        let secret = hkdf::Prk::new_less_safe(hkdf::HKDF_SHA256, &secret);
        let (mut key, mut iv, mut header) = ([0; 16], [0; 12], [0; 16]);
        expand_secret(&secret, scheme.key, &mut key)?;
        expand_secret(&secret, scheme.iv, &mut iv)?;
        expand_secret(&secret, scheme.header, &mut header)?;
        Some(Self {
            packet: LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &key).ok()?),
            iv,
            header: HeaderProtectionKey::new(&header::AES_128, &header).ok()?,
        })
    }
}

/// Keys of both sides, in one version. Some microseconds to make.
pub(super) struct InitialKeys {
    client: SideKeys,
    server: SideKeys,
}

impl InitialKeys {
    /// The keys that follow from the connection ID to which the client sent its first packet, or the first after a Retry.
    pub(super) fn derive(version: Version, destination: &[u8]) -> Option<Self> {
        let scheme = scheme(version);
        let initial = hkdf::Salt::new(hkdf::HKDF_SHA256, scheme.salt).extract(destination);
        Some(Self {
            client: SideKeys::derive(&scheme, &initial, Side::Client)?,
            server: SideKeys::derive(&scheme, &initial, Side::Server)?,
        })
    }

    /// The number and the frames of a packet that `side` sent; `None` if it does not authenticate. `largest` is the largest number of
    /// that side so far.
    pub(super) fn open(
        &self,
        side: Side,
        packet: &Initial<'_>,
        largest: Option<u64>,
    ) -> Option<(u64, Vec<u8>)> {
        let keys = match side {
            Side::Client => &self.client,
            Side::Server => &self.server,
        };
        let sample_at = packet.number_at.checked_add(4)?;
        let sample = packet
            .bytes
            .get(sample_at..sample_at.checked_add(SAMPLE_BYTES)?)?;
        let [first_mask, number_mask @ ..] = keys.header.new_mask(sample).ok()?;
        let first = packet.bytes.first()? ^ (first_mask & 0x0f);
        let number_length = usize::from(first & 3) + 1;
        let (head, sealed) = packet.bytes.split_at_checked(packet.number_at + number_length)?;
        let mut head = head.to_vec();
        *head.first_mut()? = first;
        let mut truncated = 0;
        for (byte, mask) in head.get_mut(packet.number_at..)?.iter_mut().zip(number_mask) {
            *byte ^= mask;
            truncated = truncated << 8 | u64::from(*byte);
        }
        let number = whole_number(truncated, number_length, largest);
        let mut nonce = keys.iv;
        for (byte, part) in nonce.iter_mut().skip(4).zip(number.to_be_bytes()) {
            *byte ^= part;
        }
        let mut frames = sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key(nonce);
        let length = (keys.packet)
            .open_in_place(nonce, Aad::from(&head), &mut frames)
            .ok()?
            .len();
        frames.truncate(length);
        Some((number, frames))
    }
}

/// The packet number of which the lowest `length` bytes are `truncated` (RFC 9000 appendix A.3).
fn whole_number(truncated: u64, length: usize, largest: Option<u64>) -> u64 {
    let expected = largest.map_or(0, |largest| largest.saturating_add(1));
    let window = 1_u64 << (8 * length);
    let half = window / 2;
    let candidate = (expected & !(window - 1)) | truncated;
    if candidate.saturating_add(half) <= expected && candidate < (1 << 62) - window {
        candidate + window
    } else if candidate > expected.saturating_add(half) && candidate >= window {
        candidate - window
    } else {
        candidate
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_completed_to_the_nearest() {
        // RFC 9000 appendix A.3.
        assert_eq!(whole_number(0x9b32, 2, Some(0xa82f_30ea)), 0xa82f_9b32);
        assert_eq!(whole_number(0, 1, None), 0);
        assert_eq!(whole_number(1, 1, Some(255)), 257);
        assert_eq!(whole_number(255, 1, Some(256)), 255);
    }
}
