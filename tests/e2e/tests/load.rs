//! The load breaker: an agent over its share looks at less, says so, and comes back.

use std::process::Command;
use std::time::Duration;

use qtap_e2e::{
    Agent, Certificates, Config, Curl, Nginx, Program, Side, Transport, assert_healthy,
    assert_nothing_in_flight, assert_sums, free_port, hex_sha256, scratch, single, until,
};

/// "An agent over its CPU share steps down within seconds, says so, harms nobody, and comes back."
#[test]
fn an_agent_over_its_share_looks_at_less_and_comes_back() {
    let folder = scratch();
    let certificates = Certificates::make(folder.path());
    let (plain, tls) = (free_port(), free_port());
    let servers = format!(
        "server {{ listen 127.0.0.1:{plain}; }}\n\
         server {{ listen 127.0.0.1:{tls} ssl; ssl_certificate {}; ssl_certificate_key {}; }}",
        certificates.certificate.display(),
        certificates.key.display()
    );
    let nginx = Nginx::start(folder.path(), &servers, &[plain, tls]);
    nginx.put("index.html", &[b'x'; 700]);
    let agent = Agent::start(&Config {
        cpu_percent: 10,
        ..Config::default()
    });
    assert_eq!(agent.system_metric("qtap_load_level", &[]), 0.0);
    // Ends of connections that live through all of it, and of many short ones.
    let seconds = ["-D", "14"];
    let generators = [
        (format!("http://127.0.0.1:{plain}/"), vec!["--h1", "-c", "2"]),
        (format!("https://127.0.0.1:{tls}/"), vec!["--h1", "-c", "2"]),
    ]
    .map(|(url, arguments)| Program::start(Command::new("h2load").args(seconds).args(arguments).arg(url)));
    until(Duration::from_secs(16), "only counting", || {
        agent.system_metric("qtap_load_level", &[]) == 3.0
    });
    let line = agent.wait_for_log(&["over the configured share", "counted"], Duration::from_secs(1));
    assert!(
        line.contains("limit=10") || line.contains("\"limit\":10"),
        "{line}"
    );
    for generator in generators {
        let finished = generator.finish(Duration::from_secs(40));
        assert!(
            finished.text().contains(" 0 failed, 0 errored"),
            "{}",
            finished.text()
        );
    }
    // A build of the workspace at the same time gives the agent work too; by itself it is back in a quarter of a minute.
    let line = agent.wait_for_log(&["everything is captured again"], Duration::from_secs(120));
    assert!(line.contains("full"), "{line}");
    let (steps_down, steps_up) = (
        agent.system_metric("qtap_load_steps_total", &["down"]),
        agent.system_metric("qtap_load_steps_total", &["up"]),
    );
    assert!(
        steps_down >= 3.0 && steps_down == steps_up,
        "{steps_down} down, {steps_up} up"
    );
    assert!(agent.system_metric("qtap_capture_lost_total", &["data_bytes_lost_load_shed"]) > 0.0);
    assert_nothing_in_flight(&agent);
    let (curl, _) = Curl::new(folder.path(), &format!("https://after.qtap.test:{tls}/"))
        .authority(&certificates.authority)
        .run();
    agent.wait_for_connections(&[curl.pid], 1);
    let events = agent.stop();
    let after = single(&events, curl.pid);
    assert_healthy(&after, Transport::Tls);
    assert_eq!(hex_sha256(&curl.stdout), hex_sha256(&[b'x'; 700]));

    for port in [plain, tls] {
        for side in [Side::Client, Side::Server] {
            let captures = events.of_port(port, side);
            let loaded: Vec<_> = captures
                .iter()
                .filter(|capture| capture.status() != "healthy")
                .collect();
            assert_eq!(loaded.len(), 2, "{}", events.outline());
            for capture in loaded {
                assert_sums(capture);
                assert!(
                    capture.reasons().contains(&"load_shed"),
                    "{:#}",
                    capture.connection
                );
                assert!(
                    capture.connection["health"]["gapBytes"].as_u64() > Some(0),
                    "{:#}",
                    capture.connection
                );
                for transaction in &capture.transactions {
                    let flagged = transaction["incomplete"] == true
                        || transaction["response"]["body_truncated"] == true
                        || transaction["headers_partial"] == true
                        || transaction["status_unknown"] == true
                        || transaction["outcome"] != "complete";
                    assert!(
                        flagged
                            || transaction["metadata"]["bytes_received"].as_u64() > Some(700)
                            || transaction["metadata"]["bytes_sent"].as_u64() > Some(700),
                        "{transaction:#}"
                    );
                }
            }
        }
    }
}

/// Bodies that come slowly and all at one time fill what they may: none is kept, the rest goes on, and it comes back.
#[test]
fn an_agent_over_its_memory_keeps_no_bodies_and_comes_back() {
    const BODY: usize = 900_000;
    let folder = scratch();
    let port = free_port();
    let servers = format!("server {{ listen 127.0.0.1:{port}; location /slow/ {{ limit_rate 100k; }} }}");
    let nginx = Nginx::start(folder.path(), &servers, &[port]);
    nginx.put("slow/d", &vec![b'x'; BODY]);
    nginx.put("index.html", &[b'x'; 700]);
    let agent = Agent::start(&Config {
        limits: "memory: 4mb, body: 1mb".to_owned(),
        tap: Config::without_this_test(),
        ..Config::default()
    });
    let url = format!("http://127.0.0.1:{port}");
    let load = Program::start(Command::new("h2load").args([
        "--h1",
        "-n",
        "16",
        "-c",
        "16",
        &format!("{url}/slow/d"),
    ]));
    let line = agent.wait_for_log(
        &["over the configured share", "bodies are not kept"],
        Duration::from_secs(15),
    );
    let used = line.split("memory_percent").nth(1).map(|rest| {
        let digits = rest.trim_start_matches(|c: char| !c.is_ascii_digit());
        let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
        digits[..end].parse::<u64>()
    });
    assert!(matches!(used, Some(Ok(90..))), "{line}");
    let finished = load.finish(Duration::from_secs(30)).text();
    assert!(finished.contains(" 0 failed, 0 errored"), "{finished}");
    until(Duration::from_secs(60), "everything is captured again", || {
        agent.system_metric("qtap_load_level", &[]) == 0.0
            && agent.system_metric("qtap_load_steps_total", &["down"])
                == agent.system_metric("qtap_load_steps_total", &["up"])
    });
    let (curl, _) = Curl::new(folder.path(), &url).run();
    agent.wait_for_connections(&[curl.pid], 1);
    let events = agent.stop();
    assert_healthy(&single(&events, curl.pid), Transport::Plain);
    for side in [Side::Client, Side::Server] {
        let captures = events.of_port(port, side);
        assert_eq!(captures.len(), 17, "{}", events.outline());
        for capture in &captures {
            assert_sums(capture);
        }
        let whole = |capture: &&qtap_e2e::Capture| {
            let text = capture.transactions[0].to_string();
            !text.contains("\"body_truncated\":true")
        };
        assert!(captures.iter().filter(whole).count() < 17, "none was left out");
    }
}
