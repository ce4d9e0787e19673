//! A writer of frames that knows nothing of the reader, and a talk that records.

use flate2::{Compress, Compression, FlushCompress};
use qtap_protocol::websocket::{Agreement, Deflate, Message, Session};
use qtap_protocol::{Side, Time};

/// A frame with its header bits and opcode in `first`.
pub(crate) fn frame(side: Side, first: u8, payload: &[u8]) -> Vec<u8> {
    let masked = if side == Side::Client { 0x80 } else { 0 };
    let mut frame = vec![first];
    match payload.len() {
        short @ 0..=125 => frame.push(masked | u8::try_from(short).unwrap()),
        medium @ 126..=0xffff => {
            frame.push(masked | 126);
            frame.extend_from_slice(&u16::try_from(medium).unwrap().to_be_bytes());
        }
        long => {
            frame.push(masked | 127);
            frame.extend_from_slice(&(long as u64).to_be_bytes());
        }
    }
    if side == Side::Client {
        // Of each frame another one, as of real clients.
        let mix = |mixed: u32, byte: &u8| (mixed ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
        mask(
            &mut frame,
            payload,
            payload.iter().fold(0x811c_9dc5, mix).to_be_bytes(),
        );
    } else {
        frame.extend_from_slice(payload);
    }
    frame
}

/// Appends the mask and the masked payload.
pub(crate) fn mask(frame: &mut Vec<u8>, payload: &[u8], mask: [u8; 4]) {
    frame.extend_from_slice(&mask);
    frame.extend(payload.iter().enumerate().map(|(at, byte)| byte ^ mask[at % 4]));
}

/// A close frame.
pub(crate) fn close(side: Side, code: u16, reason: &str) -> Vec<u8> {
    frame(side, 0x88, &[&code.to_be_bytes()[..], reason.as_bytes()].concat())
}

/// permessage-deflate with context takeover in both directions.
pub(crate) fn compressed() -> Agreement {
    Agreement {
        deflate: Some(Deflate::default()),
        ..Agreement::default()
    }
}

/// What compresses the messages of one side (RFC 7692 §7.2.1).
pub(crate) struct Deflater(Compress);

impl Deflater {
    pub(crate) fn new() -> Self {
        Self(Compress::new(Compression::default(), false))
    }

    /// A message, ready for a frame with RSV1.
    pub(crate) fn message(&mut self, data: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(data.len() * 2 + 1024);
        let before = self.0.total_in();
        while usize::try_from(self.0.total_in() - before).unwrap() < data.len() {
            let done = usize::try_from(self.0.total_in() - before).unwrap();
            self.0
                .compress_vec(&data[done..], &mut out, FlushCompress::None)
                .unwrap();
            out.reserve(64 << 10);
        }
        self.0.compress_vec(&[], &mut out, FlushCompress::Sync).unwrap();
        assert!(out.ends_with(&[0, 0, 0xff, 0xff]));
        out.truncate(out.len() - 4);
        out
    }
}

/// A session, what came out of it, and a clock that ticks with each piece.
pub(crate) struct Talk {
    pub(crate) session: Session,
    pub(crate) messages: Vec<Message>,
    now: u64,
}

impl Talk {
    pub(crate) fn new() -> Self {
        Self::of(Agreement::default())
    }

    pub(crate) fn of(agreement: Agreement) -> Self {
        Self::keeping(agreement, 1 << 20)
    }

    pub(crate) fn keeping(agreement: Agreement, keep: usize) -> Self {
        Self {
            session: Session::new(agreement, keep),
            messages: Vec::new(),
            now: 0,
        }
    }

    fn tick(&mut self) -> Time {
        self.now += 1;
        Time(self.now)
    }

    pub(crate) fn says(mut self, side: Side, data: &[u8]) -> Self {
        let time = self.tick();
        self.session.bytes(side, data, time, &mut self.messages);
        self
    }

    pub(crate) fn loses(mut self, side: Side, length: u64) -> Self {
        let time = self.tick();
        self.session.gap(side, length, time, &mut self.messages);
        self
    }

    pub(crate) fn close(mut self) -> Self {
        let time = self.tick();
        self.session.close(time, &mut self.messages);
        self
    }

    /// `side kind payload`, and in brackets what is unusual.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.messages.iter().map(line).collect()
    }
}

fn line(message: &Message) -> String {
    let side = if message.side == Side::Client { 'c' } else { 's' };
    let mut line = format!(
        "{side} {} {}",
        message.kind.name(),
        String::from_utf8_lossy(&message.payload).escape_debug()
    );
    if message.frames != 1 {
        line += &format!(" [{} frames]", message.frames);
    }
    if message.gap_bytes > 0 {
        line += &format!(" [{} missing]", message.gap_bytes);
    }
    if !message.whole {
        line += " [cut]";
    }
    if message.truncated {
        line += " [truncated]";
    }
    if let Some(error) = message.inflate_error {
        line += &format!(" [{error}]");
    }
    line
}
