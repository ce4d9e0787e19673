//! TLS that begins in the middle of a protocol that is not known here: STARTTLS of SMTP, IMAP, LDAP, XMPP and others, TLS behind a
//! SOCKS proxy. Its first record is recognised wherever a write of the client begins with it.

use bytes::Bytes;
use qtap_protocol::{Side, Time};

/// Bytes of the client and of the server up to which the beginning of TLS is looked for. Greetings and the request for TLS take some
/// hundred bytes.
const WINDOW: [u64; 2] = [16 << 10, 64 << 10];
/// Bytes that tell: the header of the record, that of the handshake message, and the version in it.
const HELLO_BYTES: usize = 11;

/// Looks for it.
#[derive(Debug, Default)]
pub(super) struct Watch {
    seen: [u64; 2],
    /// What may be the beginning of a ClientHello: a server reads the five bytes of its header first.
    pending: Vec<(Bytes, Time)>,
    pending_bytes: usize,
}

impl Watch {
    /// Takes the next bytes of `side`; `is_start`: a call began with them. The pieces of a ClientHello when one began.
    pub(super) fn add(
        &mut self,
        side: Side,
        data: &Bytes,
        is_start: bool,
        time: Time,
    ) -> Option<Vec<(Bytes, Time)>> {
        if let Some(seen) = self.seen.get_mut(side.index()) {
            *seen += data.len() as u64;
        }
        if side == Side::Server || data.is_empty() {
            return None;
        }
        if self.pending.is_empty() && !is_start {
            return None;
        }
        self.pending.push((data.clone(), time));
        self.pending_bytes += data.len();
        match self.is_hello() {
            Some(true) => {
                self.pending_bytes = 0;
                return Some(std::mem::take(&mut self.pending));
            }
            Some(false) => {
                let had_more = self.pending.len() > 1;
                self.pending_bytes = 0;
                self.pending.clear();
                if is_start && had_more {
                    // What came before was no beginning of one; this may be.
                    return self.try_start(data, time);
                }
            }
            None => {}
        }
        None
    }

    fn try_start(&mut self, data: &Bytes, time: Time) -> Option<Vec<(Bytes, Time)>> {
        self.pending.push((data.clone(), time));
        match self.is_hello() {
            Some(true) => return Some(std::mem::take(&mut self.pending)),
            Some(false) => self.pending.clear(),
            None => self.pending_bytes = data.len(),
        }
        None
    }

    /// Bytes were lost, or passed over.
    pub(super) fn gap(&mut self, side: Side, length: u64) {
        if let Some(seen) = self.seen.get_mut(side.index()) {
            *seen += length;
        }
        if side == Side::Client {
            self.pending_bytes = 0;
            self.pending.clear();
        }
    }

    /// It is not looked for any more.
    pub(super) fn is_over(&self) -> bool {
        self.seen.iter().zip(WINDOW).any(|(seen, limit)| *seen > limit)
    }

    /// Bytes held.
    pub(super) const fn held(&self) -> usize {
        self.pending_bytes
    }

    /// Whether what is pending begins a ClientHello (RFC 8446 §5.1, §4.1.2); `None` while that cannot be told.
    fn is_hello(&self) -> Option<bool> {
        let bytes = self.pending.iter().flat_map(|(data, _)| data.iter().copied());
        let mut head = [0; HELLO_BYTES];
        let mut length = 0;
        for (place, byte) in head.iter_mut().zip(bytes) {
            *place = byte;
            length += 1;
        }
        let [
            kind,
            major,
            minor,
            high,
            low,
            message,
            _,
            _,
            _,
            hello_major,
            hello_minor,
        ] = head;
        let record = u16::from_be_bytes([high, low]);
        let known = [
            (1, kind == 0x16),
            (2, major == 3),
            (3, minor <= 3),
            (5, (40..=1 << 14).contains(&record)),
            (6, message == 1),
            (10, hello_major == 3),
            (11, hello_minor <= 3),
        ];
        if known.iter().any(|&(place, fits)| length >= place && !fits) {
            return Some(false);
        }
        (length == HELLO_BYTES).then_some(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELLO: &[u8] = &[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3, 7, 7];

    fn add(watch: &mut Watch, bytes: &[u8], is_start: bool) -> Option<usize> {
        let found = watch.add(Side::Client, &Bytes::copy_from_slice(bytes), is_start, Time(1));
        found.map(|pieces| pieces.len())
    }

    #[test]
    fn a_hello_is_found_at_the_beginning_of_a_write_and_nowhere_else() {
        let mut watch = Watch::default();
        assert_eq!(add(&mut watch, b"STARTTLS\r\n", true), None);
        assert_eq!(add(&mut watch, HELLO, false), None);
        assert_eq!(watch.held(), 0);
        assert_eq!(add(&mut watch, HELLO, true), Some(1));
    }

    #[test]
    fn a_hello_is_found_however_it_is_read() {
        for cut in 1..HELLO.len() {
            let mut watch = Watch::default();
            let (first, rest) = HELLO.split_at(cut);
            let found = add(&mut watch, first, true).or_else(|| add(&mut watch, rest, true));
            assert_eq!(
                found,
                Some(if cut >= HELLO_BYTES { 1 } else { 2 }),
                "cut at {cut}"
            );
        }
    }

    #[test]
    fn what_only_begins_alike_is_let_go() {
        let mut watch = Watch::default();
        assert_eq!(add(&mut watch, &[0x16, 3], true), None);
        assert_eq!(add(&mut watch, b"no", true), None);
        assert_eq!(watch.held(), 0);
        assert_eq!(add(&mut watch, &[0x16, 3, 1], true), None);
        assert_eq!(add(&mut watch, HELLO, true), Some(1), "a new write begins anew");
    }

    #[test]
    fn it_is_not_looked_for_for_ever() {
        let mut watch = Watch::default();
        watch.gap(Side::Server, 60_000);
        assert!(!watch.is_over());
        watch.gap(Side::Client, 20_000);
        assert!(watch.is_over());
    }
}
