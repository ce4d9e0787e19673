//! Handshake messages out of records (RFC 8446 §4).

/// Handshake types that matter here.
pub(crate) mod kind {
    pub(crate) const CLIENT_HELLO: u8 = 1;
    pub(crate) const SERVER_HELLO: u8 = 2;
    pub(crate) const NEW_SESSION_TICKET: u8 = 4;
    pub(crate) const END_OF_EARLY_DATA: u8 = 5;
    pub(crate) const ENCRYPTED_EXTENSIONS: u8 = 8;
    pub(crate) const KEY_UPDATE: u8 = 24;
}

/// A whole message of a type that is wanted.
pub(crate) struct Message {
    pub(crate) kind: u8,
    pub(crate) body: Vec<u8>,
}

/// Joins the handshake messages of one direction over records. Only hellos, EncryptedExtensions and KeyUpdate are kept,
/// up to a limit; the others are passed over without keeping them.
#[derive(Debug)]
pub(crate) struct MessageReader {
    limit: usize,
    header: Vec<u8>,
    body: Vec<u8>,
    /// Bytes of the current message still to come, once its header is whole.
    left: Option<usize>,
    keep: bool,
}

impl MessageReader {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit,
            header: Vec::with_capacity(4),
            body: Vec::new(),
            left: None,
            keep: false,
        }
    }

    /// Forgets an unfinished message: its rest is lost, or its epoch is over.
    pub(crate) fn reset(&mut self) {
        self.header.clear();
        self.body = Vec::new();
        self.left = None;
    }

    /// Bytes held.
    pub(crate) fn buffered(&self) -> usize {
        self.body.len()
    }

    /// The contents of the next handshake record; whole messages go to `found`.
    pub(crate) fn record(&mut self, mut data: &[u8], found: &mut Vec<Message>) {
        while !data.is_empty() {
            let Some(left) = self.left else {
                let (head, rest) = data.split_at(data.len().min(4 - self.header.len().min(4)));
                self.header.extend_from_slice(head);
                data = rest;
                if let &[kind, high, middle, low] = self.header.as_slice() {
                    let length = u32::from_be_bytes([0, high, middle, low]) as usize;
                    self.left = Some(length);
                    self.keep = length <= self.limit && is_wanted(kind);
                    self.finish(found);
                }
                continue;
            };
            let (part, rest) = data.split_at(data.len().min(left));
            data = rest;
            if self.keep {
                self.body.extend_from_slice(part);
            }
            self.left = Some(left - part.len());
            self.finish(found);
        }
    }

    fn finish(&mut self, found: &mut Vec<Message>) {
        if self.left != Some(0) {
            return;
        }
        if let Some(&kind) = self.header.first()
            && self.keep
        {
            let body = std::mem::take(&mut self.body);
            found.push(Message { kind, body });
        }
        self.reset();
    }
}

fn is_wanted(kind: u8) -> bool {
    matches!(
        kind,
        kind::CLIENT_HELLO | kind::SERVER_HELLO | kind::ENCRYPTED_EXTENSIONS | kind::KEY_UPDATE
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(chunks: &[&[u8]], limit: usize) -> Vec<(u8, usize)> {
        let mut reader = MessageReader::new(limit);
        let mut found = Vec::new();
        for chunk in chunks {
            reader.record(chunk, &mut found);
        }
        found
            .iter()
            .map(|message| (message.kind, message.body.len()))
            .collect()
    }

    #[test]
    fn messages_are_joined_over_records_and_parted_within_one() {
        let bytes = [
            2, 0, 0, 3, 9, 9, 9, 11, 0, 0, 2, 8, 8, 24, 0, 0, 1, 0, 14, 0, 0, 0,
        ];
        let expected = [(2, 3), (24, 1)];
        assert_eq!(kinds(&[&bytes], 64), expected);
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(kinds(&single, 64), expected);
    }

    #[test]
    fn a_message_over_the_limit_is_passed_over_unread() {
        assert_eq!(kinds(&[&[1, 0, 0, 3, 9, 9, 9, 2, 0, 0, 1, 7]], 2), [(2, 1)]);
    }
}
