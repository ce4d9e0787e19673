//! Bytes of an exchange, and the ways in which parsers take them.

use std::io::{self, Read, Write};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use qtap_protocol::{Event, Parser, Side, Time};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Parses all bytes once, and tells how many messages it found.
pub(crate) type Lap = Box<dyn FnMut() -> anyhow::Result<u64>>;

/// One protocol.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// The public parser: crate, and what of it.
    pub(crate) peer: &'static str,
    /// What is counted.
    pub(crate) what: &'static str,
    /// Bytes and messages of a lap.
    pub(crate) bytes: usize,
    pub(crate) messages: u64,
    pub(crate) ours: Lap,
    pub(crate) theirs: Lap,
}

/// What one call moved.
#[derive(Clone, Debug)]
pub(crate) struct Piece {
    pub(crate) side: Side,
    pub(crate) data: Bytes,
}

/// The pieces of a connection in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Exchange(Vec<Piece>);

impl Exchange {
    /// Bytes of the client.
    pub(crate) fn client(&mut self, data: impl Into<Bytes>) {
        self.push(Side::Client, data.into());
    }

    /// Bytes of the server.
    pub(crate) fn server(&mut self, data: impl Into<Bytes>) {
        self.push(Side::Server, data.into());
    }

    pub(crate) fn push(&mut self, side: Side, data: Bytes) {
        self.0.push(Piece { side, data });
    }

    pub(crate) fn pieces(&self) -> &[Piece] {
        &self.0
    }

    pub(crate) fn bytes(&self) -> usize {
        self.0.iter().map(|piece| piece.data.len()).sum()
    }

    /// The pieces of one side.
    pub(crate) fn of(&self, side: Side) -> Vec<Bytes> {
        let of_side = self.0.iter().filter(|piece| piece.side == side);
        of_side.map(|piece| piece.data.clone()).collect()
    }

    /// Through one of our parsers, as the engine feeds it: a piece a call, events taken after each. Counts the events that `counts`.
    pub(crate) fn parse(
        &self,
        parser: &mut dyn Parser,
        events: &mut Vec<Event>,
        counts: impl Fn(&Event) -> bool,
    ) -> anyhow::Result<u64> {
        let mut count = 0;
        for (piece, time) in self.0.iter().zip(1..) {
            parser.bytes(piece.side, piece.data.clone(), Time(time), events)?;
            for event in events.drain(..) {
                count += u64::from(counts(&event));
            }
        }
        Ok(count)
    }
}

/// Pieces as something to read from, at whose end there is no more; what is written to it is gone.
#[derive(Clone, Debug)]
pub(crate) struct Feed {
    pieces: std::collections::VecDeque<Bytes>,
    now: Bytes,
}

impl Feed {
    pub(crate) fn new(pieces: &[Bytes]) -> Self {
        Self {
            pieces: pieces.iter().cloned().collect(),
            now: Bytes::new(),
        }
    }

    /// Up to `room` bytes of one piece; none at the end.
    fn next_part(&mut self, room: usize) -> Bytes {
        while self.now.is_empty() {
            match self.pieces.pop_front() {
                Some(piece) => self.now = piece,
                None => return Bytes::new(),
            }
        }
        self.now.split_to(room.min(self.now.len()))
    }
}

impl Read for Feed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let part = self.next_part(buffer.len());
        (&*part).read(buffer)
    }
}

impl Write for Feed {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsyncRead for Feed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let part = self.next_part(buffer.remaining());
        buffer.put_slice(&part);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Feed {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(data.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// So many bytes of text that is not all the same.
pub(crate) fn text(length: usize) -> String {
    let words = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta"];
    let mut text = String::with_capacity(length + 16);
    for (number, word) in (0..).zip(words.iter().cycle()) {
        if text.len() >= length {
            break;
        }
        text.push_str(word);
        text.push_str(&format!("-{number} "));
    }
    text.truncate(length);
    text
}
