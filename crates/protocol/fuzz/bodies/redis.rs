//! The Redis parser under [`commands`], for the fuzz target and for the property tests.

use qtap_protocol::{Event, redis};

#[path = "commands.rs"]
mod commands;

const WORDS: &[&[u8]] = &[
    b"*1\r\n$4\r\nPING\r\n",
    b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n",
    b"*2\r\n$9\r\nSUBSCRIBE\r\n$1\r\nc\r\n",
    b"*1\r\n$11\r\nUNSUBSCRIBE\r\n",
    b"*1\r\n$7\r\nMONITOR\r\n",
    b"*3\r\n$6\r\nCLIENT\r\n$5\r\nREPLY\r\n$4\r\nSKIP\r\n",
    b"*3\r\n$6\r\nCLIENT\r\n$5\r\nREPLY\r\n$3\r\nOFF\r\n",
    b"*3\r\n$6\r\nCLIENT\r\n$5\r\nREPLY\r\n$2\r\nON\r\n",
    b"*2\r\n$6\r\nSELECT\r\n$1\r\n3\r\n",
    b"*2\r\n$4\r\nAUTH\r\n$6\r\nhunter\r\n",
    b"*3\r\n$4\r\nAUTH\r\n$1\r\nu\r\n$6\r\nhunter\r\n",
    b"*5\r\n$5\r\nHELLO\r\n$1\r\n3\r\n$4\r\nAUTH\r\n$1\r\nu\r\n$6\r\nhunter\r\n",
    b"*1\r\n$5\r\nMULTI\r\n",
    b"*1\r\n$4\r\nEXEC\r\n",
    b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$5\r\nv4lue\r\n",
    b"*3\r\n$6\r\nCONFIG\r\n$3\r\nGET\r\n$11\r\nrequirepass\r\n",
    b"*2\r\n-ERR no\r\n*1\r\n:7\r\n",
    b"PING\r\n",
    b"SET a \"b c\"\r\n",
    b"+OK\r\n",
    b"+QUEUED\r\n",
    b"-ERR no\r\n",
    b":1\r\n",
    b":-7\r\n",
    b"$1\r\nv\r\n",
    b"$-1\r\n",
    b"$0\r\n\r\n",
    b"*0\r\n",
    b"*-1\r\n",
    b"*2\r\n",
    b"*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n",
    b"*3\r\n$11\r\nunsubscribe\r\n$1\r\nc\r\n:0\r\n",
    b"*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nm\r\n",
    b">3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n",
    b">2\r\n+invalidate\r\n_\r\n",
    b"%1\r\n+a\r\n:1\r\n",
    b"~2\r\n#t\r\n#f\r\n",
    b",1.5\r\n",
    b"(123456789\r\n",
    b"!5\r\nERR x\r\n",
    b"=5\r\ntxt:a\r\n",
    b"|1\r\n+k\r\n+v\r\n",
    b"$?\r\n;1\r\na\r\n;0\r\n",
    b"*?\r\n:1\r\n.\r\n",
    b"*1\r\n*1\r\n",
    b"$20\r\nabc",
    b"defgh",
    b"\r\n",
    b"\r",
    b"\n",
    b"*",
    b"$536870913\r\n",
    b"\x00\xff\x16\x03",
];

const SUBJECT: commands::Subject = commands::Subject {
    parser: redis::start,
    script: commands::Script::Words {
        words: WORDS,
        beginning: &[],
    },
    shows_secret: |command| {
        let words = command.statement();
        (words.starts_with("AUTH") || words.starts_with("HELLO")) && words.contains("hunter")
    },
    can_start_tls: false,
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
