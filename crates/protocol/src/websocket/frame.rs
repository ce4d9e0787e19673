//! The header of a frame (RFC 6455 §5.2).

/// Most bytes of a header: 2, 8 of length, 4 of mask.
pub(super) const HEADER_BYTES: usize = 14;

/// Opcodes.
pub(super) const CONTINUATION: u8 = 0;
pub(super) const TEXT: u8 = 1;
pub(super) const BINARY: u8 = 2;
pub(super) const CLOSE: u8 = 8;
pub(super) const PING: u8 = 9;
pub(super) const PONG: u8 = 10;

/// A header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// Last frame of its message.
    pub(super) fin: bool,
    /// RSV1: the message is compressed, if that was agreed.
    pub(super) rsv1: bool,
    pub(super) opcode: u8,
    pub(super) mask: Option<[u8; 4]>,
    /// Bytes of payload.
    pub(super) length: u64,
    /// Bytes of the header itself.
    pub(super) size: usize,
}

/// What a direction allows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    /// The client masks, the server does not (§5.1).
    pub(super) masked: bool,
    /// RSV1 has a meaning.
    pub(super) deflate: bool,
    /// So may have the other reserved bits and opcodes.
    pub(super) foreign: bool,
    /// Lengths must be in their shortest form: asked for where it is not known that there is a header.
    pub(super) shortest: bool,
}

/// Outcome of reading a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Read {
    NeedMore,
    Header(Header),
    /// No header that the rules allow, and why.
    Bad(&'static str),
}

impl Header {
    pub(super) const fn is_control(&self) -> bool {
        self.opcode & 8 != 0
    }
}

/// Reads the header that `bytes` begin with.
pub(super) fn read(bytes: &[u8], rules: Rules) -> Read {
    let Some(&first) = bytes.first() else {
        return Read::NeedMore;
    };
    let (fin, opcode) = (first & 0x80 != 0, first & 0x0f);
    let rsv1 = first & 0x40 != 0;
    if !rules.foreign {
        if first & 0x30 != 0 || (rsv1 && !rules.deflate) {
            return Read::Bad("reserved bits in a frame");
        }
        if matches!(opcode, 3..=7 | 11..=15) {
            return Read::Bad("reserved opcode of a frame");
        }
        if rsv1 && !matches!(opcode, TEXT | BINARY) {
            return Read::Bad("compressed frame that begins no message");
        }
    }
    let is_control = opcode & 8 != 0;
    if is_control && !fin {
        return Read::Bad("fragmented control frame");
    }
    let Some(&second) = bytes.get(1) else {
        return Read::NeedMore;
    };
    let is_masked = second & 0x80 != 0;
    if is_masked != rules.masked {
        return Read::Bad("mask of the wrong direction");
    }
    let short = second & 0x7f;
    if is_control && short > 125 {
        return Read::Bad("long control frame");
    }
    let (length, size) = match short {
        126 => match bytes.get(2..4).and_then(|field| field.first_chunk()) {
            Some(field) => (u64::from(u16::from_be_bytes(*field)), 4),
            None => return Read::NeedMore,
        },
        127 => match bytes.get(2..10).and_then(|field| field.first_chunk()) {
            Some(field) => (u64::from_be_bytes(*field), 10),
            None => return Read::NeedMore,
        },
        _ => (u64::from(short), 2),
    };
    let least = match short {
        126 => 126,
        127 => 1 << 16,
        _ => 0,
    };
    // The shortest form is a must of RFC 6455, and not everybody's habit.
    if length >> 63 != 0 || (length < least && rules.shortest) {
        return Read::Bad("length of a frame in the wrong form");
    }
    let (mask, size) = if is_masked {
        match bytes.get(size..size + 4).and_then(|field| field.first_chunk()) {
            Some(mask) => (Some(*mask), size + 4),
            None => return Read::NeedMore,
        }
    } else {
        (None, size)
    };
    Read::Header(Header {
        fin,
        rsv1,
        opcode,
        mask,
        length,
        size,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: Rules = Rules {
        masked: true,
        deflate: false,
        foreign: false,
        shortest: true,
    };
    const SERVER: Rules = Rules {
        masked: false,
        ..CLIENT
    };

    #[test]
    fn the_examples_of_rfc_6455_section_5_7() {
        let header = |bytes: &[u8], rules| match read(bytes, rules) {
            Read::Header(header) => header,
            other => panic!("{other:?}"),
        };
        let hello = header(b"\x81\x05Hello", SERVER);
        assert_eq!(
            (hello.fin, hello.opcode, hello.length, hello.size),
            (true, TEXT, 5, 2)
        );
        let masked = header(b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58", CLIENT);
        assert_eq!((masked.mask, masked.size), (Some([0x37, 0xfa, 0x21, 0x3d]), 6));
        assert!(!header(b"\x01\x03Hel", SERVER).fin);
        assert_eq!(header(b"\x82\x7e\x01\x00", SERVER).length, 256);
        assert_eq!(header(b"\x82\x7f\0\0\0\0\0\x01\0\0", SERVER).length, 65536);
    }

    #[test]
    fn what_the_rules_forbid_is_bad() {
        for (bytes, rules) in [
            (&b"\x91\x00"[..], SERVER),
            (b"\xc1\x00", SERVER),
            (b"\x83\x00", SERVER),
            (b"\x09\x00", SERVER),
            (b"\x89\x7e", SERVER),
            (b"\x81\x80", SERVER),
            (b"\x81\x05", CLIENT),
            (b"\x82\x7e\x00\x7d", SERVER),
            (b"\x82\x7f\0\0\0\0\0\0\xff\xff", SERVER),
            (b"\x82\x7f\x80\0\0\0\0\0\0\0", SERVER),
        ] {
            assert!(matches!(read(bytes, rules), Read::Bad(_)), "{bytes:x?}");
        }
    }

    #[test]
    fn lengths_in_a_longer_form_are_read_where_a_header_must_be() {
        let lenient = Rules {
            shortest: false,
            ..SERVER
        };
        let Read::Header(header) = read(b"\x82\x7e\x00\x05", lenient) else {
            panic!("no header")
        };
        assert_eq!((header.length, header.size), (5, 4));
    }

    #[test]
    fn every_beginning_of_a_header_needs_more() {
        let whole = b"\x82\xff\0\0\0\0\0\x01\0\0abcd";
        for length in 0..whole.len() {
            assert_eq!(read(&whole[..length], CLIENT), Read::NeedMore, "{length}");
        }
        assert!(matches!(read(whole, CLIENT), Read::Header(_)));
    }
}
