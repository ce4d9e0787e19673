//! Into a connection of TLS 1.3 whose handshake nobody saw, by secrets that may be its own and numbers of records that nobody knows.
//!
//! From where the capture began, bytes are searched for what looks like a record, and that is tried under each secret. With AES-GCM the record
//! itself tells its number ([`gcm`]); with ChaCha20-Poly1305 numbers are tried from 0 on, as far as the bounds allow. Only what
//! authenticates counts. From then on the direction is read like any other.

mod found;
mod gcm;
mod session;
mod trials;

use crate::Time;
use crate::flow::Flow;
use crate::queue::Item;
use crate::record::{HEADER_LENGTH, Header, content};

pub use found::{FoundSecret, FoundSecrets};
use trials::{FROM_BEGINNING, IN_MIDSTREAM, Pass, WORK_AT_ONCE};
pub(crate) use trials::{Hit, Joining, Partner};

/// How trials on a direction stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Joined {
    /// It is read from now on.
    Yes,
    /// None of these secrets opens what has come so far, or nothing has.
    No,
    /// There are more trials to make: call again.
    Unfinished,
}

impl Flow {
    /// From now on its bytes are kept until a secret that was found opens some.
    pub(crate) fn begin_joining(&mut self, work: u64, is_midstream: bool, time: Time) {
        let numbers = if is_midstream {
            IN_MIDSTREAM
        } else {
            FROM_BEGINNING
        };
        self.framer.lose(time, &mut self.queue);
        self.joining = Some(Box::new(Joining::new(work, numbers)));
        self.look_for_record();
    }

    /// Goes on as if it had not been tried.
    fn end_joining(&mut self) {
        if self.joining.take().is_some() {
            self.framer.resume(&mut self.queue);
            self.front_tried = None;
            self.ahead_tried = (0, 0);
        }
    }

    /// Looks for a whole record among the bytes that `pass` did not look at; tells where it is.
    fn next_record(&mut self, pass: Pass) -> Option<usize> {
        let joining = self.joining.as_mut()?;
        loop {
            let more_follows = self.queue.len() > 1;
            let raw = match self.queue.front()? {
                Item::Raw(raw) => raw,
                // What is before the first record is not missed by anyone.
                Item::Hole { .. } | Item::Record(_) | Item::Damaged { .. } => {
                    self.queue.pop();
                    joining.start_over();
                    continue;
                }
            };
            let scanned = joining.scanned(pass);
            while let Some(rest) = raw.data.get(*scanned..)
                && rest.len() >= HEADER_LENGTH
            {
                if let Some(header) = Header::parse(rest).filter(|&header| is_likely(header)) {
                    if rest.len() >= header.wire_length() {
                        let at = *scanned;
                        joining.saw_record = true;
                        return Some(at);
                    }
                    // Its end may still come; unless a hole follows.
                    if !more_follows {
                        return None;
                    }
                }
                *scanned += 1;
            }
            if !more_follows {
                return None;
            }
            let length = raw.data.len();
            self.queue.skip_raw(length);
            joining.start_over();
        }
    }

    /// Looks whether something has come that secrets can be tried on.
    pub(crate) fn look_for_record(&mut self) {
        self.next_record(Pass::Gcm);
    }

    /// Tries `found` on what has come.
    ///
    /// # Errors
    /// How trials stand, if there was no hit.
    fn try_found(&mut self, found: &FoundSecrets, partner: Partner) -> Result<Hit, Joined> {
        let Some(joining) = self.joining.as_mut() else {
            return Err(Joined::Yes);
        };
        joining.begin(found);
        let mut slice = WORK_AT_ONCE;
        for pass in Pass::ALL {
            while let Some(at) = self.next_record(pass) {
                let (Some(Item::Raw(raw)), Some(joining)) = (self.queue.front(), self.joining.as_mut())
                else {
                    break;
                };
                let Some(record) = raw.data.get(at..) else { break };
                match joining.try_record(pass, record, found, partner, &mut slice) {
                    Ok(hit) => return Ok(Hit { at, ..hit }),
                    Err(Joined::Unfinished) => return Err(Joined::Unfinished),
                    Err(Joined::Yes | Joined::No) => joining.pass_over(pass, at),
                }
            }
        }
        Err(Joined::No)
    }

    /// More is known, or the queue was emptied: what was tried may be tried again.
    fn retry_found(&mut self) {
        if let Some(joining) = &mut self.joining {
            joining.start_over();
        }
        self.look_for_record();
    }

    /// Goes on with the record that opened.
    fn join(&mut self, hit: Hit) {
        self.joining = None;
        self.take_up(hit.at, hit.current, hit.sequence);
    }
}

/// Whether a header may be one of a protected record of TLS 1.3 (RFC 8446 §5.2).
fn is_likely(header: Header) -> bool {
    /// A tag and a content type.
    const LEAST: usize = 17;
    const MOST: usize = (16 << 10) + 256;
    header.content == content::APPLICATION_DATA
        && header.version == 0x0303
        && (LEAST..=MOST).contains(&header.body_length())
}
