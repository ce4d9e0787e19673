//! PostgreSQL: what real clients ask of Debian's server, plain and inside of TLS that begins in mid-stream.
//!
//! Required: "`DatabaseRequest` events with statement, result, counts, errors, durations; … TLS upgrades in mid-stream; … credentials never shown".

use std::process::{Command, Stdio};
use std::time::Duration;

use qtap_e2e::databases::{
    SECRET, agent, agent_with, all, ends, find, node_client, of_connection, postgres, shown, statements,
};
use qtap_e2e::{Certificates, Program, Transport, assert_healthy, programs, run_ok, scratch, venv};
use serde_json::json;

const fn sslmode(transport: Transport) -> &'static str {
    match transport {
        Transport::Plain => "disable",
        Transport::Tls => "require",
    }
}

fn psycopg(port: u16) -> Command {
    let mut command = Command::new(venv().join("bin/python"));
    command
        .arg(programs().join("postgres_client.py"))
        .args([&port.to_string(), SECRET]);
    command
}

/// "statement, result, counts, errors, durations; TLS upgrades in mid-stream" with `psql`, as both ends see it.
#[test]
fn psql_plain_and_tls() {
    let folder = scratch();
    let certificates = Certificates::make(folder.path());
    let server = postgres(folder.path(), &certificates);
    for transport in [Transport::Plain, Transport::Tls] {
        let agent = agent();
        let mut command = Command::new("psql");
        command
            .arg(format!(
                "host=127.0.0.1 port={} user=postgres dbname=postgres sslmode={}",
                server.port,
                sslmode(transport)
            ))
            .env("PGPASSWORD", SECRET)
            .args(["-c", "select 41 + 1 as answer, 'grüße' as word"])
            .args([
                "-c",
                "create temp table t (id int); insert into t values (1), (2); select id from t",
            ])
            .args(["-c", "select * from nowhere"])
            .args([
                "-c",
                &format!("create user bob password '{SECRET}'; drop user bob"),
            ]);
        let _its_error = qtap_e2e::run(&mut command);
        let (events, clients, servers) = ends(agent, server.port, 1);
        for capture in [&clients[0], &servers[0]] {
            assert_healthy(capture, transport);
            assert_eq!(capture.connection["l7Protocol"], "postgres");
            let requests = of_connection(&events, capture);
            assert_eq!(requests.len(), 4, "{requests:#?}");
            let select = find(&requests, "select 41 + 1 as answer, 'grüße' as word");
            assert_eq!(
                (&select["databaseType"], &select["database"], &select["user"]),
                (&json!("postgres"), &json!("postgres"), &json!("postgres"))
            );
            assert_eq!(
                (&select["resultType"], &select["resultCount"]),
                (&json!("CommandComplete"), &json!(1))
            );
            assert_eq!(
                (&select["columns"], &select["isError"]),
                (&json!(["answer", "word"]), &json!(false))
            );
            assert_eq!(select["transactionState"], "idle");
            assert!(select["duration"].as_u64().unwrap() >= 1 && select["ttfb_ms"].is_number());
            let query_bytes = "select 41 + 1 as answer, 'grüße' as word".len() + 6;
            let key = if select["direction"] == "ingress" {
                "bytesReceived"
            } else {
                "bytesSent"
            };
            assert_eq!(select[key], query_bytes);
            let several = find(
                &requests,
                "create temp table t (id int); insert into t values (1), (2); select id from t",
            );
            assert_eq!(
                several["responseSummary"],
                json!(["CREATE TABLE", "INSERT 0 2", "SELECT 2"])
            );
            assert_eq!(
                (&several["affectedCount"], &several["resultCount"]),
                (&json!(2), &json!(2))
            );
            let wrong = find(&requests, "select * from nowhere");
            assert_eq!(
                (&wrong["isError"], &wrong["errorCode"]),
                (&json!(true), &json!("42P01"))
            );
            find(&requests, "create user bob password '[REDACTED]'; drop user bob");
        }
    }
}

/// "prepared statements with their text; pipelining", COPY and errors with psycopg.
#[test]
fn psycopg_plain_and_tls() {
    let folder = scratch();
    let certificates = Certificates::make(folder.path());
    let server = postgres(folder.path(), &certificates);
    for transport in [Transport::Plain, Transport::Tls] {
        let agent = agent();
        let said = run_ok(psycopg(server.port).arg(sslmode(transport))).json();
        assert_eq!((&said["error"], &said["piped"]), (&json!("22012"), &json!(true)));
        let (events, clients, servers) = ends(agent, server.port, 1);
        for capture in [&clients[0], &servers[0]] {
            assert_healthy(capture, transport);
            let requests = of_connection(&events, capture);
            assert!(
                requests.iter().all(|request| request["outcome"] == "complete"),
                "{requests:#?}"
            );
            let of = |statement: &str| all(&requests, statement);
            let inserts = of("insert into py values ($1, $2)");
            let runs: Vec<_> = inserts
                .iter()
                .filter(|request| request["affectedCount"] == 1)
                .collect();
            assert_eq!(runs.len(), 3);
            assert!(
                runs.iter().any(|request| request["prepared"].is_string()),
                "{inserts:#?}"
            );
            assert_eq!(of("select id, name from py order by id")[0]["resultCount"], 3);
            assert_eq!(of("select 1/0")[0]["errorCode"], "22012");
            assert_eq!(
                of("select $1::int + 1000")
                    .iter()
                    .filter(|request| request["resultCount"] == 1)
                    .count(),
                100
            );
            let copy = of("copy py from stdin")[0];
            assert_eq!(copy["affectedCount"], 1000);
            assert_eq!(of("alter user postgres password '[REDACTED]'").len(), 1);
            assert_eq!(copy["clientName"], "e2e");
            let types = requests
                .iter()
                .map(|request| request["statement"].as_str().unwrap())
                .find(|statement| statement.starts_with("select true, false"));
            let rows = shown(&events, types.unwrap());
            // In text and in binary, both ends.
            assert_eq!(rows.len(), 4);
            assert!(
                rows[0].starts_with("t | f | 1 | -2 | 3 | 1.5 | -0.0025 | 12345.6780 | -0.00012 | 0.0000 | "),
                "{}",
                rows[0]
            );
            assert!(rows.iter().all(|row| *row == rows[0]), "{rows:#?}");
        }
        let numbered = shown(&events, "select id, name from py order by id");
        assert_eq!(numbered, ["0 | grüße\n1 | grüße\n2 | grüße\n"; 2], "in binary");
        let (client, server) = (
            of_connection(&events, &clients[0]),
            of_connection(&events, &servers[0]),
        );
        assert_eq!(statements(&client), statements(&server), "both ends saw the same");
    }
}

/// The same with pg of Node, inside of the TLS that is linked into it.
#[test]
fn pg_of_node_plain_and_tls() {
    let folder = scratch();
    let certificates = Certificates::make(folder.path());
    let server = postgres(folder.path(), &certificates);
    for transport in [Transport::Plain, Transport::Tls] {
        let agent = agent();
        let mut command = node_client("postgres_client.js", server.port);
        if transport == Transport::Tls {
            command.arg(&certificates.authority);
        }
        let said = run_ok(&mut command).json();
        assert_eq!(
            (&said["rows"][0]["name"], &said["error"]),
            (&json!("grüße"), &json!("22012"))
        );
        let (events, clients, servers) = ends(agent, server.port, 1);
        for capture in [&clients[0], &servers[0]] {
            assert_healthy(capture, transport);
            let requests = of_connection(&events, capture);
            let inserts: Vec<_> = requests
                .iter()
                .filter(|request| request["statement"] == "insert into js values ($1, $2)")
                .collect();
            assert_eq!(inserts.len(), 3, "{:#?}", statements(&requests));
            for insert in inserts {
                assert_eq!(
                    (
                        &insert["affectedCount"],
                        &insert["prepared"],
                        &insert["clientName"]
                    ),
                    (&json!(1), &json!("insert-js"), &json!("e2e"))
                );
            }
            let rows = find(&requests, "select id, name from js where id < $1 order by id");
            assert_eq!(
                (&rows["resultCount"], &rows["columns"]),
                (&json!(2), &json!(["id", "name"]))
            );
            assert_eq!(find(&requests, "select 1/$1::int")["errorCode"], "22012");
            find(&requests, "alter user postgres password '[REDACTED]'");
        }
        let (client, server) = (
            of_connection(&events, &clients[0]),
            of_connection(&events, &servers[0]),
        );
        assert_eq!(statements(&client), statements(&server), "both ends saw the same");
    }
}

/// Parameters, an event for each statement of a string, and no values, as the user wants.
#[test]
fn what_is_shown_is_as_configured() {
    let folder = scratch();
    let certificates = Certificates::make(folder.path());
    let server = postgres(folder.path(), &certificates);
    let script = "
import sys, psycopg
with psycopg.connect(host='127.0.0.1', port=int(sys.argv[1]), user='postgres', dbname='postgres', password=sys.argv[2],
                     sslmode='disable', autocommit=True) as connection:
    connection.execute('select %s::int + 1, %s::text, %b::int', [41, 'v4lue', 7])
    connection.execute(\"select 1; select 'v4lue'\")
";
    let run = || {
        let mut command = Command::new(venv().join("bin/python"));
        run_ok(command.args(["-c", script, &server.port.to_string(), SECRET]));
    };
    let statement = "select $1::int + 1, $2::text, $3::int";
    let agent = agent_with(&["postgres, parameters: true, split_statements: true"]);
    run();
    let (events, clients, servers) = ends(agent, server.port, 1);
    for capture in [&clients[0], &servers[0]] {
        assert_healthy(capture, Transport::Plain);
        let requests = of_connection(&events, capture);
        assert_eq!(statements(&requests), [statement, "select 1", "select 'v4lue'"]);
        assert_eq!(requests[0]["parameters"], json!(["41", "v4lue", "7"]));
        assert_eq!(requests[2]["responseSummary"], json!(["SELECT 1"]));
    }
    assert_eq!(shown(&events, "select 'v4lue'"), ["v4lue\n"; 2]);
    let agent = agent_with(&["postgres, values: none, parameters: true"]);
    run();
    let (events, clients, servers) = ends(agent, server.port, 1);
    for capture in [&clients[0], &servers[0]] {
        let requests = of_connection(&events, capture);
        assert_eq!(
            statements(&requests),
            ["select $1::int + ?, $2::text, $3::int", "select ?; select ?"]
        );
        assert!(requests[0]["parameters"].is_null(), "they are values too");
    }
    for event in events.iter() {
        assert!(!event.to_string().contains("v4lue"), "{event:#}");
    }
}

/// A session older than the agent, and one with a statement that was prepared before.
#[test]
fn postgres_is_recognised_in_the_middle() {
    let folder = scratch();
    let certificates = Certificates::make(folder.path());
    let server = postgres(folder.path(), &certificates);
    let mut command = psycopg(server.port);
    let mut program = Program::start(command.args(["disable", "--hold"]).stdin(Stdio::piped()));
    assert_eq!(program.line(Duration::from_secs(20)), "held");
    let agent = agent();
    program.say("go");
    let finished = program.finish(Duration::from_secs(20));
    assert!(finished.status.success(), "{}", finished.errors());
    let (events, clients, servers) = ends(agent, server.port, 1);
    for capture in [&clients[0], &servers[0]] {
        let requests = of_connection(&events, capture);
        let error = requests
            .iter()
            .find(|request| request["statement"] == "select 1/0")
            .unwrap();
        assert_eq!(
            (&error["outcome"], &error["errorCode"]),
            (&json!("complete"), &json!("22012"))
        );
        let unproved = requests
            .iter()
            .filter(|request| request["outcome"] == "incomplete");
        assert!(unproved.count() <= 2, "{requests:#?}");
    }
}
