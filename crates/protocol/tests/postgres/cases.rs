//! The rows of `protocols.md` §9.

use qtap_protocol::{Event, Outcome, ParseError};

use crate::support::Talk;
use crate::wire::*;

#[test]
fn a_simple_query_with_rows() {
    let mut talk = Talk::new();
    let asked = query("select id, name from t");
    let answered = [
        columns(&["id", "name"]),
        row(&[Some("1"), Some("grüße")]),
        row(&[Some("2"), None]),
        complete("SELECT 2"),
        ready(b'I'),
    ]
    .concat();
    talk.client(&asked).server(&answered);
    let done = talk.done();
    assert_eq!(done.len(), 1);
    let result = done[0].result();
    assert_eq!(
        done[0].brief(),
        ("select id, name from t".into(), "CommandComplete")
    );
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
    // P-T3, which the reference leaves at 0.
    assert_eq!(done[0].traffic.request.total(), asked.len() as u64);
    assert_eq!(done[0].traffic.response.total(), answered.len() as u64);
}

#[test]
fn p_pg1_a_string_of_several_statements_is_one_command_with_a_list_of_tags() {
    let mut talk = Talk::new();
    talk.client(query(
        "begin; insert into t values (1); insert into t values (2), (3); select 1",
    ));
    for tag in ["BEGIN", "INSERT 0 1", "INSERT 0 2", "SELECT 1"] {
        assert!(talk.done().is_empty());
        talk.server(complete(tag));
    }
    talk.server(ready(b'T'));
    let done = talk.done();
    let result = done[0].result();
    assert_eq!(result.tags, ["BEGIN", "INSERT 0 1", "INSERT 0 2", "SELECT 1"]);
    assert_eq!(
        (result.affected, result.count, result.transaction),
        (Some(3), Some(1), Some("transaction"))
    );
}

#[test]
fn p_pg8_errors_have_sqlstate_and_text() {
    let mut talk = Talk::new();
    talk.client(query("selec 1"))
        .server([error("42601", "syntax error at or near \"selec\""), ready(b'E')].concat());
    let done = talk.done();
    let error = done[0].result().error.clone().unwrap();
    assert_eq!(
        (error.code.as_str(), error.message.as_str()),
        ("42601", "syntax error at or near \"selec\"")
    );
    assert_eq!(
        (done[0].outcome, done[0].result().transaction),
        (Outcome::Complete, Some("failed"))
    );
}

#[test]
fn an_empty_query() {
    let mut talk = Talk::new();
    talk.client(query("")).server([bare(b'I'), ready(b'I')].concat());
    assert_eq!(talk.done()[0].brief(), (String::new(), "EmptyQuery"));
}

#[test]
fn p_pg2_a_prepared_statement_is_run_with_its_text() {
    let mut talk = Talk::new();
    talk.client([parse("s1", "select $1::int"), sync()].concat())
        .server([bare(b'1'), ready(b'I')].concat());
    for value in ["1", "2"] {
        talk.client([bind("", "s1", value), execute(""), sync()].concat())
            .server([bare(b'2'), row(&[Some(value)]), complete("SELECT 1"), ready(b'I')].concat());
    }
    let done = talk.done();
    assert_eq!(done[0].brief(), ("select $1::int".into(), "ParseComplete"));
    for done in &done[1..] {
        assert_eq!(done.brief(), ("select $1::int".into(), "CommandComplete"));
        assert_eq!(done.command.prepared.as_deref(), Some("s1"));
        assert_eq!(done.result().count, Some(1));
    }
    assert_eq!((done.len(), done[2].result().preview.as_str()), (3, "2\n"));
}

#[test]
fn p_pg2_portals_are_told_apart_and_suspended() {
    let mut talk = Talk::new();
    talk.client(
        [
            parse("", "select 1"),
            bind("a", "", ""),
            parse("", "select 2"),
            bind("b", "", ""),
        ]
        .concat(),
    );
    talk.client([execute("b"), execute("a"), execute("a"), sync()].concat());
    talk.server([bare(b'1'), bare(b'2'), bare(b'1'), bare(b'2')].concat());
    talk.server([row(&[Some("2")]), complete("SELECT 1")].concat());
    talk.server(
        [
            row(&[Some("1")]),
            bare(b's'),
            row(&[Some("1")]),
            complete("SELECT 1"),
            ready(b'I'),
        ]
        .concat(),
    );
    let briefs: Vec<_> = talk.done().iter().map(|done| done.brief()).collect();
    assert!(
        briefs.contains(&("select 2".into(), "CommandComplete")),
        "{briefs:?}"
    );
    assert_eq!(
        briefs[briefs.len() - 2..],
        [
            ("select 1".into(), "PortalSuspended"),
            ("select 1".into(), "CommandComplete")
        ]
    );
}

#[test]
fn p_pg3_several_batches_in_flight() {
    let mut talk = Talk::new();
    let batch = |n: u32| {
        [
            parse("", &format!("select {n}")),
            bind("", "", "x"),
            execute(""),
            sync(),
        ]
        .concat()
    };
    talk.client((0..100).flat_map(batch).collect::<Vec<_>>());
    for n in 0..100 {
        if n == 50 {
            talk.server([error("22012", "division by zero"), ready(b'I')].concat());
            continue;
        }
        let shown = n.to_string();
        talk.server(
            [
                bare(b'1'),
                bare(b'2'),
                row(&[Some(&shown)]),
                complete("SELECT 1"),
                ready(b'I'),
            ]
            .concat(),
        );
    }
    let done = talk.done();
    assert_eq!(done.len(), 100);
    for (n, done) in done.iter().enumerate() {
        assert_eq!(done.command.statement(), format!("select {n}"));
        assert_eq!(done.result().error.is_some(), n == 50);
        if n != 50 {
            assert_eq!(done.result().preview, format!("{n}\n"));
        }
    }
}

#[test]
fn p_pg3_what_follows_an_error_in_its_batch_was_never_run() {
    let mut talk = Talk::new();
    for statement in ["select 1", "select 1/0", "select 3"] {
        talk.client([parse("", statement), bind("", "", "x"), execute("")].concat());
    }
    talk.client(sync())
        .client([parse("", "select 4"), bind("", "", "x"), execute(""), sync()].concat());
    talk.server(
        [
            bare(b'1'),
            bare(b'2'),
            complete("SELECT 1"),
            bare(b'1'),
            bare(b'2'),
            error("22012", "division by zero"),
            ready(b'I'),
        ]
        .concat(),
    );
    talk.server([bare(b'1'), bare(b'2'), complete("SELECT 1"), ready(b'I')].concat());
    let outcomes: Vec<_> = talk
        .done()
        .iter()
        .map(|done| (done.brief(), done.outcome))
        .collect();
    assert_eq!(
        outcomes,
        [
            (("select 1".into(), "CommandComplete"), Outcome::Complete),
            (("select 1/0".into(), "Error"), Outcome::Complete),
            (("select 3".into(), ""), Outcome::Refused),
            (("select 4".into(), "CommandComplete"), Outcome::Complete),
        ]
    );
}

#[test]
fn an_error_of_parse_belongs_to_the_statement() {
    let mut talk = Talk::new();
    talk.client([parse("", "selec"), bind("", "", ""), execute(""), sync()].concat())
        .server([error("42601", "no"), ready(b'I')].concat())
        .client([parse("p", "selec"), message(b'D', b"Sp\0"), sync()].concat())
        .server([error("42601", "no"), ready(b'I')].concat());
    let briefs: Vec<_> = talk.done().iter().map(|done| done.brief()).collect();
    assert_eq!(briefs, [("selec".into(), "Error"), ("selec".into(), "Error")]);
}

#[test]
fn p_pg4_statements_are_forgotten() {
    for forget in [
        close_statement("s"),
        query("DEALLOCATE s"),
        query("deallocate prepare all"),
        query("DISCARD ALL"),
    ] {
        let mut talk = Talk::new();
        talk.client([parse("s", "select 1"), sync()].concat())
            .server([bare(b'1'), ready(b'I')].concat());
        let is_query = forget[0] == b'Q';
        talk.client(&forget);
        if is_query {
            talk.server([complete("DEALLOCATE"), ready(b'I')].concat());
        }
        talk.client([bind("", "s", ""), execute(""), sync()].concat())
            .server([complete("SELECT 1"), ready(b'I')].concat());
        let last = talk.done().pop().unwrap();
        assert_eq!(
            (last.command.statement().as_ref(), last.command.truncated),
            ("", true),
            "not known is not guessed"
        );
        assert_eq!(last.command.prepared.as_deref(), Some("s"));
    }
}

#[test]
fn p_pg4_execute_of_sql_names_its_statement_and_hides_what_it_hides() {
    let mut talk = Talk::new();
    talk.client(query("PREPARE p AS UPDATE users SET password = $1"))
        .server([complete("PREPARE"), ready(b'I')].concat());
    talk.client(query("EXECUTE p('hunter2')"))
        .server([complete("UPDATE 1"), ready(b'I')].concat());
    let done = talk.done();
    assert_eq!(done[1].command.prepared.as_deref(), Some("p"));
    assert_eq!(done[1].command.statement(), "EXECUTE p('[REDACTED]')");
}

#[test]
fn p_pg5_copy_counts_its_bytes_and_rows() {
    let mut talk = Talk::new();
    let asked = query("copy t from stdin");
    let data = message(b'd', b"1\thunter\n").repeat(3);
    talk.client(&asked)
        .server(message(b'G', &[0, 0, 0]))
        .client(&data)
        .client(bare(b'c'));
    talk.server([complete("COPY 3"), ready(b'I')].concat());
    talk.client(query("copy t to stdout")).server(
        [
            message(b'H', &[0, 0, 0]),
            data.clone(),
            bare(b'c'),
            complete("COPY 3"),
            ready(b'I'),
        ]
        .concat(),
    );
    let done = talk.done();
    assert_eq!(done[0].result().affected, Some(3));
    assert_eq!(
        done[0].traffic.request.total(),
        (asked.len() + data.len() + 5) as u64
    );
    assert!(done[1].traffic.response.total() > data.len() as u64);
    assert!(!format!("{:?}", talk.events).contains("hunter"));
}

#[test]
fn p_pg7_credentials_are_never_kept() {
    let mut talk = Talk::with(false);
    talk.client(startup(&["user", "alice"]))
        .server(message(b'R', &[0, 0, 0, 3]))
        .client(message(b'p', b"hunter2\0"));
    talk.server([message(b'R', &[0; 4]), ready(b'I')].concat());
    talk.client(query("CREATE USER bob PASSWORD 'hunter2'"));
    talk.server(
        [
            error("42601", "syntax error at or near \"'hunter2'\""),
            ready(b'I'),
        ]
        .concat(),
    );
    talk.client(
        [
            parse("", "insert into t values ($1)"),
            bind("", "", "hunter2"),
            execute(""),
            sync(),
        ]
        .concat(),
    );
    talk.server([bare(b'1'), bare(b'2'), complete("INSERT 0 1"), ready(b'I')].concat());
    talk.client(query("select password from users"));
    talk.server(
        [
            columns(&["password"]),
            row(&[Some("hunter2")]),
            complete("SELECT 1"),
            ready(b'I'),
        ]
        .concat(),
    );
    assert_eq!(talk.done().len(), 3);
    assert!(
        !format!("{:?}", talk.events).contains("hunter2"),
        "{:?}",
        talk.events
    );
}

#[test]
fn notices_notifications_and_parameters_answer_nothing() {
    let mut talk = Talk::new();
    talk.client(query("select 1"));
    talk.server(message(b'N', b"SNOTICE\0\0"))
        .server(message(b'A', b"\0\0\0\x01a\0b\0"))
        .server(message(b'S', b"a\0b\0"));
    talk.server([complete("SELECT 1"), ready(b'I')].concat());
    assert_eq!(talk.done()[0].brief(), ("select 1".into(), "CommandComplete"));
}

#[test]
fn a_call_of_a_function_is_a_command_and_its_arguments_are_not_kept() {
    let mut talk = Talk::new();
    // `loread` of a large object, as libpq calls it.
    let arguments = b"\0\x01\0\x01\0\x01\0\0\0\x07hunter2\0\x01";
    talk.client(message(b'F', &[&954_u32.to_be_bytes()[..], arguments].concat()))
        .server([message(b'V', b"\0\0\0\x02ab"), ready(b'T')].concat())
        .client(query("select 1"))
        .server([complete("SELECT 1"), ready(b'T')].concat());
    assert_eq!(
        talk.briefs(),
        [
            ("FUNCTION CALL 954".into(), "FunctionCallResponse"),
            ("select 1".into(), "CommandComplete")
        ]
    );
    assert!(!format!("{:?}", talk.events).contains("hunter2"));
}

#[test]
fn a_stream_of_replication_is_not_parsed() {
    let mut talk = Talk::new();
    talk.client(query("START_REPLICATION 0/0"))
        .server(message(b'W', &[0, 0, 0]));
    assert!(matches!(talk.result, Err(ParseError::Fatal { .. })));
}

#[test]
fn what_waits_at_the_close_is_canceled_and_what_is_answered_is_complete() {
    let mut talk = Talk::new();
    talk.client([parse("", "select 1"), bind("", "", ""), execute(""), sync()].concat());
    talk.server([bare(b'1'), bare(b'2'), complete("SELECT 1")].concat());
    talk.client(query("select pg_sleep(100)"));
    let outcomes: Vec<_> = talk
        .close()
        .iter()
        .map(|done| (done.outcome, done.result.is_some()))
        .collect();
    assert_eq!(outcomes, [(Outcome::Complete, true), (Outcome::Canceled, false)]);
}

#[test]
fn a_query_without_answer_times_out() {
    let mut talk = Talk::new();
    talk.client(query("select 1"))
        .expire()
        .server([complete("SELECT 1"), ready(b'I')].concat());
    talk.client(query("select 2"))
        .server([complete("SELECT 1"), ready(b'I')].concat());
    let outcomes: Vec<_> = talk
        .done()
        .iter()
        .map(|done| (done.brief().0, done.outcome))
        .collect();
    assert_eq!(
        outcomes,
        [
            ("select 1".into(), Outcome::Timeout),
            ("select 2".into(), Outcome::Complete)
        ]
    );
}

#[test]
fn long_statements_and_rows_are_cut_and_counted() {
    let mut talk = Talk::new();
    let long = format!("select '{}'", "x".repeat(200_000));
    talk.client(query(&long));
    let value = "y".repeat(50_000);
    talk.server(
        [
            row(&[Some(&value)]),
            row(&[Some(&value)]),
            complete("SELECT 2"),
            ready(b'I'),
        ]
        .concat(),
    );
    let done = talk.done();
    assert!(done[0].command.truncated && done[0].command.held() <= 64 << 10);
    let result = done[0].result();
    assert!(result.truncated && result.preview.len() <= 4096);
    assert_eq!(result.count, Some(2));
}

#[test]
fn p_t1_times() {
    let mut talk = Talk::new();
    let asked = [parse("", "select 1"), bind("", "", ""), execute(""), sync()].concat();
    let begun = talk.now;
    talk.client(&asked[..3])
        .client(&asked[3..])
        .server(bare(b'1'))
        .server(bare(b'2'))
        .server(complete("SELECT 1"))
        .server(ready(b'I'));
    let times = talk.events.iter().find_map(|event| match event {
        Event::Command { started, time, .. } => Some((started.0 - begun, time.0 - begun)),
        _ => None,
    });
    assert_eq!(times, Some((1, 2)));
    let traffic = talk.done()[0].traffic;
    assert_eq!(
        (
            traffic.first_byte.unwrap().0 - begun,
            traffic.last_byte.unwrap().0 - begun
        ),
        (3, 5)
    );
}
