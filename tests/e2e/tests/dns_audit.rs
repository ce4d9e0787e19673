//! `audit_include_dns`: what real programs ask real name servers, at both ends, over UDP and TCP (P-N1, P-N2).

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use qtap_e2e::{
    Agent, Certificates, Config, Events, Namespaces, Program, PythonServer, Resolver, dig, one, python, run,
    run_ok, scratch,
};
use serde_json::Value;

/// Time after which a flow of UDP that is silent is reported, and more.
const SILENCE: Duration = Duration::from_secs(20);

fn audited() -> Config {
    Config {
        tap: "  audit_include_dns: true\n".to_owned(),
        ..Config::default()
    }
}

fn debian_python(code: &str, arguments: &[&str]) -> Command {
    let mut python = Command::new("/usr/bin/python3");
    python.args(["-c", code]).args(arguments);
    python
}

/// What a process asked, at its own end, in the order of its answers. Over TCP and UDP they come on ways of their own.
fn asked(events: &Events, pid: u32) -> Vec<&Value> {
    let of_pid = events
        .of_type("dns")
        .filter(|event| event["source"]["pid"] == pid);
    let mut queries: Vec<_> = of_pid.collect();
    queries.sort_by_key(|query| query["timestamp"].as_str());
    queries
}

/// The same query as its server saw it.
fn served<'a>(events: &'a Events, asked: &Value) -> &'a Value {
    let same = |event: &&Value| {
        event["direction"] == "ingress"
            && ["queryId", "name", "recordType", "socketProtocol"]
                .iter()
                .all(|key| event[*key] == asked[*key])
    };
    let matching: Vec<&Value> = events.of_type("dns").filter(same).collect();
    assert_eq!(matching.len(), 1, "{matching:#?}");
    matching[0]
}

fn wait_for_queries(agent: &Agent, pid: u32, count: usize) {
    agent.wait_for("queries of DNS", Duration::from_secs(20), |events| {
        asked(events, pid).len() >= count
            && asked(events, pid)
                .iter()
                .all(|query| query["outcome"] != "complete" || has_server(events, query))
    });
}

fn has_server(events: &Events, asked: &Value) -> bool {
    events.of_type("dns").any(|event| {
        event["direction"] == "ingress"
            && event["queryId"] == asked["queryId"]
            && event["socketProtocol"] == asked["socketProtocol"]
    })
}

fn data_of(event: &Value) -> Vec<&str> {
    let answers = event["answers"].as_array().map(Vec::as_slice).unwrap_or_default();
    answers
        .iter()
        .filter_map(|answer| answer["data"].as_str())
        .collect()
}

fn assert_counts_nothing_lost(agent: &Agent) {
    for (name, labels) in [
        ("qtap_engine_dns_unreadable_total", &[][..]),
        ("qtap_engine_lost_total", &["stage=\"dns\""]),
        ("qtap_capture_lost_total", &["datagrams"]),
    ] {
        let count = agent.system_metric(name, labels);
        assert!(count.abs() < f64::EPSILON, "{name} is {count}");
    }
}

/// What dig asks, and what is to be said of it: response code, and data of the records.
const LOOKUPS: [(&[&str], &str, &[&str]); 8] = [
    (&["api.test", "A"], "NOERROR", &[Namespaces::PRIVATE_V4]),
    (&["api.test", "AAAA"], "NOERROR", &[Namespaces::PRIVATE_V6]),
    (
        &["www.test", "A"],
        "NOERROR",
        &["api.test", Namespaces::PRIVATE_V4],
    ),
    (&["text.test", "TXT"], "NOERROR", &["\"one\" \"two words\""]),
    (&["mail.test", "MX"], "NOERROR", &["10 mx.test"]),
    (&["_xmpp._tcp.test", "SRV"], "NOERROR", &["1 5 5222 api.test"]),
    (&["none.test", "A"], "NXDOMAIN", &[]),
    (&["elsewhere.example", "A"], "REFUSED", &[]),
];

/// A program that asks a server which never answers, three times.
fn asks_in_vain(namespaces: &Namespaces) -> (u32, Program) {
    let silent = debian_python(
        "import socket, sys\n\
         own = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n\
         own.bind((sys.argv[1], 5399))\n\
         print('ready', flush=True)\n\
         while True: own.recv(2000)\n",
        &[Namespaces::PRIVATE_V4],
    );
    let mut silent = Program::start(&mut namespaces.server(&silent));
    assert_eq!(silent.line(Duration::from_secs(5)), "ready");
    let asks = debian_python(
        "import dns.message, socket, sys, time\n\
         own = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n\
         query = dns.message.make_query('lost.test', 'A').to_wire()\n\
         for _ in range(3):\n\
         \x20   own.sendto(query, (sys.argv[1], 5399))\n\
         \x20   time.sleep(0.2)\n",
        &[Namespaces::PRIVATE_V4],
    );
    (run_ok(&mut namespaces.client(&asks)).pid, silent)
}

fn assert_timed_out(query: &Value) {
    assert_eq!(query["outcome"], "timeout", "{query:#}");
    assert_eq!(query["retransmits"], 2, "{query:#}");
    for key in ["rcode", "answers", "duration"] {
        assert_eq!(query[key], Value::Null, "{query:#}");
    }
    assert_eq!(query["destination"]["address"]["port"], 5399, "{query:#}");
    assert!(query["total_ms"].as_f64().unwrap() > 390.0, "{query:#}");
}

/// Every kind of record and failure, by dig and dnsmasq, both of them observed, over UDP and TCP; and meanwhile, as that takes ten
/// seconds, a query that nobody answers.
#[test]
fn lookups_are_told_at_both_ends_and_those_without_an_answer_time_out() {
    let namespaces = Namespaces::create();
    let resolver = Resolver::dnsmasq(&namespaces);
    let agent = Agent::start(&audited());
    let (in_vain, _silent) = asks_in_vain(&namespaces);
    let server = format!("@{}", Namespaces::PRIVATE_V4);
    let ask_all = |options: &[&str]| {
        LOOKUPS.map(|(question, ..)| {
            let arguments = [options, &[&server], question].concat();
            run(&mut namespaces.client(&dig(&arguments))).pid
        })
    };
    let lookups = [("udp", ask_all(&[])), ("tcp", ask_all(&["+tcp"]))];
    for (_, digs) in lookups {
        for pid in digs {
            wait_for_queries(&agent, pid, 1);
        }
        agent.wait_for("connections of dig", SILENCE, |events| {
            digs.iter()
                .all(|pid| !events.finished_connections(*pid).is_empty())
        });
    }
    assert_counts_nothing_lost(&agent);
    agent.wait_for("a query without an answer", SILENCE, |events| {
        !asked(events, in_vain).is_empty()
    });
    let events = agent.stop();
    let unanswered = *one(&asked(&events, in_vain));
    assert_timed_out(unanswered);
    for (transport, digs) in lookups {
        assert_lookups(&events, digs, transport);
    }
    drop(resolver);
}

fn assert_lookups(events: &Events, digs: [u32; 8], transport: &str) {
    for (pid, (question, rcode, data)) in digs.into_iter().zip(LOOKUPS) {
        let query = *one(&asked(events, pid));
        let outline = format!("{query:#}");
        assert_eq!(query["name"], question[0].to_lowercase(), "{outline}");
        assert_eq!(query["recordType"], question[1], "{outline}");
        assert_eq!(query["rcode"], rcode, "{outline}");
        assert_eq!(query["isError"], rcode != "NOERROR", "{outline}");
        assert_eq!(data_of(query), data, "{outline}");
        assert_eq!(query["answerCount"], data.len(), "{outline}");
        assert_eq!(query["outcome"], "complete", "{outline}");
        assert_eq!(query["socketProtocol"], transport, "{outline}");
        assert_eq!(query["l7Protocol"], "dns", "{outline}");
        assert_eq!(query["direction"], "egress-internal", "{outline}");
        assert_eq!(
            query["destination"]["address"]["ip"],
            Namespaces::PRIVATE_V4,
            "{outline}"
        );
        assert_eq!(query["destination"]["address"]["port"], 53, "{outline}");
        assert!(
            query["source"]["exe"]
                .as_str()
                .is_some_and(|exe| exe.ends_with("/dig")),
            "{outline}"
        );
        let lasted = query["total_ms"].as_f64().unwrap();
        assert!(lasted > 0.0 && lasted < 2000.0, "{outline}");

        let served = served(events, query);
        let outline = format!("{served:#}");
        assert_eq!(data_of(served), data, "{outline}");
        assert_eq!(served["rcode"], rcode, "{outline}");
        assert!(
            served["destination"]["exe"]
                .as_str()
                .is_some_and(|exe| exe.ends_with("/dnsmasq")),
            "{outline}"
        );
        assert_eq!(
            served["source"]["address"]["port"], query["source"]["address"]["port"],
            "{outline}\n{query:#}"
        );
        assert_eq!(served["bytesSent"], query["bytesReceived"], "{outline}");
        assert_eq!(served["bytesReceived"], query["bytesSent"], "{outline}");

        let connection = *one(&events.finished_connections(pid));
        assert_eq!(connection["l7Protocol"], "dns", "{connection:#}");
        assert_eq!(connection["socketProtocol"], transport, "{connection:#}");
        assert_eq!(connection["transactions"], 1, "{connection:#}");
        assert_eq!(connection["health"]["status"], "healthy", "{connection:#}");
        assert_eq!(connection["meta"]["connectionId"], query["connectionId"]);
        assert_eq!(connection["bytesSent"], query["bytesSent"], "{connection:#}");
    }
}

#[test]
fn several_queries_go_over_one_connection() {
    let namespaces = Namespaces::create();
    let resolver = Resolver::unbound(&namespaces);
    let agent = Agent::start(&audited());
    let server = format!("@{}", Namespaces::PRIVATE_V6);
    let arguments = [
        "+tcp",
        "+keepopen",
        &server,
        "api.test",
        "A",
        "+tcp",
        "+keepopen",
        &server,
        "api.test",
        "AAAA",
        "+tcp",
        "+keepopen",
        &server,
        "none.test",
        "A",
    ];
    let dig = run_ok(&mut namespaces.client(&dig(&arguments)));
    wait_for_queries(&agent, dig.pid, 3);
    agent.wait_for_connections(&[dig.pid], 1);
    assert_counts_nothing_lost(&agent);
    let events = agent.stop();
    let queries = asked(&events, dig.pid);
    let brief = |event: &&Value| format!("{} {}", event["recordType"], event["rcode"]);
    let briefs: Vec<_> = queries.iter().map(brief).collect();
    assert_eq!(
        briefs,
        [r#""A" "NOERROR""#, r#""AAAA" "NOERROR""#, r#""A" "NXDOMAIN""#]
    );
    let connection = *one(&events.finished_connections(dig.pid));
    assert_eq!(connection["transactions"], 3, "{connection:#}");
    assert!(
        queries
            .iter()
            .all(|query| query["connectionId"] == connection["meta"]["connectionId"])
    );
    for query in queries {
        let server = &served(&events, query)["destination"];
        assert_eq!(server["pid"], resolver.program.pid(), "{server:#}");
    }
}

#[test]
fn an_answer_that_is_too_long_is_asked_for_again_over_tcp() {
    let namespaces = Namespaces::create();
    let _resolver = Resolver::unbound(&namespaces);
    let agent = Agent::start(&audited());
    let server = format!("@{}", Namespaces::PRIVATE_V4);
    let dig = run_ok(&mut namespaces.client(&dig(&["+noedns", &server, "long.test", "TXT"])));
    wait_for_queries(&agent, dig.pid, 2);
    let events = agent.stop();
    let queries = asked(&events, dig.pid);
    let [short, whole] = queries[..] else {
        panic!("two queries: {queries:#?}");
    };
    assert_eq!(
        (&short["socketProtocol"], &short["truncated"], &short["outcome"]),
        (&"udp".into(), &true.into(), &"complete".into()),
        "{short:#}"
    );
    assert_eq!(
        (
            &whole["socketProtocol"],
            &whole["truncated"],
            &whole["answerCount"]
        ),
        (&"tcp".into(), &Value::Null, &1.into()),
        "{whole:#}"
    );
    assert!(whole["bytesReceived"].as_u64().unwrap() > 1200, "{whole:#}");
}

/// DNS over TLS (RFC 7858): Unbound with OpenSSL, asked by kdig with GnuTLS and by dnspython with OpenSSL.
#[test]
fn lookups_over_tls_are_told_at_both_ends() {
    let folder = scratch();
    let certificates = Certificates::make(folder.path());
    let namespaces = Namespaces::create();
    let resolver = Resolver::unbound_with_tls(&namespaces, &certificates);
    let agent = Agent::start(&audited());
    let authority = certificates.authority.to_str().unwrap();
    let (server, trust) = (
        format!("@{}", Namespaces::PRIVATE_V4),
        format!("+tls-ca={authority}"),
    );
    let mut kdig = Command::new("kdig");
    kdig.args(["+tls-hostname=resolver.qtap.test", "+keepopen", "+timeout=5"])
        .args([&trust, &server])
        .args(["api.test", "A", "api.test", "AAAA", "none.test", "A"]);
    let kdig = run_ok(&mut namespaces.client(&kdig));
    let (dnspython, _peer) = dials_what_it_asked_for(&namespaces, folder.path(), &ask_over_tls(authority));
    wait_for_queries(&agent, kdig.pid, 3);
    wait_for_queries(&agent, dnspython, 1);
    agent.wait_for_connections(&[kdig.pid], 1);
    agent.wait_for_connections(&[dnspython], 2);
    assert_counts_nothing_lost(&agent);
    let events = agent.stop();
    let brief = |event: &&Value| {
        format!(
            "{} {} {}",
            event["name"],
            event["recordType"],
            data_of(event).join(" ")
        )
    };
    let of_kdig: Vec<_> = asked(&events, kdig.pid).iter().map(brief).collect();
    assert_eq!(
        of_kdig,
        [
            format!(r#""api.test" "A" {}"#, Namespaces::PRIVATE_V4),
            format!(r#""api.test" "AAAA" {}"#, Namespaces::PRIVATE_V6),
            r#""none.test" "A" "#.to_owned(),
        ]
    );
    for pid in [kdig.pid, dnspython] {
        let queries = asked(&events, pid);
        let id = &queries[0]["connectionId"];
        for query in &queries {
            let outline = format!("{query:#}");
            assert_eq!(query["outcome"], "complete", "{outline}");
            assert_eq!(query["socketProtocol"], "tcp", "{outline}");
            assert_eq!(query["l7Protocol"], "dns", "{outline}");
            assert_eq!(query["destination"]["address"]["port"], 853, "{outline}");
            assert_eq!(&query["connectionId"], id, "{outline}");
            let server = &served(&events, query)["destination"];
            assert_eq!(server["pid"], resolver.program.pid(), "{server:#}");
        }
        let ends = ["egress-internal", "ingress"].map(|direction| {
            let of_dns = |event: &&Value| {
                event["finalized"] == true
                    && event["direction"] == direction
                    && event["destination"]["address"]["port"] == 853
                    && event["source"]["address"]["port"] == queries[0]["source"]["address"]["port"]
            };
            *one(&events.of_type("connection").filter(of_dns).collect::<Vec<_>>())
        });
        for connection in ends {
            assert_eq!(connection["l7Protocol"], "dns", "{connection:#}");
            assert_eq!(connection["transactions"], queries.len(), "{connection:#}");
            assert_eq!(connection["health"]["status"], "healthy", "{connection:#}");
            assert_eq!(
                connection["health"]["gotTLSClientHelloEvent"], true,
                "{connection:#}"
            );
        }
    }
    let connections = events.finished_connections(dnspython);
    let mut dialled = (connections.iter()).filter(|event| event["destination"]["address"]["port"] != 853);
    let dialled = dialled.next().expect("a connection to what was asked for");
    assert_eq!(dialled["meta"]["endpointId"], "api.test", "{dialled:#}");
}

/// glibc asks for both kinds of addresses at once, in one call; dnspython on sockets without a peer.
#[test]
fn other_clients_are_understood() {
    let namespaces = Namespaces::create();
    let resolver = Resolver::dnsmasq(&namespaces);
    let agent = Agent::start(&audited());
    let mut getent = Command::new("getent");
    getent.args(["ahosts", "www.test"]);
    let getent = run_ok(&mut namespaces.client(&getent));
    let code = "import dns.message, dns.query, sys\n\
                for server in sys.argv[1:]:\n\
                \x20   for ask in dns.query.udp, dns.query.tcp:\n\
                \x20       print(ask(dns.message.make_query('www.test', 'A'), server, timeout=5).answer)\n";
    let dnspython = debian_python(code, &[Namespaces::PRIVATE_V4, Namespaces::PRIVATE_V6]);
    let dnspython = run_ok(&mut namespaces.client(&dnspython));
    wait_for_queries(&agent, getent.pid, 2);
    wait_for_queries(&agent, dnspython.pid, 4);
    assert_counts_nothing_lost(&agent);
    let events = agent.stop();
    let mut kinds: Vec<_> = asked(&events, getent.pid)
        .iter()
        .map(|query| query["recordType"].to_string())
        .collect();
    kinds.sort();
    assert_eq!(kinds, [r#""A""#, r#""AAAA""#]);
    let ends: Vec<_> = asked(&events, dnspython.pid)
        .iter()
        .map(|query| {
            format!(
                "{} {}:{} {}",
                query["socketProtocol"],
                query["destination"]["address"]["ip"],
                query["destination"]["address"]["port"],
                data_of(query).join(" ")
            )
        })
        .collect();
    let address = Namespaces::PRIVATE_V4;
    assert_eq!(
        ends,
        [
            format!(r#""udp" "{address}":53 api.test {address}"#),
            format!(r#""tcp" "{address}":53 api.test {address}"#),
            format!(r#""udp" "{}":53 api.test {address}"#, Namespaces::PRIVATE_V6),
            format!(r#""tcp" "{}":53 api.test {address}"#, Namespaces::PRIVATE_V6),
        ]
    );
    for query in asked(&events, dnspython.pid) {
        let served = served(&events, query);
        assert_eq!(
            served["source"]["address"]["port"],
            query["source"]["address"]["port"]
        );
        assert_eq!(
            served["source"]["address"]["family"],
            query["destination"]["address"]["family"]
        );
    }
    drop(resolver);
}

/// `l7Protocol` of what a program sends to port 53 over TCP.
#[test]
fn other_bytes_on_its_port_are_not_dns() {
    let namespaces = Namespaces::create();
    let agent = Agent::start(&audited());
    let echo = debian_python(
        "import socket, sys\n\
         server = socket.create_server((sys.argv[1], 53))\n\
         print('ready', flush=True)\n\
         while True:\n\
         \x20   peer, _ = server.accept()\n\
         \x20   while data := peer.recv(4096): peer.sendall(data)\n",
        &[Namespaces::PRIVATE_V4],
    );
    let mut echo = Program::start(&mut namespaces.server(&echo));
    assert_eq!(echo.line(Duration::from_secs(5)), "ready");
    let code = "import random, socket, sys\n\
                random.seed(sys.argv[2])\n\
                peer = socket.create_connection((sys.argv[1], 53))\n\
                for length in 300, 20, 5000:\n\
                \x20   data = random.randbytes(length)\n\
                \x20   if sys.argv[2] == '3': data = b'\\0\\x20' + data[:32]\n\
                \x20   peer.sendall(data)\n\
                \x20   left = len(data)\n\
                \x20   while left:\n\
                \x20       got = peer.recv(left)\n\
                \x20       assert got, 'the peer closed'\n\
                \x20       left -= len(got)\n";
    let pids = ["1", "2", "3"].map(|seed| {
        let client = debian_python(code, &[Namespaces::PRIVATE_V4, seed]);
        run_ok(&mut namespaces.client(&client)).pid
    });
    agent.wait_for_connections(&pids, 3);
    let events = agent.stop();
    for pid in pids {
        let connection = *one(&events.finished_connections(pid));
        assert_eq!(connection["l7Protocol"], "other", "{connection:#}");
        assert!(asked(&events, pid).is_empty());
    }
}

const ASK_OVER_TCP: &str = "dns.query.tcp(query, sys.argv[1], timeout=5)";

fn ask_over_tls(authority: &str) -> String {
    format!(
        "dns.query.tls(query, sys.argv[1], timeout=5, server_hostname='resolver.qtap.test', \
         ssl_context=ssl.create_default_context(cafile='{authority}'))"
    )
}

/// A program that asks by the expression `ask`, and then talks to the address without saying its name.
fn dials_what_it_asked_for(namespaces: &Namespaces, folder: &Path, ask: &str) -> (u32, PythonServer) {
    let mut command = python("server.py");
    command.args(["--host", "::"]);
    let server = PythonServer::start_command(folder, namespaces.server(&command));
    let code = format!(
        "import dns.message, dns.query, socket, ssl, sys\n\
         query = dns.message.make_query('api.test', 'A')\n\
         answer = {ask}\n\
         peer = socket.create_connection((answer.answer[0][0].address, int(sys.argv[2])))\n\
         peer.sendall(b'\\x00\\x01\\x02 no protocol at all\\n')\n\
         peer.shutdown(socket.SHUT_WR)\n\
         peer.recv(1000)\n"
    );
    let client = debian_python(&code, &[Namespaces::PRIVATE_V4, &server.port.to_string()]);
    (run_ok(&mut namespaces.client(&client)).pid, server)
}

#[test]
fn without_audit_names_are_learnt_and_nothing_is_reported() {
    let folder = scratch();
    let namespaces = Namespaces::create();
    let resolver = Resolver::dnsmasq(&namespaces);
    let agent = Agent::start(&Config::default());
    run_ok(&mut namespaces.client(&dig(&["api.test", "A"])));
    let (pid, _server) = dials_what_it_asked_for(&namespaces, folder.path(), ASK_OVER_TCP);
    agent.wait_for_connections(&[pid], 1);
    agent.wait_for("hidden connections", Duration::from_secs(5), |_| {
        agent.system_metric("qtap_plugin_connections_hidden_total", &[]) >= 2.0
    });
    let events = agent.stop();
    let connection = *one(&events.finished_connections(pid));
    assert_eq!(connection["meta"]["endpointId"], "api.test", "{connection:#}");
    assert_eq!(events.of_type("dns").count(), 0);
    let of_dns =
        |event: &&Value| event["l7Protocol"] == "dns" || event["destination"]["address"]["port"] == 53;
    assert_eq!(events.of_type("connection").filter(of_dns).count(), 0);
    drop(resolver);
}

/// The configuration in force decides, and may change at any time.
#[test]
fn audit_begins_and_ends_with_a_reload() {
    let namespaces = Namespaces::create();
    let resolver = Resolver::dnsmasq(&namespaces);
    let agent = Agent::start(&Config::default());
    let reload = |config: &Config, count: f64| {
        std::fs::write(agent.config_file(), config.to_string()).expect("another configuration");
        agent.wait_for("the reload", Duration::from_secs(10), |_| {
            agent.system_metric("qtap_config_reloads_total", &["applied"]) >= count
        });
    };
    let ask = || run_ok(&mut namespaces.client(&dig(&["api.test", "A"]))).pid;
    let before = ask();
    reload(&audited(), 1.0);
    let during = ask();
    wait_for_queries(&agent, during, 1);
    reload(&Config::default(), 2.0);
    let after = ask();
    let events = agent.stop();
    let counts = [before, during, after].map(|pid| asked(&events, pid).len());
    assert_eq!(counts, [0, 1, 0]);
    drop(resolver);
}

#[test]
fn filters_directions_and_loopback_hold_for_it() {
    let namespaces = Namespaces::create();
    let resolver = Resolver::dnsmasq(&namespaces);
    let ends = |tap: &str, config: Config| {
        let agent = Agent::start(&Config {
            tap: format!("  audit_include_dns: true\n{tap}"),
            ..config
        });
        let own = ["api.test", "A"];
        let pid = run_ok(&mut namespaces.client(&dig(&own))).pid;
        // dnsmasq asks itself nothing, but a program beside it may.
        let server = format!("@{}", Namespaces::PRIVATE_V4);
        let beside = run_ok(&mut namespaces.server(&dig(&[&server, "www.test", "A"]))).pid;
        // What was captured by then is told before it ends.
        let events = agent.stop();
        let served =
            (events.of_type("dns")).filter(|event| event["destination"]["pid"] == resolver.program.pid());
        [
            asked(&events, pid).len(),
            asked(&events, beside).len(),
            served.count(),
        ]
    };
    assert_eq!(ends("", Config::default()), [1, 1, 2]);
    let egress = Config {
        direction: "egress",
        ..Config::default()
    };
    assert_eq!(ends("", egress), [1, 1, 0]);
    let external = Config {
        direction: "egress-external",
        ..Config::default()
    };
    assert_eq!(ends("", external), [0, 0, 0]);
    let remote = Config {
        direction: "egress",
        ignore_loopback: true,
        ..Config::default()
    };
    assert_eq!(ends("", remote), [1, 0, 0]);
    let filter = "  filters: {custom: [{exe: /dig, only: [dns]}]}\n";
    assert_eq!(ends(filter, Config::default()), [0, 0, 2]);
    drop(resolver);
}
