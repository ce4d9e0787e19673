//! MySQL and MariaDB: what real clients ask of Debian's MariaDB server, plain, compressed, and inside of TLS that begins in mid-stream.

use std::process::{Command, Stdio};
use std::time::Duration;

use qtap_e2e::databases::{
    SECRET, agent, agent_with, all, ends, find, mariadb, node_client, of_connection, shown, statements,
};
use qtap_e2e::{
    Capture, Certificates, Events, Program, Transport, assert_healthy, programs, run_ok, scratch, venv,
};
use serde_json::{Value, json};

/// `request` of a finished command: kind of result, rows returned, rows changed.
fn outcome(request: &Value) -> (&str, Option<u64>, Option<u64>) {
    assert_eq!(request["outcome"], "complete", "{request:#}");
    assert_eq!(request["databaseType"], "mysql");
    assert!(request["duration"].as_u64().is_some_and(|duration| duration >= 1));
    (
        request["resultType"].as_str().unwrap(),
        request["resultCount"].as_u64(),
        request["affectedCount"].as_u64(),
    )
}

/// Both ends of one connection, whose commands are the same.
fn both_ends<'a>(
    events: &'a Events,
    client: &Capture,
    server: &Capture,
    transport: Transport,
) -> [Vec<&'a Value>; 2] {
    for capture in [client, server] {
        assert_healthy(capture, transport);
        assert_eq!(capture.connection["l7Protocol"], "mysql");
    }
    let both = [of_connection(events, client), of_connection(events, server)];
    assert_eq!(
        statements(&both[0]),
        statements(&both[1]),
        "both ends saw the same"
    );
    both
}

/// "statement, result, counts, errors, durations" with the client of MariaDB.
#[test]
fn mariadb_client_plain_compressed_and_tls() {
    let folder = scratch();
    let certificates = Certificates::make(folder.path());
    let server = mariadb(folder.path(), &certificates);
    let authority = format!("--ssl-ca={}", certificates.authority.display());
    for (transport, options) in [
        (Transport::Plain, ["--skip-ssl", "--skip-compress"]),
        (Transport::Plain, ["--skip-ssl", "--compress"]),
        (Transport::Tls, [authority.as_str(), "--skip-compress"]),
        (Transport::Tls, [authority.as_str(), "--compress"]),
    ] {
        let agent = agent();
        let mut command = Command::new("mariadb");
        command
            .args(["--no-defaults", "--host=127.0.0.1", "--user=alice", "--force"])
            .args(options)
            .arg(format!("--port={}", server.port))
            .env("MYSQL_PWD", SECRET)
            .stdin(Stdio::piped());
        let mut program = Program::start(command.arg("shop"));
        for line in [
            "create or replace table cli (id int auto_increment primary key, name text);",
            "insert into cli (name) values ('grüße'), (null);",
            "select id, name from cli;",
            "select * from nowhere;",
            "use mysql",
            "select seq from shop.cli, seq_1_to_3000;",
            &format!("create or replace user bob identified by '{SECRET}';"),
            "show grants;",
        ] {
            program.say(line);
        }
        program.close_input();
        let finished = program.finish(Duration::from_secs(20));
        assert!(finished.errors().contains("nowhere"), "{}", finished.errors());
        let (events, clients, servers) = ends(agent, server.port, 1);
        for requests in both_ends(&events, &clients[0], &servers[0], transport) {
            let insert = find(&requests, "insert into cli (name) values ('grüße'), (null)");
            assert_eq!(outcome(insert), ("OK", None, Some(2)));
            assert_eq!(
                (
                    &insert["insertId"],
                    &insert["database"],
                    &insert["user"],
                    &insert["clientName"]
                ),
                (&json!(1), &json!("shop"), &json!("alice"), &json!("mysql"))
            );
            let select = find(&requests, "select id, name from cli");
            assert_eq!(outcome(select), ("ResultSet", Some(2), None));
            assert_eq!(select["columns"], json!(["id", "name"]));
            let error = find(&requests, "select * from nowhere");
            assert_eq!(outcome(error).0, "Error");
            assert_eq!(
                (&error["isError"], &error["errorCode"], &error["errorMsg"]),
                (
                    &json!(true),
                    &json!("1146"),
                    &json!("Table 'shop.nowhere' doesn't exist")
                )
            );
            assert_eq!(error["responseSummary"], json!(["ERROR 1146 (42S02)"]));
            let many = find(&requests, "select seq from shop.cli, seq_1_to_3000");
            assert_eq!(outcome(many), ("ResultSet", Some(6000), None));
            assert_eq!(many["database"], "mysql");
            find(&requests, "create or replace user bob identified by '[REDACTED]'");
        }
        let rows = shown(&events, "select id, name from cli");
        assert_eq!(rows, ["1 | grüße\n2 | NULL\n"; 2]);
        let grants = events
            .iter()
            .filter(|event| event["command"]["query"] == "show grants");
        for event in grants {
            assert_eq!(
                event["result"]["value"],
                Value::Null,
                "hashes of passwords are not shown"
            );
        }
    }
}

/// Several results, a file, a statement longer than a packet, a login that fails, with PyMySQL.
#[test]
fn pymysql_plain_and_tls() {
    let folder = scratch();
    let certificates = Certificates::make(folder.path());
    let server = mariadb(folder.path(), &certificates);
    for transport in [Transport::Plain, Transport::Tls] {
        let agent = agent();
        let mut command = pymysql(server.port);
        if transport == Transport::Tls {
            command.arg("--ca").arg(&certificates.authority);
        }
        let said = run_ok(&mut command).json();
        assert_eq!(said["rows"], json!([[1, "grüße"], [2, null], [3, "three"]]));
        assert_eq!(
            (&said["several"], &said["loaded"], &said["long"]),
            (&json!([3, 3, 7]), &json!(1000), &json!(17 << 20))
        );
        let (events, clients, servers) = ends(agent, server.port, 2);
        for requests in both_ends(&events, &clients[0], &servers[0], transport) {
            let rows = find(&requests, "select id, name from py order by id");
            assert_eq!(outcome(rows), ("ResultSet", Some(3), None));
            assert_eq!(rows["clientName"], "e2e");
            let third = find(&requests, "insert into py (name) values ('three')");
            assert_eq!(outcome(third), ("OK", None, Some(1)));
            assert_eq!((&third["insertId"], &said["inserted"]), (&json!(3), &json!(3)));
            let error = find(&requests, "select * from nowhere");
            assert_eq!(said["error"], json!([1146, error["errorMsg"]]));
            let several = find(
                &requests,
                "update py set name = 'x'; select count(*) from py; select 7",
            );
            assert_eq!(outcome(several), ("ResultSet", Some(2), Some(3)));
            assert_eq!(
                several["responseSummary"],
                json!(["OK 3", "ResultSet 1", "ResultSet 1"])
            );
            let starts = |start: &str| {
                let is_one = |request: &&&Value| request["statement"].as_str().unwrap().starts_with(start);
                *requests.iter().find(is_one).unwrap()
            };
            let load = starts("load data local infile");
            assert_eq!(outcome(load), ("OK", None, Some(1000)));
            let sent = |request: &Value| {
                let side = if request["direction"] == "ingress" {
                    "bytesReceived"
                } else {
                    "bytesSent"
                };
                request[side].as_u64().unwrap()
            };
            assert!(sent(load) > 12_000, "{load:#}");
            let long = starts("select length('xxx");
            assert_eq!(
                (outcome(long), &long["truncated"]),
                (("ResultSet", Some(1), None), &json!(true))
            );
            assert!(sent(long) > 17 << 20, "{long:#}");
            let second = find(&requests, "select 2");
            assert_eq!(
                (&second["transactionState"], &second["database"]),
                (&json!("transaction"), &json!("mysql"))
            );
            find(&requests, "COM_INIT_DB mysql");
            find(&requests, "COM_PING");
            find(&requests, "set password = password('[REDACTED]')");
            find(&requests, "select length('[REDACTED]') as password");
        }
        for capture in [&clients[1], &servers[1]] {
            let refused = find(&of_connection(&events, capture), "COM_CONNECT");
            assert_eq!(
                (&refused["errorCode"], &refused["user"], &said["refused"]),
                (&json!("1045"), &json!("alice"), &json!(1045))
            );
        }
    }
}

/// Prepared statements by their text, values in binary, a change of user, with mysql2 of Node.
#[test]
fn mysql2_prepares_plain_compressed_and_tls() {
    let folder = scratch();
    let certificates = Certificates::make(folder.path());
    let server = mariadb(folder.path(), &certificates);
    for (transport, name) in [
        (Transport::Plain, "plain"),
        (Transport::Plain, "compressed"),
        (Transport::Tls, "tls"),
    ] {
        let agent = agent();
        let mut command = node_client("mysql_client.js", server.port);
        command.arg(name).arg(&certificates.authority);
        let said = run_ok(&mut command).json();
        assert_eq!(
            (&said["updated"], &said["many"], &said["piped"], &said["last"]),
            (&json!(3), &json!(5000), &json!(true), &json!("mysql"))
        );
        let (events, clients, servers) = ends(agent, server.port, 1);
        let select = "select id, name, price, born, weight from js where id < ? order by id";
        for requests in both_ends(&events, &clients[0], &servers[0], transport) {
            let inserts = all(
                &requests,
                "insert into js (name, price, born, weight) values (?, ?, ?, ?)",
            );
            let kinds: Vec<_> = inserts.iter().map(|request| outcome(request)).collect();
            assert_eq!(
                kinds,
                [
                    ("PrepareOK", None, None),
                    ("OK", None, Some(1)),
                    ("OK", None, Some(1)),
                    ("OK", None, Some(1))
                ]
            );
            let ids: Vec<_> = inserts[1..]
                .iter()
                .map(|request| request["insertId"].clone())
                .collect();
            assert_eq!(
                (json!(ids), &inserts[1]["prepared"].is_string()),
                (said["inserted"].clone(), &true)
            );
            assert_eq!(
                inserts[1]["parameters"],
                json!(["grüße", "1.50", "2026-11-28 10:20:30.000007", "2.5"])
            );
            assert_eq!(inserts[2]["parameters"][0], "NULL");
            // Closed and prepared anew.
            let selects: Vec<_> = all(&requests, select).into_iter().map(outcome).collect();
            assert_eq!(
                selects,
                [
                    ("PrepareOK", None, None),
                    ("ResultSet", Some(2), None),
                    ("PrepareOK", None, None),
                    ("ResultSet", Some(1), None)
                ]
            );
            let many = all(&requests, "select seq, repeat(?, 100) as text from seq_1_to_5000");
            assert_eq!(outcome(many[1]), ("ResultSet", Some(5000), None));
            assert_eq!(many[1]["columns"], json!(["seq", "text"]));
            let error = find(&requests, "select * from nowhere");
            assert_eq!(said["error"], json!([1146, "42S02"]));
            assert_eq!(error["errorCode"], "1146");
            let piped = all(&requests, "select ? + 1000 as n");
            let runs = piped
                .iter()
                .filter(|request| request["resultType"] == "ResultSet");
            assert_eq!(runs.count(), 50);
            let changed = all(&requests, "alter user alice identified by '[REDACTED]'");
            assert!(
                changed.iter().any(|request| request["resultType"] == "OK"),
                "{changed:#?}"
            );
            find(&requests, "COM_CHANGE_USER alice");
            assert_eq!(find(&requests, "select database() as name")["database"], "mysql");
        }
        let shown = shown(&events, select);
        let row = |id: u32, name: &str| format!("{id} | {name} | 1.50 | 2026-11-28 10:20:30.000007 | 2.5\n");
        let first = format!("{}{}", row(1, "grüße"), row(2, "NULL"));
        assert_eq!(
            shown.iter().filter(|text| **text == first).count(),
            2,
            "{shown:#?}"
        );
    }
}

/// Pipelines, prepared statements that are run before their id is known, many rows in one command, extended metadata, with the
/// connector of MariaDB for Node.
#[test]
fn connector_of_mariadb_plain_and_tls() {
    let folder = scratch();
    let certificates = Certificates::make(folder.path());
    let server = mariadb(folder.path(), &certificates);
    for transport in [Transport::Plain, Transport::Tls] {
        let agent = agent();
        let mut command = node_client("mariadb_client.js", server.port);
        if transport == Transport::Tls {
            command.arg(&certificates.authority);
        }
        let said = run_ok(&mut command).json();
        assert_eq!(
            said,
            json!({"inserted": 2000, "rows": 2, "again": 3, "missing": 1146, "piped": true})
        );
        let (events, clients, servers) = ends(agent, server.port, 1);
        for requests in both_ends(&events, &clients[0], &servers[0], transport) {
            let inserts = all(&requests, "insert into bulk (name, at) values (?, ?)");
            let changed: u64 = inserts.iter().filter_map(|request| outcome(request).2).sum();
            assert_eq!(changed, 2000, "{inserts:#?}");
            assert!(inserts.len() < 10, "in bulk");
            let selects = all(
                &requests,
                "select id, name, at from bulk where id <= ? order by id",
            );
            let rows: Vec<_> = selects.iter().filter_map(|request| outcome(request).1).collect();
            assert_eq!(rows, [2, 3]);
            let columns = json!(["id", "name", "at"]);
            assert_eq!(
                selects
                    .iter()
                    .filter(|request| request["columns"] == columns)
                    .count(),
                2,
                "{selects:#?}"
            );
            assert!(
                inserts
                    .iter()
                    .chain(&selects)
                    .any(|request| request["prepared"] == "-1"),
                "one is run before its id is known"
            );
            assert_eq!(find(&requests, "select * from nowhere")["errorCode"], "1146");
            for number in 0..100 {
                let piped = find(&requests, &format!("select {number} + 1000 as n"));
                assert_eq!(outcome(piped), ("ResultSet", Some(1), None));
            }
        }
        let shown = events.iter().filter(|event| {
            event["command"]["query"]
                .as_str()
                .is_some_and(|query| query.ends_with("+ 1000 as n"))
        });
        for event in shown {
            let query = event["command"]["query"].as_str().unwrap();
            let number: u32 = query.split(' ').nth(1).unwrap().parse().unwrap();
            assert_eq!(
                event["result"]["value"],
                format!("{}\n", number + 1000),
                "its own result"
            );
        }
    }
}

/// "credentials never shown", nor any other value, where the user wants none.
#[test]
fn values_are_hidden() {
    let folder = scratch();
    let certificates = Certificates::make(folder.path());
    let server = mariadb(folder.path(), &certificates);
    let agent = agent_with(&["mysql, values: none, parameters: true"]);
    let mut command = Command::new("mariadb");
    command
        .args([
            "--no-defaults",
            "--host=127.0.0.1",
            "--user=alice",
            "--skip-ssl",
            "--force",
        ])
        .arg(format!("--port={}", server.port))
        .args([
            "--execute",
            "select 'v4lue', 4711 as n; select * from v4lue.t where a = 'v4lue'",
            "shop",
        ])
        .env("MYSQL_PWD", SECRET);
    let _its_error = qtap_e2e::run(&mut command);
    let (events, clients, servers) = ends(agent, server.port, 1);
    for requests in both_ends(&events, &clients[0], &servers[0], Transport::Plain) {
        let select = find(&requests, "select ?, ? as n");
        assert_eq!(outcome(select), ("ResultSet", Some(1), None));
        let error = find(&requests, "select * from v4lue.t where a = ?");
        assert!(
            error["errorMsg"].as_str().unwrap().contains("[REDACTED]"),
            "{error:#}"
        );
    }
    assert!(shown(&events, "select ?, ? as n").is_empty(), "no rows");
    for event in events.iter() {
        assert!(!event.to_string().contains("4711"), "{event:#}");
    }
}

/// A session older than the agent.
#[test]
fn mysql_is_recognised_in_the_middle() {
    let folder = scratch();
    let certificates = Certificates::make(folder.path());
    let server = mariadb(folder.path(), &certificates);
    let mut command = pymysql(server.port);
    let mut program = Program::start(command.arg("--hold").stdin(Stdio::piped()));
    assert_eq!(program.line(Duration::from_secs(20)), "held");
    let agent = agent();
    program.say("go");
    let finished = program.finish(Duration::from_secs(30));
    assert!(finished.status.success(), "{}", finished.errors());
    let (events, clients, servers) = ends(agent, server.port, 2);
    for capture in [&clients[0], &servers[0]] {
        assert_eq!(capture.connection["l7Protocol"], "mysql");
        let requests = of_connection(&events, capture);
        let rows = find(&requests, "select id, name from py order by id");
        assert_eq!(outcome(rows), ("ResultSet", Some(3), None));
        assert_eq!(find(&requests, "select * from nowhere")["errorCode"], "1146");
        let unproved = requests
            .iter()
            .filter(|request| request["outcome"] == "incomplete");
        assert!(unproved.count() <= 1, "{requests:#?}");
    }
}

fn pymysql(port: u16) -> Command {
    let mut command = Command::new(venv().join("bin/python"));
    command
        .arg(programs().join("mysql_client.py"))
        .args([&port.to_string(), SECRET]);
    command
}
