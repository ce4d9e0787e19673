//! Records, and what they say.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::Name;

/// Characters of a text that are shown.
const TEXT_CHARS: usize = 512;
/// Addresses that the hints of a service show.
const HINTS: usize = 16;

/// Kind of a record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct RecordType(pub u16);

impl RecordType {
    /// IPv4 address.
    pub const A: Self = Self(1);
    /// Server of a zone.
    pub const NS: Self = Self(2);
    /// Alias.
    pub const CNAME: Self = Self(5);
    /// Particulars of a zone.
    pub const SOA: Self = Self(6);
    /// Name of an address.
    pub const PTR: Self = Self(12);
    /// Mail server.
    pub const MX: Self = Self(15);
    /// Text.
    pub const TXT: Self = Self(16);
    /// IPv6 address.
    pub const AAAA: Self = Self(28);
    /// Where a service is (RFC 2782).
    pub const SRV: Self = Self(33);
    /// Alias of all that is below a name (RFC 6672).
    pub const DNAME: Self = Self(39);
    /// No record, but what the sender can do (RFC 6891).
    pub const OPT: Self = Self(41);
    /// Service of a domain, with hints of addresses (RFC 9460).
    pub const SVCB: Self = Self(64);
    /// The same of HTTPS.
    pub const HTTPS: Self = Self(65);
    /// In a question: what changed in a zone (RFC 1995).
    pub const IXFR: Self = Self(251);
    /// In a question: a whole zone (RFC 5936).
    pub const AXFR: Self = Self(252);
    /// Who may issue certificates (RFC 8659).
    pub const CAA: Self = Self(257);
}

impl fmt::Display for RecordType {
    /// The name in the IANA registry "Resource Record (RR) TYPEs", `TYPE` and the number for the rare ones (RFC 3597, section 5).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.0 {
            1 => "A",
            2 => "NS",
            5 => "CNAME",
            6 => "SOA",
            12 => "PTR",
            13 => "HINFO",
            15 => "MX",
            16 => "TXT",
            28 => "AAAA",
            29 => "LOC",
            33 => "SRV",
            35 => "NAPTR",
            39 => "DNAME",
            41 => "OPT",
            43 => "DS",
            44 => "SSHFP",
            46 => "RRSIG",
            47 => "NSEC",
            48 => "DNSKEY",
            50 => "NSEC3",
            52 => "TLSA",
            59 => "CDS",
            64 => "SVCB",
            65 => "HTTPS",
            99 => "SPF",
            250 => "TSIG",
            251 => "IXFR",
            252 => "AXFR",
            255 => "ANY",
            256 => "URI",
            257 => "CAA",
            other => return write!(f, "TYPE{other}"),
        };
        f.write_str(name)
    }
}

/// Class of a question or record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct RecordClass(pub u16);

impl RecordClass {
    /// The internet.
    pub const IN: Self = Self(1);
}

impl fmt::Display for RecordClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.0 {
            1 => "IN",
            3 => "CH",
            4 => "HS",
            254 => "NONE",
            255 => "ANY",
            other => return write!(f, "CLASS{other}"),
        };
        f.write_str(name)
    }
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
    /// Another name: of the server of a zone, of an address, of what a tree is an alias of.
    Host(Name),
    /// A mail server.
    Mail {
        /// The lowest is asked first.
        preference: u16,
        /// Its name.
        exchange: Name,
    },
    /// Pieces of text, each of 255 bytes at most.
    Text(Vec<Vec<u8>>),
    /// A server of a service.
    Server {
        /// The lowest is asked first.
        priority: u16,
        /// Share among those of one priority.
        weight: u16,
        /// Where it listens.
        port: u16,
        /// Its name.
        target: Name,
    },
    /// Particulars of a zone.
    Zone {
        /// Its first server.
        primary: Name,
        /// Who is responsible.
        mailbox: Name,
        /// Version of the zone.
        serial: u32,
    },
    /// Who may issue certificates.
    Issuer {
        /// 128: whoever does not know the tag must not issue.
        flags: u8,
        /// `issue`, `issuewild`, `iodef`.
        tag: Vec<u8>,
        /// Of the tag.
        value: Vec<u8>,
    },
    /// Where a service is to be found; no name when it is the owner.
    Service {
        /// The lowest is asked first; 0 for an alias.
        priority: u16,
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

impl fmt::Display for Answer {
    /// As in the file of a zone (RFC 1035, section 5) as far as it is read: names without the dot at their end, texts cut after 512
    /// characters, and of other records the number of their bytes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::A(ip) => ip.fmt(f),
            Self::Aaaa(ip) => ip.fmt(f),
            Self::Alias(name) | Self::Host(name) => name.fmt(f),
            Self::Mail { preference, exchange } => write!(f, "{preference} {exchange}"),
            Self::Text(pieces) => texts(f, pieces),
            Self::Server {
                priority,
                weight,
                port,
                target,
            } => write!(f, "{priority} {weight} {port} {target}"),
            Self::Zone {
                primary,
                mailbox,
                serial,
            } => write!(f, "{primary} {mailbox} {serial}"),
            Self::Issuer { flags, tag, value } => {
                write!(f, "{flags} {} ", Escaped(tag))?;
                quoted(f, value)
            }
            Self::Service {
                priority,
                target,
                v4,
                v6,
            } => {
                write!(f, "{priority} {target}")?;
                hints(f, "ipv4hint", v4)?;
                hints(f, "ipv6hint", v6)
            }
            Self::Other(length) => write!(f, "{length} bytes"),
        }
    }
}

fn hints(f: &mut fmt::Formatter<'_>, key: &str, addresses: &[impl fmt::Display]) -> fmt::Result {
    for (index, address) in addresses.iter().take(HINTS).enumerate() {
        match index {
            0 => write!(f, " {key}={address}")?,
            _ => write!(f, ",{address}")?,
        }
    }
    Ok(())
}

fn texts(f: &mut fmt::Formatter<'_>, pieces: &[Vec<u8>]) -> fmt::Result {
    let mut room = TEXT_CHARS;
    for (index, piece) in pieces.iter().enumerate() {
        if room == 0 {
            return f.write_str("…");
        }
        if index > 0 {
            f.write_str(" ")?;
        }
        let shown = piece.get(..room).unwrap_or(piece);
        quoted(f, shown)?;
        room -= shown.len();
        if shown.len() < piece.len() {
            return f.write_str("…");
        }
    }
    Ok(())
}

fn quoted(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    write!(f, "\"{}\"", Escaped(bytes))
}

/// Text with `\DDD` for what is not printable (RFC 1035, section 5.1), so that it never breaks a line or a terminal.
struct Escaped<'a>(&'a [u8]);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write;
        for byte in self.0 {
            match byte {
                b'"' | b'\\' => write!(f, "\\{}", char::from(*byte))?,
                b' '..=b'~' => f.write_char(char::from(*byte))?,
                _ => write!(f, "\\{byte:03}")?,
            }
        }
        Ok(())
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_quoted_escaped_and_cut() {
        let text = Answer::Text(vec![b"v=spf1 \"a\"\n".to_vec(), b"b".to_vec()]);
        assert_eq!(text.to_string(), r#""v=spf1 \"a\"\010" "b""#);
        let long = Answer::Text(vec![vec![b'x'; 255]; 4]).to_string();
        assert_eq!(long.matches('x').count(), 512);
        assert!(long.ends_with("\"…"), "{long}");
    }

    #[test]
    fn kinds_without_a_name_have_their_number() {
        assert_eq!(RecordType(65).to_string(), "HTTPS");
        assert_eq!(RecordType(4711).to_string(), "TYPE4711");
        assert_eq!(RecordClass(1).to_string(), "IN");
        assert_eq!(RecordClass(9).to_string(), "CLASS9");
    }
}
