//! What the agent may do once it runs.
//!
//! Required: "After start the agent drops to the capabilities that it still needs, with seccomp where it can".

use std::collections::HashMap;
use std::os::unix::fs::{PermissionsExt, chown};
use std::process::Command;
use std::time::Duration;

use qtap_e2e::{
    Agent, Certificates, Config, Curl, PythonServer, Side, Transport, assert_healthy, assert_truth, check,
    programs, qtap_command, run, run_ok, scratch, single, system_library, wait_for_both_ends,
};
use serde_json::Value;

/// `CAP_DAC_READ_SEARCH`, `CAP_SYS_PTRACE`, `CAP_SYS_NICE`, `CAP_PERFMON`, `CAP_BPF`, `CAP_CHECKPOINT_RESTORE` (capabilities(7)).
const KEPT: [u32; 6] = [2, 19, 23, 38, 39, 40];
const EPERM: i64 = -1;
const ENOSYS: i64 = -38;

/// Fields of a /proc/…/status.
fn status(path: &str) -> HashMap<String, String> {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}"));
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
        .collect()
}

/// Ids of the threads of a process.
fn threads(pid: u32) -> Vec<u32> {
    let entries = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().to_str().unwrap().parse().unwrap())
        .collect()
}

#[test]
fn every_thread_has_what_it_needs_and_no_more() {
    let agent = Agent::start(&Config::default());
    let own = u64::from_str_radix(&status("/proc/self/status")["CapPrm"], 16).unwrap();
    let kept = KEPT.iter().fold(0, |mask, number| mask | 1 << number) & own;
    let all = threads(agent.pid());
    assert!(all.len() >= 6, "{all:?}");
    for thread in all {
        let found = status(&format!("/proc/{}/task/{thread}/status", agent.pid()));
        let name = &found["Name"];
        for (field, expected) in [
            ("CapEff", kept),
            ("CapPrm", kept),
            ("CapInh", 0),
            ("CapBnd", 0),
            ("CapAmb", 0),
        ] {
            assert_eq!(found[field], format!("{expected:016x}"), "{field} of {name}");
        }
        assert_eq!(found["NoNewPrivs"], "1", "{name}");
        assert_eq!(found["Seccomp"], "2", "{name}");
    }
    let line = agent.wait_for_log(&["privileges dropped"], Duration::from_secs(5));
    assert!(
        line.contains("CAP_BPF") && line.contains("\"system_calls\":\"filtered\""),
        "{line}"
    );
    let _ = agent.stop();
}

/// System calls made by a thread of another process, and what they return.
fn inject(thread: u32, calls: &[String]) -> Vec<i64> {
    let mut command = Command::new("/usr/bin/python3");
    command
        .arg(programs().join("inject.py"))
        .arg(thread.to_string())
        .args(calls);
    let answers = run_ok(&mut command).json();
    let answers: Vec<i64> = answers
        .as_array()
        .unwrap()
        .iter()
        .map(|value| value.as_i64().unwrap())
        .collect();
    assert_eq!(answers.len(), calls.len());
    answers
}

/// The calls are made by threads of the agent itself, as a debugger does it; in another process the same calls get as far as
/// their arguments, so that it is the filter that refuses them.
#[test]
fn what_an_intruder_would_call_is_refused() {
    if std::env::consts::ARCH != "x86_64" {
        panic!("programs/inject.py knows x86-64 only");
    }
    // Number and arguments, and the answer of the agent's filter.
    let refused = [
        ("execve", "59,0,0,0", EPERM),
        ("execveat", "322,-100,0,0,0,0", EPERM),
        ("fork", "56,0x10000000,0,0,0,0", EPERM),
        ("clone3", "435,0,0", ENOSYS),
        ("ptrace", "101,0x4206,0x3fffffff,0,0", EPERM),
        ("process_vm_writev", "311,0x3fffffff,0,0,0,0,0", EPERM),
        ("kill of another", "62,1,0", EPERM),
        ("pidfd_open", "434,1,0", EPERM),
        ("socket", "41,2,1,0", EPERM),
        ("connect", "42,-1,0,0", EPERM),
        ("open to write", "257,-100,0,1", EPERM),
        ("open to create", "257,-100,0,0x40", EPERM),
        ("openat2", "437,-100,0,0,24", ENOSYS),
        ("open_by_handle_at", "304,-1,0,0", EPERM),
        ("rename", "82,0,0", EPERM),
        ("fchmodat2", "452,-1,0,0,0", EPERM),
        ("code in fresh memory", "9,0,4096,7,0x22,-1,0", EPERM),
        ("memory becomes code", "10,0,0,4", EPERM),
        ("bpf: load a program", "321,5,0,0", EPERM),
        ("bpf: make a map", "321,0,0,0", EPERM),
        ("bpf: a program by its id", "321,13,0,0", EPERM),
        ("mount", "165,0,0,0,0,0", EPERM),
        ("unshare", "272,0", EPERM),
        ("setns", "308,-1,0", EPERM),
        ("init_module", "175,0,0,0", EPERM),
        ("io_uring_setup", "425,0,0", EPERM),
        ("setuid", "105,0", EPERM),
        ("getpid of x32", "0x40000027", EPERM),
    ];
    let allowed = [
        ("getpid", "39"),
        ("a signal to oneself", "62,OWN,0"),
        ("open to read", "257,-100,0,0"),
        ("bpf: read a map", "321,1,0,0"),
        ("unlink", "263,-100,0,0"),
    ];
    let calls = |pid: u32| -> Vec<String> {
        let all = refused
            .iter()
            .map(|(_, call, _)| *call)
            .chain(allowed.map(|(_, call)| call));
        all.map(|call| call.replace("OWN", &pid.to_string())).collect()
    };
    let agent = Agent::start(&Config::default());
    let mut other = qtap_e2e::Program::start(Command::new("sleep").arg("60"));
    // The fork that succeeds there leaves a child, which ends with the pipe that it shares.
    let without_fork: Vec<String> = calls(other.pid())
        .into_iter()
        .map(|call| {
            if call.starts_with("56,") {
                "39".to_owned()
            } else {
                call
            }
        })
        .collect();
    let unfiltered = inject(other.pid(), &without_fork);
    assert!(other.is_running());
    for ((name, _, refusal), answer) in refused.iter().zip(&unfiltered) {
        // A kernel may refuse these by itself, or not know them.
        if ![
            "kill of another",
            "getpid of x32",
            "clone3",
            "init_module",
            "io_uring_setup",
        ]
        .contains(name)
        {
            assert_ne!(answer, refusal, "{name} without the agent's filter");
        }
    }
    let own_threads = threads(agent.pid());
    for thread in [own_threads[0], *own_threads.last().unwrap()] {
        let answers = inject(thread, &calls(agent.pid()));
        for ((name, _, refusal), answer) in refused.iter().zip(&answers) {
            assert_eq!(answer, refusal, "{name}");
        }
        for ((name, _), (answer, elsewhere)) in allowed
            .iter()
            .skip(1)
            .zip(answers.iter().zip(&unfiltered).skip(refused.len() + 1))
        {
            assert_eq!(answer, elsewhere, "{name}");
        }
        assert_eq!(answers[refused.len()], i64::from(agent.pid()));
    }
    // None of this hurts it.
    let _ = agent.stop();
}

/// "after that a program with a library never seen before is still captured, a reload still works, SIGTERM cleans up": the
/// library, the configuration and the program are those of another user, closed to root without `CAP_DAC_READ_SEARCH`.
#[test]
fn with_that_it_still_does_its_work() {
    const NOBODY: u32 = 65534;
    let folder = scratch();
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let certificates = Certificates::make(folder.path());
    let server = PythonServer::https(folder.path(), &certificates, &[]);
    let closed = folder.path().join("closed");
    std::fs::create_dir(&closed).unwrap();
    let agent = Agent::start(&Config::default());
    let data = agent.config_file().with_file_name("data");
    let socket = data.join(format!("qtap-{}.sock", agent.pid()));
    assert!(socket.exists());

    for name in ["libssl.so.3", "libcrypto.so.3"] {
        std::fs::copy(system_library(name), closed.join(name)).unwrap();
    }
    std::fs::copy("/usr/bin/curl", closed.join("curl")).unwrap();
    std::fs::copy(&certificates.authority, closed.join("ca.pem")).unwrap();
    for entry in std::fs::read_dir(&closed).unwrap() {
        let path = entry.unwrap().path();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o500)).unwrap();
        chown(&path, Some(NOBODY), Some(NOBODY)).unwrap();
    }
    chown(&closed, Some(NOBODY), Some(NOBODY)).unwrap();
    std::fs::set_permissions(&closed, PermissionsExt::from_mode(0o700)).unwrap();
    let url = format!("https://closed.qtap.test:{}/bytes/5000", server.port);
    let resolve = format!("closed.qtap.test:{}:127.0.0.1", server.port);
    let script = format!(
        "cd {closed}; export LD_LIBRARY_PATH={closed}; \
         /usr/bin/python3 -c 'import ssl, time; time.sleep(2)' || exit; exec ./curl --cacert ca.pem -o body \"$@\"",
        closed = closed.display()
    );
    let mut command = Command::new("setpriv");
    command
        .args([
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
            "/bin/sh",
            "-c",
            &script,
            "sh",
        ])
        .args(["-sS", "--noproxy", "*", "--resolve", &resolve, &url])
        .env("QPOINT_TAGS", "team:closed");
    let finished = run_ok(&mut command);
    wait_for_both_ends(&agent, server.port, 1);

    let config = agent.config_file();
    let body_kept = Config {
        level: "summary",
        ..Config::default()
    };
    std::fs::write(&config, body_kept.to_string()).unwrap();
    std::fs::set_permissions(&config, PermissionsExt::from_mode(0o600)).unwrap();
    chown(&config, Some(NOBODY), Some(NOBODY)).unwrap();
    let asked = run_ok(qtap_command().arg("reload-config").arg("--data-dir").arg(&data));
    assert!(asked.text().starts_with("ok:"), "{}", asked.text());

    let truths = server.truths("transaction", 1);
    let events = agent.stop();
    let capture = single(&events, finished.pid);
    assert_healthy(&capture, Transport::Tls);
    assert_truth(&capture.transactions[0], &truths[0], Side::Client);
    let source = &capture.connection["source"];
    assert_eq!(source["exe"], closed.join("curl").to_str().unwrap());
    assert_eq!(source["user"], "nobody");
    assert_eq!(capture.connection["tags"]["team"][0], "closed");
    assert!(!socket.exists(), "the control socket is left");
}

/// "`qtap check -- CMD` runs a command: that one must keep the caller's privileges".
#[test]
fn a_checked_command_has_the_privileges_of_the_caller() {
    let mut command = Command::new("cat");
    command.arg("/proc/self/status");
    let verdict = check(&["--timeout", "30"], &command);
    let found: HashMap<_, _> = verdict
        .text
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name, value.trim()))
        .collect();
    let own = status("/proc/self/status");
    for field in [
        "CapInh",
        "CapPrm",
        "CapEff",
        "CapBnd",
        "CapAmb",
        "NoNewPrivs",
        "Seccomp",
    ] {
        assert_eq!(found[field], own[field], "{field}");
    }
}

/// The command is ended at its time though it is another user's by then.
#[test]
fn a_check_ends_a_command_of_another_user() {
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "sleep", "60"]);
    let verdict = check(&["--timeout", "1s", "--json"], &command);
    assert_eq!(verdict.code, Some(1), "{}", verdict.finished.errors());
    assert_eq!(verdict.json()[0]["commandExitCode"], Value::Null);
}

#[test]
fn in_an_emergency_everything_is_kept_and_that_is_said() {
    let agent = Agent::start_with(&Config::default().to_string(), &["--keep-privileges"]);
    let own = status("/proc/self/status");
    let found = status(&format!("/proc/{}/status", agent.pid()));
    for field in ["CapPrm", "CapEff", "CapBnd", "NoNewPrivs", "Seccomp"] {
        assert_eq!(found[field], own[field], "{field}");
    }
    let _ = agent.wait_for_log(&["\"warn\"", "--keep-privileges"], Duration::from_secs(5));
    let _ = agent.stop();
}

/// "Fail-open with a clear warning if the kernel refuses": capset(2) and seccomp(2) are refused, and the agent captures.
#[test]
fn a_kernel_that_refuses_is_told_of_and_does_not_stop_it() {
    let folder = scratch();
    let certificates = Certificates::make(folder.path());
    let server = PythonServer::https(folder.path(), &certificates, &[]);
    let refuse = programs().join("refuse.py");
    let wrapper = ["/usr/bin/python3", refuse.to_str().unwrap(), "126,317"];
    let agent = Agent::start_by(&wrapper, &Config::default().to_string(), &[]);
    for problem in ["capabilities are kept", "system calls are not filtered"] {
        let _ = agent.wait_for_log(
            &[
                "\"warn\"",
                "more privileges than it needs",
                problem,
                "not permitted",
            ],
            Duration::from_secs(5),
        );
    }
    let url = format!("https://open.qtap.test:{}/bytes/5000", server.port);
    let (curl, _) = Curl::new(folder.path(), &url)
        .authority(&certificates.authority)
        .run();
    wait_for_both_ends(&agent, server.port, 1);
    assert_healthy(&single(&agent.stop(), curl.pid), Transport::Tls);
}

#[test]
fn doctor_says_what_is_given_up() {
    let text = run(qtap_command().args(["doctor", "--json"])).text();
    let report: Value = serde_json::from_str(&text).unwrap();
    let findings = report["findings"].as_array().unwrap();
    let finding = findings
        .iter()
        .find(|finding| finding["name"] == "privileges given up")
        .unwrap_or_else(|| panic!("{report:#}"));
    assert_eq!(finding["ok"], true, "{finding:#}");
    let found = finding["found"].as_str().unwrap();
    assert!(
        found.contains("kept") && found.contains("CAP_BPF") && found.contains("system calls filtered"),
        "{found}"
    );
}
