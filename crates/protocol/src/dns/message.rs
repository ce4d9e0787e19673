//! One message.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::Name;

/// Bytes of the header (RFC 1035, section 4.1.1).
const HEADER: usize = 12;
/// Records kept of an answer; the rest is counted.
const MOST_RECORDS: usize = 64;
const RESPONSE: u16 = 0x8000;
const TRUNCATED: u16 = 0x0200;
const RCODE: u16 = 0x000f;
/// Keys of the hints in records of kind SVCB and HTTPS (RFC 9460, section 14.3.2).
const IPV4_HINT: u16 = 4;
const IPV6_HINT: u16 = 6;

/// What is not a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// It ends too early.
    #[error("a message of DNS ends too early")]
    Short,
    /// A name is too long, or goes in a circle.
    #[error("a message of DNS has an impossible name")]
    Name,
    /// It has not one question.
    #[error("a message of DNS has not one question")]
    Questions,
}

/// Kind of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RecordType(pub u16);

impl RecordType {
    /// IPv4 address.
    pub const A: Self = Self(1);
    /// Alias.
    pub const CNAME: Self = Self(5);
    /// IPv6 address.
    pub const AAAA: Self = Self(28);
    /// Service of a domain, with hints of addresses (RFC 9460).
    pub const SVCB: Self = Self(64);
    /// The same of HTTPS.
    pub const HTTPS: Self = Self(65);
}

impl fmt::Display for RecordType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.0 {
            1 => "A",
            2 => "NS",
            5 => "CNAME",
            6 => "SOA",
            12 => "PTR",
            15 => "MX",
            16 => "TXT",
            28 => "AAAA",
            33 => "SRV",
            35 => "NAPTR",
            43 => "DS",
            48 => "DNSKEY",
            64 => "SVCB",
            65 => "HTTPS",
            255 => "ANY",
            257 => "CAA",
            other => return write!(f, "TYPE{other}"),
        };
        f.write_str(name)
    }
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Question {
    /// Of which name.
    pub name: Name,
    /// Which kind of record.
    pub kind: RecordType,
}

/// What an answer holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// An IPv4 address.
    A(Ipv4Addr),
    /// An IPv6 address.
    Aaaa(Ipv6Addr),
    /// The name that this one is an alias of.
    Alias(Name),
    /// Where a service is to be found; no name when it is the owner.
    Service {
        /// Its name.
        target: Name,
        /// Addresses that it has most likely.
        v4: Vec<Ipv4Addr>,
        /// The same of IPv6.
        v6: Vec<Ipv6Addr>,
    },
    /// Something else, of this many bytes.
    Other(usize),
}

/// A record of the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Of which name.
    pub name: Name,
    /// Which kind.
    pub kind: RecordType,
    /// Seconds that it may be kept.
    pub ttl: u32,
    /// What it says.
    pub answer: Answer,
}

/// A query, or what came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Pairs queries with answers.
    pub id: u16,
    /// An answer.
    pub is_response: bool,
    /// The answer was too long for a datagram: the rest is asked for over TCP.
    pub is_truncated: bool,
    /// How it went; 0 is well (RFC 1035, section 4.1.1).
    pub rcode: u8,
    /// The question.
    pub question: Question,
    /// The records of the answer, 64 at most.
    pub records: Vec<Record>,
    /// Records of the answer that are not kept: too many, or cut off.
    pub records_left: usize,
}

impl Message {
    /// Reads a message. Of one that is cut off behind its question, the records that are whole.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(message: &[u8]) -> Result<Self, MessageError> {
        let header: &[u8; HEADER] = message.first_chunk().ok_or(MessageError::Short)?;
        let word = |at: usize| -> u16 {
            let bytes = header.get(at..at + 2).and_then(|bytes| bytes.try_into().ok());
            u16::from_be_bytes(bytes.unwrap_or_default())
        };
        let (flags, answers) = (word(2), usize::from(word(6)));
        if word(4) != 1 {
            return Err(MessageError::Questions);
        }
        let (name, end) = Name::read(message, HEADER)?;
        let mut rest = Reader { message, at: end };
        let kind = RecordType(rest.word()?);
        let _class = rest.word()?;
        let mut records = Vec::new();
        while records.len() < answers.min(MOST_RECORDS) {
            match rest.record() {
                Ok(record) => records.push(record),
                Err(_) => break,
            }
        }
        Ok(Self {
            id: word(0),
            is_response: flags & RESPONSE != 0,
            is_truncated: flags & TRUNCATED != 0,
            rcode: (flags & RCODE) as u8,
            question: Question { name, kind },
            records_left: answers - records.len(),
            records,
        })
    }
}

/// Reads on in a message.
struct Reader<'a> {
    message: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn bytes(&mut self, length: usize) -> Result<&'a [u8], MessageError> {
        let bytes = self.message.get(self.at..self.at + length);
        self.at += length;
        bytes.ok_or(MessageError::Short)
    }

    fn word(&mut self) -> Result<u16, MessageError> {
        let bytes = self.bytes(2)?.try_into().map_err(|_| MessageError::Short)?;
        Ok(u16::from_be_bytes(bytes))
    }

    fn name(&mut self) -> Result<Name, MessageError> {
        let (name, end) = Name::read(self.message, self.at)?;
        self.at = end;
        Ok(name)
    }

    fn record(&mut self) -> Result<Record, MessageError> {
        let name = self.name()?;
        let kind = RecordType(self.word()?);
        let _class = self.word()?;
        let ttl = u32::from(self.word()?) << 16 | u32::from(self.word()?);
        let length = usize::from(self.word()?);
        let start = self.at;
        let data = self.bytes(length)?;
        let answer = match kind {
            RecordType::A => data.try_into().ok().map(|ip: [u8; 4]| Answer::A(ip.into())),
            RecordType::AAAA => data.try_into().ok().map(|ip: [u8; 16]| Answer::Aaaa(ip.into())),
            RecordType::CNAME => Name::read(self.message, start)
                .ok()
                .map(|(name, _)| Answer::Alias(name)),
            RecordType::SVCB | RecordType::HTTPS => service(data),
            _ => None,
        };
        Ok(Record {
            name,
            kind,
            // Values above are to be taken for zero (RFC 2181, section 8).
            ttl: if ttl > i32::MAX as u32 { 0 } else { ttl },
            answer: answer.unwrap_or(Answer::Other(length)),
        })
    }
}

/// The data of a record of kind SVCB or HTTPS; names in it are never compressed.
fn service(data: &[u8]) -> Option<Answer> {
    let mut reader = Reader { message: data, at: 2 };
    let target = reader.name().ok()?;
    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    while reader.at < data.len() {
        let key = reader.word().ok()?;
        let length = usize::from(reader.word().ok()?);
        let value = reader.bytes(length).ok()?;
        match key {
            IPV4_HINT => v4.extend(value.as_chunks::<4>().0.iter().map(|ip| Ipv4Addr::from(*ip))),
            IPV6_HINT => v6.extend(value.as_chunks::<16>().0.iter().map(|ip| Ipv6Addr::from(*ip))),
            _ => {}
        }
    }
    Some(Answer::Service { target, v4, v6 })
}
