//! The rows of `protocols.md` §7.

use qtap_protocol::{Event, Outcome, ParseError, Side};

use crate::support::{Talk, command};

#[test]
fn the_example_of_the_specification() {
    let mut talk = Talk::new();
    talk.command(&["HSET", "ruby:hash", "field-2", "value-2"])
        .server(":1\r\n");
    let done = talk.done();
    assert_eq!(
        done[0].shown(),
        ("HSET ruby:hash field-2 value-2".into(), "integer", "1".into())
    );
    assert_eq!(
        (done[0].command.name.as_str(), done[0].outcome),
        ("HSET", Outcome::Complete)
    );
    assert!(done[0].result.as_ref().unwrap().error.is_none());
}

#[test]
fn p_r1_every_type_of_resp2_and_resp3() {
    for (reply, kind, shown, count) in [
        ("+OK\r\n", "simple_string", "OK", None),
        (":-5\r\n", "integer", "-5", None),
        ("$5\r\na\r\nbc\r\n", "bulk_string", "a\r\nbc", None),
        ("$0\r\n\r\n", "bulk_string", "", None),
        ("$-1\r\n", "null", "(nil)", None),
        ("*-1\r\n", "null", "(nil)", None),
        ("*0\r\n", "array", "[]", Some(0)),
        (
            "*2\r\n$1\r\na\r\n*2\r\n:1\r\n$-1\r\n",
            "array",
            "[a, [1, (nil)]]",
            Some(2),
        ),
        ("_\r\n", "null", "(nil)", None),
        ("#t\r\n", "boolean", "t", None),
        (",-1.5e3\r\n", "double", "-1.5e3", None),
        (
            "(3492890328409238509324850943850943825024385\r\n",
            "big_number",
            "3492890328409238509324850943850943825024385",
            None,
        ),
        (
            "=15\r\ntxt:Some string\r\n",
            "verbatim_string",
            "txt:Some string",
            None,
        ),
        ("%2\r\n+a\r\n:1\r\n+b\r\n:2\r\n", "map", "{a, 1, b, 2}", Some(2)),
        ("~2\r\n+a\r\n+b\r\n", "set", "[a, b]", Some(2)),
        ("|1\r\n+ttl\r\n:3\r\n$1\r\nv\r\n", "bulk_string", "v", None),
        (
            "*2\r\n|1\r\n+ttl\r\n:3\r\n:1\r\n:2\r\n",
            "array",
            "[1, 2]",
            Some(2),
        ),
        ("$?\r\n;2\r\nab\r\n;1\r\nc\r\n;0\r\n", "bulk_string", "abc", None),
        ("*?\r\n:1\r\n:2\r\n.\r\n", "array", "[1, 2]", None),
    ] {
        let mut talk = Talk::new();
        talk.command(&["FCALL", "f", "0"]).server(reply);
        let done = talk.done();
        assert_eq!(done.len(), 1, "{reply:?}: {:?}", talk.events);
        let result = done[0].result.as_ref().unwrap();
        assert_eq!(
            (result.kind, result.preview.as_str(), result.count),
            (kind, shown, count),
            "{reply:?}"
        );
        assert!(result.error.is_none() && !result.truncated);
    }
}

#[test]
fn errors_have_code_and_text() {
    for (reply, kind) in [
        ("-WRONGTYPE Operation against a key\r\n", "error"),
        ("!33\r\nWRONGTYPE Operation against a key\r\n", "bulk_error"),
    ] {
        let mut talk = Talk::new();
        talk.command(&["INCR", "list"]).server(reply);
        let result = talk.done()[0].result.clone().unwrap();
        let error = result.error.unwrap();
        assert_eq!((result.kind, error.code.as_str()), (kind, "WRONGTYPE"));
        assert_eq!(error.message, "WRONGTYPE Operation against a key");
    }
}

#[test]
fn an_error_inside_of_an_array_is_no_error_of_the_command() {
    let mut talk = Talk::new();
    talk.command(&["EVALSHA"]).server("*2\r\n+OK\r\n-ERR inner\r\n");
    let result = talk.done()[0].result.clone().unwrap();
    assert!(result.error.is_none());
    assert_eq!(result.preview, "[OK, ERR inner]");
}

#[test]
fn p_r1_limits_of_depth_elements_and_length() {
    let deep = "*1\r\n".repeat(33);
    for reply in [
        deep.as_str(),
        "*1048577\r\n",
        "%524289\r\n",
        "$536870913\r\n",
        "$-2\r\n",
        "$12345678901234567890\r\n",
    ] {
        let mut talk = Talk::new();
        talk.command(&["GET", "k"]).server(reply);
        assert_eq!(talk.done()[0].outcome, Outcome::Incomplete, "{reply:?}");
    }
    let mut talk = Talk::new();
    talk.command(&["GET", "k"])
        .server("*1\r\n".repeat(32))
        .server(":1\r\n");
    assert_eq!(talk.done()[0].outcome, Outcome::Complete);
}

#[test]
fn long_values_are_counted_and_cut() {
    let value = "v".repeat(200_000);
    let mut talk = Talk::new();
    talk.command(&["SET", "k", &value]).server("+OK\r\n");
    talk.command(&["GET", "k"])
        .server(format!("$200000\r\n{value}\r\n"));
    let done = talk.done();
    assert!(done[0].command.truncated && done[0].command.held() <= 64 << 10);
    assert_eq!(
        done[0].traffic.request.total(),
        command(&["SET", "k", &value]).len() as u64
    );
    let result = done[1].result.as_ref().unwrap();
    assert!(result.truncated && result.preview.len() == 4096);
    assert_eq!(done[1].traffic.response.total(), 200_011);
}

#[test]
fn pipelined_commands_get_their_own_replies_in_order() {
    let mut talk = Talk::new();
    let commands: Vec<u8> = (0..1000)
        .flat_map(|n| command(&["ECHO", &n.to_string()]))
        .collect();
    talk.client(commands);
    let replies: String = (0..1000)
        .map(|n: u32| format!("${}\r\n{n}\r\n", n.to_string().len()))
        .collect();
    talk.server(replies);
    let done = talk.done();
    assert_eq!(done.len(), 1000);
    for (n, done) in done.iter().enumerate() {
        assert_eq!(done.shown(), (format!("ECHO {n}"), "bulk_string", n.to_string()));
    }
}

#[test]
fn p_r2_pushes_do_not_answer() {
    let mut talk = Talk::new();
    talk.command(&["GET", "k"])
        .server(">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nk\r\n")
        .server("$1\r\nv\r\n");
    assert_eq!(
        talk.done()[0].shown(),
        ("GET k".into(), "bulk_string", "v".into())
    );
    assert_eq!(talk.orphans(), 1);
}

#[test]
fn p_r2_messages_of_subscriptions_do_not_answer() {
    for sign in ["*", ">"] {
        let mut talk = Talk::new();
        talk.command(&["SUBSCRIBE", "c"])
            .server(format!("{sign}3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n"))
            .server(format!("{sign}3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$2\r\nhi\r\n"))
            .command(&["PING"])
            .server(format!("{sign}3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$2\r\nho\r\n"))
            .server(if sign == "*" {
                "*2\r\n$4\r\npong\r\n$0\r\n\r\n"
            } else {
                "+PONG\r\n"
            });
        let done = talk.close();
        let statements: Vec<_> = done.iter().map(|done| (done.shown().0, done.outcome)).collect();
        assert_eq!(
            statements,
            [
                ("SUBSCRIBE c".into(), Outcome::Complete),
                ("PING".into(), Outcome::Complete)
            ],
            "{sign}"
        );
        assert_eq!(talk.orphans(), 2, "{sign}");
    }
}

#[test]
fn p_r3_a_subscription_has_as_many_replies_as_channels() {
    let mut talk = Talk::new();
    talk.command(&["SUBSCRIBE", "a", "b", "c"]);
    for (channel, count) in [("a", 1), ("b", 2), ("c", 3)] {
        assert_eq!(talk.done().len(), 0);
        talk.server(format!(
            "*3\r\n$9\r\nsubscribe\r\n$1\r\n{channel}\r\n:{count}\r\n"
        ));
    }
    assert_eq!(talk.done().len(), 1);
    talk.command(&["UNSUBSCRIBE"]).command(&["PING"]);
    for (channel, count) in [("a", 2), ("b", 1), ("c", 0)] {
        assert_eq!(talk.done().len(), 1, "all three confirmations are awaited");
        talk.server(format!(
            "*3\r\n$11\r\nunsubscribe\r\n$1\r\n{channel}\r\n:{count}\r\n"
        ));
    }
    talk.server("+PONG\r\n");
    let done = talk.done();
    assert_eq!(done[2].shown(), ("PING".into(), "simple_string", "PONG".into()));
}

#[test]
fn p_r3_a_bare_unsubscribe_without_subscriptions_has_one_reply() {
    let mut talk = Talk::new();
    talk.command(&["UNSUBSCRIBE"])
        .server("*3\r\n$11\r\nunsubscribe\r\n$-1\r\n:0\r\n")
        .command(&["PING"])
        .server("+PONG\r\n");
    assert_eq!(talk.done()[1].shown().2, "PONG");
}

#[test]
fn p_r2_a_monitor_is_told_what_others_do() {
    let mut talk = Talk::new();
    talk.command(&["MONITOR"])
        .server("+OK\r\n")
        .server("+1339518083.107412 [0 127.0.0.1:60866] \"auth\" \"hunter2\"\r\n")
        .command(&["RESET"])
        .server("+RESET\r\n");
    let done = talk.done();
    assert_eq!(done.len(), 2);
    assert_eq!(done[1].shown().2, "RESET");
    assert_eq!(talk.orphans(), 1);
    assert!(!format!("{:?}", talk.events).contains("hunter2"));
}

#[test]
fn p_r2_client_reply_off_skip_and_on() {
    let mut talk = Talk::new();
    talk.command(&["CLIENT", "REPLY", "SKIP"])
        .command(&["SET", "a", "1"])
        .command(&["GET", "a"])
        .server("$1\r\n1\r\n")
        .command(&["client", "reply", "off"])
        .command(&["SET", "a", "2"])
        .command(&["CLIENT", "REPLY", "ON"])
        .server("+OK\r\n");
    let kinds: Vec<_> = talk
        .done()
        .iter()
        .map(|done| (done.command.name.clone(), done.shown().1))
        .collect();
    assert_eq!(
        kinds,
        [
            ("CLIENT".into(), "no_reply"),
            ("SET".into(), "no_reply"),
            ("GET".into(), "bulk_string"),
            ("client".into(), "no_reply"),
            ("SET".into(), "no_reply"),
            ("CLIENT".into(), "simple_string"),
        ]
    );
}

#[test]
fn p_r4_queued_is_a_result_and_exec_has_those_of_the_transaction() {
    let mut talk = Talk::new();
    for (words, reply) in [
        (&["MULTI"][..], "+OK\r\n"),
        (&["INCR", "n"], "+QUEUED\r\n"),
        (&["EXEC"], "*1\r\n:1\r\n"),
    ] {
        talk.command(words).server(reply);
    }
    let shown: Vec<_> = talk.done().iter().map(|done| done.shown().2).collect();
    assert_eq!(shown, ["OK", "QUEUED", "[1]"]);
}

#[test]
fn p_r6_database_user_and_client_name_are_those_in_force() {
    let mut talk = Talk::new();
    talk.command(&["HELLO", "3", "AUTH", "alice", "hunter2", "SETNAME", "app"])
        .server("%1\r\n+proto\r\n:3\r\n")
        .command(&["SELECT", "7"])
        .server("+OK\r\n")
        .command(&["SELECT", "99"])
        .server("-ERR DB index is out of range\r\n")
        .command(&["GET", "k"])
        .server("_\r\n");
    let done = talk.done();
    let session = &done[3].command.session;
    assert_eq!(
        (
            session.database.as_deref(),
            session.user.as_deref(),
            session.client.as_deref()
        ),
        (Some("7"), Some("alice"), Some("app"))
    );
    assert_eq!(done[0].command.session.database, None);
}

#[test]
fn inline_commands() {
    let mut talk = Talk::new();
    talk.client("\r\nset greeting \"hello world\"\r\n")
        .server("+OK\r\n")
        .client("PING\n")
        .server("+PONG\r\n");
    let done = talk.done();
    assert_eq!(done[0].shown().0, "set greeting hello world");
    assert_eq!(done[1].shown(), ("PING".into(), "simple_string", "PONG".into()));
}

#[test]
fn a_stream_of_replication_is_not_parsed() {
    let mut talk = Talk::new();
    talk.command(&["PSYNC", "?", "-1"])
        .server("+FULLRESYNC abc 0\r\n");
    assert_eq!(talk.done()[0].outcome, Outcome::Complete);
    assert!(matches!(talk.result, Err(ParseError::Fatal { .. })));
}

#[test]
fn what_waits_at_the_close_is_canceled() {
    let mut talk = Talk::new();
    talk.command(&["BLPOP", "q", "0"]);
    let done = talk.close();
    assert_eq!(
        (done[0].outcome, done[0].result.is_none()),
        (Outcome::Canceled, true)
    );
}

#[test]
fn a_command_without_reply_times_out_and_its_late_reply_takes_its_place() {
    let mut talk = Talk::new();
    talk.command(&["GET", "slow"]).expire().command(&["ECHO", "x"]);
    talk.server("$4\r\nlate\r\n").server("$1\r\nx\r\n");
    let done = talk.done();
    assert_eq!(
        (done[0].shown().0.as_str(), done[0].outcome),
        ("GET slow", Outcome::Timeout)
    );
    assert_eq!(done[1].shown(), ("ECHO x".into(), "bulk_string", "x".into()));
    let mut blocking = Talk::new();
    blocking.command(&["BLPOP", "q", "0"]).expire();
    assert!(blocking.done().is_empty(), "it may wait");
}

#[test]
fn more_pending_commands_than_the_limit_end_as_incomplete_and_keep_their_place() {
    let mut talk = Talk::new();
    let count = 4097;
    talk.client(
        (0..count)
            .flat_map(|n: u32| command(&["ECHO", &n.to_string()]))
            .collect::<Vec<_>>(),
    );
    talk.server((0..count).map(|n| format!("+{n}\r\n")).collect::<String>());
    talk.command(&["ECHO", "last"]).server("+last\r\n");
    let done = talk.done();
    assert_eq!(done[0].outcome, Outcome::Incomplete);
    assert_eq!(done[0].shown().0, "ECHO 4096");
    assert!(
        done[1..]
            .iter()
            .all(|done| done.shown().0 == format!("ECHO {}", done.shown().2))
    );
}

#[test]
fn p_t1_times_and_p_t3_sizes() {
    let mut talk = Talk::new();
    let whole = command(&["GET", "key"]);
    talk.client(&whole[..7])
        .client(&whole[7..])
        .server("$5\r\nva")
        .server("lue\r\n");
    let Event::Command { started, time, .. } = &talk.events[0] else {
        panic!("{:?}", talk.events)
    };
    assert_eq!((started.0, time.0), (1, 2));
    let traffic = talk.done()[0].traffic;
    assert_eq!(
        (traffic.first_byte.unwrap().0, traffic.last_byte.unwrap().0),
        (3, 4)
    );
    assert_eq!(
        (traffic.request.total(), traffic.response.total()),
        (whole.len() as u64, 11)
    );
}

#[test]
fn what_is_another_protocol_is_given_up() {
    let mut talk = Talk::new();
    for _ in 0..4 {
        talk.client(b"\x01\x02\x03\r\n").client("\r\n*x\r\n");
    }
    assert!(
        matches!(talk.result, Err(ParseError::NotThisProtocol { .. })),
        "{:?}",
        talk.result
    );
    assert!(
        talk.events.iter().any(|event| matches!(
            event,
            Event::Resync {
                side: Side::Client,
                ..
            }
        )) || talk.events.is_empty()
    );
}
