//! More traffic than there is room for, and an agent that dies of it.
//!
//! Issue "What shows that it is done" 6.

use std::process::Command;
use std::time::Duration;

use qtap_e2e::{
    Agent, Certificates, Config, Curl, Nginx, Program, Side, Transport, assert_complete, assert_healthy,
    assert_nothing_in_flight, assert_sums, deterministic_bytes, free_port, hex_sha256, outline, run_ok,
    scratch, single, wait_for_both_ends,
};
use rustix::process::Signal;
use serde_json::Value;

const DOCUMENTS: usize = 40;

struct Load {
    _folder: tempfile::TempDir,
    _nginx: Nginx,
    folder: std::path::PathBuf,
    certificates: Certificates,
    plain: u16,
    tls: u16,
}

/// Length of document `number`: some smaller than a chunk, some larger than the small ring.
fn length(number: usize) -> usize {
    100 + number * number * 150
}

impl Load {
    fn new() -> Self {
        let folder = scratch();
        let certificates = Certificates::make(folder.path());
        let (plain, tls) = (free_port(), free_port());
        let servers = format!(
            "server {{ listen 127.0.0.1:{plain}; }}\n\
             server {{ listen 127.0.0.1:{tls} ssl http2; ssl_certificate {}; ssl_certificate_key {}; }}",
            certificates.certificate.display(),
            certificates.key.display()
        );
        let nginx = Nginx::start(folder.path(), &servers, &[plain, tls]);
        for number in 0..DOCUMENTS {
            nginx.put(&format!("f/{number}"), &deterministic_bytes(length(number)));
        }
        Self {
            folder: folder.path().to_owned(),
            _folder: folder,
            _nginx: nginx,
            certificates,
            plain,
            tls,
        }
    }

    /// A load generator over all documents.
    fn generator(&self, port: u16, arguments: &[&str]) -> Command {
        let scheme = if port == self.tls { "https" } else { "http" };
        let list = self.folder.join(format!("urls-{port}"));
        let urls: String = (0..DOCUMENTS)
            .map(|number| format!("{scheme}://127.0.0.1:{port}/f/{number}\n"))
            .collect();
        std::fs::write(&list, urls).unwrap();
        let mut command = Command::new("h2load");
        command.args(arguments).arg("-i").arg(list);
        command
    }
}

/// "A ring of 64 KiB under load: gaps flagged, no transaction wrong, sums exact, agent and workload alive."
#[test]
fn a_small_ring_under_load_loses_honestly() {
    let load = Load::new();
    let limits = "data_ring: 64kb, body: 1mb, memory: 512mb".to_owned();
    let agent = Agent::start(&Config {
        limits,
        ..Config::default()
    });
    for (port, arguments, connections) in [
        (load.plain, ["--h1", "-n", "600", "-c", "10"], 10),
        (load.tls, ["--h1", "-n", "400", "-c", "10"], 10),
        (load.tls, ["-m4", "-n", "400", "-c", "5"], 15),
    ] {
        let finished = run_ok(&mut load.generator(port, &arguments));
        assert!(
            finished.text().contains(" 0 failed, 0 errored"),
            "{}",
            finished.text()
        );
        wait_for_both_ends(&agent, port, connections);
    }
    assert!(agent.lost() > 0.0, "nothing was lost, so nothing was tried");
    // Alive: what comes after the load is whole again.
    let (curl, _) = Curl::new(&load.folder, &format!("https://after.qtap.test:{}/f/3", load.tls))
        .authority(&load.certificates.authority)
        .run();
    wait_for_both_ends(&agent, load.tls, 16);
    assert_nothing_in_flight(&agent);
    let events = agent.stop();
    let after = single(&events, curl.pid);
    assert_healthy(&after, Transport::Tls);

    let digests: Vec<String> = (0..DOCUMENTS)
        .map(|number| hex_sha256(&deterministic_bytes(length(number))))
        .collect();
    let mut lossy = 0;
    for port in [load.plain, load.tls] {
        for side in [Side::Client, Side::Server] {
            for capture in events.of_port(port, side) {
                assert_sums(&capture);
                let gap = capture.connection["health"]["gapBytes"].as_u64().unwrap();
                if gap > 0 {
                    lossy += 1;
                    assert_ne!(capture.status(), "healthy");
                    let told = |code| capture.reasons().contains(&code);
                    assert!(
                        told("ring_full") || told("queue_full"),
                        "{:#}",
                        capture.connection
                    );
                }
                for transaction in &capture.transactions {
                    assert_honest(transaction, &digests, gap);
                }
            }
        }
    }
    assert!(lossy > 0, "no connection tells of the loss");
}

/// Either whole and right, or flagged; never both whole and wrong, never of a path that nobody asked for.
fn assert_honest(transaction: &Value, digests: &[String], gap: u64) {
    let path = transaction["request"]["path"].as_str().unwrap_or_default();
    let flagged = transaction["incomplete"] == true
        || transaction["headers_partial"] == true
        || transaction["status_unknown"] == true
        || transaction["outcome"] != "complete";
    assert!(
        !flagged || gap > 0,
        "flagged without a gap: {}",
        outline(transaction)
    );
    match path
        .strip_prefix("/f/")
        .and_then(|number| number.parse::<usize>().ok())
    {
        Some(number) if !flagged => assert_complete(transaction, None, Some(&digests[number])),
        Some(number) => {
            assert!(number < digests.len(), "nobody asked for {path:?}");
            // Each document has a length of its own: a response with another one answers another request.
            let headers = transaction["response"]["headers"].as_object();
            let told = headers.and_then(|headers| {
                (headers.iter()).find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
            });
            if let Some((_, told)) = told {
                assert_eq!(*told, length(number).to_string(), "{}", outline(transaction));
            }
        }
        None => assert!(
            flagged && (path == "*" || path.is_empty()),
            "nobody asked for {path:?}"
        ),
    }
}

/// "SIGKILL of the agent under load: no request fails, nothing stays attached."
#[test]
fn a_killed_agent_leaves_nothing_behind() {
    let load = Load::new();
    let mut agent = Agent::start(&Config::default());
    let (links, programs) = (held_by(agent.pid(), "link"), held_by(agent.pid(), "prog"));
    assert!(
        !programs.is_empty() && !links.is_empty(),
        "the agent holds no programs: {programs:?} {links:?}"
    );
    let generators: Vec<Program> = [load.plain, load.tls]
        .into_iter()
        .map(|port| Program::start(&mut load.generator(port, &["--h1", "-D", "4", "-c", "8"])))
        .collect();
    std::thread::sleep(Duration::from_millis(1500));
    agent.signal(Signal::KILL);
    assert!(!agent.wait(Duration::from_secs(5)).success());
    for generator in generators {
        let finished = generator.finish(Duration::from_secs(30));
        assert!(finished.status.success(), "{}", finished.errors());
        assert!(
            finished.text().contains(" 0 failed, 0 errored"),
            "{}",
            finished.text()
        );
    }
    qtap_e2e::until(Duration::from_secs(10), "release of everything attached", || {
        let (now_links, now_programs) = (ids("link"), ids("prog"));
        links.iter().all(|id| !now_links.contains(id)) && programs.iter().all(|id| !now_programs.contains(id))
    });
}

/// "Clean detach on SIGTERM, SIGINT": the same after an orderly end.
#[test]
fn a_stopped_agent_leaves_nothing_behind() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut agent = Agent::start(&Config::default());
        let (links, programs) = (held_by(agent.pid(), "link"), held_by(agent.pid(), "prog"));
        assert!(
            !programs.is_empty() && !links.is_empty(),
            "the agent holds no programs: {programs:?} {links:?}"
        );
        agent.signal(signal);
        assert!(agent.wait(Duration::from_secs(10)).success(), "{}", agent.log());
        qtap_e2e::until(Duration::from_secs(10), "release of everything attached", || {
            let (now_links, now_programs) = (ids("link"), ids("prog"));
            links.iter().all(|id| !now_links.contains(id))
                && programs.iter().all(|id| !now_programs.contains(id))
        });
    }
}

/// Ids of the programs or links that a process holds, from its file descriptors.
fn held_by(pid: u32, kind: &str) -> Vec<u64> {
    let key = format!("{kind}_id:");
    std::fs::read_dir(format!("/proc/{pid}/fdinfo"))
        .unwrap()
        .filter_map(|entry| std::fs::read_to_string(entry.ok()?.path()).ok())
        .filter_map(|text| {
            text.lines()
                .find_map(|line| line.strip_prefix(&key)?.trim().parse().ok())
        })
        .collect()
}

/// Ids of all programs or links in the kernel.
fn ids(kind: &str) -> Vec<u64> {
    let shown = run_ok(Command::new("bpftool").args(["-j", kind, "show"]));
    let list: Value = serde_json::from_slice(&shown.stdout).unwrap();
    list.as_array()
        .unwrap()
        .iter()
        .filter_map(|item| item["id"].as_u64())
        .collect()
}
