//! The parser of DNS on a stream under [`commands`], for the fuzz target and for the property tests.

use qtap_protocol::{Event, dns};

#[path = "commands.rs"]
mod commands;

const QUERY: &[u8] = b"\0\x18\0\x01\x01\0\0\x01\0\0\0\0\0\0\x01a\x04test\0\0\x01\0\x01";
const ANSWER: &[u8] = b"\0\x28\0\x01\x81\x80\0\x01\0\x01\0\0\0\0\x01a\x04test\0\0\x01\0\x01\
\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04\x0a\0\0\x01";

/// Fragments that make arbitrary data look like traffic often enough to get deep.
const WORDS: &[&[u8]] = &[
    QUERY,
    ANSWER,
    // Another id, another name, no such name.
    b"\0\x18\0\x02\x01\0\0\x01\0\0\0\0\0\0\x01a\x04test\0\0\x01\0\x01",
    b"\0\x18\0\x01\x01\0\0\x01\0\0\0\0\0\0\x01b\x04test\0\0\x01\0\x01",
    b"\0\x18\0\x01\x81\x83\0\x01\0\0\0\0\0\0\x01b\x04test\0\0\x01\0\x01",
    // EDNS in a query, and an answer with an extended error.
    b"\0\x23\0\x03\x01\0\0\x01\0\0\0\0\0\x01\x01a\x04test\0\0\x1c\0\x01\0\0\x29\x04\xd0\0\0\x80\0\0\0",
    b"\0\x2b\0\x03\x81\x82\0\x01\0\0\0\0\0\x01\x01a\x04test\0\0\x1c\0\x01\0\0\x29\x04\xd0\x01\0\0\0\0\x08\
\0\x0f\0\x04\0\x16no",
    // A transfer: the question, a SOA, an address, a SOA again, without the question.
    b"\0\x11\0\x04\0\0\0\x01\0\0\0\0\0\0\0\0\xfc\0\x01",
    b"\0\x32\0\x04\x84\0\0\x01\0\x01\0\0\0\0\0\0\xfc\0\x01\0\0\x06\0\x01\0\0\0\x3c\0\x16\0\0\0\0\0\x07\
\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
    b"\0\x1b\0\x04\x84\0\0\0\0\x01\0\0\0\0\0\0\x01\0\x01\0\0\0\x3c\0\x04\x0a\0\0\x01",
    b"\0\x2d\0\x04\x84\0\0\0\0\x01\0\0\0\0\0\0\x06\0\x01\0\0\0\x3c\0\x16\0\0\0\0\0\x07\
\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
    // Answers to all that is asked, without the question.
    b"\0\x0c\0\x01\x80\x01\0\0\0\0\0\0\0\0",
    b"\0\x0c\0\x02\x80\x05\0\0\0\0\0\0\0\0",
    // No messages: empty, of zeros, two questions, a name in a circle.
    b"\0\0",
    b"\0\x0c\0\0\0\0\0\0\0\0\0\0\0\0",
    b"\0\x18\0\x01\x01\0\0\x02\0\0\0\0\0\0\x01a\x04test\0\0\x01\0\x01",
    b"\0\x12\0\x01\x01\0\0\x01\0\0\0\0\0\0\xc0\x0c\0\x01\0\x01",
    // Beginnings and ends of messages.
    b"\0",
    b"\0\x18\0\x01\x01\0\0\x01\0\0",
    b"\0\0\0\0\x01a\x04test\0\0\x01\0\x01",
    b"\xff\xff\0\x01\x81\x80\0\x01\0\x01\0\0\0\0",
];

const SUBJECT: commands::Subject = commands::Subject {
    parser: dns::start,
    script: commands::Script::Words {
        words: WORDS,
        beginning: &[],
    },
    shows_secret: |_| false,
    can_start_tls: false,
    held_bytes: 160 << 10,
};

/// One end for each query.
#[allow(dead_code, reason = "for the property tests")]
pub(crate) fn check(events: &[Event]) {
    SUBJECT.check(events);
}

/// The whole check.
pub(crate) fn run(data: &[u8]) {
    SUBJECT.run(data);
}
