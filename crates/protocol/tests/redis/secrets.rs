//! P-R5: credentials are never handed out.

use crate::support::{Talk, command};

const SECRET: &str = "hunter2";

#[test]
fn p_r5_credentials_of_every_command_are_masked() {
    for (words, shown) in [
        (&["AUTH", SECRET][..], "AUTH [REDACTED]"),
        (&["auth", "alice", SECRET], "auth [REDACTED] [REDACTED]"),
        (
            &["HELLO", "3", "AUTH", "alice", SECRET, "SETNAME", "app"],
            "HELLO 3 [REDACTED] [REDACTED] [REDACTED] [REDACTED] [REDACTED]",
        ),
        (&["HELLO", "3", "SETNAME", "app"], "HELLO 3 SETNAME app"),
        (
            &["ACL", "SETUSER", "bob", "on", ">hunter2", "~*"],
            "ACL SETUSER bob [REDACTED] [REDACTED] [REDACTED]",
        ),
        (&["ACL", "GETUSER", "bob"], "ACL GETUSER bob"),
        (
            &["CONFIG", "SET", "maxmemory", "1gb", "requirepass", SECRET],
            "CONFIG SET maxmemory [REDACTED] requirepass [REDACTED]",
        ),
        (&["CONFIG", "GET", "*"], "CONFIG GET *"),
        (
            &[
                "MIGRATE", "h", "6379", "", "0", "5000", "COPY", "AUTH", SECRET, "KEYS", "k",
            ],
            "MIGRATE h 6379  0 5000 COPY AUTH [REDACTED] KEYS k",
        ),
        (
            &["MIGRATE", "h", "6379", "k", "0", "5000", "AUTH2", "alice", SECRET],
            "MIGRATE h 6379 k 0 5000 AUTH2 [REDACTED] [REDACTED]",
        ),
        (
            &["SENTINEL", "SET", "m", "auth-pass", SECRET],
            "SENTINEL SET m [REDACTED] [REDACTED]",
        ),
    ] {
        let mut talk = Talk::new();
        talk.command(words).server("+OK\r\n");
        let done = talk.done();
        assert_eq!(done[0].command.statement(), shown);
        assert_eq!(done[0].command.redacted, shown.contains("REDACTED"));
        assert!(
            !format!("{:?}", talk.events).contains(SECRET),
            "{:?}",
            talk.events
        );
    }
}

#[test]
fn inline_credentials_are_masked() {
    let mut talk = Talk::new();
    talk.client(format!("AUTH {SECRET}\r\n")).server("+OK\r\n");
    assert_eq!(talk.done()[0].command.statement(), "AUTH [REDACTED]");
}

#[test]
fn replies_that_hold_credentials_are_not_shown() {
    let mut talk = Talk::new();
    talk.command(&["CONFIG", "GET", "requirepass"])
        .server("*2\r\n$11\r\nrequirepass\r\n$7\r\nhunter2\r\n");
    let result = talk.done()[0].result.clone().unwrap();
    assert_eq!(
        (result.kind, result.count, result.preview.as_str()),
        ("array", Some(2), "")
    );
}

#[test]
fn a_command_whose_name_is_not_known_is_masked_whole() {
    let whole = command(&["AUTH", SECRET]);
    let mut talk = Talk::new();
    talk.client(&whole[..9])
        .gap(qtap_protocol::Side::Client, 3)
        .client(&whole[12..]);
    let done = talk.close();
    assert_eq!(done[0].command.statement(), "[REDACTED] [REDACTED]");
    assert_eq!(done[0].command.name, "");
}

#[test]
fn whatever_is_cut_off_never_shows_the_password() {
    let whole = command(&["AUTH", "alice", SECRET]);
    for from in 0..whole.len() {
        for length in 1..=whole.len() - from {
            let mut talk = Talk::new();
            talk.client(&whole[..from])
                .gap(qtap_protocol::Side::Client, length)
                .client(&whole[from + length..])
                .command(&["PING"]);
            talk.close();
            let all = format!("{:?}", talk.events);
            assert!(
                !all.contains("hunter") && !all.contains("unter2"),
                "{from} {length}: {all}"
            );
        }
    }
}
