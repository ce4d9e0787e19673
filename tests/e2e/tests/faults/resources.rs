//! Without memory, without room on the disk.

use std::os::unix::process::ExitStatusExt as _;
use std::process::Command;
use std::time::Duration;

use qtap_e2e::{Agent, Cgroup, Config, Controller, Disk, Load, run_ok, until};
use rustix::process::Signal;

/// "out of memory (a cgroup with memory.max …: workload unharmed, agent exits, next start works)". Its records find no reader, so that its
/// queue fills: 32 MiB, which it may hold and its control group does not have.
#[test]
fn an_agent_that_runs_out_of_memory_ends_alone_and_the_next_one_tells() {
    let load = Load::new();
    let data = load.folder().join("data");
    let unread = load.folder().join("unread");
    run_ok(Command::new("mkfifo").arg(&unread));
    // Keeps it open for writing and for reading, and reads nothing.
    let _reader = std::fs::File::options()
        .read(true)
        .write(true)
        .open(&unread)
        .unwrap();
    let cgroup = Cgroup::create(Controller::Memory);
    let redirect = format!("exec \"$@\" >{}", unread.display());
    let enter = cgroup.wrapper();
    let wrapper: Vec<&str> = (enter.iter().map(String::as_str))
        .chain(["/bin/sh", "-c", &redirect, "sh"])
        .collect();
    let mut agent = Agent::start_by_in(&wrapper, &Config::default(), &data);
    let mut limit = cgroup.usage();
    while limit > 1 << 20 && cgroup.limit(limit) {
        limit -= 1 << 20;
    }
    let generators = [load.plain, load.tls]
        .map(|port| load.start_until_finished(port, &["--h1", "-c", "32", "--rps", "40"]));
    let mut status = None;
    until(Duration::from_secs(30), "end of an agent without memory", || {
        status = agent.has_ended();
        status.is_some()
    });
    let status = status.expect("it has ended");
    assert_eq!(status.signal(), Some(Signal::KILL.as_raw()), "{status}");
    for generator in generators {
        let _ = generator.finish();
    }
    let pid = agent.pid();
    drop(agent);
    drop(cgroup);
    let agent = Agent::start_with_data_dir(&Config::default(), &data);
    let line = agent.wait_for_log(
        &["\"warn\"", "a former agent was killed or broke down"],
        Duration::from_secs(5),
    );
    assert!(line.contains(&format!("\"pid\":{pid}")), "{line}");
    let _ = load.probe(&agent, "after");
    let _ = agent.stop();
    assert_eq!(std::fs::read_dir(&data).unwrap().count(), 0, "sockets are left");
}

/// "disk full (stdout to a full small tmpfs …)": records are lost and counted; when there is room again they are written, and
/// the first line after the torn one is whole.
#[test]
fn a_full_disk_under_standard_output_costs_records_only() {
    let load = Load::new();
    let disk = Disk::mount(&load.folder().join("disk"), "size=256k");
    let file = disk.path().join("events");
    let redirect = format!("exec \"$@\" >>{}", file.display());
    let agent = Agent::start_by(
        &["/bin/sh", "-c", &redirect, "sh"],
        &Config::default().to_string(),
        &[],
    );
    let generator = load.start(load.tls, &["--h1", "-n", "200", "-c", "4"]);
    let _ = generator.finish();
    let _ = agent.wait_for_log(
        &[
            "\"warn\"",
            "standard output cannot be written",
            "No space left on device",
        ],
        Duration::from_secs(20),
    );
    let lost = agent.system_metric("qtap_store_lost_total", &["reason=\"no_space\""]);
    assert!(lost > 0.0);
    // Everything of the load has been tried.
    std::thread::sleep(Duration::from_secs(2));
    until(Duration::from_secs(20), "an empty queue", || {
        agent.system_metric("qtap_store_queue_depth", &[]) == 0.0
    });
    // Room again.
    std::fs::File::options()
        .write(true)
        .open(&file)
        .unwrap()
        .set_len(0)
        .unwrap();
    let pid = load.request("after");
    let _ = agent.wait_for_log(&["standard output can be written again"], Duration::from_secs(20));
    let written = || std::fs::read_to_string(&file).unwrap_or_default();
    until(Duration::from_secs(20), "the last connection", || {
        written().lines().any(|line| {
            serde_json::from_str::<serde_json::Value>(line)
                .is_ok_and(|event| event["finalized"] == true && event["source"]["pid"] == pid)
        })
    });
    let _ = agent.stop();
    // At most the line that was torn at the end of the disk.
    let text = written();
    let broken = text
        .lines()
        .filter(|line| !line.is_empty() && serde_json::from_str::<serde_json::Value>(line).is_err());
    assert!(broken.count() <= 1, "{text}");
}

/// "…/dev/full": for standard output and for the log at once.
#[test]
fn without_any_output_it_still_runs_and_counts() {
    let load = Load::new();
    let wrapper = ["/bin/sh", "-c", "exec \"$@\" >/dev/full 2>/dev/full", "sh"];
    let agent = Agent::start_by(&wrapper, &Config::default().to_string(), &[]);
    let generator = load.start(load.tls, &["--h1", "-n", "50", "-c", "4"]);
    assert_eq!(generator.finish(), 50);
    until(Duration::from_secs(20), "a lost record", || {
        agent.system_metric("qtap_store_lost_total", &[]) > 0.0
    });
    assert!(agent.system_metric("qtap_agent_lost_total", &["reason=\"log_line\""]) > 0.0);
    let _ = agent.stop();
}

/// "data dir full: what the agent says, that it goes on".
#[test]
fn a_full_disk_under_the_data_folder_costs_the_control_socket_only() {
    let load = Load::new();
    // The root of the file system is its one inode.
    let disk = Disk::mount(&load.folder().join("disk"), "size=4k,nr_inodes=1");
    let agent = Agent::start_with_data_dir(&Config::default(), &disk.path().join("data"));
    let _ = agent.wait_for_log(
        &[
            "\"warn\"",
            "`qtap reload-config` and `qtap status` will not work",
            "cannot make the data folder",
            "No space left",
        ],
        Duration::from_secs(5),
    );
    let _ = load.probe(&agent, "full");
    // The other ways to reload are there.
    agent.signal(Signal::HUP);
    let _ = agent.wait_for_log(&["SIGHUP", "configuration is unchanged"], Duration::from_secs(10));
    let _ = agent.stop();
}
