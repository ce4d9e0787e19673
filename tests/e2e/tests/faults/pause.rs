//! An agent that stands still.

use std::time::Duration;

use qtap_e2e::{Agent, Config, Load, assert_nothing_in_flight};
use rustix::process::Signal;

/// "`SIGSTOP` of the agent for 10 s under load (workload unharmed; after SIGCONT the loss is counted and new traffic is captured
/// healthy)".
#[test]
fn an_agent_that_is_stopped_for_ten_seconds_counts_what_it_lost() {
    let load = Load::new();
    let agent = Agent::start(&Config {
        limits: "data_ring: 64kb, control_ring: 64kb, body: 16kb".to_owned(),
        ..Config::default()
    });
    let _ = load.probe(&agent, "before");
    let lost_before = agent.lost();
    let generators =
        [load.plain, load.tls].map(|port| load.start(port, &["--h1", "-D", "12", "-c", "2", "--rps", "50"]));
    std::thread::sleep(Duration::from_secs(1));
    agent.signal(Signal::STOP);
    std::thread::sleep(Duration::from_secs(10));
    agent.signal(Signal::CONT);
    for generator in generators {
        // At 100 requests/s, nobody waited for the agent.
        let count = generator.finish();
        assert!(count > 800, "{count} requests");
    }
    let line = agent.wait_for_log(&["\"warn\"", "the agent stood still"], Duration::from_secs(10));
    assert!(line.contains("\"seconds\":10."), "{line}");
    assert!(
        agent.lost() > lost_before,
        "nothing was lost, so nothing was tried"
    );
    assert_nothing_in_flight(&agent);
    let _ = load.probe(&agent, "after");
    let events = agent.stop();
    // What a connection lost it tells.
    let mut lossy = 0;
    for port in [load.plain, load.tls] {
        for capture in events.captures(|connection| connection["destination"]["address"]["port"] == port) {
            if capture.connection["health"]["gapBytes"].as_u64() > Some(0) {
                lossy += 1;
                assert_ne!(capture.status(), "healthy", "{:#}", capture.connection);
                assert!(
                    capture.reasons().contains(&"ring_full"),
                    "{:#}",
                    capture.connection
                );
            }
        }
    }
    assert!(lossy > 0, "no connection tells of the loss");
}
