//! What the configuration and the processes themselves leave out.
//!
//! Required: "Every direction setting with IPv4, IPv6, v4-mapped and loopback; process filters;
//! strategy `ignore` set before the first byte."

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use qtap_e2e::{
    Agent, Capture, Certificates, Config, Curl, Events, Namespaces, PythonServer, Side, Transport,
    assert_healthy, assert_truth, client, python, run_ok, scratch, single, wait_for_both_ends,
};

/// What an address is to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Loopback,
    Private,
    Public,
}

/// Host in a URL, the address events show, and its kind.
const TARGETS: [(&str, &str, &str, Kind); 8] = [
    ("127.0.0.1", "ipv4", "127.0.0.1", Kind::Loopback),
    ("[::1]", "ipv6", "::1", Kind::Loopback),
    ("[::ffff:127.0.0.1]", "ipv4", "127.0.0.1", Kind::Loopback),
    (
        Namespaces::PRIVATE_V4,
        "ipv4",
        Namespaces::PRIVATE_V4,
        Kind::Private,
    ),
    ("[fd91::1]", "ipv6", Namespaces::PRIVATE_V6, Kind::Private),
    (Namespaces::PUBLIC_V4, "ipv4", Namespaces::PUBLIC_V4, Kind::Public),
    ("[2001:db8:91::1]", "ipv6", Namespaces::PUBLIC_V6, Kind::Public),
    (
        "[::ffff:198.51.100.1]",
        "ipv4",
        Namespaces::PUBLIC_V4,
        Kind::Public,
    ),
];

/// One request to each target; `keeps` says which ends are to be captured.
fn direction(setting: &'static str, ignore_loopback: bool, keeps: fn(Side, Kind) -> bool) {
    let folder = scratch();
    let namespaces = Namespaces::create();
    // `::` accepts IPv4 too, as v4-mapped.
    let mut command = python("server.py");
    command.args(["--host", "::"]);
    let server = PythonServer::start_command(folder.path(), namespaces.server(&command));
    let agent = Agent::start(&Config {
        direction: setting,
        ignore_loopback,
        ..Config::default()
    });
    let mut clients = Vec::new();
    for (host, ..) in TARGETS {
        let url = format!("http://{host}:{}/text/100?{setting}", server.port);
        let curl = Curl::new(folder.path(), &url)
            .args(&["-o", "/dev/null", "-w", "%{local_port}"])
            .command();
        // Loopback is that of the server's namespace.
        let inside = if host.contains("127.0.0.1") || host == "[::1]" {
            namespaces.server(&curl)
        } else {
            namespaces.client(&curl)
        };
        let finished = run_ok(&mut { inside });
        clients.push((
            finished.pid,
            finished.text().trim().parse::<u64>().expect("a port"),
        ));
    }
    let kept = TARGETS
        .iter()
        .flat_map(|target| [Side::Client, Side::Server].map(|side| (side, target.3)));
    let kept = kept.filter(|(side, kind)| keeps(*side, *kind)).count();
    let pids: Vec<u32> = clients
        .iter()
        .map(|(pid, _)| *pid)
        .chain([server.pid()])
        .collect();
    let transactions = |events: &Events| -> usize {
        pids.iter()
            .flat_map(|pid| events.of_pid(*pid))
            .map(|capture| capture.transactions.len())
            .sum()
    };
    agent.wait_for(
        &format!("{kept} transactions"),
        Duration::from_secs(20),
        |events| transactions(events) >= kept,
    );
    let truths = server.truths("transaction", TARGETS.len());
    let events = agent.stop();
    assert_eq!(transactions(&events), kept, "{}", events.outline());
    let accepted = events.of_pid(server.pid());
    for (((host, family, shown, kind), (pid, port)), truth) in TARGETS.iter().zip(clients).zip(&truths) {
        let dialled = events.of_pid(pid);
        let accepted: Vec<Capture> = accepted
            .iter()
            .filter(|capture| capture.connection["source"]["address"]["port"] == port)
            .cloned()
            .collect();
        for (side, captures) in [(Side::Client, dialled), (Side::Server, accepted)] {
            let what = format!("{setting} {host} {side:?}");
            if !keeps(side, *kind) {
                assert!(
                    captures.iter().all(|capture| capture.status() == "ignored"),
                    "{what}: {captures:#?}"
                );
                continue;
            }
            let [capture] = &captures[..] else {
                panic!("{what}: {captures:#?}")
            };
            assert_healthy(capture, Transport::Plain);
            assert_truth(&capture.transactions[0], truth, side);
            let connection = &capture.connection;
            let label = match (side, kind) {
                (Side::Server, _) => "ingress",
                (Side::Client, Kind::Public) => "egress-external",
                (Side::Client, _) => "egress-internal",
            };
            assert_eq!(connection["direction"], label, "{what}");
            let address = &connection["destination"]["address"];
            assert_eq!(
                (address["family"].as_str(), address["ip"].as_str()),
                (Some(*family), Some(*shown)),
                "{what}"
            );
        }
    }
}

/// "Every direction setting …": `all`.
#[test]
fn direction_all_keeps_everything() {
    direction("all", false, |_, _| true);
}

/// "Every direction setting …": `ingress`.
#[test]
fn direction_ingress_keeps_what_was_accepted() {
    direction("ingress", false, |side, _| side == Side::Server);
}

/// "Every direction setting …": `egress`.
#[test]
fn direction_egress_keeps_what_was_dialled() {
    direction("egress", false, |side, _| side == Side::Client);
}

/// "Every direction setting …": `egress-internal`; loopback is internal.
#[test]
fn direction_egress_internal_keeps_private_and_loopback() {
    direction("egress-internal", false, |side, kind| {
        side == Side::Client && kind != Kind::Public
    });
}

/// "Every direction setting …": `egress-external`.
#[test]
fn direction_egress_external_keeps_public() {
    direction("egress-external", false, |side, kind| {
        side == Side::Client && kind == Kind::Public
    });
}

/// "… and loopback": `ignore_loopback`.
#[test]
fn ignore_loopback_leaves_out_both_ends_of_loopback() {
    direction("all", true, |_, kind| kind != Kind::Loopback);
}

/// Copies of curl, told apart by their paths only.
fn copies(folder: &std::path::Path, names: &[&str]) -> Vec<PathBuf> {
    names
        .iter()
        .map(|name| {
            let path = folder.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::copy("/usr/bin/curl", &path).unwrap();
            path
        })
        .collect()
}

/// "process filters": every strategy of comparison leaves out what it matches and nothing else, TLS included.
#[test]
fn filtered_processes_are_left_out() {
    let folder = scratch();
    let certificates = Certificates::make(folder.path());
    let server = PythonServer::https(folder.path(), &certificates, &[]);
    let names = [
        "exact",
        "prefix/one",
        "a-suffix",
        "holds-it-here",
        "regex-42",
        "kept",
    ];
    let programs = copies(folder.path(), &names);
    let at = folder.path().display();
    let tap = format!(
        "  filters:
    custom:
      - {{exe: {at}/exact, strategy: exact}}
      - {{exe: {at}/prefix/, strategy: prefix}}
      - {{exe: -suffix, strategy: suffix}}
      - {{exe: holds-it, strategy: contains}}
      - {{exe: 'regex-[0-9]+$', strategy: regex}}
"
    );
    let agent = Agent::start(&Config {
        tap,
        ..Config::default()
    });
    let mut pids = Vec::new();
    for program in &programs {
        let url = format!("https://filtered.qtap.test:{}/text/10", server.port);
        let finished = run_ok(
            Command::new(program)
                .args([
                    "-sS",
                    "--noproxy",
                    "*",
                    "--resolve",
                    &format!("filtered.qtap.test:{}:127.0.0.1", server.port),
                    "--cacert",
                ])
                .arg(&certificates.authority)
                .arg(&url),
        );
        pids.push(finished.pid);
    }
    agent.wait_for("all ends at the server", Duration::from_secs(20), |events| {
        events.finished_connections(server.pid()).len() >= names.len()
    });
    let events = agent.stop();
    for (pid, name) in pids.iter().zip(names) {
        if name == "kept" {
            assert_healthy(&single(&events, *pid), Transport::Tls);
            continue;
        }
        assert_left_out(&events, *pid, "filtered_process");
    }
    // The server is not filtered.
    let accepted = events.of_pid(server.pid());
    assert_eq!(accepted.len(), names.len());
    accepted
        .iter()
        .for_each(|capture| assert_healthy(capture, Transport::Tls));
}

/// No payload of the process left the agent; a connection event, if any, says `ignored` and why.
fn assert_left_out(events: &Events, pid: u32, reason: &str) {
    for capture in events.of_pid(pid) {
        assert_eq!(capture.status(), "ignored", "{:#}", capture.connection);
        assert!(capture.reasons().contains(&reason), "{:#}", capture.connection);
        assert!(
            capture.requests.is_empty() && capture.transactions.is_empty(),
            "{capture:#?}"
        );
    }
    let text = pid.to_string();
    let marked = events
        .of_type("artifact")
        .filter(|event| event["data"]["metadata"]["process_id"] == *text);
    assert_eq!(marked.count(), 0);
}

/// "process filters": a group of a name that documentation and code disagree on, and the agent's own traffic.
#[test]
fn the_agent_leaves_itself_out() {
    let tap = "  filters: {groups: [container, container-runtimes, qpoint]}\n".to_owned();
    let agent = Agent::start(&Config {
        tap,
        ..Config::default()
    });
    let pid = agent.pid();
    for _ in 0..3 {
        assert!(qtap_e2e::http_get(agent.status_server(), "/healthz").is_some());
    }
    std::thread::sleep(Duration::from_secs(1));
    let events = agent.stop();
    assert_left_out(&events, pid, "filtered_process");
}

/// "strategy `ignore` set before the first byte": twenty programs that connect within their first milliseconds.
#[test]
fn strategy_ignore_holds_from_the_first_byte() {
    let folder = scratch();
    let certificates = Certificates::make(folder.path());
    let server = PythonServer::https(folder.path(), &certificates, &[]);
    let plain = PythonServer::http(folder.path());
    let agent = Agent::start(&Config::default());
    let mut pids = Vec::new();
    for number in 0..20 {
        let (scheme, port) = if number % 2 == 0 {
            ("http", plain.port)
        } else {
            ("https", server.port)
        };
        let url = format!("{scheme}://ignored.qtap.test:{port}/text/10");
        let mut command = Curl::new(folder.path(), &url)
            .authority(&certificates.authority)
            .command();
        pids.push(run_ok(command.env("QPOINT_STRATEGY", "ignore")).pid);
    }
    // A strategy that a shell hands on to what it starts, and one that is limited to another program.
    let url = format!("http://ignored.qtap.test:{}/text/10", plain.port);
    let inherited = Curl::new(folder.path(), &url).command();
    let mut shell = Command::new("/bin/sh");
    shell
        .env("QPOINT_STRATEGY", "ignore")
        .args(["-c", "\"$@\"; true", "sh", "curl"])
        .args(inherited.get_args());
    run_ok(&mut shell);
    let mut limited = Curl::new(folder.path(), &url).command();
    let limited = run_ok(limited.env("QPOINT_STRATEGY", "ignore,exe.suffix:/wget"));
    agent.wait_for("all ends at the servers", Duration::from_secs(20), |events| {
        events.finished_connections(server.pid()).len() + events.finished_connections(plain.pid()).len() >= 22
    });
    let events = agent.stop();
    for pid in pids {
        assert_left_out(&events, pid, "filtered_strategy");
    }
    assert_healthy(&single(&events, limited.pid), Transport::Plain);
    let dialled = events.of_port(plain.port, Side::Client);
    let observed: Vec<_> = dialled
        .iter()
        .filter(|capture| capture.status() != "ignored")
        .collect();
    assert_eq!(observed.len(), 1, "{observed:#?}");
}

/// "strategy `ignore`": a server that asks for it is left out while its clients are seen.
#[test]
fn a_server_may_ask_to_be_ignored() {
    let folder = scratch();
    let mut command = python("server.py");
    command.env("QPOINT_STRATEGY", "ignore");
    let server = PythonServer::start_command(folder.path(), command);
    let agent = Agent::start(&Config::default());
    let finished = run_ok(client("urllib").arg(format!("http://seen.qtap.test:{}/text/10", server.port)));
    agent.wait_for_connections(&[finished.pid], 1);
    let events = agent.stop();
    assert_healthy(&single(&events, finished.pid), Transport::Plain);
    assert_left_out(&events, server.pid(), "filtered_strategy");
}

/// `tap.endpoints`: a domain whose stack is `none` is reported without its payload, the others as ever.
#[test]
fn an_endpoint_without_a_stack_is_reported_without_payload() {
    let folder = scratch();
    let server = PythonServer::http(folder.path());
    let tap = "  endpoints:\n    - {domain: quiet.qtap.test, http: {stack: none}}\n".to_owned();
    let agent = Agent::start(&Config {
        tap,
        ..Config::default()
    });
    let urls = ["quiet", "loud"].map(|name| format!("http://{name}.qtap.test:{}/text/10", server.port));
    let [quiet, loud] = urls.map(|url| Curl::new(folder.path(), &url).run().0.pid);
    wait_for_both_ends(&agent, server.port, 2);
    let events = agent.stop();
    assert_healthy(&single(&events, loud), Transport::Plain);
    let captures = events.of_pid(quiet);
    assert_eq!(captures.len(), 1);
    assert!(
        captures[0].transactions.is_empty() && captures[0].requests.is_empty(),
        "{:#?}",
        captures[0]
    );
    assert_eq!(captures[0].connection["meta"]["endpointId"], "quiet.qtap.test");
}
