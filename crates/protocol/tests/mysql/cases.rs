//! The rows of `protocols.md` §8: commands in text, and their replies.

use qtap_protocol::{Event, Outcome, ParseError, Side};

use crate::support::{Talk, USUAL};
use crate::wire::*;

#[test]
fn a_query_with_rows_in_both_versions() {
    for flags in [USUAL, USUAL & !DEPRECATE_EOF] {
        let mut talk = Talk::with_flags(flags, 0);
        let rows = [row(&[Some("1"), Some("grüße")]), row(&[Some("2"), None])];
        let payloads = if flags & DEPRECATE_EOF == 0 {
            [
                columns(&["id", "name"]),
                vec![eof(AUTOCOMMIT)],
                rows.to_vec(),
                vec![eof(AUTOCOMMIT)],
            ]
            .concat()
        } else {
            [columns(&["id", "name"]), rows.to_vec(), vec![end(AUTOCOMMIT)]].concat()
        };
        let (asked, answered) = (query("select id, name from t"), reply(&payloads));
        talk.client(&asked).server(&answered);
        let done = talk.done();
        assert_eq!(done.len(), 1);
        assert_eq!(done[0].brief(), ("select id, name from t".into(), "ResultSet"));
        let result = done[0].result();
        assert_eq!(
            (result.count, result.affected, result.transaction),
            (Some(2), None, Some("idle"))
        );
        assert_eq!(
            (result.columns.clone(), result.preview.as_str()),
            (vec!["id".into(), "name".into()], "1 | grüße\n2 | NULL\n")
        );
        assert_eq!(done[0].command.name, "SELECT");
        let session = &done[0].command.session;
        assert_eq!(
            (
                session.user.as_deref(),
                session.database.as_deref(),
                session.client.as_deref()
            ),
            (Some("alice"), Some("shop"), Some("till"))
        );
        // P-T3: the reference swaps them.
        assert_eq!(done[0].traffic.request.total(), asked.len() as u64);
        assert_eq!(done[0].traffic.response.total(), answered.len() as u64);
        assert!(talk.result.is_ok());
    }
}

#[test]
fn a_change_tells_rows_and_id() {
    let mut talk = Talk::new();
    talk.ask(
        "insert into t (name) values ('a'), ('b')",
        &[ok(2, 300, IN_TRANSACTION)],
    );
    let done = talk.done();
    let result = done[0].result();
    assert_eq!(
        (result.kind, result.affected, result.insert_id, result.count),
        ("OK", Some(2), Some(300), None)
    );
    assert_eq!(
        (result.transaction, result.tags.as_slice()),
        (Some("transaction"), &["OK 2".to_owned()][..])
    );
}

#[test]
fn errors_have_code_state_and_text() {
    let mut talk = Talk::new();
    talk.ask(
        "selec 1",
        &[error(1064, "42000", "You have an error near 'selec 1' at line 1")],
    );
    // In the middle of rows.
    let payloads = [
        columns(&["a"]),
        vec![row(&[Some("1")]), error(1317, "70100", "interrupted")],
    ];
    talk.ask("select a", &payloads.concat());
    let done = talk.done();
    let shown = done[0].result().error.clone().unwrap();
    assert_eq!(
        (shown.code.as_str(), shown.message.as_str()),
        ("1064", "You have an error near 'selec 1' at line 1")
    );
    assert_eq!(
        (done[0].outcome, done[0].result().tags.as_slice()),
        (Outcome::Complete, &["ERROR 1064 (42000)".to_owned()][..])
    );
    assert_eq!(done[1].brief(), ("select a".into(), "Error"));
    assert_eq!(done[1].result().count, Some(1));
}

#[test]
fn p_my6_several_results_are_one_command() {
    let mut talk = Talk::new();
    talk.client(query("insert into t values (1); select 1; update t set a = 2"));
    let second = [
        columns(&["1"]),
        vec![row(&[Some("1")]), end(AUTOCOMMIT | MORE_RESULTS)],
    ]
    .concat();
    talk.server(packet(1, &ok(1, 0, AUTOCOMMIT | MORE_RESULTS)));
    talk.server(packets(2, &second));
    assert!(talk.done().is_empty());
    talk.server(packet(6, &ok(3, 0, AUTOCOMMIT)));
    let done = talk.done();
    let result = done[0].result();
    assert_eq!(result.tags, ["OK 1", "ResultSet 1", "OK 3"]);
    assert_eq!(result.columns, ["1"]);
    assert_eq!(
        (result.kind, result.affected, result.count),
        ("ResultSet", Some(4), Some(1))
    );
}

#[test]
fn p_my6_an_error_ends_several_results() {
    let mut talk = Talk::new();
    talk.ask(
        "insert into t values (1); selec",
        &[ok(1, 0, MORE_RESULTS), error(1064, "42000", "no")],
    );
    let done = talk.done();
    assert_eq!(
        (done[0].result().kind, done[0].result().affected),
        ("Error", Some(1))
    );
}

#[test]
fn p_my6_a_file_of_the_client_is_no_command() {
    let mut talk = Talk::new();
    let asked = query("load data local infile 'a.csv' into table t");
    talk.client(&asked).server(packet(1, b"\xfba.csv"));
    // More packets than there are sequence numbers; some begin as commands do.
    let mut sent = asked.len();
    for sequence in 2..400_u32 {
        let data = packet(sequence as u8, b"\x03select 1");
        sent += data.len();
        talk.client(data);
    }
    talk.client(packet(400_u32 as u8, b""))
        .server(packet(401_u32 as u8, &ok(398, 0, AUTOCOMMIT)));
    talk.ask("select 2", &[ok(0, 0, AUTOCOMMIT)]);
    let done = talk.done();
    assert_eq!(
        talk.briefs(),
        [
            ("load data local infile 'a.csv' into table t".into(), "OK"),
            ("select 2".into(), "OK")
        ]
    );
    assert_eq!(done[0].result().affected, Some(398));
    assert_eq!(done[0].traffic.request.total(), (sent + 4) as u64);
}

#[test]
fn p_my5_commands_without_reply_do_not_shift_the_others() {
    let mut talk = Talk::new();
    talk.client(close(7))
        .client(command(0x18, b"\x07\0\0\0\0\0data"))
        .ask("select 1", &[ok(0, 0, AUTOCOMMIT)])
        .client(command(1, b""));
    assert_eq!(talk.briefs(), [("select 1".into(), "OK")]);
}

#[test]
fn p_my1_a_long_statement_is_joined_of_several_packets() {
    let mut talk = Talk::new();
    let statement = format!("insert into t values ('{}')", "x".repeat(0xff_ffff));
    let asked = query(&statement);
    assert_eq!((asked[3], asked[4 + 0xff_ffff + 3]), (0, 1), "two packets");
    talk.client(&asked).server(packet(2, &ok(1, 0, AUTOCOMMIT)));
    talk.ask("select 1", &[ok(0, 0, AUTOCOMMIT)]);
    let done = talk.done();
    assert_eq!(done.len(), 2);
    assert!(done[0].command.truncated && done[0].command.held() == 64 << 10);
    assert_eq!(done[0].traffic.request.total(), asked.len() as u64);
    assert_eq!(done[0].result().affected, Some(1));
}

#[test]
fn p_my1_a_row_of_exactly_the_longest_packet_ends_in_an_empty_one() {
    let mut talk = Talk::new();
    let value = "x".repeat(0xff_ffff - 4);
    let long = row(&[Some(&value)]);
    assert_eq!(long.len(), 0xff_ffff);
    talk.client(query("select 1"))
        .server(packets(1, &columns(&["a"])));
    let sent = packet(3, &long);
    assert_eq!(&sent[sent.len() - 4..], b"\0\0\0\x04");
    talk.server(sent).server(packets(5, &[row(&[Some("2")]), end(0)]));
    let done = talk.done();
    assert_eq!(done[0].result().count, Some(2));
    assert!(done[0].result().truncated);
}

#[test]
fn p_my1_packets_out_of_order_are_bad() {
    let mut talk = Talk::new();
    talk.client(query("select 1")).server(packet(2, &ok(0, 0, 0)));
    let done = talk.done();
    assert_eq!(done[0].outcome, Outcome::Incomplete);
    talk.close();
    assert!(talk.events.iter().any(|event| matches!(
        event,
        Event::Resync {
            side: Side::Server,
            reason: "packet out of order",
            ..
        }
    )));
}

#[test]
fn p_my2_attributes_come_before_the_statement() {
    let mut talk = Talk::with_flags(USUAL | QUERY_ATTRIBUTES, 0);
    for payload in [
        &b"\0\x01select 1"[..],
        b"\x01\x01\0\x01\xfe\0\x05trace\x03abcselect 1",
    ] {
        talk.client(command(3, payload)).server(reply(&[ok(0, 0, 0)]));
    }
    assert_eq!(
        talk.briefs(),
        [("select 1".into(), "OK"), ("select 1".into(), "OK")]
    );
}

#[test]
fn p_my2_the_database_is_followed() {
    let mut talk = Talk::new();
    talk.client(command(2, b"second")).server(reply(&[ok(0, 0, 0)]));
    talk.ask("select 1", &[ok(0, 0, 0)]);
    talk.ask("USE `third`", &[ok(0, 0, 0)]);
    talk.ask("select 1", &[ok(0, 0, 0)]);
    // Changed by a procedure.
    talk.ask("call change()", &[ok_database("fourth")]);
    talk.ask("use nowhere", &[error(1049, "42000", "Unknown database")]);
    let databases: Vec<_> = talk
        .ask("select 1", &[ok(0, 0, 0)])
        .done()
        .iter()
        .map(|done| done.command.session.database.as_deref().unwrap().to_owned())
        .collect();
    assert_eq!(
        databases,
        ["shop", "second", "second", "third", "third", "fourth", "fourth"]
    );
}

#[test]
fn p_my2_definitions_that_are_left_out() {
    // MySQL: a flag before the count.
    let mut talk = Talk::with_flags(USUAL | OPTIONAL_METADATA, 0);
    talk.ask("select 1", &[vec![0, 1], row(&[Some("1")]), end(0)]);
    talk.ask(
        "select 2",
        &[vec![1, 1], column("a", VARCHAR), row(&[Some("2")]), end(0)],
    );
    talk.ask("do 3", &[ok(0, 0, 0)]);
    let done = talk.done();
    assert_eq!(
        (done[0].result().preview.as_str(), done[0].result().count),
        ("1\n", Some(1))
    );
    assert_eq!(
        (done[1].result().preview.as_str(), done[1].result().columns.len()),
        ("2\n", 1)
    );
    assert_eq!(done[2].brief().1, "OK");
}

#[test]
fn mariadb_with_extended_metadata_and_progress() {
    let flags = USUAL & !LONG_PASSWORD;
    let mut talk = Talk::with_flags(flags, EXTENDED_METADATA);
    let progress = b"\xff\xff\xff\x01\x01\x02\0\0\0\x05Alter".to_vec();
    let payloads = [
        progress,
        number(2),
        column_with("id", VARCHAR, &string(b"\0\x04uuid")),
        column_with("b", INT, &[0]),
        row(&[Some("x"), Some("1")]),
        end(0),
    ];
    talk.ask("select id, b from t", &payloads);
    let done = talk.done();
    assert_eq!(
        (
            done[0].result().columns.clone(),
            done[0].result().preview.as_str()
        ),
        (vec!["id".into(), "b".into()], "x | 1\n")
    );
}

#[test]
fn commands_without_a_statement_have_their_name() {
    let mut talk = Talk::new();
    talk.client(command(0x0e, b"")).server(reply(&[ok(0, 0, 0)]));
    talk.client(command(0x09, b""))
        .server(reply(&[b"Uptime: 7  Threads: 1".to_vec()]));
    talk.client(command(0x04, b"t\0%\0"))
        .server(reply(&[column("a", INT), column("b", INT), eof(0)]));
    talk.client(command(0x1b, b"\0\0")).server(reply(&[eof(0)]));
    talk.client(command(0x0c, b"\x07\0\0\0"))
        .server(reply(&[error(1094, "HY000", "Unknown thread id: 7")]));
    talk.client(command(0x0a, b"")).server(reply(
        &[columns(&["Id"]), vec![row(&[Some("7")]), end(0)]].concat(),
    ));
    let done = talk.done();
    assert_eq!(
        talk.briefs(),
        [
            ("COM_PING".into(), "OK"),
            ("COM_STATISTICS".into(), "Statistics"),
            ("COM_FIELD_LIST t".into(), "ResultSet"),
            ("COM_SET_OPTION".into(), "OK"),
            ("COM_PROCESS_KILL 7".into(), "Error"),
            ("COM_PROCESS_INFO".into(), "ResultSet"),
        ]
    );
    assert_eq!(done[1].result().preview, "Uptime: 7  Threads: 1");
    assert_eq!(done[2].result().columns, ["a", "b"]);
}

#[test]
fn pipelined_commands_get_their_own_replies() {
    let mut talk = Talk::new();
    talk.client([query("select 1"), query("selec"), query("select 3")].concat());
    talk.server([one_row("1"), reply(&[error(1064, "42000", "no")]), one_row("3")].concat());
    let done = talk.done();
    assert_eq!(
        talk.briefs(),
        [
            ("select 1".into(), "ResultSet"),
            ("selec".into(), "Error"),
            ("select 3".into(), "ResultSet")
        ]
    );
    assert_eq!(done[2].result().preview, "3\n");
}

#[test]
fn p_my9_credentials_in_statements_are_masked_and_what_is_said_of_them_too() {
    let mut talk = Talk::new();
    talk.ask(
        "CREATE USER bob IDENTIFIED BY 'hunter2' x",
        &[error(1064, "42000", "near 'hunter2' x' at line 1")],
    );
    talk.ask(
        "SHOW GRANTS",
        &[
            columns(&["g"]),
            vec![row(&[Some("IDENTIFIED BY PASSWORD '*A1'")]), end(0)],
        ]
        .concat(),
    );
    let done = talk.done();
    assert_eq!(
        done[0].command.statement(),
        "CREATE USER bob IDENTIFIED BY '[REDACTED]' x"
    );
    assert!(done[0].command.redacted);
    assert_eq!(
        done[0].result().error.as_ref().unwrap().message,
        "near [REDACTED] at line 1"
    );
    assert_eq!(
        (done[1].result().count, done[1].result().preview.as_str()),
        (Some(1), "")
    );
}

#[test]
fn a_stream_of_the_binary_log_is_not_parsed() {
    for (opcode, reason) in [
        (0x12, "a stream of the binary log follows, which is not parsed"),
        (0x1e, "a stream of the binary log follows, which is not parsed"),
        (0x20, "a clone of the data follows, which is not parsed"),
    ] {
        let mut talk = Talk::new();
        talk.client(command(0x15, b"\x01\0\0\0\0\0\0\0"))
            .server(reply(&[ok(0, 0, 0)]))
            .client(command(opcode, b"\x04\0\0\0\0\0\x01\0\0\0bin.1"));
        assert_eq!(
            talk.result,
            Err(ParseError::Fatal {
                protocol: "mysql",
                reason
            })
        );
        assert_eq!(talk.briefs(), [("COM_REGISTER_SLAVE".into(), "OK")]);
    }
}

#[test]
fn what_is_under_way_at_the_end_is_canceled_and_what_waits_too_long_times_out() {
    let mut talk = Talk::new();
    talk.client(query("select sleep(9)")).expire();
    assert_eq!(talk.done()[0].outcome, Outcome::Timeout);
    // Its late reply takes its place.
    talk.client(query("select 2"))
        .server(one_row("1"))
        .server(one_row("2"));
    talk.client(query("select 3"));
    let done = talk.close();
    assert_eq!(done[1].result().preview, "2\n");
    assert_eq!(
        (done[2].outcome, done[2].result.is_none()),
        (Outcome::Canceled, true)
    );
}

#[test]
fn a_server_that_closes_says_so_without_being_asked() {
    let mut talk = Talk::new();
    talk.ask("select 1", &[ok(0, 0, 0)])
        .server(packet(0, &error(4031, "HY000", "disconnected by the server")));
    assert_eq!((talk.orphans(), talk.done().len()), (1, 1));
    assert!(talk.result.is_ok());
}

#[test]
fn commands_beyond_the_limit_end_as_incomplete() {
    let mut talk = Talk::new();
    for _ in 0..4097 {
        talk.client(command(0x0e, b""));
    }
    assert_eq!(talk.done().len(), 1);
    for _ in 0..4097 {
        talk.server(reply(&[ok(0, 0, 0)]));
    }
    let done = talk.close();
    let complete = done.iter().filter(|done| done.outcome == Outcome::Complete);
    assert_eq!((done.len(), complete.count()), (4097, 4096));
}
