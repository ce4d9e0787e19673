//! The PostgreSQL parser under [`commands`], for the fuzz target and for the property tests.

use qtap_protocol::{Event, Side, postgres};

#[path = "commands.rs"]
mod commands;

const WORDS: &[&[u8]] = &[
    b"\0\0\0\x08\x04\xd2\x16\x2f",
    b"\0\0\0\x08\x04\xd2\x16\x30",
    b"\0\0\0\x10\x04\xd2\x16\x2e\0\0\0\x01\0\0\0\x02",
    b"\0\0\0\x13\0\x03\0\0user\0hal\0\0\0",
    b"S",
    b"N",
    b"R\0\0\0\x08\0\0\0\0",
    b"p\0\0\0\x0bhunter\0",
    b"Z\0\0\0\x05I",
    b"Z\0\0\0\x05T",
    b"Z\0\0\0\x05E",
    b"Q\0\0\0\x0dselect 1\0",
    b"Q\0\0\0\x24ALTER USER a PASSWORD 'hunter2'\0",
    b"Q\0\0\0\x05\0",
    b"P\0\0\0\x10\0select 2\0\0\0",
    b"P\0\0\0\x11n\0select 3\0\0\0",
    b"B\0\0\0\x0c\0\0\0\0\0\0\0\0",
    b"B\0\0\0\x0d\0n\0\0\0\0\0\0\0",
    b"B\0\0\0\x17\0n\0\0\x01\0\x01\0\x01\0\0\0\x04\0\0\0\x07\0\x01\0\x01",
    b"Q\0\0\0\x17select 1; select 2\0",
    b"F\0\0\0\x0e\0\0\x03\xba\0\0\0\0\0\x01",
    b"V\0\0\0\x08\xff\xff\xff\xff",
    b"P\0\0\0\x15n\0select 4\0\0\x01\0\0\0\x17",
    b"t\0\0\0\x0a\0\x01\0\0\0\x17",
    b"D\0\0\0\x0e\0\x01\0\0\0\x04\0\0\0\x07",
    b"D\0\0\0\x06P\0",
    b"D\0\0\0\x07Sn\0",
    b"E\0\0\0\x09\0\0\0\0\0",
    b"C\0\0\0\x07Sn\0",
    b"S\0\0\0\x04",
    b"H\0\0\0\x04",
    b"X\0\0\0\x04",
    b"1\0\0\0\x04",
    b"2\0\0\0\x04",
    b"3\0\0\0\x04",
    b"n\0\0\0\x04",
    b"s\0\0\0\x04",
    b"t\0\0\0\x06\0\0",
    b"T\0\0\0\x1a\0\x01a\0\0\0\0\0\0\0\0\0\0\x17\0\x04\xff\xff\xff\xff\0\0",
    b"D\0\0\0\x0b\0\x01\0\0\0\x011",
    b"D\0\0\0\x0a\0\x01\xff\xff\xff\xff",
    b"C\0\0\0\x0dSELECT 1\0",
    b"C\0\0\0\x0fINSERT 0 3\0",
    b"I\0\0\0\x04",
    b"E\0\0\0\x12SERROR\0C42601\0\0",
    b"N\0\0\0\x0cSNOTICE\0\0",
    b"A\0\0\0\x0c\0\0\0\x01a\0b\0",
    b"G\0\0\0\x07\0\0\0",
    b"d\0\0\0\x061\n",
    b"c\0\0\0\x04",
    b"W\0\0\0\x07\0\0\0",
    b"Q\0\0\0\x40half of it",
    b"D\x3f\xff\xff\xff",
    b"\0",
    b"\xff\xff\xff\xff\xff",
];

const SUBJECT: commands::Subject = commands::Subject {
    parser: postgres::start,
    script: commands::Script::Words {
        words: WORDS,
        beginning: &[(Side::Client, WORDS[3])],
    },
    shows_secret: |command| command.statement().contains("hunter2"),
    can_start_tls: true,
    held_bytes: 160 << 10,
};

/// One end for each command, and no password.
#[allow(dead_code, reason = "for the property tests")]
pub(crate) fn check(events: &[Event]) {
    SUBJECT.check(events);
}

/// The whole check.
pub(crate) fn run(data: &[u8]) {
    SUBJECT.run(data);
}
