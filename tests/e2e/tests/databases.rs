//! Databases: what real clients ask of real servers, plain and inside of TLS.
//!
//! Issue §5: "`DatabaseRequest` events with statement, result, counts, errors, durations; … pipelining; …; credentials never shown".

use std::process::{Command, Stdio};
use std::time::Duration;

use qtap_e2e::databases::{SECRET, agent, ends, find, of_connection, postgres, redis, statements};
use qtap_e2e::{
    Certificates, Program, Transport, assert_healthy, free_port, node_clients, programs, run_ok, runtime,
    scratch, venv,
};
use serde_json::{Value, json};

/// "statement, result, counts, errors, durations" with `redis-cli`, as both ends see it.
#[test]
fn redis_cli_plain_and_tls() {
    let folder = scratch();
    let certificates = Certificates::make(folder.path());
    let server = redis(folder.path(), &certificates);
    for transport in [Transport::Plain, Transport::Tls] {
        let agent = agent();
        let port = if transport == Transport::Plain {
            server.plain
        } else {
            server.tls
        };
        let mut command = Command::new("redis-cli");
        command
            .args(["-p", &port.to_string(), "-3"])
            .env("REDISCLI_AUTH", SECRET);
        if transport == Transport::Tls {
            command.arg("--tls").arg("--cacert").arg(&certificates.authority);
        }
        let mut program = Program::start(command.stdin(Stdio::piped()));
        for line in [
            "SET cli:key value",
            "HSET cli:hash field-1 value-1 field-2 value-2",
            "HGETALL cli:hash",
            "INCR cli:hash",
            "NOSUCH a b",
            "ACL SETUSER bob on >s3cr3t-horse-battery",
            "CONFIG GET requirepass",
            "QUIT",
        ] {
            program.say(line);
        }
        let finished = program.finish(Duration::from_secs(20));
        assert!(finished.status.success(), "{}", finished.errors());
        let (events, clients, servers) = ends(agent, port, 1);
        for capture in [&clients[0], &servers[0]] {
            assert_healthy(capture, transport);
            assert_eq!(capture.connection["l7Protocol"], "redis");
            let requests = of_connection(&events, capture);
            let set = find(&requests, "SET cli:key value");
            assert_eq!(set["databaseType"], "redis");
            assert_eq!(
                (&set["resultType"], &set["isError"], &set["outcome"]),
                (&json!("simple_string"), &json!(false), &json!("complete"))
            );
            assert!(
                set["duration"].as_u64().unwrap() >= 1
                    && set["ttfb_ms"].is_number()
                    && set["total_ms"].is_number()
            );
            let sent = "*3\r\n$3\r\nSET\r\n$7\r\ncli:key\r\n$5\r\nvalue\r\n".len();
            let (request, response) = if set["direction"] == "ingress" {
                ("bytesReceived", "bytesSent")
            } else {
                ("bytesSent", "bytesReceived")
            };
            assert_eq!((&set[request], &set[response]), (&json!(sent), &json!(5)));
            let all = find(&requests, "HGETALL cli:hash");
            assert_eq!(
                (&all["resultType"], &all["resultCount"]),
                (&json!("map"), &json!(2))
            );
            let wrong = find(&requests, "INCR cli:hash");
            assert_eq!(
                (&wrong["isError"], &wrong["errorCode"]),
                (&json!(true), &json!("WRONGTYPE"))
            );
            assert!(
                wrong["errorMsg"]
                    .as_str()
                    .unwrap()
                    .contains("wrong kind of value")
            );
            assert_eq!(find(&requests, "NOSUCH a b")["errorCode"], "ERR");
            find(&requests, "ACL SETUSER bob [REDACTED] [REDACTED]");
            assert_eq!(find(&requests, "CONFIG GET requirepass")["resultType"], "map");
        }
        let (client, server) = (
            of_connection(&events, &clients[0]),
            of_connection(&events, &servers[0]),
        );
        assert_eq!(statements(&client), statements(&server), "both ends saw the same");
        let logged = events
            .iter()
            .filter(|event| event["msg"] == "database transaction");
        let hgetall: Vec<_> = logged
            .filter(|event| event["command"]["name"] == "HGETALL")
            .collect();
        assert_eq!(hgetall.len(), 2);
        assert_eq!(
            hgetall[0]["result"]["value"],
            "{field-1, value-1, field-2, value-2}"
        );
    }
}

/// "pipelining", transactions, publish and subscribe, long values, with redis-py.
#[test]
fn redis_py_plain_and_tls_in_both_versions_of_the_protocol() {
    let folder = scratch();
    let certificates = Certificates::make(folder.path());
    let server = redis(folder.path(), &certificates);
    for (transport, resp) in [
        (Transport::Plain, "2"),
        (Transport::Plain, "3"),
        (Transport::Tls, "2"),
        (Transport::Tls, "3"),
    ] {
        let agent = agent();
        let port = if transport == Transport::Plain {
            server.plain
        } else {
            server.tls
        };
        let mut command = python_client(port, resp);
        if transport == Transport::Tls {
            command.arg("--ca").arg(&certificates.authority);
        }
        let said = run_ok(&mut command).json();
        assert_eq!(said["got"], "grüße");
        assert_eq!(said["echoed"], true);
        // The second connection publishes while the first is subscribed.
        let (events, clients, servers) = ends(agent, port, 2);
        for side in [&clients, &servers] {
            for capture in side {
                assert_healthy(capture, transport);
                assert_eq!(capture.connection["l7Protocol"], "redis");
            }
            let requests = of_connection(&events, &side[0]);
            assert!(
                requests.iter().all(|request| request["outcome"] == "complete"),
                "{requests:#?}"
            );
            let set = find(&requests, "SET py:key grüße");
            assert_eq!(
                (&set["database"], &set["clientName"]),
                (&json!("2"), &json!("e2e"))
            );
            assert_eq!(find(&requests, "LRANGE py:list 0 -1")["resultCount"], 3);
            assert_eq!(
                find(&requests, "INCRBY py:list 1")["errorMsg"],
                format!(
                    "WRONGTYPE {}",
                    said["error"].as_str().unwrap().trim_start_matches("WRONGTYPE ")
                )
            );
            let echoed: Vec<_> = requests
                .iter()
                .filter(|request| request["statement"].as_str().unwrap().starts_with("ECHO n"))
                .collect();
            assert_eq!(echoed.len(), 200);
            let exec = find(&requests, "EXEC");
            assert_eq!(exec["resultCount"], 2);
            let big = requests
                .iter()
                .find(|request| request["statement"].as_str().unwrap().starts_with("SET py:big "))
                .unwrap();
            assert_eq!(big["truncated"], true);
            assert!(big["statement"].as_str().unwrap().len() <= (64 << 10) + 2);
            let get = find(&requests, "GET py:big");
            assert!(
                get["bytesSent"]
                    .as_u64()
                    .unwrap()
                    .max(get["bytesReceived"].as_u64().unwrap())
                    > 300_000
            );
            find(&requests, "CONFIG SET requirepass [REDACTED]");
            let subscribe = find(&requests, "SUBSCRIBE py:one py:two");
            assert_eq!(
                (&subscribe["outcome"], &subscribe["isError"]),
                (&json!("complete"), &json!(false))
            );
        }
    }
}

/// The same with the client for Node, inside of the TLS that is linked into it.
#[test]
fn redis_of_node_plain_and_tls() {
    let folder = scratch();
    let certificates = Certificates::make(folder.path());
    let server = redis(folder.path(), &certificates);
    for (transport, port) in [(Transport::Plain, server.plain), (Transport::Tls, server.tls)] {
        let agent = agent();
        let mut command = node("redis_client.js", port);
        if transport == Transport::Tls {
            command.arg(&certificates.authority);
        }
        let said = run_ok(&mut command).json();
        assert_eq!((&said["got"], &said["echoed"]), (&json!("grüße"), &json!(true)));
        let (events, clients, servers) = ends(agent, port, 1);
        for capture in [&clients[0], &servers[0]] {
            assert_healthy(capture, transport);
            assert_eq!(capture.connection["l7Protocol"], "redis");
            let requests = of_connection(&events, capture);
            assert!(
                requests.iter().all(|request| request["outcome"] == "complete"),
                "{requests:#?}"
            );
            let set = find(&requests, "SET js:key grüße");
            assert_eq!(
                (&set["database"], &set["clientName"]),
                (&json!("3"), &json!("e2e"))
            );
            assert_eq!(find(&requests, "INCR js:list")["errorCode"], "WRONGTYPE");
            assert!(said["error"].as_str().unwrap().starts_with("WRONGTYPE"));
            let echoed: Vec<_> = statements(&requests)
                .into_iter()
                .filter(|statement| statement.starts_with("ECHO n"))
                .collect();
            assert_eq!(echoed.len(), 100);
            assert_eq!(find(&requests, "EXEC")["resultCount"], 2);
            find(&requests, "CONFIG SET requirepass [REDACTED]");
        }
        let (client, server) = (
            of_connection(&events, &clients[0]),
            of_connection(&events, &servers[0]),
        );
        assert_eq!(statements(&client), statements(&server), "both ends saw the same");
    }
}

const fn sslmode(transport: Transport) -> &'static str {
    match transport {
        Transport::Plain => "disable",
        Transport::Tls => "require",
    }
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
            let of = |statement: &str| -> Vec<&&Value> {
                requests
                    .iter()
                    .filter(|request| request["statement"] == statement)
                    .collect()
            };
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
        }
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
        let mut command = node("postgres_client.js", server.port);
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

fn psycopg(port: u16) -> Command {
    let mut command = Command::new(venv().join("bin/python"));
    command
        .arg(programs().join("postgres_client.py"))
        .args([&port.to_string(), SECRET]);
    command
}

/// A connection older than the agent: what passes from then on, each result with its own command.
#[test]
fn redis_is_recognised_in_the_middle() {
    let folder = scratch();
    let certificates = Certificates::make(folder.path());
    let server = redis(folder.path(), &certificates);
    let mut command = python_client(server.plain, "2");
    let mut program = Program::start(command.arg("--hold").stdin(Stdio::piped()));
    assert_eq!(program.line(Duration::from_secs(20)), "held");
    let agent = agent();
    program.say("go");
    let finished = program.finish(Duration::from_secs(20));
    assert!(finished.status.success(), "{}", finished.errors());
    let (events, clients, servers) = ends(agent, server.plain, 2);
    for side in [&clients, &servers] {
        let requests = of_connection(&events, &side[0]);
        let list = find(&requests, "LRANGE py:list 0 -1");
        assert_eq!(
            (&list["outcome"], &list["resultCount"]),
            (&json!("complete"), &json!(3))
        );
        // Until the order was proved, no result is given to a command.
        let unproved = requests
            .iter()
            .filter(|request| request["outcome"] == "incomplete");
        assert!(unproved.count() <= 3, "{requests:#?}");
    }
}

/// "never mislabels": binary protocols on the port of Redis stay `other`.
#[test]
fn other_bytes_on_a_port_of_redis_are_other() {
    let agent = agent();
    let port = free_port();
    let script = "
import os, socket, sys, threading
listener = socket.create_server(('127.0.0.1', int(sys.argv[1])))
def serve():
    for _ in range(20):
        peer, _ = listener.accept()
        peer.sendall(os.urandom(400))
        while peer.recv(4096): pass
        peer.close()
thread = threading.Thread(target=serve); thread.start()
for _ in range(20):
    with socket.create_connection(('127.0.0.1', int(sys.argv[1]))) as client:
        client.sendall(b'*' + os.urandom(300)); client.recv(4096)
thread.join()
";
    run_ok(Command::new("python3").args(["-c", script, &port.to_string()]));
    let (events, clients, servers) = ends(agent, port, 20);
    for capture in clients.iter().chain(&servers) {
        assert_eq!(
            capture.connection["l7Protocol"], "other",
            "{:#}",
            capture.connection
        );
        assert!(of_connection(&events, capture).is_empty());
    }
}

fn python_client(port: u16, resp: &str) -> Command {
    let mut command = Command::new(venv().join("bin/python"));
    command
        .arg(programs().join("redis_client.py"))
        .args([&port.to_string(), SECRET, "--resp", resp]);
    command
}

fn node(program: &str, port: u16) -> Command {
    let mut command = Command::new(runtime("node-22").join("bin/node"));
    command
        .arg(programs().join(program))
        .args([&port.to_string(), SECRET])
        .env("NODE_PATH", node_clients());
    command
}
