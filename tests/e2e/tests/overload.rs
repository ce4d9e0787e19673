//! More traffic than there is room for, and an agent that dies of it.

use std::process::Command;
use std::time::Duration;

use qtap_e2e::{
    Agent, Config, Load, Side, Transport, assert_complete, assert_healthy, assert_nothing_in_flight,
    assert_sums, deterministic_bytes, hex_sha256, is_flagged, outline, run_ok, single, wait_for_both_ends,
};
use rustix::process::Signal;
use serde_json::Value;

const DOCUMENTS: usize = 40;

/// Length of document `number`: some smaller than a chunk, some larger than the small ring.
fn length(number: usize) -> usize {
    100 + number * number * 150
}

fn serve_documents() -> Load {
    Load::of((0..DOCUMENTS).map(length))
}

/// "A ring of 64 KiB under load: gaps flagged, no transaction wrong, sums exact, agent and workload alive."
#[test]
fn a_small_ring_under_load_loses_honestly() {
    let load = serve_documents();
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
        let _ = load.start(port, &arguments).finish();
        wait_for_both_ends(&agent, port, connections);
    }
    assert!(agent.lost() > 0.0, "nothing was lost, so nothing was tried");
    // Alive: what comes after the load is whole again.
    let client = load.request("after");
    wait_for_both_ends(&agent, load.tls, 16);
    assert_nothing_in_flight(&agent);
    let events = agent.stop();
    let after = single(&events, client);
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
    let flagged = is_flagged(transaction);
    assert!(
        !flagged || gap > 0,
        "flagged without a gap: {}",
        outline(transaction)
    );
    match path
        .strip_prefix('/')
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
    let load = serve_documents();
    let mut agent = Agent::start(&Config::default());
    let attached = Attached::by(&agent);
    let generators = [load.plain, load.tls].map(|port| load.start(port, &["--h1", "-D", "4", "-c", "8"]));
    std::thread::sleep(Duration::from_millis(1500));
    agent.signal(Signal::KILL);
    assert!(!agent.wait(Duration::from_secs(5)).success());
    for generator in generators {
        let _ = generator.finish();
    }
    attached.wait_for_release();
}

/// "Clean detach on SIGTERM, SIGINT": the same after an orderly end.
#[test]
fn a_stopped_agent_leaves_nothing_behind() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut agent = Agent::start(&Config::default());
        let attached = Attached::by(&agent);
        agent.signal(signal);
        assert!(agent.wait(Duration::from_secs(10)).success(), "{}", agent.log());
        attached.wait_for_release();
    }
}

/// Ids of what an agent put into the kernel.
struct Attached {
    links: Vec<u64>,
    programs: Vec<u64>,
}

impl Attached {
    fn by(agent: &Agent) -> Self {
        let (links, programs) = (held_by(agent.pid(), "link"), held_by(agent.pid(), "prog"));
        assert!(
            !programs.is_empty() && !links.is_empty(),
            "the agent holds no programs: {programs:?} {links:?}"
        );
        Self { links, programs }
    }

    fn wait_for_release(&self) {
        qtap_e2e::until(Duration::from_secs(10), "release of everything attached", || {
            let (links, programs) = (ids("link"), ids("prog"));
            self.links.iter().all(|id| !links.contains(id))
                && self.programs.iter().all(|id| !programs.contains(id))
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
