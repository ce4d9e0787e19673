//! Frames of Initial packets: acknowledgements, pieces of the handshake, and the end (RFC 9000 §12.4, §19).

use super::packet::Reader;

/// A frame that says something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Frame<'a> {
    /// A piece of the handshake.
    Crypto { offset: u64, data: &'a [u8] },
    /// The sender gives up, with an error code.
    Close(u64),
}

/// Calls `found` with the frames of `payload`. `None`: what came at last is no frame that may be in an Initial packet.
pub(super) fn each_frame<'a>(payload: &'a [u8], mut found: impl FnMut(Frame<'a>)) -> Option<()> {
    let mut reader = Reader {
        bytes: payload,
        at: 0,
    };
    while !reader.is_empty() {
        match reader.u8()? {
            // PADDING, PING.
            0 | 1 => {}
            kind @ (2 | 3) => acknowledgement(&mut reader, kind == 3)?,
            6 => {
                let offset = reader.varint()?;
                let data = reader.long()?;
                found(Frame::Crypto { offset, data });
            }
            // Of the transport; the other kind of end must not be told before the handshake is over.
            0x1c => {
                let code = reader.varint()?;
                let _frame = reader.varint()?;
                let _reason = reader.long()?;
                found(Frame::Close(code));
            }
            _ => return None,
        }
    }
    Some(())
}

fn acknowledgement(reader: &mut Reader<'_>, has_ecn_counts: bool) -> Option<()> {
    let _largest = reader.varint()?;
    let _delay = reader.varint()?;
    let ranges = reader.varint()?;
    let _first = reader.varint()?;
    // As many as there are bytes at most: the reader says when they are over.
    for _ in 0..ranges {
        let _gap = reader.varint()?;
        let _length = reader.varint()?;
    }
    if has_ecn_counts {
        for _ in 0..3 {
            let _count = reader.varint()?;
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(payload: &[u8]) -> (Vec<Frame<'_>>, bool) {
        let mut frames = Vec::new();
        let whole = each_frame(payload, |frame| frames.push(frame)).is_some();
        (frames, whole)
    }

    #[test]
    fn pieces_of_the_handshake_are_found_among_other_frames() {
        let payload = [
            &[1, 0, 0][..],
            // ECN counts, and two ranges besides the first.
            &[3, 9, 0, 2, 1, 0, 1, 1, 1, 5, 6, 7],
            &[6, 0x40, 0x80, 2, b'h', b'i'],
            &[2, 1, 0, 0, 1],
            &[0x1c, 0x41, 0x28, 6, 2, b'n', b'o'],
        ]
        .concat();
        let crypto = Frame::Crypto {
            offset: 128,
            data: b"hi",
        };
        assert_eq!(frames(&payload), (vec![crypto, Frame::Close(0x128)], true));
    }

    #[test]
    fn a_frame_that_is_cut_or_must_not_be_there_ends_the_packet() {
        assert_eq!(frames(&[6, 0, 3, b'h', b'i']), (vec![], false));
        assert_eq!(frames(&[1, 8, 0]), (vec![], false));
        // Ranges without end.
        assert_eq!(
            frames(&[2, 1, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0]),
            (vec![], false)
        );
    }
}
