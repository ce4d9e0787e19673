//! Whose traffic it is.
//!
//! Required: "pid, start time, exe, argv, user, hostname, cgroup and container id, parent; known at fork and exec, inherited,
//! correct across exec chains and pid reuse; `QPOINT_STRATEGY` and `QPOINT_TAGS`".

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use qtap_e2e::{
    Agent, Config, Curl, Events, Program, PythonServer, Transport, assert_healthy, python, run_ok, scratch,
    single, wait_for_both_ends,
};
use serde_json::json;

/// Runs `command` under an agent against a plain server and returns its events.
fn observe(
    commands: &mut [(&str, &mut Command)],
    server: &PythonServer,
    arguments: &[&str],
    config: &Config,
) -> (Events, Vec<u32>) {
    let agent = Agent::start_with(&config.to_string(), arguments);
    let pids: Vec<u32> = commands
        .iter_mut()
        .map(|(_, command)| run_ok(command).pid)
        .collect();
    wait_for_both_ends(&agent, server.port, commands.len());
    (agent.stop(), pids)
}

fn url(server: &PythonServer) -> String {
    format!("http://process.qtap.test:{}/text/10", server.port)
}

/// "correct across exec chains": a shell that becomes env that becomes curl is curl, with one pid.
#[test]
fn an_exec_chain_is_its_last_program() {
    let folder = scratch();
    let server = PythonServer::http(folder.path());
    let curl = Curl::new(folder.path(), &url(&server)).command();
    let mut chain = Command::new("/bin/sh");
    chain
        .args([
            "-c",
            "exec env LATE=1 sh -c 'exec \"$@\"' sh \"$@\"",
            "sh",
            "/usr/bin/curl",
        ])
        .args(curl.get_args());
    let mut failed = Command::new("/bin/sh");
    // An exec that fails leaves the shell what it was; its child is the client.
    failed
        .args([
            "-c",
            "(exec /no/such/program) 2>/dev/null; exec /usr/bin/curl \"$@\"",
            "sh",
        ])
        .args(curl.get_args());
    let (events, pids) = observe(
        &mut [("chain", &mut chain), ("failed", &mut failed)],
        &server,
        &[],
        &Config::default(),
    );
    for pid in pids {
        let capture = single(&events, pid);
        assert_healthy(&capture, Transport::Plain);
        assert_eq!(capture.connection["source"]["exe"], "/usr/bin/curl");
        assert_eq!(capture.connection["tags"]["bin"], json!(["curl"]));
    }
}

/// "exe": the executable of a renamed copy started through a symbolic link and with another argv[0] is the file that runs.
#[test]
fn the_executable_is_the_file_that_runs() {
    let folder = scratch();
    let server = PythonServer::http(folder.path());
    let copy = folder.path().join("renamed");
    std::fs::copy("/usr/bin/curl", &copy).unwrap();
    let link = folder.path().join("link");
    std::os::unix::fs::symlink(&copy, &link).unwrap();
    let arguments = Curl::new(folder.path(), &url(&server)).command();
    let mut command = Command::new(&link);
    command.arg0("something-else").args(arguments.get_args());
    let (events, pids) = observe(&mut [("link", &mut command)], &server, &[], &Config::default());
    let capture = single(&events, pids[0]);
    assert_eq!(capture.connection["source"]["exe"], copy.to_str().unwrap());
    assert_eq!(
        capture.transactions[0]["metadata"]["process_exe"],
        copy.to_str().unwrap()
    );
}

/// "user", and "`QPOINT_TAGS`" beside `--tags` and `tags` of the configuration.
#[test]
fn user_and_tags_are_those_of_the_process() {
    let folder = scratch();
    std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    let server = PythonServer::http(folder.path());
    let curl = Command::new("curl");
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(curl.get_program());
    command.args([
        "-sS",
        "--noproxy",
        "*",
        &format!("http://127.0.0.1:{}/text/10", server.port),
    ]);
    command
        .env("QPOINT_TAGS", "team:payments,tier:1")
        .env("DEPLOY_ENV", "staging");
    let mut config = Config::default();
    config
        .tap
        .push_str("tags:\n  - {key: stage, source: env, location: DEPLOY_ENV}\n");
    let (events, pids) = observe(
        &mut [("curl", &mut command)],
        &server,
        &["--tags", "fleet:blue"],
        &config,
    );
    let capture = single(&events, pids[0]);
    assert_healthy(&capture, Transport::Plain);
    let source = &capture.connection["source"];
    assert_eq!(
        (&source["user"], &source["userId"]),
        (&json!("nobody"), &json!(65534))
    );
    for (key, value) in [
        ("team", "payments"),
        ("tier", "1"),
        ("stage", "staging"),
        ("fleet", "blue"),
        ("strategy", "observe"),
    ] {
        assert_eq!(
            capture.connection["tags"][key],
            json!([value]),
            "{:#}",
            capture.connection["tags"]
        );
        let tag = json!(format!("{key}:{value}"));
        assert!(
            capture.requests[0]["tags"].as_array().unwrap().contains(&tag),
            "{tag}"
        );
        assert!(
            capture.transactions[0]["metadata"]["tags"]
                .as_array()
                .unwrap()
                .contains(&tag),
            "{tag}"
        );
    }
}

/// "known at fork …, inherited": a connection accepted by one process and served by another, one that was handed over, and
/// one whose descriptor was duplicated: one connection each, with one exchange.
#[test]
fn connections_that_change_hands_stay_one() {
    let mut command = python("forker.py");
    let mut server = Program::start(command.stdin(Stdio::piped()));
    let port: u16 = server.line(Duration::from_secs(20)).parse().unwrap();
    let folder = scratch();
    let agent = Agent::start(&Config::default());
    let mut children = Vec::new();
    for expected in ["child", "handed over", "duplicated"] {
        let (curl, _) = Curl::new(folder.path(), &format!("http://hands.qtap.test:{port}/")).run();
        assert_eq!(curl.text(), expected);
        children.push(server.line(Duration::from_secs(20)).parse::<u64>().unwrap());
    }
    wait_for_both_ends(&agent, port, 3);
    let events = agent.stop();
    let accepted = events.of_port(port, qtap_e2e::Side::Server);
    assert_eq!(accepted.len(), 3, "{accepted:#?}");
    let family: Vec<u64> = children
        .iter()
        .copied()
        .chain([u64::from(server.pid())])
        .collect();
    for (capture, child) in accepted.iter().zip(&children) {
        assert_healthy(capture, Transport::Plain);
        assert_eq!((capture.requests.len(), capture.transactions.len()), (1, 1));
        // The process is one of those that held it: who accepted, or who used it.
        let pid = capture.connection["destination"]["pid"].as_u64().unwrap();
        assert!(
            pid == *child || pid == u64::from(server.pid()),
            "{pid} of {family:?}"
        );
        assert!(
            capture.connection["destination"]["exe"]
                .as_str()
                .unwrap()
                .contains("python3")
        );
    }
}

/// "correct across … pid reuse": two programs with one pid, one after the other.
#[test]
fn a_pid_that_is_used_again_is_another_process() {
    let folder = scratch();
    let server = PythonServer::http(folder.path());
    let agent = Agent::start(&Config::default());
    let (first, _) = Curl::new(folder.path(), &url(&server)).run();
    let target = format!("http://127.0.0.1:{}/text/10", server.port);
    let mut connections = 1;
    let second = (0..200).find_map(|_| {
        std::fs::write("/proc/sys/kernel/ns_last_pid", (first.pid - 1).to_string()).unwrap();
        let mut probe = Command::new("/bin/true");
        // Others start programs too: look before it is worth a connection.
        if run_ok(&mut probe).pid != first.pid {
            return None;
        }
        std::fs::write("/proc/sys/kernel/ns_last_pid", (first.pid - 1).to_string()).unwrap();
        connections += 1;
        let wget = run_ok(Command::new("wget").args(["-q", "--no-proxy", "-O", "-", &target]));
        (wget.pid == first.pid).then_some(wget)
    });
    let second = second.expect("the same pid once more");
    wait_for_both_ends(&agent, server.port, connections);
    let events = agent.stop();
    let captures = events.of_pid(second.pid);
    let exes: Vec<_> = captures
        .iter()
        .map(|capture| capture.connection["source"]["exe"].as_str().unwrap())
        .collect();
    assert_eq!(exes, ["/usr/bin/curl", "/usr/bin/wget"]);
    assert_eq!(
        captures[1].requests[0]["agent"]
            .as_str()
            .unwrap()
            .split('/')
            .next(),
        Some("Wget")
    );
}

/// "cgroup and container id": programs in cgroups named as container runtimes name them.
#[test]
fn containers_are_told_from_cgroups() {
    let folder = scratch();
    let server = PythonServer::http(folder.path());
    let agent = Agent::start(&Config::default());
    let id = "0123456789abcdef".repeat(4);
    let pod = "11111111-2222-3333-4444-555555555555";
    let names = [
        (format!("docker-{id}.scope"), None),
        (
            format!(
                "kubepods-burstable-pod{}.slice/cri-containerd-{id}.scope",
                pod.replace('-', "_")
            ),
            Some(pod),
        ),
        (format!("libpod-{id}.scope"), None),
    ];
    let mut pids = Vec::new();
    for (name, _) in &names {
        let cgroup = Cgroup::make(name);
        let arguments = Curl::new(folder.path(), &url(&server)).command();
        let mut command = Command::new("/bin/sh");
        let script = "echo $$ > \"$0\"/cgroup.procs && exec /usr/bin/curl \"$@\"";
        command
            .args(["-c", script])
            .arg(&cgroup.path)
            .args(arguments.get_args());
        pids.push(run_ok(&mut command).pid);
    }
    wait_for_both_ends(&agent, server.port, names.len());
    let events = agent.stop();
    for (pid, (name, pod)) in pids.iter().zip(&names) {
        let capture = single(&events, *pid);
        assert_healthy(&capture, Transport::Plain);
        let container = &capture.connection["source"]["container"];
        assert_eq!(container["id"], id, "{name}: {:#}", capture.connection);
        assert_eq!(container["pod"]["uid"].as_str(), *pod, "{name}");
    }
}

/// A cgroup of version 2; removed when dropped.
struct Cgroup {
    path: PathBuf,
    root: PathBuf,
}

impl Cgroup {
    fn make(name: &str) -> Self {
        let mounts = std::fs::read_to_string("/proc/mounts").unwrap();
        let mount = mounts
            .lines()
            .find(|line| line.split(' ').nth(2) == Some("cgroup2"))
            .expect("a cgroup2 mount");
        let root = Path::new(mount.split(' ').nth(1).unwrap()).to_owned();
        let path = root.join(name);
        std::fs::create_dir_all(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self { path, root }
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let mut path = self.path.clone();
        while path != self.root && std::fs::remove_dir(&path).is_ok() {
            path.pop();
        }
    }
}
