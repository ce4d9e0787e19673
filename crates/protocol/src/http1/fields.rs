//! Header fields and what they say about the body (RFC 9112 §5 and §6).

use bytes::Bytes;

use super::grammar;
use crate::Field;

/// What the fields of one head say about the length of its body and about what comes after it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Framing {
    /// The last transfer coding, if any but `identity`, is `chunked`.
    pub(super) transfer: Option<Transfer>,
    /// First valid Content-Length.
    pub(super) length: Option<u64>,
    /// Lengths that differ or are no numbers.
    lengths_disagree: bool,
    /// First token of the first `Upgrade` field, lower case.
    pub(super) upgrade: Option<String>,
    /// Content types that stay open on purpose.
    pub(super) streaming: bool,
}

/// How the outermost transfer coding ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transfer {
    /// `chunked` is last.
    Chunked,
    /// Another coding is last: only the end of the connection ends the body.
    UntilClose,
}

impl Framing {
    /// Transfer-Encoding beside Content-Length, or Content-Lengths that differ.
    pub(super) const fn conflict(&self) -> bool {
        self.lengths_disagree || (self.transfer.is_some() && self.length.is_some())
    }

    /// Takes one field into account.
    pub(super) fn note(&mut self, name: &[u8], value: &[u8]) {
        if name.eq_ignore_ascii_case(b"content-length") {
            value
                .split(|byte| *byte == b',')
                .for_each(|part| self.note_length(grammar::trim(part)));
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            value
                .split(|byte| *byte == b',')
                .for_each(|part| self.note_transfer(grammar::trim(part)));
        } else if name.eq_ignore_ascii_case(b"upgrade") && self.upgrade.is_none() {
            let token = value
                .split(|byte| *byte == b',')
                .map(grammar::trim)
                .find(|part| !part.is_empty());
            self.upgrade = token.map(|token| String::from_utf8_lossy(token).to_ascii_lowercase());
        } else if name.eq_ignore_ascii_case(b"content-type") {
            let is = |kind: &[u8]| {
                value
                    .get(..kind.len())
                    .is_some_and(|start| start.eq_ignore_ascii_case(kind))
            };
            self.streaming |= is(b"text/event-stream") || is(b"application/grpc");
        }
    }

    /// Takes a line beyond the limits into account.
    pub(super) fn note_line(&mut self, line: &[u8]) {
        if let Some((name, value)) = split_field(line) {
            self.note(name, value);
        }
    }

    fn note_length(&mut self, digits: &[u8]) {
        let number = std::str::from_utf8(digits)
            .ok()
            .filter(|text| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()))
            .and_then(|text| text.parse::<u64>().ok());
        match (self.length, number) {
            (None, Some(_)) => self.length = number,
            (Some(first), Some(other)) if first == other => {}
            _ => self.lengths_disagree = true,
        }
    }

    fn note_transfer(&mut self, coding: &[u8]) {
        if coding.is_empty() || coding.eq_ignore_ascii_case(b"identity") {
            return;
        }
        let is_chunked = coding.eq_ignore_ascii_case(b"chunked");
        self.transfer = Some(if is_chunked {
            Transfer::Chunked
        } else {
            Transfer::UntilClose
        });
    }

    /// Adds what fields later in the same head say.
    pub(super) fn merge(&mut self, late: Self) {
        self.transfer = late.transfer.or(self.transfer);
        self.lengths_disagree |=
            late.lengths_disagree || matches!((self.length, late.length), (Some(a), Some(b)) if a != b);
        self.length = self.length.or(late.length);
        self.upgrade = self.upgrade.take().or(late.upgrade);
        self.streaming |= late.streaming;
    }
}

/// The fields of a head or of a trailer section.
#[derive(Debug, Default)]
pub(super) struct Fields {
    pub(super) fields: Vec<Field>,
    pub(super) framing: Framing,
    /// Lines that are no fields were left out.
    pub(super) malformed: bool,
    /// Fields beyond the limit were left out.
    pub(super) truncated: bool,
}

/// Fields that there is room for from the first.
const USUAL_FIELDS: usize = 12;

/// A field whose folded lines may still come.
struct Pending {
    name: Bytes,
    value: Bytes,
}

/// Reads the lines of `block`, up to its end or a blank line, keeping at most `max` fields. Names and values
/// are slices of `block`, except folded values, which are joined with one space.
pub(super) fn read(block: &Bytes, max: usize) -> Fields {
    let mut found = Fields::default();
    found.fields.reserve(USUAL_FIELDS.min(max));
    let mut pending: Option<Pending> = None;
    let mut rest: &[u8] = block;
    while !rest.is_empty() {
        let (line, after) = match memchr::memchr(b'\n', rest).and_then(|end| rest.split_at_checked(end)) {
            Some((line, after)) => (line, after.get(1..).unwrap_or_default()),
            None => (rest, &[][..]),
        };
        rest = after;
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            break;
        }
        if matches!(line.first(), Some(b' ' | b'\t')) {
            match &mut pending {
                Some(field) => field.value = join(&field.value, grammar::trim(line)),
                None => found.malformed = true,
            }
            continue;
        }
        found.keep(pending.take(), max);
        match split_field(line) {
            Some((name, value)) => {
                pending = Some(Pending {
                    name: block.slice_ref(name),
                    value: block.slice_ref(value),
                });
            }
            None => found.malformed = true,
        }
    }
    found.keep(pending, max);
    found
}

fn join(value: &Bytes, more: &[u8]) -> Bytes {
    match (value.is_empty(), more.is_empty()) {
        (_, true) => value.clone(),
        (true, false) => Bytes::copy_from_slice(more),
        (false, false) => [value, &b" "[..], more].concat().into(),
    }
}

impl Fields {
    fn keep(&mut self, field: Option<Pending>, max: usize) {
        let Some(Pending { name, value }) = field else {
            return;
        };
        self.framing.note(&name, &value);
        if self.fields.len() < max {
            self.fields.push(Field { name, value });
        } else {
            self.truncated = true;
        }
    }
}

/// Name and value of a field line; blanks before the colon are forgiven.
fn split_field(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let token = line.iter().position(|byte| !grammar::is_token_byte(*byte))?;
    if let (true, [b':', value @ ..]) = (token > 0, line.get(token..)?) {
        return Some((line.get(..token)?, grammar::trim(value)));
    }
    let (name, value) = line.split_at_checked(memchr::memchr(b':', line)?)?;
    let name = grammar::trim(name);
    grammar::is_token(name).then(|| (name, grammar::trim(value.get(1..).unwrap_or_default())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framing(lines: &str) -> Framing {
        read(&Bytes::copy_from_slice(lines.as_bytes()), 256).framing
    }

    #[test]
    fn fields_keep_order_repetition_and_case() {
        let found = read(
            &Bytes::from_static(
                b"B: 1\r\na : 2\nB:\t3 \r\nX: one\r\n  two\r\n\tthree\r\nbad line\r\n\r\nno: more\r\n",
            ),
            256,
        );
        let shown: Vec<_> = found
            .fields
            .iter()
            .map(|field| (&field.name[..], &field.value[..]))
            .collect();
        let expected: [(&[u8], &[u8]); 4] =
            [(b"B", b"1"), (b"a", b"2"), (b"B", b"3"), (b"X", b"one two three")];
        assert_eq!(shown, expected);
        assert!(found.malformed);
    }

    #[test]
    fn length_and_transfer_codings() {
        assert_eq!(framing("Content-Length: 5, 5\r\n").length, Some(5));
        assert!(!framing("Content-Length: 5\r\nContent-Length: 5\r\n").conflict());
        let differing = framing("Content-Length: 5\r\nContent-Length: 6\r\n");
        assert!(differing.conflict() && differing.length == Some(5));
        let both = framing("Transfer-Encoding: gzip, Chunked\r\nContent-Length: 5\r\n");
        assert!(both.conflict() && both.transfer == Some(Transfer::Chunked));
        assert_eq!(
            framing("Transfer-Encoding: chunked, gzip\r\n").transfer,
            Some(Transfer::UntilClose)
        );
        assert_eq!(framing("Transfer-Encoding: identity\r\n").transfer, None);
        for bad in ["-1", "+1", "0x5", "99999999999999999999", ""] {
            let found = framing(&format!("Content-Length: {bad}\r\n"));
            assert!(found.conflict() && found.length.is_none(), "{bad}");
        }
    }

    #[test]
    fn fields_beyond_the_limit_still_decide_framing() {
        let found = read(&Bytes::from_static(b"A: 1\r\nContent-Length: 7\r\n"), 1);
        assert_eq!(
            (found.fields.len(), found.truncated, found.framing.length),
            (1, true, Some(7))
        );
    }
}
