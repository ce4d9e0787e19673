//! The tables against another implementation: every message that they describe is read to its end by the crate kafka-protocol, which is
//! generated from Kafka's own definitions (P-K1).

use std::collections::BTreeSet;

use bytes::Bytes;
use kafka_protocol::messages::{ApiKey, RequestKind, ResponseKind};
use kafka_protocol::protocol::VersionRange;

use super::facts::Facts;
use super::schema::{Field, Kind, Role};
use super::sink::{Start, Step};
use super::tables::APIS;
use super::topics::Topics;
use super::walker::Walker;

/// A message of a layout, its lists and texts of changing lengths.
struct Writer {
    version: i16,
    flexible: bool,
    out: Vec<u8>,
    seed: u32,
}

impl Writer {
    fn next(&mut self, below: u32) -> u32 {
        self.seed = self.seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (self.seed >> 16) % below
    }

    fn varint(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.out.push((value & 0x7f | 0x80) as u8);
            value >>= 7;
        }
        self.out.push(value as u8);
    }

    fn length(&mut self, length: u32, classic: usize) {
        if self.flexible {
            self.varint(length + 1);
        } else {
            self.out.extend_from_slice(&length.to_be_bytes()[4 - classic..]);
        }
    }

    fn value(&mut self, kind: Kind, can_be_null: bool) {
        match kind {
            Kind::Fixed(width) => {
                for _ in 0..width {
                    let byte = self.next(100) as u8;
                    self.out.push(byte);
                }
            }
            Kind::Text | Kind::Blob => {
                let length = self.next(if self.flexible { 300 } else { 40 });
                self.length(length, if matches!(kind, Kind::Text) { 2 } else { 4 });
                for _ in 0..length {
                    let letter = b'a' + self.next(26) as u8;
                    self.out.push(letter);
                }
            }
            Kind::List(item) => {
                let length = self.next(4);
                self.length(length, 4);
                for _ in 0..length {
                    self.value(*item, false);
                }
            }
            Kind::Struct(fields) => {
                if can_be_null {
                    let presence = [0xff, 1][self.next(2) as usize];
                    self.out.push(presence);
                    if presence == 0xff {
                        return;
                    }
                }
                self.fields(fields);
            }
        }
    }

    fn fields(&mut self, fields: &[Field]) {
        let version = self.version;
        let here = || fields.iter().filter(move |field| field.is_in(version));
        for field in here().filter(|field| field.tag < 0) {
            self.value(field.kind, field.can_be_null(version));
        }
        if !self.flexible {
            return;
        }
        let mut tagged: Vec<_> = here().filter(|field| field.tag >= 0).collect();
        tagged.sort_by_key(|field| field.tag);
        let unknown = self.next(2);
        self.varint(tagged.len() as u32 + unknown);
        for field in tagged {
            self.varint(field.tag as u32);
            let before = std::mem::take(&mut self.out);
            self.value(field.kind, field.can_be_null(version));
            let value = std::mem::replace(&mut self.out, before);
            self.varint(value.len() as u32);
            self.out.extend_from_slice(&value);
        }
        if unknown == 1 {
            self.varint(1000);
            self.varint(3);
            self.out.extend_from_slice(b"new");
        }
    }
}

fn supported(key: i16) -> VersionRange {
    ApiKey::try_from(key).map_or(VersionRange { min: 0, max: -1 }, |key| key.valid_versions())
}

#[test]
fn p_k1_every_version_is_laid_out_as_another_implementation_reads_it() {
    let (mut compared, mut differing) = (0, BTreeSet::new());
    for api in APIS {
        let versions = supported(api.key);
        for version in api.first..=api.last {
            for (is_reply, fields) in [(false, api.request), (true, api.response)] {
                for seed in 0..24 {
                    let mut writer = Writer {
                        version,
                        flexible: api.is_flexible(version),
                        out: Vec::new(),
                        seed: seed * 7919 + 1,
                    };
                    writer.fields(fields);
                    let what = format!("{} v{version}, reply: {is_reply}, seed {seed}", api.name);
                    check_walk(fields, &writer, &what);
                    if version < versions.min || version > versions.max {
                        continue;
                    }
                    compared += 1;
                    let mut bytes = Bytes::from(writer.out);
                    let key = ApiKey::try_from(api.key).unwrap();
                    let read = if is_reply {
                        ResponseKind::decode(key, &mut bytes, version).map(|_| ())
                    } else {
                        RequestKind::decode(key, &mut bytes, version).map(|_| ())
                    };
                    if read.is_err() || !bytes.is_empty() {
                        differing.insert((api.name, version, is_reply));
                    }
                }
            }
        }
    }
    assert!(compared > 10_000, "{compared}");
    // The crate took these versions for unstable and left their new fields out of requests; in its replies they are there.
    let left_out = [
        ("InitProducerId", 6, false),
        ("OffsetCommit", 10, false),
        ("OffsetFetch", 10, false),
    ];
    assert_eq!(differing, BTreeSet::from(left_out));
}

/// The walk ends at the end of the message, in one piece or byte by byte, and with the same facts.
fn check_walk(fields: &'static [Field], writer: &Writer, what: &str) {
    let start = Start {
        fields,
        version: writer.version,
        flexible: writer.flexible,
        is_open: false,
        falls_back: false,
        has_client: false,
        has_header_tags: false,
    };
    let mut seen = Vec::new();
    for step in [writer.out.len().max(1), 1] {
        let mut facts = Facts::new(true, Topics::default().into(), crate::Values::Full, 4096);
        let mut walker = Walker::idle();
        walker.start(&start, writer.out.len() as u64);
        let mut result = walker.feed(&mut (&[] as &[u8]), &mut facts);
        for piece in writer.out.chunks(step) {
            let mut piece = piece;
            result = walker.feed(&mut piece, &mut facts);
            assert!(piece.is_empty(), "{what}: stopped before the end: {result:?}");
        }
        assert_eq!(result, Step::Done, "{what}");
        facts.finish();
        seen.push(format!("{facts:?}"));
    }
    assert_eq!(seen[0], seen[1], "{what}");
}

#[test]
fn every_role_is_somewhere() {
    fn collect(fields: &[Field], roles: &mut Vec<Role>) {
        for field in fields {
            roles.push(field.role);
            let mut kind = field.kind;
            while let Kind::List(item) = kind {
                kind = *item;
            }
            if let Kind::Struct(fields) = kind {
                collect(fields, roles);
            }
        }
    }
    let mut roles = Vec::new();
    for api in APIS {
        collect(api.request, &mut roles);
        collect(api.response, &mut roles);
    }
    for role in [
        Role::Topic,
        Role::TopicId,
        Role::Partition,
        Role::Group,
        Role::Transaction,
        Role::Resource,
        Role::Error,
        Role::Message,
        Role::Throttle,
        Role::Records,
        Role::Acks,
        Role::MaxWait,
        Role::SessionId,
        Role::SessionEpoch,
        Role::Forgotten,
        Role::Node,
        Role::Offset,
        Role::Mechanism,
        Role::Software,
        Role::Key,
        Role::KeyType,
    ] {
        assert!(roles.contains(&role), "{role:?}");
    }
}
