//! `qtap check`: a verdict on one command or one process.
//!
//! Required: "Exit code 0 healthy, 1 degraded or blind, 2 could not run."

use std::process::{Command, Stdio};
use std::time::Duration;

use qtap_e2e::{
    Certificates, Curl, Program, PythonServer, check, client, one, programs, python, qtap_command, run,
    scratch, venv,
};

/// The only document of `--json`.
fn connections(verdict: &qtap_e2e::Verdict) -> (serde_json::Value, Vec<serde_json::Value>) {
    let documents = verdict.json();
    let document = one(&documents).clone();
    let connections = document["connections"].as_array().cloned().unwrap_or_default();
    (document, connections)
}

/// "`qtap check -- curl …` healthy": every step in words, and the exit code 0.
#[test]
fn curl_is_healthy() {
    let folder = scratch();
    let certificates = Certificates::make(folder.path());
    let server = PythonServer::https(folder.path(), &certificates, &[]);
    let url = format!("https://check.qtap.test:{}/text/100", server.port);
    let verdict = check(
        &[],
        &Curl::new(folder.path(), &url)
            .authority(&certificates.authority)
            .command(),
    );
    assert_eq!(
        verdict.code,
        Some(0),
        "{}\n{}",
        verdict.text,
        verdict.finished.errors()
    );
    for step in [
        "socket",
        "process",
        "tls_hello",
        "tls_probe",
        "protocol",
        "data",
        "bytes",
        "transactions",
    ] {
        let line = verdict
            .text
            .lines()
            .find(|line| line.trim_start().trim_start_matches(['✓', ' ']).starts_with(step));
        assert!(
            line.is_some_and(|line| line.contains('✓')),
            "{step}\n{}",
            verdict.text
        );
    }
    for part in [
        "check.qtap.test",
        "/usr/bin/curl",
        "HEALTHY",
        "verdict: healthy, 1 connection",
    ] {
        assert!(verdict.text.contains(part), "{part}\n{}", verdict.text);
    }
}

/// "`--json`", for several connections of a shell's children, and the command's own exit code and input.
#[test]
fn a_shell_script_is_judged_with_all_its_children() {
    let folder = scratch();
    let certificates = Certificates::make(folder.path());
    let tls = PythonServer::https(folder.path(), &certificates, &[]);
    let plain = PythonServer::http(folder.path());
    let mut command = Command::new("/bin/sh");
    let script = format!(
        "wget -q -4 --no-proxy -O /dev/null --ca-certificate={} https://localhost:{}/text/5 && curl -sS --noproxy '*' http://127.0.0.1:{}/text/6; exit 7",
        certificates.authority.display(),
        tls.port,
        plain.port
    );
    command.args(["-c", &script]);
    let verdict = check(&["--json"], &command);
    assert_eq!(
        verdict.code,
        Some(0),
        "{}\n{}",
        verdict.text,
        verdict.finished.errors()
    );
    let (document, connections) = connections(&verdict);
    assert_eq!(document["status"], "healthy");
    assert_eq!(document["commandExitCode"], 7);
    assert_eq!(connections.len(), 2, "{document:#}");
    let exes: Vec<_> = connections
        .iter()
        .map(|connection| connection["exe"].as_str().unwrap())
        .collect();
    assert_eq!(exes, ["/usr/bin/wget", "/usr/bin/curl"]);
    assert_eq!(connections[0]["sni"], "localhost");
    assert_eq!(connections[0]["transactions"][0], "GET /text/5 200");
    assert_eq!(connections[1]["health"]["checks"]["tls_probe"], "n/a");
}

/// "for a program with an unsupported TLS stack it says `blind` with the reason": TLS in pure Python.
#[test]
fn an_unsupported_tls_stack_is_blind_with_the_reason() {
    let folder = scratch();
    let certificates = Certificates::make_rsa(folder.path());
    let server = PythonServer::https(folder.path(), &certificates, &[]);
    let mut command = Command::new(venv().join("bin/python"));
    command
        .arg(programs().join("tlslite_client.py"))
        .args([&server.port.to_string(), "/bytes/1000"]);
    let verdict = check(&["--json"], &command);
    let (document, connections) = connections(&verdict);
    assert_eq!(document["commandExitCode"], 0, "{}", verdict.finished.errors());
    assert_eq!(verdict.code, Some(1), "{document:#}");
    let connection = one(&connections);
    assert_eq!(document["status"], "blind");
    assert_eq!(connection["health"]["status"], "blind");
    assert_eq!(connection["health"]["checks"]["tls_hello"], "ok");
    assert_eq!(connection["health"]["checks"]["tls_probe"], "missing");
    assert_eq!(connection["sni"], "pure.qtap.test");
    let reasons = connection["health"]["reasons"].as_array().unwrap();
    assert!(
        reasons
            .iter()
            .any(|reason| reason["code"] == "tls_library_unsupported"),
        "{document:#}"
    );
    assert!(
        reasons
            .iter()
            .all(|reason| reason["remedy"].as_str().is_some_and(|remedy| !remedy.is_empty()))
    );
    // What was not read was nevertheless counted.
    assert_eq!(connection["health"]["checks"]["bytes"], "ok", "{document:#}");
    // The same in words.
    let verdict = check(&[], &command);
    assert_eq!(verdict.code, Some(1));
    for part in [
        "BLIND",
        "tls_library_unsupported",
        "what to do:",
        "verdict: blind",
    ] {
        assert!(verdict.text.contains(part), "{part}\n{}", verdict.text);
    }
}

/// "1 degraded or blind": bytes that no call shows make a connection degraded.
#[test]
fn unreadable_bytes_are_degraded() {
    let folder = scratch();
    // A server under check: it sends by sendfile to a client that the check starts along with it.
    let script = format!(
        "exec 3<>{at}/fifo; /usr/bin/python3 {server} --log {at}/log <&3 >{at}/port & \
         while [ ! -s {at}/port ]; do sleep 0.05; done; \
         curl -sS --noproxy '*' -o /dev/null http://127.0.0.1:$(cat {at}/port)/sendfile/5000; kill $!; wait",
        at = folder.path().display(),
        server = programs().join("server.py").display(),
    );
    assert!(
        Command::new("mkfifo")
            .arg(folder.path().join("fifo"))
            .status()
            .unwrap()
            .success()
    );
    let mut command = Command::new("/bin/sh");
    command.args(["-c", &script]);
    let verdict = check(&["--json", "--timeout", "20s"], &command);
    assert_eq!(
        verdict.code,
        Some(1),
        "{}\n{}",
        verdict.text,
        verdict.finished.errors()
    );
    let (document, connections) = connections(&verdict);
    assert_eq!(document["status"], "degraded");
    let statuses: Vec<_> = connections
        .iter()
        .map(|connection| connection["health"]["status"].as_str().unwrap())
        .collect();
    assert!(
        statuses.contains(&"healthy") && statuses.contains(&"degraded") && statuses.len() == 2,
        "{document:#}"
    );
}

/// "Exit code … 2 could not run": no such program, no such process, no command, a bad option.
#[test]
fn what_cannot_run_is_exit_code_2() {
    for arguments in [
        &["check", "--", "/no/such/program"][..],
        &["check", "--", "no-such-program"],
        &["check", "--pid", "2147483646"],
        &["check"],
        &["check", "--no-such-option", "--", "true"],
    ] {
        let finished = run(qtap_command().args(arguments));
        assert_eq!(
            finished.status.code(),
            Some(2),
            "{arguments:?}: {}",
            finished.errors()
        );
        assert!(!finished.errors().is_empty(), "{arguments:?}");
    }
}

/// A command without connections is not healthy, and says so.
#[test]
fn a_command_without_connections_is_exit_code_1() {
    let verdict = check(&[], &Command::new("true"));
    assert_eq!(verdict.code, Some(1), "{}", verdict.finished.errors());
    assert!(
        verdict.text.contains("no connection was seen"),
        "{}",
        verdict.text
    );
}

/// The checked command's standard input and output are its own.
#[test]
fn the_command_keeps_its_input_and_output() {
    let mut command = qtap_command();
    command.args(["check", "--", "cat"]).stdin(Stdio::piped());
    let mut program = Program::start(&mut command);
    program.say("through cat");
    let finished = program.finish(Duration::from_secs(30));
    assert!(
        finished.text().starts_with("through cat\n"),
        "{}\n{}",
        finished.text(),
        finished.errors()
    );
}

/// "`qtap check --pid N`": a running process, joined in the middle of its connection.
#[test]
fn a_running_process_can_be_checked() {
    let folder = scratch();
    let server = PythonServer::http(folder.path());
    let mut command = client("http-client");
    command.arg(format!("http://running.qtap.test:{}/text/10", server.port));
    command.args(["--gate", "--count", "3"]).stdin(Stdio::piped());
    let mut target = Program::start(&mut command);
    assert_eq!(target.line(Duration::from_secs(20)), "done 1");
    let mut checking = qtap_command();
    checking
        .args([
            "check",
            "--json",
            "--timeout",
            "8s",
            "--pid",
            &target.pid().to_string(),
        ])
        .stdin(Stdio::null());
    let checking = Program::start(&mut checking);
    std::thread::sleep(Duration::from_secs(4));
    target.say("go");
    assert_eq!(target.line(Duration::from_secs(20)), "done 2");
    target.say("go");
    let pid = target.pid();
    assert!(target.finish(Duration::from_secs(20)).status.success());
    let finished = checking.finish(Duration::from_secs(30));
    let verdict = finished.text();
    let document: serde_json::Value = serde_json::from_str(&verdict)
        .unwrap_or_else(|error| panic!("{error}: {verdict}\n{}", finished.errors()));
    assert_eq!(finished.status.code(), Some(1), "{verdict}");
    let connections = document["connections"].as_array().unwrap();
    let connection = one(connections);
    assert_eq!(connection["pid"], pid);
    assert_eq!(connection["transactionCount"], 2);
    let reasons = connection["health"]["reasons"].as_array().unwrap();
    assert!(
        reasons.iter().any(|reason| reason["code"] == "joined_midstream"),
        "{document:#}"
    );
}

/// A Python program under check: the interpreter is healthy like any other client.
#[test]
fn a_python_script_is_healthy() {
    let folder = scratch();
    let certificates = Certificates::make(folder.path());
    let server = PythonServer::https(folder.path(), &certificates, &[]);
    let mut command = python("client.py");
    command
        .args([
            "requests",
            &format!("https://script.qtap.test:{}/bytes/70000", server.port),
            "--ca",
        ])
        .arg(&certificates.authority);
    let verdict = check(&["--json"], &command);
    assert_eq!(
        verdict.code,
        Some(0),
        "{}\n{}",
        verdict.text,
        verdict.finished.errors()
    );
    let (_, connections) = connections(&verdict);
    assert_eq!(one(&connections)["transactions"][0], "GET /bytes/70000 200");
    assert_eq!(
        server.truths("transaction", 1)[0].number("response_body_len"),
        70000
    );
}
