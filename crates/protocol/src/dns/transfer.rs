//! Transfers of zones: answers of many messages.

use super::RecordType;
use super::message::{HEADER, Header, Reader};
use super::rdata::serial;

/// How far a transfer has come (RFC 5936, section 2.2; RFC 1995, section 4). The record of the zone itself, SOA, comes first and last.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Transfer {
    records: u64,
    /// Version that is transferred.
    serial: Option<u32>,
    /// Times that the SOA of that version came.
    current: u32,
    /// The second record was a SOA too: changes follow, whose last ones begin with the SOA of this version.
    is_incremental: bool,
}

impl Transfer {
    /// Whether `kind` asks for one.
    pub(super) fn is_asked_by(kind: RecordType) -> bool {
        matches!(kind, RecordType::AXFR | RecordType::IXFR)
    }

    /// Takes one message. Tells whether it was the last.
    pub(super) fn is_over_with(&mut self, message: &[u8], kind: RecordType) -> bool {
        let Ok(header) = Header::read(message) else {
            return true;
        };
        let mut rest = Reader { message, at: HEADER };
        if header.questions == 1 && rest.question().is_err() {
            return false;
        }
        for _ in 0..header.answers {
            let Ok(record) = rest.skip_record() else {
                return false;
            };
            let version = (record.kind == RecordType::SOA)
                .then(|| serial(message, &record))
                .flatten();
            self.record(version);
        }
        let needed = if self.is_incremental { 3 } else { 2 };
        // The zone is as the client has it already.
        let is_current = kind == RecordType::IXFR && self.records == 1;
        // No SOA first: no transfer.
        self.serial.is_none() || self.current >= needed || is_current
    }

    /// Takes a record; of a SOA its version.
    fn record(&mut self, version: Option<u32>) {
        match self.records {
            0 => self.serial = version,
            1 => self.is_incremental = version.is_some() && version != self.serial,
            _ => {}
        }
        self.records += 1;
        if version.is_some() && version == self.serial {
            self.current += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An answer with a SOA of each version, and an A record for 0.
    fn message(versions: &[u32]) -> Vec<u8> {
        let mut bytes = b"\0\x01\x84\0\0\0".to_vec();
        bytes.extend_from_slice(&(versions.len() as u16).to_be_bytes());
        bytes.extend_from_slice(&[0; 4]);
        for version in versions {
            let (kind, mut data) = match version {
                0 => (1_u16, vec![10, 0, 0, 1]),
                _ => (6, vec![0, 0]),
            };
            if *version > 0 {
                data.extend_from_slice(&version.to_be_bytes());
                data.extend_from_slice(&[0; 16]);
            }
            bytes.push(0);
            bytes.extend_from_slice(&kind.to_be_bytes());
            bytes.extend_from_slice(b"\0\x01\0\0\0\0");
            bytes.extend_from_slice(&(data.len() as u16).to_be_bytes());
            bytes.extend(data);
        }
        bytes
    }

    fn is_over(kind: RecordType, messages: &[&[u32]]) -> Vec<bool> {
        let mut transfer = Transfer::default();
        let over = messages
            .iter()
            .map(|versions| transfer.is_over_with(&message(versions), kind));
        over.collect()
    }

    #[test]
    fn a_zone_ends_with_the_record_it_began_with() {
        assert_eq!(is_over(RecordType::AXFR, &[&[7, 0, 0, 7]]), [true]);
        assert_eq!(
            is_over(RecordType::AXFR, &[&[7, 0], &[0, 0], &[0, 7]]),
            [false, false, true]
        );
        assert_eq!(is_over(RecordType::AXFR, &[&[7], &[0, 7]]), [false, true]);
    }

    #[test]
    fn changes_end_with_the_last_version() {
        // From 5 to 6, then from 6 to 7.
        assert_eq!(
            is_over(RecordType::IXFR, &[&[7, 5, 0, 6, 0], &[6, 0, 7, 0], &[0, 7]]),
            [false, false, true]
        );
        assert_eq!(is_over(RecordType::IXFR, &[&[7]]), [true], "nothing changed");
        assert_eq!(
            is_over(RecordType::IXFR, &[&[7, 0], &[0, 7]]),
            [false, true],
            "the whole zone instead"
        );
    }

    #[test]
    fn what_does_not_begin_with_the_zone_is_no_transfer() {
        assert_eq!(is_over(RecordType::AXFR, &[&[]]), [true]);
        assert_eq!(is_over(RecordType::AXFR, &[&[0]]), [true]);
    }
}
