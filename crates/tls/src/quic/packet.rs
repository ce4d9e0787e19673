//! Packets of a datagram, as far as their headers are in the clear (RFC 8999, RFC 9000 §17.2, RFC 9369 §3).

/// Longest connection ID of versions 1 and 2.
const CONNECTION_ID_BYTES: usize = 20;

/// A version whose Initial packets can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Version {
    /// RFC 9000.
    V1,
    /// RFC 9369.
    V2,
}

impl Version {
    /// The version with this number on the wire.
    #[must_use]
    pub const fn of(number: u32) -> Option<Self> {
        match number {
            0x0000_0001 => Some(Self::V1),
            0x6b33_43cf => Some(Self::V2),
            _ => None,
        }
    }

    /// What it is called: 1 or 2.
    #[must_use]
    pub const fn number(self) -> u32 {
        match self {
            Self::V1 => 1,
            Self::V2 => 2,
        }
    }

    /// What the two type bits say. Version 2 counts them on by one.
    const fn kind(self, first: u8) -> Kind {
        let bits = first >> 4 & 3;
        match (self, bits) {
            (Self::V1, 0) | (Self::V2, 1) => Kind::Initial,
            (Self::V1, 1) | (Self::V2, 2) => Kind::ZeroRtt,
            (Self::V1, 2) | (Self::V2, 3) => Kind::Handshake,
            _ => Kind::Retry,
        }
    }
}

enum Kind {
    Initial,
    ZeroRtt,
    Handshake,
    Retry,
}

/// A packet whose keys follow from what is in the clear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Initial<'a> {
    /// Its version.
    pub version: Version,
    /// Who it is sent to: of a client's first packets a random number, from which the keys follow.
    pub destination: &'a [u8],
    /// Who sent it.
    pub source: &'a [u8],
    /// Proof of the client's address, from an earlier packet of the server.
    pub token: &'a [u8],
    /// All of it.
    pub(super) bytes: &'a [u8],
    /// Where the packet number begins.
    pub(super) number_at: usize,
}

/// A packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packet<'a> {
    /// An Initial packet.
    Initial(Initial<'a>),
    /// Early data: its keys are not known.
    ZeroRtt,
    /// The rest of the handshake: its keys are not known.
    Handshake,
    /// The server wants the client to come again with a token.
    Retry {
        /// What the client is to address next, from which new keys follow.
        source: &'a [u8],
    },
    /// The server does not speak the client's version.
    VersionNegotiation,
    /// Of a version whose packets cannot be told apart.
    OtherVersion(u32),
    /// Data of a connection that is established.
    Short,
    /// Not a packet, or one whose end is missing.
    Malformed,
}

/// The packets of `datagram`, or of several that went in one call: after one that says its own length comes the next. Zero bytes that
/// fill up a datagram are passed over. Costs nothing but a few compares a packet.
#[must_use]
pub const fn packets(datagram: &[u8]) -> Packets<'_> {
    Packets { rest: datagram }
}

/// See [`packets`].
#[derive(Clone, Debug)]
pub struct Packets<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Packets<'a> {
    type Item = Packet<'a>;

    fn next(&mut self) -> Option<Packet<'a>> {
        let start = self.rest.iter().position(|&byte| byte != 0)?;
        let bytes = self.rest.get(start..)?;
        // Unless it turns out to say its length, it goes to the end.
        self.rest = &[];
        let Some((packet, rest)) = parse(bytes) else {
            return Some(Packet::Malformed);
        };
        self.rest = rest;
        Some(packet)
    }
}

/// The packet at the front of `bytes`, and what follows it.
fn parse(bytes: &[u8]) -> Option<(Packet<'_>, &[u8])> {
    let mut reader = Reader { bytes, at: 0 };
    let first = reader.u8()?;
    if first & 0x80 == 0 {
        return Some((Packet::Short, &[]));
    }
    let number = reader.u32()?;
    let destination = reader.short()?;
    let source = reader.short()?;
    if number == 0 {
        return Some((Packet::VersionNegotiation, &[]));
    }
    let Some(version) = Version::of(number) else {
        return Some((Packet::OtherVersion(number), &[]));
    };
    if destination.len() > CONNECTION_ID_BYTES || source.len() > CONNECTION_ID_BYTES {
        return None;
    }
    let kind = version.kind(first);
    let mut token: &[u8] = &[];
    match kind {
        Kind::Retry => return Some((Packet::Retry { source }, &[])),
        Kind::Initial => token = reader.long()?,
        Kind::ZeroRtt | Kind::Handshake => {}
    }
    let length = usize::try_from(reader.varint()?).ok()?;
    let number_at = reader.at;
    reader.take(length)?;
    let (bytes, rest) = bytes.split_at_checked(reader.at)?;
    let packet = match kind {
        Kind::Initial => Packet::Initial(Initial {
            version,
            destination,
            source,
            token,
            bytes,
            number_at,
        }),
        Kind::ZeroRtt => Packet::ZeroRtt,
        Kind::Handshake | Kind::Retry => Packet::Handshake,
    };
    Some((packet, rest))
}

/// Takes bytes off a packet or a frame.
pub(super) struct Reader<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) at: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let end = self.at.checked_add(count)?;
        let taken = self.bytes.get(self.at..end)?;
        self.at = end;
        Some(taken)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn u32(&mut self) -> Option<u32> {
        self.take(4)?.first_chunk().copied().map(u32::from_be_bytes)
    }

    /// An integer of variable length (RFC 9000 §16).
    pub(super) fn varint(&mut self) -> Option<u64> {
        let first = *self.bytes.get(self.at)?;
        let taken = self.take(1 << (first >> 6))?;
        let value = taken.iter().fold(0, |value, &byte| value << 8 | u64::from(byte));
        let bits = 8 * taken.len() as u32 - 2;
        Some(value & ((1 << bits) - 1))
    }

    /// Bytes behind one byte of length.
    fn short(&mut self) -> Option<&'a [u8]> {
        let length = self.u8()?;
        self.take(usize::from(length))
    }

    /// Bytes behind a length of variable length.
    pub(super) fn long(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.varint()?).ok()?;
        self.take(length)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.at >= self.bytes.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn long(first: u8, version: u32, payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![first];
        packet.extend(version.to_be_bytes());
        packet.extend([2, 7, 7, 1, 9]);
        packet.extend(payload);
        packet
    }

    #[test]
    fn integers_of_each_length_are_read() {
        // RFC 9000 appendix A.1.
        for (bytes, value) in [
            (
                &[0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c][..],
                151_288_809_941_952_652,
            ),
            (&[0x9d, 0x7f, 0x3e, 0x7d], 494_878_333),
            (&[0x7b, 0xbd], 15_293),
            (&[0x25], 37),
            (&[0x40, 0x25], 37),
        ] {
            assert_eq!(Reader { bytes, at: 0 }.varint(), Some(value));
            let cut = bytes.get(..bytes.len() - 1).unwrap();
            assert_eq!(Reader { bytes: cut, at: 0 }.varint(), None);
        }
    }

    #[test]
    fn packets_that_share_a_datagram_are_told_apart_by_version_and_type() {
        for (version, [initial, early, handshake, retry]) in [
            (1, [0xc0, 0xd0, 0xe0, 0xf0]),
            (0x6b33_43cf, [0xd0, 0xe0, 0xf0, 0xc0]),
        ] {
            let mut datagram = long(initial, version, &[1, 0xaa, 3, 1, 2, 3]);
            datagram.extend(long(early, version, &[2, 1, 2]));
            datagram.extend(long(handshake, version, &[1, 5]));
            datagram.extend([0x41, 1, 2, 3]);
            let found: Vec<_> = packets(&datagram).collect();
            let Some(Packet::Initial(first)) = found.first() else {
                panic!("{found:?}");
            };
            assert_eq!(
                (first.destination, first.source, first.token),
                (&[7, 7][..], &[9][..], &[0xaa][..])
            );
            assert_eq!(first.bytes.get(first.number_at..), Some(&[1, 2, 3][..]));
            assert_eq!(found[1..], [Packet::ZeroRtt, Packet::Handshake, Packet::Short]);
            let retried = long(retry, version, b"token and a tag of integrity");
            assert_eq!(
                packets(&retried).collect::<Vec<_>>(),
                [Packet::Retry { source: &[9] }]
            );
        }
    }

    #[test]
    fn datagrams_that_went_in_one_call_follow_each_other_past_their_padding() {
        let one = long(0xc0, 1, &[0, 2, 1, 2]);
        let both = [&one[..], &[0; 40], &one[..]].concat();
        assert_eq!(packets(&both).count(), 2);
        assert_eq!(packets(&[0; 1200]).count(), 0);
    }

    #[test]
    fn what_is_no_packet_of_a_known_version_ends_the_datagram() {
        assert_eq!(
            packets(&long(0xc0, 0, &[0, 0, 0, 1])).collect::<Vec<_>>(),
            [Packet::VersionNegotiation]
        );
        assert_eq!(
            packets(&long(0xc0, 0xff00_001d, &[0, 1, 0])).collect::<Vec<_>>(),
            [Packet::OtherVersion(0xff00_001d)]
        );
        let whole = long(0xc0, 1, &[0, 4, 1, 2, 3, 4]);
        for length in 1..whole.len() {
            assert_eq!(
                packets(&whole[..length]).collect::<Vec<_>>(),
                [Packet::Malformed],
                "{length}"
            );
        }
        let mut wide = vec![0xc0, 0, 0, 0, 1, 21];
        wide.extend([1; 60]);
        assert_eq!(packets(&wide).collect::<Vec<_>>(), [Packet::Malformed]);
    }
}
