//! The command line, the configuration while it runs, the status server, the agent's own log.
//!
//! Required: validation, reload, the built-in configuration, debug lines, `--bpf-trace`, the HTTP server; §6: `qtap doctor`.

use std::process::{Command, Stdio};
use std::time::Duration;

use qtap_e2e::{
    Agent, Certificates, Config, Curl, Finished, Program, PythonServer, Transport, assert_healthy, http_get,
    qtap_command, run, run_ok, scratch, single, wait_for_both_ends,
};
use rustix::process::Signal;
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(10);

fn validate(text: &str) -> Finished {
    let mut command = qtap_command();
    command.args(["validate", "-"]).stdin(Stdio::piped());
    let mut program = Program::start(&mut command);
    program.say(text);
    program.finish(PATIENCE)
}

/// "unknown key, wrong type, unknown plugin, store, stack, group, strategy or direction is an error with file, line, column
/// and the nearest valid name; a part whose implementation is not there yet is refused by name".
#[test]
fn bad_configurations_are_refused_with_their_place() {
    let good = Config::default().to_string();
    assert_eq!(validate(&good).text(), "Config is valid.\n");
    let cases = [
        (
            "directoin: all",
            "directoin: all",
            ["unknown key `directoin`", "`direction`"],
        ),
        (
            "direction: sideways",
            "direction: sideways",
            ["sideways", "ingress"],
        ),
        (
            "ignore_loopback: 7",
            "ignore_loopback: 7",
            ["7", "ignore_loopback"],
        ),
        ("http: {stack: e2f}", "stack: e2f", ["e2f", "`e2e`"]),
        (
            "filters: {groups: [kubernets]}",
            "kubernets",
            ["kubernets", "`kubernetes`"],
        ),
        (
            "filters: {custom: [{exe: /x, strategy: sufix}]}",
            "sufix",
            ["sufix", "`suffix`"],
        ),
        ("limits: {bodi: 1mb}", "bodi", ["bodi", "`body`"]),
        ("audit_include_dns: 7", "7", ["7", "audit_include_dns"]),
    ];
    for (line, marked, expected) in cases {
        let (key, _) = line.split_once(':').unwrap();
        let kept = good
            .lines()
            .filter(|other| !other.starts_with(&format!("  {key}:")));
        let text = kept.chain([&*format!("  {line}")]).collect::<Vec<_>>().join("\n");
        let finished = validate(&text);
        assert_eq!(finished.status.code(), Some(1), "{line}: {}", finished.text());
        let said = finished.errors();
        let number = text
            .lines()
            .position(|candidate| candidate.contains(marked))
            .unwrap()
            + 1;
        assert!(
            said.contains(&format!("<stdin>:{number}:")),
            "{line}: line {number}\n{said}"
        );
        for part in expected {
            assert!(said.contains(part), "{line}: {part}\n{said}");
        }
    }
    for (from, to, expected) in [
        ("type: http_capture", "type: http_captur", "`http_capture`"),
        ("- type: stdout\n  object", "- type: stdot\n  object", "`stdout`"),
        (
            "config: {level: full, format: json}",
            "config: {level: full, rules: [{name: a, expr: b}]}",
            "rules are not available yet",
        ),
    ] {
        let finished = validate(&good.replace(from, to));
        assert_eq!(finished.status.code(), Some(1), "{to}");
        assert!(
            finished.errors().contains(expected),
            "{to}: {expected}\n{}",
            finished.errors()
        );
    }
    let folder = scratch();
    let missing = run(qtap_command()
        .arg("validate")
        .arg(folder.path().join("missing.yaml")));
    assert_eq!(missing.status.code(), Some(1));
    assert!(missing.errors().contains("missing.yaml"), "{}", missing.errors());
}

/// A bad option, a bad configuration, a bad trace query: exit code 1 and a word why, before anything is attached.
#[test]
fn the_agent_does_not_start_on_nonsense() {
    let folder = scratch();
    let bad = folder.path().join("bad.yaml");
    std::fs::write(&bad, "version: 2\ntap: {directoin: all}\n").unwrap();
    let bad = bad.to_str().unwrap();
    for (arguments, expected) in [
        (&["--config", bad][..], "directoin"),
        (&["--config", "/no/such/file.yaml"], "/no/such/file.yaml"),
        (&["--bpf-trace", "mod:sokcet"], "`socket`"),
        (&["--http-buffer-size", "3gb"], "2gb"),
        (&["--log-level", "loud"], "loud"),
        (&["--httpd-listen", "nowhere"], "nowhere"),
        (&["--no-such-option"], "--no-such-option"),
    ] {
        let finished = run(qtap_command()
            .arg("--data-dir")
            .arg(folder.path().join("data"))
            .args(arguments));
        assert_eq!(
            finished.status.code(),
            Some(1),
            "{arguments:?}: {}{}",
            finished.text(),
            finished.errors()
        );
        assert!(
            finished.errors().contains(expected),
            "{arguments:?}: {}",
            finished.errors()
        );
    }
}

/// "`qtap doctor` for the host": in words and as JSON, and the code follows the verdict.
#[test]
fn doctor_tells_what_this_host_can_do() {
    let document = run(qtap_command().args(["doctor", "--json"]));
    let verdict: Value = serde_json::from_slice(&document.stdout).unwrap();
    assert_eq!(verdict["canCapture"], true, "{verdict:#}");
    assert_eq!(
        document.status.code(),
        Some(if verdict["ok"] == true { 0 } else { 1 })
    );
    let words = run(qtap_command().arg("doctor"));
    assert_eq!(words.status.code(), document.status.code());
    for finding in verdict["findings"].as_array().unwrap() {
        assert!(
            words.text().contains(finding["name"].as_str().unwrap()),
            "{finding}\n{}",
            words.text()
        );
        assert!(
            finding["ok"] == true || finding["remedy"].is_string(),
            "{finding}"
        );
    }
    for name in [
        "kernel",
        "hooks: sockets",
        "hooks: process",
        "hooks: tls-secrets",
        "hooks: tls-calls",
    ] {
        assert!(
            words.text().contains(&format!("✓ {name}")),
            "{name}\n{}",
            words.text()
        );
    }
}

/// "man page and completions generated from it", "`--version`".
#[test]
fn manual_and_completions_are_generated() {
    let manual = run_ok(qtap_command().arg("man")).text();
    let help = run_ok(qtap_command().arg("--help")).text();
    for flag in ["config", "httpd-listen", "bpf-trace", "tls-probes"] {
        assert!(help.contains(&format!("--{flag}")), "{flag}");
        assert!(
            manual.replace("\\-", "-").contains(&format!("--{flag}")),
            "{flag}"
        );
    }
    let completions = run_ok(qtap_command().args(["completions", "bash"])).text();
    assert!(completions.contains("reload-config") && completions.contains("--httpd-listen"));
    assert!(
        run_ok(qtap_command().arg("--version"))
            .text()
            .starts_with("qtap ")
    );
}

/// Runs one curl to `url` and says whether it left an artifact.
fn leaves_an_artifact(agent: &Agent, folder: &std::path::Path, server: &PythonServer) -> bool {
    let url = format!("http://reload.qtap.test:{}/text/10", server.port);
    let (curl, _) = Curl::new(folder, &url).run();
    agent.wait_for_connections(&[curl.pid], 1);
    let deadline = std::time::Instant::now() + Duration::from_secs(2);
    let there = || {
        agent
            .events()
            .of_pid(curl.pid)
            .iter()
            .any(|capture| !capture.transactions.is_empty())
    };
    while !there() && std::time::Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(50));
    }
    there()
}

/// "Reload on SIGHUP and on file change, once, atomically, keeping the old one if the new one is bad; `qtap reload-config` says
/// what happened."
#[test]
fn the_configuration_is_reloaded() {
    let folder = scratch();
    let server = PythonServer::http(folder.path());
    let agent = Agent::start(&Config::default());
    let reloads = |outcome: &str| {
        agent.system_metric("qtap_config_reloads_total", &[&format!("outcome=\"{outcome}\"")])
    };
    let data = agent.config_file().parent().unwrap().join("data");
    let reload = || run(qtap_command().arg("reload-config").arg("--data-dir").arg(&data));
    assert!(leaves_an_artifact(&agent, folder.path(), &server));

    // On file change: the file is replaced, as editors do.
    let quiet = Config {
        level: "none",
        ..Config::default()
    }
    .to_string();
    let written = folder.path().join("new.yaml");
    std::fs::write(&written, &quiet).unwrap();
    std::fs::copy(&written, agent.config_file().with_extension("new")).unwrap();
    std::fs::rename(agent.config_file().with_extension("new"), agent.config_file()).unwrap();
    let _ = agent.wait_for_log(&["configuration loaded", "file change"], PATIENCE);
    assert_eq!(reloads("applied"), 1.0, "{}", agent.log());
    assert!(!leaves_an_artifact(&agent, folder.path(), &server));

    // By command: nothing has changed.
    let answer = reload();
    assert!(
        answer.status.success() && answer.text().starts_with("ok"),
        "{}{}",
        answer.text(),
        answer.errors()
    );
    assert!(answer.text().contains("unchanged"), "{}", answer.text());

    // A bad one is refused, by command with the place of the fault, and the former stays.
    std::fs::write(agent.config_file(), quiet.replace("direction", "directoin")).unwrap();
    let answer = reload();
    assert_eq!(answer.status.code(), Some(1), "{}", answer.text());
    assert!(
        answer.text().contains("directoin") && answer.text().contains("qtap.yaml:"),
        "{}",
        answer.text()
    );
    assert!(reloads("refused") >= 1.0);
    assert!(!leaves_an_artifact(&agent, folder.path(), &server));
    assert_eq!(http_get(agent.status_server(), "/readyz").unwrap().0, 200);

    // By SIGHUP, whether or not the file watch is faster: applied once.
    std::fs::write(agent.config_file(), Config::default().to_string()).unwrap();
    agent.signal(Signal::HUP);
    qtap_e2e::until(PATIENCE, "second configuration", || reloads("applied") >= 2.0);
    std::thread::sleep(Duration::from_millis(1200));
    assert_eq!(reloads("applied"), 2.0, "{}", agent.log());
    assert!(leaves_an_artifact(&agent, folder.path(), &server));
    let _ = agent.stop();

    let answer = reload();
    assert_eq!(answer.status.code(), Some(1));
    assert!(answer.errors().contains("no agent"), "{}", answer.errors());
}

/// "HTTP server on 127.0.0.1 …: `/readyz` true only when probes are attached and the configuration is loaded, `/healthz`,
/// `/metrics` and `/system/metrics` with counters for every stage".
#[test]
fn the_status_server_answers() {
    let folder = scratch();
    let certificates = Certificates::make(folder.path());
    let server = PythonServer::https(folder.path(), &certificates, &[]);
    let agent = Agent::start(&Config::default());
    let get = |path: &str| http_get(agent.status_server(), path).unwrap();
    for (path, word) in [("/readyz", "ready"), ("/healthz", "healthy")] {
        let (status, said) = get(path);
        assert_eq!((status, said.trim_end()), (200, word));
    }
    assert_eq!(get("/no/such").0, 404);
    let before = agent.system_metric("qtap_store_emitted_total", &[]);
    let url = format!("https://metrics.qtap.test:{}/text/10", server.port);
    let _ = Curl::new(folder.path(), &url)
        .authority(&certificates.authority)
        .run();
    wait_for_both_ends(&agent, server.port, 1);
    let (status, product) = get("/metrics");
    assert_eq!(status, 200);
    assert!(
        product.lines().all(|line| line.is_empty()
            || line.starts_with('#')
            || line.rsplit(' ').next().unwrap().parse::<f64>().is_ok()),
        "{product}"
    );
    let (_, system) = get("/system/metrics");
    assert!(system.contains("# TYPE "), "{system}");
    assert!(
        agent.system_metric("qtap_store_emitted_total", &[]) >= before + 4.0,
        "{system}"
    );
    assert!(
        agent.system_metric("qtap_probe_attached_inodes", &[]) >= 1.0,
        "{system}"
    );
    assert!(
        agent.system_metric("qtap_process_received_total", &["kind=\"exec\""]) >= 1.0,
        "{system}"
    );
    for group in ["sockets", "process", "existing", "tls-secrets", "tls-calls"] {
        assert_eq!(
            agent.system_metric("qtap_capture_group_loaded", &[&format!("group=\"{group}\"")]),
            1.0,
            "{group}\n{system}"
        );
    }
    for stage in ["capture", "engine", "process", "store"] {
        let lost = format!("qtap_{stage}_lost_total");
        assert!(system.contains(&lost), "{lost}\n{system}");
    }
    let _ = agent.stop();
}

/// "Built-in default configuration: everything this host sends and receives, loopback too, … as JSON lines when piped".
#[test]
fn without_a_configuration_the_access_log_tells_everything() {
    let folder = scratch();
    let server = PythonServer::http(folder.path());
    let agent = Agent::start_without_config(&[]);
    let url = format!("http://default.qtap.test:{}/echo", server.port);
    let (curl, _) = Curl::new(folder.path(), &url)
        .args(&["-d", "hello", "-H", "Content-Type: text/plain"])
        .run();
    agent.wait_for_connections(&[curl.pid], 1);
    let events = agent.stop();
    let logged: Vec<&Value> = events
        .iter()
        .filter(|line| line["msg"] == "HTTP transaction" && line["meta"]["pid"] == curl.pid)
        .collect();
    let [line] = logged[..] else { panic!("{logged:#?}") };
    assert_eq!(line["request"]["url"], url);
    assert_eq!(line["request"]["body"], "hello");
    assert_eq!(line["response"]["status"], 200);
    assert_eq!(line["request"]["headers"]["Content-Type"], "text/plain");
    assert_eq!(line["direction"], "egress-internal");
}

/// The console form of the access log, as on a terminal, without escape sequences of the traffic's own.
#[test]
fn the_console_access_log_is_safe_to_look_at() {
    let folder = scratch();
    let server = PythonServer::http(folder.path());
    let config = Config::default().to_string().replace(
        "- type: report_usage",
        "- type: access_logs\n        config: {mode: full, format: console}",
    );
    let agent = Agent::start_with(&config, &[]);
    let url = format!("http://console.qtap.test:{}/echo", server.port);
    let (curl, _) = Curl::new(folder.path(), &url)
        .args(&[
            "--data-binary",
            "red \u{1b}[31m alert",
            "-H",
            "X-Bad: a\u{1b}]0;title\u{7}b",
        ])
        .run();
    agent.wait_for_connections(&[curl.pid], 1);
    std::thread::sleep(Duration::from_millis(300));
    let said = agent.other_output().join("\n");
    let _ = agent.stop();
    assert!(said.contains(&format!("POST {url} 200 OK")), "{said}");
    assert!(said.contains("REQUEST http1") && said.contains("alert"), "{said}");
    assert!(
        !said.contains("\u{1b}[31m alert") && !said.contains("\u{1b}]0;") && !said.contains('\u{7}'),
        "{said:?}"
    );
}

/// "a line after 10 s without traffic says what is watched and what is left out".
#[test]
fn silence_is_explained_after_ten_seconds() {
    let folder = scratch();
    let server = PythonServer::http(folder.path());
    let agent = Agent::start(&Config {
        direction: "ingress",
        ignore_loopback: true,
        // Whatever else goes on on this host is left out like the exchange below.
        tap: "  filters: {custom: [{exe: /, strategy: prefix}]}\n".to_owned(),
        ..Config::default()
    });
    let url = format!("http://127.0.0.1:{}/text/10", server.port);
    let _ = Curl::new(folder.path(), &url).run();
    let line = agent.wait_for_log(&["no traffic"], Duration::from_secs(15));
    let said: Value = serde_json::from_str(&line).expect("a line of JSON");
    assert_eq!(said["direction"], "ingress", "{line}");
    assert_eq!(said["ignore_loopback"], true, "{line}");
    assert_eq!(said["filters"], 1, "{line}");
    let left_out = said["connections_left_out"].as_u64();
    assert!(left_out.is_some_and(|count| count >= 2), "both ends: {line}");
    let _ = agent.stop();
}

/// "Debug lines of capture.md §15 (names and fields), JSON …": the steps of one healthy capture, in order, under one id.
#[test]
fn debug_lines_tell_the_steps_of_a_capture() {
    let folder = scratch();
    let certificates = Certificates::make(folder.path());
    let server = PythonServer::https(folder.path(), &certificates, &[]);
    let agent = Agent::start_with(
        &Config::default().to_string(),
        &["--log-level", "debug", "--log-encoding", "json"],
    );
    let url = format!("https://debug.qtap.test:{}/text/10", server.port);
    let (curl, _) = Curl::new(folder.path(), &url)
        .authority(&certificates.authority)
        .run();
    wait_for_both_ends(&agent, server.port, 1);
    let capture = single(&agent.events(), curl.pid);
    let log = agent.log();
    let _ = agent.stop();
    assert_healthy(&capture, Transport::Tls);
    let id = capture.connection["meta"]["connectionId"].as_str().unwrap();
    let lines: Vec<Value> = log
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    let of_connection: Vec<&Value> = lines.iter().filter(|line| line["conn_id"] == id).collect();
    let position = |message: &str| {
        of_connection
            .iter()
            .position(|line| line["message"] == message)
            .unwrap_or_else(|| panic!("no {message:?} in {of_connection:#?}"))
    };
    let steps = [
        "socket open event",
        "opening connection",
        "processing tls handshake event",
        "processing protocol event",
    ];
    let positions: Vec<usize> = steps.iter().map(|step| position(step)).collect();
    assert!(positions.is_sorted(), "{of_connection:#?}");
    let open = of_connection[position("socket open event")];
    assert_eq!(
        (&open["source"], &open["address_family"], &open["socket_type"]),
        (&json!("client"), &json!("ipv4"), &json!("tcp"))
    );
    assert_eq!(open["pid"], curl.pid);
    for key in [
        "timestamp",
        "conn_pid_id",
        "cookie",
        "local",
        "remote",
        "is_redirected",
    ] {
        assert!(!open[key].is_null(), "{key}: {open:#}");
    }
    let hello = of_connection[position("processing tls handshake event")];
    assert_eq!(hello["exe"], "/usr/bin/curl");
    assert_eq!(
        hello["msg"],
        json!({"SNI": "debug.qtap.test", "Version": 772, "ALPNs": ["h2", "http/1.1"]}),
        "{hello:#}"
    );
    let protocol = of_connection[position("processing protocol event")];
    assert_eq!(
        protocol["event"],
        json!({"Protocol": "http1", "IsTLS": true}),
        "{protocol:#}"
    );
    let close = of_connection[position("socket close event")];
    assert_eq!(close["write_bytes"], capture.connection["bytesSent"]);
    assert_eq!(close["read_bytes"], capture.connection["bytesReceived"]);
    let report = of_connection
        .iter()
        .rfind(|line| line["message"] == "connection report")
        .unwrap();
    assert_eq!(report["report"]["gotTLSClientHelloEvent"], true, "{report:#}");
    assert_eq!(report["report"]["gotProtocolEvent"], true, "{report:#}");
    assert!(
        report["report"]["dataEventCount"].as_u64().unwrap() > 0,
        "{report:#}"
    );
}

/// "… and console encodings, on standard error".
#[test]
fn the_console_log_has_time_level_and_message() {
    let agent = Agent::start_with(&Config::default().to_string(), &["--log-encoding", "console"]);
    let line = agent.wait_for_log(&["listening"], PATIENCE);
    let _ = agent.stop();
    let fields: Vec<&str> = line.split('\t').collect();
    assert!(fields.len() >= 3, "{line:?}");
    assert!(fields[1].contains("INFO"), "{line:?}");
    assert_eq!(fields[0].len(), "2026-01-01 10:00:00.123".len(), "{line:?}");
}

/// "`--bpf-trace` with the grammar of §14 and its repairs": lines of the traced program and of no other.
#[test]
fn bpf_trace_shows_one_program() {
    let folder = scratch();
    let server = PythonServer::http(folder.path());
    let agent = Agent::start_with(
        &Config::default().to_string(),
        &[
            "--log-encoding",
            "json",
            "--bpf-trace",
            "mod:socket,exe.endsWith:/curl",
        ],
    );
    let url = format!("http://trace.qtap.test:{}/text/10", server.port);
    let (curl, _) = Curl::new(folder.path(), &url).run();
    let target = format!("http://127.0.0.1:{}/text/10", server.port);
    let wget = run_ok(Command::new("wget").args(["-q", "--no-proxy", "-O", "/dev/null", &target]));
    agent.wait_for_connections(&[curl.pid, wget.pid], 2);
    let _ = agent.wait_for_log(&["eBPF trace", &format!("\"pid\":{}", curl.pid)], PATIENCE);
    std::thread::sleep(Duration::from_millis(300));
    let log = agent.log();
    let _ = agent.stop();
    let lines: Vec<Value> = log
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .filter(|line: &Value| line["message"] == "eBPF trace")
        .collect();
    assert!(
        lines
            .iter()
            .all(|line| line["pid"] != wget.pid && line["pid"] != server.pid()),
        "{lines:#?}"
    );
    let of_curl: Vec<&Value> = lines.iter().filter(|line| line["pid"] == curl.pid).collect();
    assert!(
        of_curl
            .iter()
            .all(|line| line["exe"] == "/usr/bin/curl" && line["level"] == "info"),
        "{of_curl:#?}"
    );
    for message in ["sendto", "recvfrom"] {
        let moved = of_curl.iter().any(|line| {
            line["msg"].as_str().is_some_and(|text| text.contains(message))
                && line["bytes"].as_u64().is_some_and(|bytes| bytes > 0)
        });
        assert!(moved, "{message}: {of_curl:#?}");
    }
}

/// "Clean detach on SIGTERM, SIGINT": connections that are open at the end get their final report, and nothing is torn.
#[test]
fn open_connections_are_reported_at_the_end() {
    let folder = scratch();
    let server = PythonServer::http(folder.path());
    let agent = Agent::start(&Config::default());
    let mut command = qtap_e2e::client("http-client");
    command
        .arg(format!("http://open.qtap.test:{}/text/10", server.port))
        .args(["--gate", "--count", "2"])
        .stdin(Stdio::piped());
    let mut program = Program::start(&mut command);
    assert_eq!(program.line(Duration::from_secs(20)), "done 1");
    let pid = program.pid();
    agent.wait_for("the first exchange", PATIENCE, |events| {
        events.of_type("request").any(|event| {
            event["url"]
                .as_str()
                .is_some_and(|url| url.contains("open.qtap.test"))
        })
    });
    let events = agent.stop();
    program.say("go");
    assert!(program.finish(Duration::from_secs(20)).status.success());
    let captures = events.of_pid(pid);
    assert_eq!(captures.len(), 1, "{}", events.outline());
    assert_eq!(captures[0].transactions.len(), 1);
    assert!(captures[0].connection["closedAt"].is_null());
}
