//! What the kernel side of the agent holds at a moment, and whether anything of it is left over.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::{Agent, run_ok};

/// Longest that the last sockets may take to go.
const REST: Duration = Duration::from_secs(20);
/// Between two looks, of which what is in both stays.
const SOON: Duration = Duration::from_millis(200);

/// Maps with keys of which nothing may be left of what is over. Names as the kernel keeps them: 15 characters.
const IN_FLIGHT: [&str; 11] = [
    "connections",
    "derivations",
    "frames",
    "go_calls",
    "handshakes",
    "images",
    "message_runs",
    "process_verdict",
    "sessions",
    "traced_processe",
    "uring_posts",
];
/// Maps with keys that are memories by design: the least recently used goes, nothing is removed (`bpf/` says why at each).
const MEMORIES: [&str; 3] = ["known_files", "misfits", "quic_counts"];

/// Of them, those whose key is a process.
const KEPT_OF_PROCESSES: [&str; 2] = ["images", "process_verdict"];

/// The agent's maps, by the names the kernel keeps of them.
pub struct KernelMaps(BTreeMap<String, u64>);

impl KernelMaps {
    /// Those that the agent holds.
    #[must_use]
    pub fn of(agent: &Agent) -> Self {
        let shown = run_ok(Command::new("bpftool").args(["-j", "map", "show"]));
        let all: Value = serde_json::from_slice(&shown.stdout).expect("JSON of bpftool");
        let held = held_ids(agent.pid());
        let maps = all.as_array().into_iter().flatten().filter_map(|map| {
            let id = map["id"].as_u64().filter(|id| held.contains(id))?;
            let name = map["name"].as_str()?.to_owned();
            // A new map is to be looked at after loads, too.
            let has_keys = map["type"].as_str().is_some_and(|kind| kind.contains("hash"));
            assert!(
                !has_keys || [&IN_FLIGHT[..], &MEMORIES[..]].concat().contains(&name.as_str()),
                "nothing is known of the map {name}: is anything in it that may be left over?"
            );
            Some((name, id))
        });
        let maps = Self(maps.collect());
        for name in IN_FLIGHT {
            assert!(maps.0.contains_key(name), "the agent has no map {name}");
        }
        maps
    }

    /// Writes a value of 32 bits, as the one entry of a map.
    pub fn set(&self, name: &str, value: u32) {
        let id = self.0.get(name);
        let id = id.unwrap_or_else(|| panic!("the agent has no map {name}: {:?}", self.0));
        let hex = |value: u32| value.to_ne_bytes().map(|byte| format!("{byte:02x}"));
        let mut command = Command::new("bpftool");
        command.args(["map", "update", "id", &id.to_string(), "key", "hex"]);
        run_ok(command.args(hex(0)).args(["value", "hex"]).args(hex(value)));
    }

    /// Keys and values of a map, as its types say.
    #[must_use]
    pub fn entries(&self, name: &str) -> Vec<(Value, Value)> {
        let id = self.0.get(name);
        let id = id.unwrap_or_else(|| panic!("the agent has no map {name}: {:?}", self.0));
        let dumped = run_ok(Command::new("bpftool").args(["-j", "map", "dump", "id", &id.to_string()]));
        let entries: Value = serde_json::from_slice(&dumped.stdout).expect("JSON of bpftool");
        let entries = entries.as_array().into_iter().flatten();
        entries
            .map(|entry| {
                let entry = entry.get("formatted").unwrap_or(entry);
                (entry["key"].clone(), entry["value"].clone())
            })
            .collect()
    }
}

/// Ids of the maps that a process holds, from its file descriptors.
fn held_ids(pid: u32) -> BTreeSet<u64> {
    std::fs::read_dir(format!("/proc/{pid}/fdinfo"))
        .expect("descriptors of the agent")
        .filter_map(|entry| std::fs::read_to_string(entry.ok()?.path()).ok())
        .filter_map(|text| {
            text.lines()
                .find_map(|line| line.strip_prefix("map_id:")?.trim().parse().ok())
        })
        .collect()
}

/// After a load: nothing is left of calls, threads and processes that are over, and no more connections are kept than
/// there are sockets, in the kernel and in the agent. Fails with all that is left.
pub fn assert_nothing_in_flight(agent: &Agent) {
    let maps = KernelMaps::of(agent);
    let deadline = Instant::now() + REST;
    loop {
        let left = left_over(agent, &maps);
        if left.is_empty() {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "left over after the load:\n{}",
            left.join("\n")
        );
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Ids of the connections that the kernel side knows, and of those told to the agent.
struct Connections {
    all: BTreeSet<u64>,
    opened: BTreeSet<u64>,
}

impl Connections {
    fn of(maps: &KernelMaps) -> Self {
        let entries = maps.entries("connections");
        let id = |value: &Value| value["id"].as_u64();
        Self {
            all: entries.iter().filter_map(|(_, value)| id(value)).collect(),
            opened: (entries.iter())
                .filter(|(_, value)| value["state"] == 1)
                .filter_map(|(_, value)| id(value))
                .collect(),
        }
    }
}

fn left_over(agent: &Agent, maps: &KernelMaps) -> Vec<String> {
    let mut left = Vec::new();
    for name in [
        "frames",
        "derivations",
        "traced_processe",
        "message_runs",
        "uring_posts",
    ] {
        for (key, value) in maps.entries(name) {
            left.push(format!("{name}: {key} → {value}"));
        }
    }
    for (key, _) in maps.entries("handshakes") {
        let (pid, thread) = split(&key);
        if !Path::new(&format!("/proc/{pid}/task/{thread}")).exists() {
            left.push(format!("handshakes: thread {thread} of process {pid} is gone"));
        }
    }
    for (key, call) in maps.entries("go_calls") {
        if !Path::new(&format!("/proc/{}", key["pid"])).exists() {
            left.push(format!("go_calls: {key} → {call}, a process that is gone"));
        }
    }
    let gone = KEPT_OF_PROCESSES.map(|name| of_gone_processes(maps, name));
    let before = Connections::of(maps);
    let (sockets, kept) = (tcp_sockets(), agent.system_metric("qtap_engine_connections", &[]));
    let sessions = maps.entries("sessions");
    std::thread::sleep(SOON);
    // Whoever looks is one of the processes that are left out, and gone when it has looked.
    for (name, before) in KEPT_OF_PROCESSES.into_iter().zip(gone) {
        for pid in before.intersection(&of_gone_processes(maps, name)) {
            left.push(format!("{name}: process {pid} is gone"));
        }
    }
    let after = Connections::of(maps);
    let sockets = sockets.max(tcp_sockets());
    let ids: BTreeSet<u64> = before.all.union(&after.all).copied().collect();
    for (key, session) in sessions {
        let connection = session["connection"].as_u64().unwrap_or_default();
        let is_alive = Path::new(&format!("/proc/{}", key["pid"])).exists();
        if !ids.contains(&connection) && (connection != 0 || !is_alive) {
            left.push(format!("sessions: {key} → {session}, a connection that is gone"));
        }
    }
    let stay = before.all.intersection(&after.all).count();
    if stay > sockets {
        left.push(format!("connections: {stay} are kept of {sockets} sockets"));
    }
    // The same number where nothing comes and goes.
    let (least, most) = (
        before.opened.intersection(&after.opened).count(),
        before.opened.union(&after.opened).count(),
    );
    let slack = (most - least) as f64;
    if kept < least as f64 - slack || kept > most as f64 + slack {
        left.push(format!(
            "the agent keeps {kept} connections, {least} to {most} are open"
        ));
    }
    for level in ["qtap_engine_queue_depth", "qtap_engine_budget_bytes"] {
        let value = agent.system_metric(level, &[]);
        if value != 0.0 && most == 0 {
            left.push(format!("{level} is {value}"));
        }
    }
    left
}

/// Processes that are gone, of which a map has something.
fn of_gone_processes(maps: &KernelMaps, name: &str) -> BTreeSet<u64> {
    let entries = maps.entries(name);
    let pids = entries.into_iter().filter_map(|(pid, _)| pid.as_u64());
    pids.filter(|pid| !Path::new(&format!("/proc/{pid}")).exists())
        .collect()
}

/// Process and thread of a `pid_tgid`.
fn split(key: &Value) -> (u64, u64) {
    let key = key.as_u64().unwrap_or_default();
    (key >> 32, key & 0xffff_ffff)
}

/// TCP sockets of this network namespace, without listeners (0A) and what is left of closed ones (06).
fn tcp_sockets() -> usize {
    let tables =
        ["/proc/net/tcp", "/proc/net/tcp6"].map(|table| std::fs::read_to_string(table).unwrap_or_default());
    let states = tables
        .iter()
        .flat_map(|table| table.lines().skip(1))
        .filter_map(|line| line.split_whitespace().nth(3));
    states.filter(|state| !["06", "0A"].contains(state)).count()
}
