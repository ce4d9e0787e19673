//! What the holder and the agent say to each other over their socket: records of 16 bytes, both ways.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read};

/// Bytes of a record.
pub(super) const RECORD: usize = 16;
/// The number of no question: a sign of life, which is sent back.
pub(super) const ALIVE: u64 = 0;
/// As `descriptor`: the question of that number was answered because its time was over.
pub(super) const EXPIRED: i32 = -1;

/// What the agent found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Let it go, and ask again the next time.
    Go,
    /// Let it go; nothing is in the file, so do not ask again until it is written to.
    GoAlways,
}

/// From the holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) number: u64,
    pub(super) pid: u32,
    /// Of the file, in the holder; or [`EXPIRED`].
    pub(super) descriptor: i32,
}

impl Asked {
    pub(super) fn encode(self) -> [u8; RECORD] {
        let [a, b] = [self.pid.to_ne_bytes(), self.descriptor.to_ne_bytes()];
        join(self.number, a, b)
    }

    pub(super) fn decode(record: [u8; RECORD]) -> Self {
        let (number, pid, descriptor) = split(record);
        Self {
            number,
            pid: u32::from_ne_bytes(pid),
            descriptor: i32::from_ne_bytes(descriptor),
        }
    }
}

/// To the holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) number: u64,
    pub(super) verdict: Verdict,
}

impl Answer {
    pub(super) fn encode(self) -> [u8; RECORD] {
        let always = u32::from(self.verdict == Verdict::GoAlways);
        join(self.number, always.to_ne_bytes(), [0; 4])
    }

    pub(super) fn decode(record: [u8; RECORD]) -> Self {
        let (number, always, _) = split(record);
        let verdict = if always == [0; 4] {
            Verdict::Go
        } else {
            Verdict::GoAlways
        };
        Self { number, verdict }
    }
}

fn join(number: u64, second: [u8; 4], third: [u8; 4]) -> [u8; RECORD] {
    let mut record = [0; RECORD];
    for (to, from) in record
        .iter_mut()
        .zip(number.to_ne_bytes().into_iter().chain(second).chain(third))
    {
        *to = from;
    }
    record
}

fn split(record: [u8; RECORD]) -> (u64, [u8; 4], [u8; 4]) {
    let [n0, n1, n2, n3, n4, n5, n6, n7, a0, a1, a2, a3, b0, b1, b2, b3] = record;
    let number = u64::from_ne_bytes([n0, n1, n2, n3, n4, n5, n6, n7]);
    (number, [a0, a1, a2, a3], [b0, b1, b2, b3])
}

/// Cuts a stream into records.
#[derive(Debug, Default)]
pub(super) struct Records {
    bytes: VecDeque<u8>,
}

impl Records {
    /// Reads once. `false`: the other end is closed.
    pub(super) fn read(&mut self, mut stream: impl Read) -> io::Result<bool> {
        let mut piece = [0; 64 * RECORD];
        match stream.read(&mut piece) {
            Ok(0) => Ok(false),
            Ok(length) => {
                self.bytes.extend(piece.iter().take(length));
                Ok(true)
            }
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                ) =>
            {
                Ok(true)
            }
            Err(error) => Err(error),
        }
    }

    /// The next whole record.
    pub(super) fn next(&mut self) -> Option<[u8; RECORD]> {
        if self.bytes.len() < RECORD {
            return None;
        }
        let mut record = [0; RECORD];
        for (to, from) in record.iter_mut().zip(self.bytes.drain(..RECORD)) {
            *to = from;
        }
        Some(record)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_out_as_they_went_in_however_they_were_cut() {
        let asked = Asked {
            number: u64::MAX - 1,
            pid: 4_000_000,
            descriptor: EXPIRED,
        };
        let answer = Answer {
            number: 7,
            verdict: Verdict::GoAlways,
        };
        let stream = [asked.encode(), answer.encode()].concat();
        let mut records = Records::default();
        for byte in &stream[..20] {
            assert!(records.read(&[*byte][..]).unwrap());
        }
        assert_eq!(records.next().map(Asked::decode), Some(asked));
        assert_eq!(records.next(), None);
        assert!(records.read(&stream[20..]).unwrap());
        assert_eq!(records.next().map(Answer::decode), Some(answer));
        assert!(!records.read(&[][..]).unwrap(), "the end");
    }
}
