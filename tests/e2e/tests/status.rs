//! `qtap status` and `/status`: every process, how it is read, how much of it, and what to do about the rest.
//!
//! Required: "every process with network connections, each TLS implementation found in it, state, reason, remedy; measured
//! coverage".

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use qtap_e2e::{
    Agent, Certificates, Config, Curl, Finished, Program, PythonServer, http_get, one, programs,
    qtap_command, run, run_ok, scratch, until, venv, wait_for_both_ends,
};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(20);

fn data_dir(agent: &Agent) -> std::path::PathBuf {
    agent.config_file().parent().unwrap().join("data")
}

fn status_command(agent: &Agent, arguments: &[&str]) -> Command {
    let mut command = qtap_command();
    command
        .arg("status")
        .args(arguments)
        .arg("--data-dir")
        .arg(data_dir(agent));
    command
}

fn status(agent: &Agent, arguments: &[&str]) -> Finished {
    run(&mut status_command(agent, arguments))
}

fn document(agent: &Agent) -> Value {
    let finished = status(agent, &["--json"]);
    assert!(finished.stderr.is_empty(), "{}", finished.errors());
    finished.json()
}

/// The line of a process.
fn process(document: &Value, pid: u32) -> Value {
    let all = document["processes"].as_array().unwrap();
    let found: Vec<&Value> = all.iter().filter(|process| process["pid"] == pid).collect();
    (*one(&found)).clone()
}

fn has(document: &Value, pid: u32) -> bool {
    let all = document["processes"].as_array().unwrap();
    all.iter().any(|process| process["pid"] == pid)
}

fn implementations(process: &Value) -> Vec<&str> {
    let libraries = process["tls"].as_array().unwrap();
    let names = libraries
        .iter()
        .flat_map(|library| library["implementations"].as_array().unwrap());
    names.map(|name| name.as_str().unwrap()).collect()
}

fn tlslite(port: u16) -> Command {
    let mut command = Command::new(venv().join("bin/python"));
    command
        .arg(programs().join("tlslite_client.py"))
        .args([&port.to_string(), "/bytes/30000"]);
    command
}

fn https_curl(folder: &Path, certificates: &Certificates, port: u16, path: &str) -> Curl {
    Curl::new(folder, &format!("https://status.qtap.test:{port}{path}")).authority(&certificates.authority)
}

#[test]
fn processes_that_are_read_are_told_from_those_that_are_not_and_bytes_are_measured() {
    let folder = scratch();
    let certificates = Certificates::make(folder.path());
    let server = PythonServer::https(folder.path(), &certificates, &[]);
    let plain = PythonServer::http(folder.path());
    let agent = Agent::start(&Config::default());
    let (good, _) = https_curl(folder.path(), &certificates, server.port, "/bytes/100000").run();
    let url = format!("http://status.qtap.test:{}/bytes/5000", plain.port);
    let (clear, _) = Curl::new(folder.path(), &url).run();
    let blind = run_ok(&mut tlslite(server.port));
    wait_for_both_ends(&agent, server.port, 2);
    wait_for_both_ends(&agent, plain.port, 1);

    let finished = status(&agent, &["--json"]);
    assert_eq!(finished.status.code(), Some(1), "one is unreadable");
    let report = finished.json();

    let curl = process(&report, good.pid);
    assert_eq!(curl["state"], "capturing", "{curl:#}");
    assert_eq!(curl["by"], serde_json::json!(["secrets"]));
    assert_eq!(curl["coverage"], 1.0, "{curl:#}");
    assert!(implementations(&curl).contains(&"openssl"), "{curl:#}");
    assert_eq!(curl["running"], false);
    assert_eq!(
        (&curl["connections"]["ended"], &curl["connections"]["bySecrets"]),
        (&1.into(), &1.into())
    );
    // What the connection's own report says of the wire, and the body besides its head.
    let events = agent.events();
    let own = events.finished_connections(good.pid);
    let connection = one(&own);
    assert_eq!(curl["bytes"]["wireSent"], connection["bytesSent"]);
    assert_eq!(curl["bytes"]["wireReceived"], connection["bytesReceived"]);
    let received = curl["bytes"]["plaintextReceived"].as_u64().unwrap();
    assert!((100_000..101_000).contains(&received), "{received}");
    assert!(received < curl["bytes"]["wireReceived"].as_u64().unwrap());

    let http = process(&report, clear.pid);
    assert_eq!(
        (&http["state"], &http["by"]),
        (&"capturing".into(), &serde_json::json!(["plaintext"]))
    );
    assert_eq!(http["bytes"]["plaintextReceived"], http["bytes"]["wireReceived"]);
    assert_eq!(http["bytes"]["wireTls"], 0);

    let pure = process(&report, blind.pid);
    assert_eq!(pure["state"], "unreadable", "{pure:#}");
    assert!(pure["coverage"].as_f64().unwrap() < 0.2, "{pure:#}");
    let wire = pure["bytes"]["wireReceived"].as_u64().unwrap();
    assert!(
        wire > 30_000 && pure["bytes"]["unread"].as_u64().unwrap() > 30_000,
        "{pure:#}"
    );
    let reason = &pure["reasons"][0];
    assert_eq!(reason["code"], "tls_library_unsupported", "{pure:#}");
    assert!(!reason["remedy"].as_str().unwrap().is_empty());
    assert_eq!(report["processes"][0]["pid"], blind.pid, "problems come first");

    // The server saw both: it is read whole, by its own secrets.
    let both = process(&report, server.pid());
    assert_eq!(
        (&both["state"], &both["coverage"]),
        (&"capturing".into(), &1.0.into()),
        "{both:#}"
    );
    assert_eq!(both["connections"]["tls"], 2);
    assert_eq!(both["running"], true);

    let (code, body) = http_get(agent.status_server(), "/status").unwrap();
    let served: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(code, 200);
    assert_eq!(process(&served, good.pid), curl);

    the_table_says_it_in_words(&agent, blind.pid, good.pid);
    let _ = agent.stop();
}

fn the_table_says_it_in_words(agent: &Agent, blind: u32, good: u32) {
    let finished = status(agent, &[]);
    assert_eq!(finished.status.code(), Some(1));
    let text = finished.text();
    assert!(!text.contains('\x1b'), "no colour in a pipe");
    let lines: Vec<&str> = text.lines().collect();
    assert!(
        lines[0].starts_with("qtap ") && lines[0].contains("1 unreadable"),
        "{text}"
    );
    let first = lines.iter().position(|line| line.starts_with("STATE")).unwrap();
    let row: Vec<&str> = lines[first + 1].split_whitespace().collect();
    assert_eq!(row[..2], ["unreadable", &blind.to_string()], "{text}");
    assert!(
        lines[first + 2].starts_with("    ! tls_library_unsupported: "),
        "{text}"
    );
    assert!(lines[first + 3].contains("what to do: "), "{text}");
    let good_row = lines
        .iter()
        .find(|line| line.contains(&format!(" {good} ")))
        .unwrap();
    assert!(
        good_row.starts_with("secrets ") && good_row.ends_with("100 %"),
        "{text}"
    );

    // One process alone decides the exit code.
    let of_good = status(agent, &["--pid", &good.to_string()]);
    assert_eq!(of_good.status.code(), Some(0), "{}", of_good.text());
    assert!(!of_good.text().contains("unreadable"));
    let of_blind = status(agent, &["--json", "--pid", &blind.to_string()]);
    assert_eq!(of_blind.status.code(), Some(1));
    assert_eq!(of_blind.json()["processes"].as_array().unwrap().len(), 1);
    let nobody = status(agent, &["--pid", "2147483647"]);
    assert_eq!(nobody.status.code(), Some(2));
    assert!(nobody.errors().contains("2147483647"), "{}", nobody.errors());

    // On a terminal there is colour, unless NO_COLOR is set.
    let on_a_terminal = |no_color: &str| {
        let command = status_command(agent, &[]);
        let words: Vec<String> = std::iter::once(command.get_program())
            .chain(command.get_args())
            .map(|word| format!("'{}'", word.to_str().unwrap()))
            .collect();
        let mut script = Command::new("script");
        script
            .args(["-qec", &words.join(" "), "/dev/null"])
            .env("NO_COLOR", no_color)
            .env("TERM", "xterm");
        run(&mut script).text()
    };
    assert!(on_a_terminal("").contains("\x1b[31munreadable\x1b[0m"));
    assert!(!on_a_terminal("1").contains('\x1b'));
}

#[test]
fn open_connections_count_and_so_do_processes_that_have_none_yet() {
    let folder = scratch();
    let certificates = Certificates::make(folder.path());
    let server = PythonServer::https(folder.path(), &certificates, &[]);
    let agent = Agent::start(&Config::default());
    let code = "import ssl, sys; print('here', flush=True); sys.stdin.read()";
    let mut idle = Command::new("/usr/bin/python3");
    idle.args(["-c", code]).stdin(std::process::Stdio::piped());
    let mut idle = Program::start(&mut idle);
    assert_eq!(idle.line(PATIENCE), "here");

    // A connection on which nothing is said, and one that stays open after a request.
    let code = "import socket, ssl, sys\n\
                port = int(sys.argv[1])\n\
                quiet = socket.create_connection(('127.0.0.1', port))\n\
                context = ssl.create_default_context(cafile=sys.argv[2])\n\
                raw = socket.create_connection(('127.0.0.1', port))\n\
                tls = context.wrap_socket(raw, server_hostname='status.qtap.test')\n\
                tls.sendall(b'GET /bytes/1000 HTTP/1.1\\r\\nHost: status.qtap.test\\r\\n\\r\\n')\n\
                data = b''\n\
                while len(data) < 1000: data += tls.recv(65536)\n\
                print('done', flush=True)\n\
                sys.stdin.read()\n";
    let mut busy = Command::new("/usr/bin/python3");
    busy.args(["-c", code, &server.port.to_string()])
        .arg(&certificates.authority)
        .stdin(std::process::Stdio::piped());
    let mut busy = Program::start(&mut busy);
    assert_eq!(busy.line(PATIENCE), "done");

    until(PATIENCE, "both processes in the status", || {
        let report = document(&agent);
        has(&report, idle.pid())
            && has(&report, busy.pid())
            && process(&report, busy.pid())["connections"]["open"] == 2
            && process(&report, busy.pid())["coverage"] == 1.0
    });
    let report = document(&agent);
    let ready = process(&report, idle.pid());
    assert_eq!(ready["state"], "ready", "{ready:#}");
    assert!(implementations(&ready).contains(&"openssl"), "{ready:#}");
    assert_eq!(ready["tls"][0]["secrets"], true);
    assert!(ready.get("coverage").is_none_or(Value::is_null));

    let open = process(&report, busy.pid());
    assert_eq!(
        (&open["state"], &open["running"]),
        (&"capturing".into(), &true.into()),
        "{open:#}"
    );
    assert_eq!(open["connections"]["unused"], 1, "{open:#}");
    assert_eq!(open["connections"]["bySecrets"], 1);
    assert_eq!(open["bytes"]["unread"], 0, "{open:#}");

    // Short by default; everything when asked for.
    let row = |text: &str| {
        text.lines()
            .any(|line| line.contains(&format!(" {} ", idle.pid())))
    };
    let short = status(&agent, &[]).text();
    assert!(!row(&short) && short.contains("--all lists them"), "{short}");
    assert!(row(&status(&agent, &["--all"]).text()));
    let pid = busy.pid();
    drop(busy);
    drop(idle);
    until(PATIENCE, "the end of the connections", || {
        let process = process(&document(&agent), pid);
        process["connections"]["open"] == 0
            && process["connections"]["ended"] == 2
            && process["running"] == false
    });
    let _ = agent.stop();
}

#[test]
fn what_the_configuration_leaves_out_is_counted_with_its_cause() {
    let folder = scratch();
    let server = PythonServer::http(folder.path());
    let python = std::fs::canonicalize("/usr/bin/python3").unwrap();
    let copy = folder.path().join("left-out");
    std::fs::copy(&python, &copy).unwrap();
    let tap = format!(
        "  filters:\n    custom:\n      - {{exe: {}, strategy: exact}}\n",
        copy.display()
    );
    let agent = Agent::start(&Config {
        tap,
        ..Config::default()
    });
    let code = "import socket, sys\n\
                connection = socket.create_connection(('127.0.0.1', int(sys.argv[1])))\n\
                connection.sendall(b'GET /text/10 HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n')\n\
                connection.recv(10)\n\
                print('done', flush=True)\n\
                sys.stdin.read()\n";
    let mut left_out = Command::new(&copy);
    left_out
        .env("PYTHONHOME", "/usr")
        .args(["-c", code, &server.port.to_string()])
        .stdin(std::process::Stdio::piped());
    let mut left_out = Program::start(&mut left_out);
    assert_eq!(left_out.line(PATIENCE), "done");
    let report = document(&agent);
    let excluded = process(&report, left_out.pid());
    assert_eq!(excluded["state"], "excluded", "{excluded:#}");
    assert_eq!(excluded["connections"]["excluded"], 1, "{excluded:#}");
    assert_eq!(excluded["reasons"][0]["code"], "filtered_process");
    assert_eq!(excluded["bytes"]["wireSent"], 0);
    assert!(!has(&report, agent.pid()), "the agent leaves itself out");
    drop(left_out);
    let _ = agent.stop();

    // The loopback interface: the kernel side alone knows of the connection.
    let agent = Agent::start(&Config {
        ignore_loopback: true,
        ..Config::default()
    });
    let mut ignored = Command::new("/usr/bin/python3");
    ignored
        .args(["-c", code, &server.port.to_string()])
        .stdin(std::process::Stdio::piped());
    let mut ignored = Program::start(&mut ignored);
    assert_eq!(ignored.line(PATIENCE), "done");
    let report = document(&agent);
    let excluded = process(&report, ignored.pid());
    assert_eq!(
        (&excluded["state"], &excluded["connections"]["excluded"]),
        (&"excluded".into(), &1.into())
    );
    assert_eq!(excluded["reasons"][0]["code"], "filtered_direction");
    assert!(
        report["leftOut"]["filtered"]["loopback"].as_u64().unwrap() >= 1,
        "{report:#}"
    );
    let _ = agent.stop();
}

#[test]
fn without_an_agent_it_says_so_and_ends_with_2() {
    let folder = scratch();
    let mut command = qtap_command();
    command
        .arg("status")
        .arg("--data-dir")
        .arg(folder.path().join("nothing"));
    let finished = run(&mut command);
    assert_eq!(finished.status.code(), Some(2));
    assert!(
        finished.errors().contains("no agent is running"),
        "{}",
        finished.errors()
    );
    assert!(finished.stdout.is_empty());
}

/// Many processes and connections: the answer stays prompt, and what is open stays undisturbed.
#[test]
fn thousands_of_connections_are_answered_promptly() {
    let folder = scratch();
    let server = PythonServer::http(folder.path());
    let agent = Agent::start(&Config::default());
    let code = "import resource, socket, sys\n\
                resource.setrlimit(resource.RLIMIT_NOFILE, (9000, 9000))\n\
                listener = socket.create_server(('127.0.0.1', 0), backlog=4096)\n\
                kept = []\n\
                for _ in range(3000):\n\
                \x20   one = socket.create_connection(listener.getsockname())\n\
                \x20   other, _ = listener.accept()\n\
                \x20   one.sendall(b'GET / HTTP/1.1\\r\\nhost: a\\r\\n\\r\\n'); other.recv(100)\n\
                \x20   kept += [one, other]\n\
                print('done', flush=True)\n\
                sys.stdin.read()\n";
    let mut many = Command::new("/usr/bin/python3");
    many.args(["-c", code]).stdin(std::process::Stdio::piped());
    let mut many = Program::start(&mut many);
    assert_eq!(many.line(Duration::from_secs(40)), "done");
    until(PATIENCE, "6000 connections", || {
        process(&document(&agent), many.pid())["connections"]["open"] == 6000
    });
    // A report that is given again is not measured.
    std::thread::sleep(Duration::from_millis(400));
    let begun = std::time::Instant::now();
    let report = document(&agent);
    let taken = begun.elapsed();
    eprintln!("6000 open connections: {taken:?}");
    assert!(taken < Duration::from_secs(2), "{taken:?}");
    assert_eq!(report["leftOut"]["silentWorkers"], 0);
    let found = process(&report, many.pid());
    assert_eq!(
        (&found["coverage"], &found["connections"]["plaintext"]),
        (&1.0.into(), &6000.into()),
        "{found:#}"
    );
    let url = format!("http://status.qtap.test:{}/text/10", server.port);
    let (curl, _) = Curl::new(folder.path(), &url).run();
    agent.wait_for_connections(&[curl.pid], 1);
    drop(many);
    let _ = agent.stop();
}
