//! The data of records.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::message::{Raw, Reader};
use super::{Answer, RecordType};

/// Keys of the hints in records of kind SVCB and HTTPS (RFC 9460, section 14.3.2).
const IPV4_HINT: u16 = 4;
const IPV6_HINT: u16 = 6;

/// Version of the zone in a record of kind SOA.
pub(super) fn serial(message: &[u8], raw: &Raw<'_>) -> Option<u32> {
    let mut data = Reader {
        message,
        at: raw.start,
    };
    data.skip_name().ok()?;
    data.skip_name().ok()?;
    data.double().ok()
}

/// What the data of a record says; `None` when it is not what its kind has.
pub(super) fn answer(message: &[u8], raw: &Raw<'_>) -> Option<Answer> {
    let data = raw.data;
    // Names in old kinds of records may lean on what came before them in the message (RFC 3597, section 4).
    let mut reader = Reader {
        message,
        at: raw.start,
    };
    Some(match raw.kind {
        RecordType::A => Answer::A(<[u8; 4]>::try_from(data).ok()?.into()),
        RecordType::AAAA => Answer::Aaaa(<[u8; 16]>::try_from(data).ok()?.into()),
        RecordType::CNAME => Answer::Alias(reader.name().ok()?),
        RecordType::NS | RecordType::PTR | RecordType::DNAME => Answer::Host(reader.name().ok()?),
        RecordType::MX => Answer::Mail {
            preference: reader.word().ok()?,
            exchange: reader.name().ok()?,
        },
        RecordType::SRV => Answer::Server {
            priority: reader.word().ok()?,
            weight: reader.word().ok()?,
            port: reader.word().ok()?,
            target: reader.name().ok()?,
        },
        RecordType::SOA => Answer::Zone {
            primary: reader.name().ok()?,
            mailbox: reader.name().ok()?,
            serial: reader.double().ok()?,
        },
        RecordType::TXT => Answer::Text(texts(data)?),
        RecordType::CAA => issuer(data)?,
        RecordType::SVCB | RecordType::HTTPS => service(data)?,
        _ => return None,
    })
}

fn texts(data: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut reader = Reader { message: data, at: 0 };
    let mut pieces = Vec::new();
    while reader.at < data.len() {
        let length = usize::from(reader.byte().ok()?);
        pieces.push(reader.bytes(length).ok()?.to_vec());
    }
    Some(pieces)
}

fn issuer(data: &[u8]) -> Option<Answer> {
    let mut reader = Reader { message: data, at: 0 };
    let (flags, length) = (reader.byte().ok()?, reader.byte().ok()?);
    let tag = reader.bytes(usize::from(length)).ok()?.to_vec();
    let value = data.get(reader.at..)?.to_vec();
    Some(Answer::Issuer { flags, tag, value })
}

/// The data of a record of kind SVCB or HTTPS; names in it are never compressed.
fn service(data: &[u8]) -> Option<Answer> {
    let mut reader = Reader { message: data, at: 0 };
    let priority = reader.word().ok()?;
    let target = reader.name().ok()?;
    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    while reader.at < data.len() {
        let (key, value) = reader.option().ok()?;
        match key {
            IPV4_HINT => v4.extend(value.as_chunks::<4>().0.iter().map(|ip| Ipv4Addr::from(*ip))),
            IPV6_HINT => v6.extend(value.as_chunks::<16>().0.iter().map(|ip| Ipv6Addr::from(*ip))),
            _ => {}
        }
    }
    Some(Answer::Service {
        priority,
        target,
        v4,
        v6,
    })
}
