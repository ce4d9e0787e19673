//! What a connection carries at the socket: plaintext or TLS, and where the plaintext of TLS comes from.

use bytes::{Bytes, BytesMut};
use qtap_capture::KernelTime;
use qtap_protocol::{Side, Time};
use qtap_tls::{Event, GapReason, Label, OwnSecret, Secret, Session, Unreadable};

use super::after;
use super::search::Search;
use crate::application::Plain;
use crate::{ConnectionFacts, Settings, TlsFacts, TlsSource};

/// Plaintext of one side that may wait until the other side can be read too.
const HELD_BYTES: usize = 1 << 20;

/// Kinds of secrets noted, from whatever functions: a handshake has four that protect records.
const MEANT: usize = 16;

/// Layer above the socket.
pub(crate) enum Wire {
    /// Too few bytes to tell.
    Sniffing(Sniffer),
    /// The socket carries the application's bytes.
    Plain,
    /// TLS.
    Tls(Box<TlsWire>),
    /// Bytes are only counted.
    Off,
}

/// First bytes of both sides, until they tell TLS from plaintext.
#[derive(Debug, Default)]
pub(crate) struct Sniffer {
    prefix: [BytesMut; 2],
    pieces: Vec<(Side, Bytes, Time)>,
    /// The connection is older than the capture, so records may begin anywhere.
    pub(crate) midstream: bool,
}

/// What the first bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sniffed {
    NeedMore,
    Tls,
    Plain,
}

impl Sniffer {
    pub(crate) fn new(midstream: bool) -> Self {
        Self {
            midstream,
            ..Self::default()
        }
    }

    /// Adds bytes; tells what the connection carries as soon as either side does.
    pub(crate) fn add(&mut self, side: Side, data: Bytes, time: Time) -> Sniffed {
        let Some(prefix) = self.prefix.get_mut(side.index()) else {
            return Sniffed::Plain;
        };
        let room = 3usize.saturating_sub(prefix.len()).min(data.len());
        prefix.extend_from_slice(data.get(..room).unwrap_or_default());
        let sniffed = sniff(prefix, self.midstream);
        self.pieces.push((side, data, time));
        sniffed
    }

    pub(crate) fn into_pieces(self) -> Vec<(Side, Bytes, Time)> {
        self.pieces
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }
}

/// A TLS record begins with its type and the major version 3. From its beginning a connection opens with a
/// handshake record; in the middle any type may come.
pub(crate) fn sniff(prefix: &[u8], midstream: bool) -> Sniffed {
    let is_type = |byte: u8| byte == 0x16 || (midstream && (0x14..=0x17).contains(&byte));
    match prefix {
        [] => Sniffed::NeedMore,
        [kind, ..] if !is_type(*kind) => Sniffed::Plain,
        [_, major, ..] if *major != 3 => Sniffed::Plain,
        [_, _, minor, ..] if *minor > 4 => Sniffed::Plain,
        [_, _, _, ..] => Sniffed::Tls,
        _ => Sniffed::NeedMore,
    }
}

/// How the plaintext of a TLS connection is obtained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// By decryption, from secrets that have come or may come.
    Secrets,
    /// From the calls of the library.
    Calls,
}

/// TLS of one connection.
pub(crate) struct TlsWire {
    pub(crate) session: Session,
    pub(crate) reading: Reading,
    /// Sides whose plaintext is at the socket, as the kernel does the TLS of what they send; whatever `reading` is.
    pub(super) kernel: [bool; 2],
    /// Since when ciphertext waits for a secret.
    pub(crate) waiting_since: Option<KernelTime>,
    /// Plaintext of one side, held while the other side waits for its secret, so that the two keep their order.
    held: Vec<(Side, Plain, Time)>,
    held_bytes: usize,
    pub(crate) tally: TlsTally,
    /// Of a connection whose handshake was not seen: the wait for secrets that are found.
    pub(crate) search: Option<Search>,
    /// Those of a handshake that was seen were searched for.
    pub(super) was_searched: bool,
    /// Origin and label of secrets that were derived for this very connection, as far as that is known.
    pub(super) meant: Vec<(u64, Label)>,
}

/// What went wrong in the TLS of a connection, for its health.
#[derive(Clone, Debug, Default)]
pub(crate) struct TlsTally {
    pub(crate) bound: [bool; 2],
    pub(crate) lost_bytes: u64,
    pub(crate) no_secret_bytes: u64,
    pub(crate) unauthenticated_bytes: u64,
    pub(crate) secret_missing: bool,
    pub(crate) unreadable: Option<Unreadable>,
}

/// What the session's events ask of the connection.
#[derive(Debug, Default)]
pub(crate) struct TlsOutput {
    pub(crate) plain: Vec<(Side, Plain, Time)>,
    pub(crate) ended: Vec<(Side, Time)>,
    pub(crate) hello: bool,
    pub(crate) newly_bound: bool,
    /// By a secret that was found.
    pub(crate) joined: bool,
    pub(crate) unreadable: Option<Unreadable>,
    /// Secrets that proved to be its own, for the key log.
    pub(crate) own: Vec<OwnSecret>,
}

impl TlsWire {
    pub(crate) fn new(session: Session, reading: Reading) -> Self {
        Self {
            session,
            reading,
            kernel: [false; 2],
            waiting_since: None,
            held: Vec::new(),
            held_bytes: 0,
            tally: TlsTally::default(),
            search: None,
            was_searched: false,
            meant: Vec::new(),
        }
    }

    /// A secret comes that was derived for this connection, by all that is known.
    pub(super) fn note_meant(&mut self, secret: &Secret) {
        if let Some(origin) = secret.origin
            && self.meant.len() < MEANT
            && !self.meant.contains(&(origin, secret.label))
        {
            self.meant.push((origin, secret.label));
        }
    }

    /// The functions that told secrets for this connection which should have opened a record and did not, each with whether the secret was
    /// certainly this connection's.
    pub(super) fn failed_origins(&mut self) -> Vec<(u64, bool)> {
        let mut failed = self.session.failures();
        failed.retain(|failure| failure.is_certain || self.meant.contains(&(failure.origin, failure.label)));
        // Certain ones first.
        failed.sort_by_key(|failure| (failure.origin, !failure.is_certain));
        failed.dedup_by_key(|failure| failure.origin);
        (failed.iter())
            .map(|failure| (failure.origin, failure.is_certain))
            .collect()
    }

    /// Bytes held.
    pub(crate) fn held(&self) -> usize {
        self.held_bytes + self.session.buffered()
    }

    /// When the wait for a secret is to be looked at: after half of it unlikely ones are worth a trial, after all of it none is.
    pub(crate) fn due(&self, now: KernelTime, settings: &Settings) -> Option<KernelTime> {
        if let Some(search) = &self.search {
            return search.due(&self.session);
        }
        let since = self.waiting_since?;
        let half = after(since, settings.secret_wait / 2);
        Some(if half > now {
            half
        } else {
            after(since, settings.secret_wait)
        })
    }

    /// Whether half of the wait for a secret is over.
    pub(crate) fn waits_in_vain(&self, now: KernelTime, settings: &Settings) -> bool {
        let half = |since| after(since, settings.secret_wait / 2);
        self.reading == Reading::Secrets
            && self.search.is_none()
            && self.waiting_since.is_some_and(|since| half(since) <= now)
    }

    /// Whether the wait for a secret is over.
    pub(crate) fn is_overdue(&self, now: KernelTime, settings: &Settings) -> bool {
        let end = |since| after(since, settings.secret_wait);
        self.reading == Reading::Secrets
            && self.search.is_none()
            && self.waiting_since.is_some_and(|since| end(since) <= now)
    }

    /// Whether the kernel does the TLS of what `side` sends.
    pub(super) fn is_by_kernel(&self, side: Side) -> bool {
        self.kernel.get(side.index()).copied().unwrap_or_default()
    }

    /// Works off the session's events: learns facts, and hands out plaintext in order, in `plain`, an empty list.
    pub(crate) fn digest(
        &mut self,
        events: impl Iterator<Item = Event>,
        plain: Vec<(Side, Plain, Time)>,
        facts: &mut ConnectionFacts,
        now: KernelTime,
    ) -> TlsOutput {
        let mut output = TlsOutput {
            plain,
            ..TlsOutput::default()
        };
        for event in events {
            self.event(event, facts, &mut output);
        }
        let is_waiting = self.session.is_waiting();
        if !is_waiting {
            self.waiting_since = None;
        } else if self.waiting_since.is_none() {
            self.waiting_since = Some(now);
        }
        if is_waiting || !self.held.is_empty() {
            for (side, plain, time) in output.plain.drain(..) {
                let plain = match plain {
                    Plain::Bytes(data) => {
                        self.held_bytes += data.len();
                        // Memory of its own: it may wait for seconds.
                        Plain::Bytes(Bytes::copy_from_slice(&data))
                    }
                    other => other,
                };
                self.held.push((side, plain, time));
            }
            if !is_waiting || self.held_bytes > HELD_BYTES {
                self.held_bytes = 0;
                output.plain = std::mem::take(&mut self.held);
            }
        }
        // A stable sort: pieces of one side keep their order, those of both are merged by time.
        output.plain.sort_by_key(|&(_, _, time)| time);
        output
    }

    fn event(&mut self, event: Event, facts: &mut ConnectionFacts, output: &mut TlsOutput) {
        let tls = facts.tls.get_or_insert_with(TlsFacts::default);
        match event {
            Event::ClientHello(hello, _) => {
                tls.client_hello = true;
                tls.sni = hello.sni.or_else(|| tls.sni.take());
                tls.alpn_offered = hello.alpn;
                tls.versions_offered = hello.versions;
                if let Some(sni) = &tls.sni
                    && (facts.domain.is_none() || facts.domain_by_dns)
                {
                    facts.domain = Some(sni.to_ascii_lowercase().into());
                    facts.domain_by_dns = false;
                }
                output.hello = true;
            }
            Event::ServerHello(hello, _) => {
                tls.server_hello |= !hello.retry;
                tls.version = Some(hello.version);
                tls.cipher_suite = Some(hello.cipher_suite);
                tls.alpn = hello.alpn.or_else(|| tls.alpn.take());
                output.hello = true;
            }
            Event::Joined {
                version,
                cipher_suite,
                ..
            } => {
                self.reading = Reading::Secrets;
                tls.version = Some(version);
                tls.cipher_suite = Some(cipher_suite);
                output.joined = true;
            }
            Event::Alpn(protocol, _) => tls.alpn = Some(protocol),
            Event::Plaintext { side, data, time } => {
                if self.is_by_kernel(side) {
                    tls.read_by(TlsSource::Kernel);
                    output.plain.push((side, Plain::Bytes(data), time));
                } else if self.reading == Reading::Secrets {
                    tls.read_by(TlsSource::Secrets);
                    output.plain.push((side, Plain::Bytes(data), time));
                }
            }
            Event::Gap { side, .. } if self.reading == Reading::Calls && !self.is_by_kernel(side) => {}
            Event::Gap {
                side,
                length,
                reason,
                time,
            } => {
                match reason {
                    GapReason::Lost => self.tally.lost_bytes += length,
                    GapReason::NoSecret => self.tally.no_secret_bytes += length,
                    GapReason::Unauthenticated => self.tally.unauthenticated_bytes += length,
                }
                output.plain.push((side, Plain::Gap(length), time));
            }
            Event::Bound { side, .. } => {
                if let Some(bound) = self.tally.bound.get_mut(side.index()) {
                    *bound = true;
                }
                if self.reading == Reading::Secrets {
                    tls.read_by(TlsSource::Secrets);
                }
                output.newly_bound = true;
            }
            Event::Own(own) => output.own.push(*own),
            Event::CloseNotify { side, time } => output.ended.push((side, time)),
            Event::Unreadable(reason, _) => {
                self.tally.unreadable = Some(reason);
                output.unreadable = Some(reason);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handshake_record_is_tls_and_text_is_not() {
        assert_eq!(sniff(&[0x16, 3, 1], false), Sniffed::Tls);
        assert_eq!(sniff(&[0x16, 3], false), Sniffed::NeedMore);
        assert_eq!(sniff(b"GET", false), Sniffed::Plain);
        assert_eq!(sniff(&[0x16, 4], false), Sniffed::Plain);
    }

    #[test]
    fn application_data_is_tls_only_in_the_middle_of_a_connection() {
        assert_eq!(sniff(&[0x17, 3, 3], true), Sniffed::Tls);
        assert_eq!(sniff(&[0x17, 3, 3], false), Sniffed::Plain);
    }

    #[test]
    fn single_bytes_are_collected_until_they_tell() {
        let mut sniffer = Sniffer::new(false);
        let byte = |byte: u8| Bytes::copy_from_slice(&[byte]);
        assert_eq!(sniffer.add(Side::Client, byte(0x16), Time(1)), Sniffed::NeedMore);
        assert_eq!(sniffer.add(Side::Client, byte(3), Time(2)), Sniffed::NeedMore);
        assert_eq!(sniffer.add(Side::Client, byte(1), Time(3)), Sniffed::Tls);
        assert_eq!(sniffer.into_pieces().len(), 3);
    }
}
