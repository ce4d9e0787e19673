//! P-L2: what a hole does, and how order is found again.

use qtap_protocol::{Outcome, Side};

use crate::support::{Talk, USUAL};
use crate::wire::*;

fn outcomes(talk: &Talk) -> Vec<Outcome> {
    talk.done().iter().map(|done| done.outcome).collect()
}

#[test]
fn p_l2_a_hole_inside_of_a_row_is_passed_over() {
    let mut talk = Talk::new();
    let value = "x".repeat(100);
    let payloads = [columns(&["a"]), vec![row(&[Some(&value)]), end(0)]].concat();
    let data = reply(&payloads);
    let from = data.len() - 80;
    talk.client(query("select 1"))
        .server(&data[..from])
        .gap(Side::Server, 50)
        .server(&data[from + 50..]);
    let done = talk.done();
    assert_eq!(
        (done[0].outcome, done[0].traffic.response.gap_bytes),
        (Outcome::Complete, 50)
    );
    assert_eq!(done[0].result().count, Some(1));
    assert!(done[0].result().truncated);
}

#[test]
fn p_l2_a_hole_inside_of_a_statement_cuts_it() {
    let mut talk = Talk::new();
    let data = query("select aaaaaaaaaaaaaaaaaaaaaaaa");
    talk.client(&data[..15])
        .gap(Side::Client, 5)
        .client(&data[20..])
        .server(reply(&[ok(0, 0, 0)]));
    let done = talk.done();
    assert_eq!(
        (done[0].command.statement().as_ref(), done[0].command.truncated),
        ("select aaa", true)
    );
    assert_eq!(done[0].outcome, Outcome::Complete);
}

#[test]
fn p_l2_a_packet_whose_first_byte_is_missing_ends_the_command() {
    let mut talk = Talk::new();
    let data = reply(&[ok(0, 0, 0)]);
    talk.client(query("select 1"))
        .server(&data[..4])
        .gap(Side::Server, 1)
        .server(&data[5..]);
    assert_eq!(outcomes(&talk), [Outcome::Incomplete]);
    assert!(talk.result.is_ok());
}

#[test]
fn p_l2_commands_older_than_a_hole_end_as_incomplete_and_turns_prove_the_order() {
    for side in [Side::Client, Side::Server] {
        let mut talk = Talk::new();
        talk.client(query("select 0")).gap(side, 11);
        for n in 1..6 {
            talk.ask(&format!("select {n}"), &[ok(n, 0, 0)]);
        }
        let done = talk.done();
        let outcomes = outcomes(&talk);
        assert_eq!(outcomes[..4], [Outcome::Incomplete; 4], "{side:?}");
        assert_eq!(outcomes[4..], [Outcome::Complete; 2], "{side:?}");
        assert_eq!(done[5].result().affected, Some(5));
        // The database may have been changed by what is missing.
        assert_eq!(done[5].command.session.database, None);
        assert_eq!(done[5].command.session.user.as_deref(), Some("alice"));
    }
}

#[test]
fn p_l2_quiet_proves_the_order() {
    let mut talk = Talk::new();
    talk.client(query("select 0")).gap(Side::Server, 11).wait(2);
    talk.ask("select 1", &[ok(1, 0, 0)]);
    let done = talk.done();
    assert_eq!((done[1].outcome, done[1].brief().1), (Outcome::Complete, "OK"));
}

#[test]
fn p_l2_the_rest_of_a_result_behind_a_hole_is_no_reply_to_the_next_command() {
    let mut talk = Talk::new();
    let rows: Vec<_> = (0..2000).map(|n| row(&[Some(&format!("{n:05}"))])).collect();
    let data = reply(&[columns(&["a"]), rows, vec![end(0)]].concat());
    for from in (0..data.len() - 400).step_by(397) {
        talk = Talk::new();
        talk.client(query("select 0"))
            .server(&data[..from])
            .gap(Side::Server, 333)
            .server(&data[from + 333..]);
        for n in 1..6 {
            talk.client(query(&format!("select {n}")))
                .server(one_row(&n.to_string()));
        }
        let done = talk.done();
        assert_eq!(done.len(), 6, "{from}");
        assert_eq!(done[5].result().preview, "5\n", "{from}");
    }
    assert!(talk.result.is_ok());
}

#[test]
fn a_hole_in_a_file_of_the_client_is_passed_over() {
    let mut talk = Talk::new();
    let data = packet(2, &[b'x'; 5000]);
    talk.client(query("load data local infile 'a' into table t"))
        .server(packet(1, b"\xfba"))
        .client(&data[..1000])
        .gap(Side::Client, 3000)
        .client(&data[4000..])
        .client(packet(3, b""))
        .server(packet(4, &ok(7, 0, 0)));
    let done = talk.done();
    assert_eq!(
        (
            done[0].outcome,
            done[0].result().affected,
            done[0].traffic.request.gap_bytes
        ),
        (Outcome::Complete, Some(7), 3000)
    );
}

#[test]
fn statements_are_forgotten_when_bytes_of_the_client_are_missing() {
    let mut talk = Talk::new();
    talk.client(prepare("select 1"))
        .server(reply(&[prepared(1, 0, 0)]));
    talk.gap(Side::Client, 9).wait(2);
    talk.client(execute(1, 1)).server(reply(&[ok(0, 0, 0)]));
    let done = talk.done();
    assert_eq!(done[1].brief(), (String::new(), "OK"));
    assert!(done[1].command.truncated);
}

#[test]
fn a_login_with_a_hole_does_not_end_parsing() {
    let (greeting, login) = (greeting(USUAL, 0), login(1, USUAL, 0, "shop", "till"));
    for (side, from) in [
        (Side::Server, 2),
        (Side::Server, 12),
        (Side::Client, 2),
        (Side::Client, 8),
        (Side::Client, 44),
    ] {
        let mut talk = Talk::with(false);
        let lossy = |talk: &mut Talk, now: Side, data: &[u8]| {
            if now != side {
                if now == Side::Client {
                    talk.client(data)
                } else {
                    talk.server(data)
                };
                return;
            }
            if now == Side::Client {
                talk.client(&data[..from])
            } else {
                talk.server(&data[..from])
            };
            talk.gap(now, 10);
            if now == Side::Client {
                talk.client(&data[from + 10..])
            } else {
                talk.server(&data[from + 10..])
            };
        };
        lossy(&mut talk, Side::Server, &greeting);
        lossy(&mut talk, Side::Client, &login);
        talk.server(packet(2, &ok(0, 0, 0)));
        for n in 0..5 {
            talk.ask(&format!("select {n}"), &[ok(n, 0, 0)]);
        }
        let done = talk.done();
        assert_eq!(done.last().unwrap().result().affected, Some(4), "{side:?} {from}");
        assert!(!format!("{:?}", talk.events).contains("hunter2"));
    }
}

#[test]
fn p_my8_a_connection_joined_in_the_middle() {
    for flags in [0, DEPRECATE_EOF] {
        let mut talk = Talk::with(true);
        let last = |status| if flags == 0 { eof(status) } else { end(status) };
        let middle = if flags == 0 { vec![eof(0)] } else { vec![] };
        // The rest of a result.
        talk.server(&reply(&[row(&[Some("old")])])[3..]);
        for n in 0..2 {
            let value = row(&[Some(&n.to_string())]);
            let payloads = [columns(&["a"]), middle.clone(), vec![value, last(0)]].concat();
            talk.ask(&format!("select {n}"), &payloads);
        }
        talk.client(execute(3, 1)).server(reply(&[ok(1, 0, 0)]));
        // Whether definitions end in a packet of their own is known from the results.
        let payloads = [vec![prepared(4, 1, 0), column("a", INT)], middle.clone()];
        talk.client(prepare("select 4")).server(reply(&payloads.concat()));
        talk.client(execute(4, 1)).server(reply(&[ok(1, 0, 0)]));
        let done = talk.done();
        assert_eq!(
            outcomes(&talk),
            [
                Outcome::Incomplete,
                Outcome::Complete,
                Outcome::Complete,
                Outcome::Complete,
                Outcome::Complete
            ]
        );
        assert_eq!(done[1].result().preview, "1\n");
        assert_eq!(
            (done[2].command.prepared.as_deref(), done[2].command.truncated),
            (Some("3"), true)
        );
        assert_eq!(done[4].brief(), ("select 4".into(), "OK"));
    }
}

#[test]
fn p_my8_a_preparation_comes_first_after_joining() {
    for middle in [vec![], vec![eof(0)]] {
        let mut talk = Talk::with(true);
        let payloads = [vec![prepared(4, 1, 0), column("a", INT)], middle].concat();
        talk.client(prepare("select 4")).server(reply(&payloads));
        talk.client(execute(4, 1)).server(reply(&[ok(1, 0, 0)]));
        assert_eq!(
            talk.briefs(),
            [("select 4".into(), ""), ("select 4".into(), "OK")]
        );
    }
}

#[test]
fn a_hole_of_any_size_in_a_login_is_survived_also_where_compression_was_agreed_in_it() {
    let flags = USUAL | COMPRESS;
    let login = login(1, flags, 0, "shop", "till");
    for (from, length) in (0..20).flat_map(|from| (1..20).map(move |length| (from, length))) {
        let mut talk = Talk::with(false);
        talk.server(greeting(flags, 0))
            .client(&login[..from])
            .gap(Side::Client, length)
            .client(&login[from + length..])
            .server(packet(2, &ok(0, 0, 0)));
        for n in 0..5 {
            talk.client(frame(0, &query(&format!("select {n}")), false))
                .server(frame(1, &reply(&[ok(n, 0, 0)]), false));
        }
        let done = talk.done();
        assert_eq!(done.last().unwrap().result().affected, Some(4), "{from} {length}");
    }
}

#[test]
fn p_l3_a_forced_search_leaves_a_statement_alone_whose_bytes_still_come() {
    for (seconds, outcome) in [(0, Outcome::Complete), (6, Outcome::Incomplete)] {
        let mut talk = Talk::new();
        talk.ask("select 0", &[ok(0, 0, 0)]);
        let statement = format!("select '{}'", "x".repeat(5000));
        let asked = query(&statement);
        talk.client(&asked[..3000]).wait(seconds).resync(Side::Client);
        talk.client(&asked[3000..]).server(reply(&[ok(7, 0, 0)]));
        talk.ask("select 1", &[ok(1, 0, 0)]);
        let done = talk.done();
        if outcome == Outcome::Complete {
            assert_eq!(
                (done[1].command.held(), done[1].command.truncated, done[1].outcome),
                (255, true, outcome)
            );
            assert_eq!(done[1].result().affected, Some(7));
        } else {
            assert_eq!((done.len(), done[1].outcome), (2, outcome));
        }
    }
}

#[test]
fn what_begins_as_no_statement_does_is_none() {
    let mut talk = Talk::new();
    talk.client(query("\u{1} 1\0\0binary"));
    assert!(talk.close().is_empty());
}
