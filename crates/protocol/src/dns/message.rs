//! One message.

use std::fmt;

use super::rdata::answer;
use super::{Answer, Name, Rcode, Record, RecordClass, RecordType};

/// Bytes of the header (RFC 1035, section 4.1.1).
pub(super) const HEADER: usize = 12;
/// Records kept of an answer; the rest is counted.
const MOST_RECORDS: usize = 64;
/// Text kept of an extended error.
const ERROR_TEXT: usize = 256;
pub(super) const RESPONSE: u16 = 0x8000;
const AUTHORITATIVE: u16 = 0x0400;
const TRUNCATED: u16 = 0x0200;
const RECURSION_DESIRED: u16 = 0x0100;
const RECURSION_AVAILABLE: u16 = 0x0080;
const AUTHENTIC: u16 = 0x0020;
const CHECKING_DISABLED: u16 = 0x0010;
pub(super) const RCODE: u16 = 0x000f;
/// In the upper half of the TTL of an OPT record, above the flags (RFC 6891, section 6.1.3).
const DNSSEC_OK: u32 = 0x8000;
/// Option of EDNS (RFC 8914).
const EXTENDED_ERROR: u16 = 15;

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

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Question {
    /// Of which name.
    pub name: Name,
    /// Which kind of record.
    pub kind: RecordType,
    /// In which class.
    pub class: RecordClass,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Opcode(pub u8);

impl Opcode {
    /// A question is to be answered.
    pub const QUERY: Self = Self(0);
    /// A zone has changed (RFC 1996).
    pub const NOTIFY: Self = Self(4);
    /// A zone is to be changed (RFC 2136).
    pub const UPDATE: Self = Self(5);
}

impl fmt::Display for Opcode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.0 {
            0 => "QUERY",
            1 => "IQUERY",
            2 => "STATUS",
            4 => "NOTIFY",
            5 => "UPDATE",
            6 => "DSO",
            other => return write!(f, "OPCODE{other}"),
        };
        f.write_str(name)
    }
}

/// Why it went wrong, beyond the response code (RFC 8914).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtendedError {
    /// A number of the IANA registry "Extended DNS Error Codes".
    pub code: u16,
    /// What the server has to say, 256 bytes at most.
    pub text: Vec<u8>,
}

/// A query, or what came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Pairs queries with answers.
    pub id: u16,
    /// An answer.
    pub is_response: bool,
    /// What is to be done.
    pub opcode: Opcode,
    /// The server answers for the zone.
    pub is_authoritative: bool,
    /// The answer was too long for a datagram: the rest is asked for over TCP.
    pub is_truncated: bool,
    /// The server is to ask others.
    pub recursion_desired: bool,
    /// The server does that.
    pub recursion_available: bool,
    /// The server vouches for the records (RFC 4035).
    pub is_authentic: bool,
    /// The server need not.
    pub checking_disabled: bool,
    /// How it went.
    pub rcode: Rcode,
    /// The question.
    pub question: Question,
    /// The records of the answer, 64 at most.
    pub records: Vec<Record>,
    /// Records of the answer that are not kept: too many, or cut off.
    pub records_left: usize,
    /// Bytes of a datagram that the sender takes, where EDNS says so.
    pub udp_size: Option<u16>,
    /// Signatures are wanted, or there (RFC 3225).
    pub dnssec_ok: bool,
    /// What EDNS says of the failure.
    pub error: Option<ExtendedError>,
    /// Everything that the header promises is there, and nothing behind.
    pub is_whole: bool,
}

impl Message {
    /// Reads a message. Of one that is cut off behind its question, the records that are whole.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(message: &[u8]) -> Result<Self, MessageError> {
        Self::read(message, |_| None)
    }

    /// The same of an answer that need not repeat the question: `asked` knows it by the id. That is how later messages of a transfer
    /// come (RFC 5936, section 2.2), and answers to what the server could not read.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse_answer(
        message: &[u8],
        asked: impl FnOnce(u16) -> Option<Question>,
    ) -> Result<Self, MessageError> {
        Self::read(message, asked)
    }

    fn read(message: &[u8], asked: impl FnOnce(u16) -> Option<Question>) -> Result<Self, MessageError> {
        let header = Header::read(message)?;
        let mut rest = Reader { message, at: HEADER };
        let question = match header.questions {
            1 => rest.question()?,
            0 if header.is_response() => asked(header.id).ok_or(MessageError::Questions)?,
            _ => return Err(MessageError::Questions),
        };
        let is = |flag: u16| header.flags & flag != 0;
        let mut read = Self {
            id: header.id,
            is_response: header.is_response(),
            opcode: header.opcode(),
            is_authoritative: is(AUTHORITATIVE),
            is_truncated: is(TRUNCATED),
            recursion_desired: is(RECURSION_DESIRED),
            recursion_available: is(RECURSION_AVAILABLE),
            is_authentic: is(AUTHENTIC),
            checking_disabled: is(CHECKING_DISABLED),
            rcode: Rcode(header.flags & RCODE),
            question,
            records: Vec::new(),
            records_left: usize::from(header.answers),
            udp_size: None,
            dnssec_ok: false,
            error: None,
            is_whole: false,
        };
        // What is cut off is left out.
        read.is_whole = read.read_records(&header, &mut rest).is_ok() && rest.at == message.len();
        Ok(read)
    }

    fn read_records(&mut self, header: &Header, rest: &mut Reader<'_>) -> Result<(), MessageError> {
        for _ in 0..header.answers {
            if self.records.len() < MOST_RECORDS {
                self.records.push(rest.record()?);
                self.records_left -= 1;
            } else {
                rest.skip_record()?;
            }
        }
        for _ in 0..u32::from(header.authorities) + u32::from(header.additionals) {
            let record = rest.skip_record()?;
            if record.kind == RecordType::OPT {
                self.read_options(&record);
            }
        }
        Ok(())
    }

    /// EDNS puts other things in the places of class and TTL (RFC 6891, section 6.1.3).
    fn read_options(&mut self, record: &Raw<'_>) {
        self.udp_size = Some(record.class);
        self.dnssec_ok = record.ttl & DNSSEC_OK != 0;
        self.rcode.0 |= ((record.ttl >> 24) as u16) << 4;
        let mut options = Reader {
            message: record.data,
            at: 0,
        };
        while options.at < record.data.len() {
            let Ok((code, value)) = options.option() else {
                return;
            };
            if let (EXTENDED_ERROR, Some((info, text))) = (code, value.split_first_chunk()) {
                self.error = Some(ExtendedError {
                    code: u16::from_be_bytes(*info),
                    text: text.get(..ERROR_TEXT).unwrap_or(text).to_vec(),
                });
            }
        }
    }
}

/// The first twelve bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    pub(super) id: u16,
    pub(super) flags: u16,
    pub(super) questions: u16,
    pub(super) answers: u16,
    pub(super) authorities: u16,
    pub(super) additionals: u16,
}

impl Header {
    pub(super) fn read(message: &[u8]) -> Result<Self, MessageError> {
        let header: &[u8; HEADER] = message.first_chunk().ok_or(MessageError::Short)?;
        let words = header.as_chunks::<2>().0;
        let word = |index: usize| words.get(index).map_or(0, |word| u16::from_be_bytes(*word));
        Ok(Self {
            id: word(0),
            flags: word(1),
            questions: word(2),
            answers: word(3),
            authorities: word(4),
            additionals: word(5),
        })
    }

    pub(super) const fn is_response(&self) -> bool {
        self.flags & RESPONSE != 0
    }

    pub(super) const fn opcode(&self) -> Opcode {
        opcode(self.flags)
    }
}

/// The opcode in the flags of a header.
pub(super) const fn opcode(flags: u16) -> Opcode {
    Opcode((flags >> 11 & 0xf) as u8)
}

/// A record whose data is not looked into.
#[derive(Clone, Copy, Debug)]
pub(super) struct Raw<'a> {
    pub(super) kind: RecordType,
    pub(super) class: u16,
    pub(super) ttl: u32,
    /// Where the data is in the message.
    pub(super) start: usize,
    pub(super) data: &'a [u8],
}

/// Reads on in a message.
pub(super) struct Reader<'a> {
    pub(super) message: &'a [u8],
    pub(super) at: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn bytes(&mut self, length: usize) -> Result<&'a [u8], MessageError> {
        let bytes = self.message.get(self.at..self.at + length);
        self.at += length;
        bytes.ok_or(MessageError::Short)
    }

    pub(super) fn byte(&mut self) -> Result<u8, MessageError> {
        self.bytes(1)?.first().copied().ok_or(MessageError::Short)
    }

    pub(super) fn word(&mut self) -> Result<u16, MessageError> {
        let bytes = self.bytes(2)?.try_into().map_err(|_| MessageError::Short)?;
        Ok(u16::from_be_bytes(bytes))
    }

    pub(super) fn double(&mut self) -> Result<u32, MessageError> {
        Ok(u32::from(self.word()?) << 16 | u32::from(self.word()?))
    }

    pub(super) fn name(&mut self) -> Result<Name, MessageError> {
        let (name, end) = Name::read(self.message, self.at)?;
        self.at = end;
        Ok(name)
    }

    pub(super) fn skip_name(&mut self) -> Result<(), MessageError> {
        self.at = Name::end(self.message, self.at)?;
        Ok(())
    }

    /// A key with a value behind its length.
    pub(super) fn option(&mut self) -> Result<(u16, &'a [u8]), MessageError> {
        let key = self.word()?;
        let length = usize::from(self.word()?);
        Ok((key, self.bytes(length)?))
    }

    pub(super) fn question(&mut self) -> Result<Question, MessageError> {
        Ok(Question {
            name: self.name()?,
            kind: RecordType(self.word()?),
            class: RecordClass(self.word()?),
        })
    }

    fn record(&mut self) -> Result<Record, MessageError> {
        let name = self.name()?;
        let raw = self.raw()?;
        Ok(Record {
            name,
            kind: raw.kind,
            // Values above are to be taken for zero (RFC 2181, section 8).
            ttl: if raw.ttl > i32::MAX as u32 { 0 } else { raw.ttl },
            answer: answer(self.message, &raw).unwrap_or(Answer::Other(raw.data.len())),
        })
    }

    pub(super) fn skip_record(&mut self) -> Result<Raw<'a>, MessageError> {
        self.skip_name()?;
        self.raw()
    }

    /// What follows the name of a record.
    fn raw(&mut self) -> Result<Raw<'a>, MessageError> {
        let (kind, class, ttl) = (RecordType(self.word()?), self.word()?, self.double()?);
        let length = usize::from(self.word()?);
        let start = self.at;
        Ok(Raw {
            kind,
            class,
            ttl,
            start,
            data: self.bytes(length)?,
        })
    }
}
