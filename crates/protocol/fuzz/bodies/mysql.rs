//! The MySQL parser under [`commands`], for the fuzz target and for the property tests.

use qtap_protocol::{Event, Side, mysql};

#[path = "commands.rs"]
mod commands;

const GREETING: &[u8] =
    b"\x4a\0\0\0\x0a8.4.0\0\x07\0\0\0challeng\0\xff\xff\x21\x02\0\xff\xdf\x15\0\0\0\0\0\0\0\0\0\0\
challenge123\0mysql_native_password\0";
const LOGIN: &[u8] =
    b"\x2c\0\0\x01\0\x82\0\x01\0\0\0\x01\x21\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0al\0\x07hunterx\0";
/// As above, and compressed from then on.
const LOGIN_COMPRESSED: &[u8] =
    b"\x2c\0\0\x01\x20\x82\0\x01\0\0\0\x01\x21\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0al\0\x07hunterx\0";
const LOGGED_IN: &[u8] = b"\x07\0\0\x02\0\0\0\x02\0\0\0";

/// Fragments that make arbitrary data look like traffic often enough to get deep.
const WORDS: &[&[u8]] = &[
    GREETING,
    LOGIN,
    LOGIN_COMPRESSED,
    LOGGED_IN,
    b"\x20\0\0\x01\0\x8a\0\x01\0\0\0\x01\x21\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
    b"\x0a\0\0\x02\xfeplugin\0xy",
    b"\x07\0\0\x03hunterx",
    b"\x02\0\0\x04\x01\x03",
    b"\x07\0\0\x04\0\0\0\x02\0\0\0",
    b"\x09\0\0\0\x03select 1",
    b"\x24\0\0\0\x03ALTER USER a IDENTIFIED BY 'hunter2'",
    b"\x0b\0\0\0\x03\0\x01select 2",
    b"\x06\0\0\0\x03use a",
    b"\x09\0\0\0\x16select ?",
    b"\x0a\0\0\0\x17\x01\0\0\0\0\x01\0\0\0",
    b"\x13\0\0\0\x17\x01\0\0\0\0\x01\0\0\0\0\x01\x03\0\x07\0\0\0",
    b"\x08\0\0\0\x18\x01\0\0\0\0\0x",
    b"\x0a\0\0\0\x17\xff\xff\xff\xff\0\x01\0\0\0",
    b"\x07\0\0\0\x18\x01\0\0\0\0\0",
    b"\x05\0\0\0\x19\x01\0\0\0",
    b"\x09\0\0\0\x1c\x01\0\0\0\x01\0\0\0",
    b"\x0f\0\0\0\x11bob\0\x07hunterxs\0",
    b"\x01\0\0\0\x1f",
    b"\x01\0\0\0\x0e",
    b"\x01\0\0\0\x09",
    b"\x01\0\0\0\x01",
    b"\x04\0\0\0\x04t\0%",
    b"\x07\0\0\x01\0\0\0\x02\0\0\0",
    b"\x07\0\0\x01\0\x01\0\x0a\0\0\0",
    b"\x07\0\0\x02\0\x01\0\x02\0\0\0",
    b"\x0b\0\0\x01\xff\x28\x04#42000no",
    b"\x01\0\0\x01\x01",
    b"\x17\0\0\x02\x03def\0\0\0\x01a\x01a\x0c\x21\0\x0b\0\0\0\xfd\0\0\0\0\0",
    b"\x05\0\0\x03\xfe\0\0\x02\0",
    b"\x02\0\0\x03\x011",
    b"\x02\0\0\x04\x011",
    b"\x07\0\0\x04\xfe\0\0\x02\0\0\0",
    b"\x05\0\0\x05\xfe\0\0\x02\0",
    b"\x05\0\0\x05\xfe\0\0\x0a\0",
    b"\x0c\0\0\x01\0\x01\0\0\0\x01\0\x01\0\0\0\0",
    b"\x17\0\0\x03\x03def\0\0\0\x01a\x01a\x0c\x21\0\x0b\0\0\0\x03\0\0\0\0\0",
    b"\x02\0\0\x01\xfba",
    b"\x04\0\0\x02data",
    b"\0\0\0\x02",
    b"\0\0\0\x03",
    b"\x15\0\0\x01Uptime: 7  Threads: 1",
    // Frames of the compressed protocol.
    b"\x0d\0\0\0\0\0\0\x09\0\0\0\x03select 1",
    b"\x0b\0\0\x01\0\0\0\x07\0\0\x01\0\0\0\x02\0\0\0",
    b"\x13\0\0\x01\x0b\0\0\x78\x9c\x63\x67\x60\x60\x60\x64\x00\x02\x26\x06\x06\x00\x01\x16\x00\x0d",
    b"\x14\0\0\x01\x0b\0\0\x28\xb5\x2f\xfd\x00\x58\x59\x00\x00\x07\0\0\x01\0\0\0\x02\0\0\0",
    b"\xff\xff\xff\0\x03select",
    b"\0",
    b"\xff\xff\xff\xff\xff",
];

const SUBJECT: commands::Subject = commands::Subject {
    parser: mysql::start,
    script: commands::Script::Words {
        words: WORDS,
        beginning: &[
            (Side::Server, GREETING),
            (Side::Client, LOGIN),
            (Side::Server, LOGGED_IN),
        ],
    },
    shows_secret: |command| {
        let statement = command.statement();
        statement.starts_with("ALTER") && statement.contains("hunter2")
    },
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
