//! Go 1.17, as turbo 1.1.10 has it, which its authors built with 1.17.8: it asks a cache for the build of a package, and gives it the
//! result. As it came from npm and after `strip`, over HTTP/1.1 and over HTTP/2.

use std::path::{Path, PathBuf};
use std::process::Command;

use qtap_e2e::{
    Agent, Capture, Certificates, Column, Config, Found, Front, Program, PythonServer, Runtime, Side,
    Transport, Truth, Zoo, assert_complete, assert_healthy, assert_truth, hex_sha256, is_flagged, outline,
    run_ok, scratch,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{LINE, PROBED, body_digest, built, read, row};

/// Packages of a project, of which each is built after the one before.
const PACKAGES: [&str; 4] = ["one", "two", "three", "four"];
/// What the program counts for its authors: of no interest, and not always said.
const STATISTICS: &str = "/v8/artifacts/events";

/// A program, what it is asked over, and the columns that this fills.
struct Case {
    build: &'static str,
    program: PathBuf,
    protocol: &'static str,
    columns: [Column; 2],
}

/// Both programs over both protocols.
struct Cases {
    folder: TempDir,
    certificates: Certificates,
    front: Front,
    /// Without HTTP/2.
    direct: PythonServer,
}

impl Cases {
    fn new() -> Self {
        let folder = scratch();
        let certificates = Certificates::make(folder.path());
        let origin = PythonServer::start(folder.path(), &["--empty"]);
        Self {
            front: Front::before(origin, folder.path(), &certificates),
            direct: PythonServer::https(folder.path(), &certificates, &["--empty"]),
            certificates,
            folder,
        }
    }

    fn all(&self) -> Vec<Case> {
        let stripped = self.folder.path().join("turbo");
        let original = built("1.17.8", "turbo");
        run_ok(Command::new("strip").arg("-o").arg(&stripped).arg(&original));
        let mut cases = Vec::new();
        for (build, program) in [("npm binary", original), ("npm binary, `strip`", stripped)] {
            for (protocol, columns) in [
                ("http1", [Column::Http1, Column::LateHttp1]),
                ("http2", [Column::Http2, Column::LateHttp2]),
            ] {
                cases.push(Case {
                    build,
                    program: program.clone(),
                    protocol,
                    columns,
                });
            }
        }
        cases
    }

    /// What serves a case, and the port of it.
    fn server(&self, case: &Case) -> (&PythonServer, u16) {
        match case.protocol {
            "http2" => (self.front.origin(), self.front.port),
            _ => (&self.direct, self.direct.port),
        }
    }

    /// Every program is of another team, so that the server's log tells them apart.
    fn truths(&self, team: &str, count: usize) -> Vec<Truth> {
        let mut found = Vec::new();
        qtap_e2e::until(LINE, &format!("{count} requests of {team}"), || {
            let said = [self.front.origin(), &self.direct].map(|server| server.truths("transaction", 0));
            found = said
                .into_iter()
                .flatten()
                .filter(|truth| is_of(truth, team))
                .collect();
            found
                .iter()
                .filter(|truth| truth.0["target"] != *STATISTICS)
                .count()
                >= count
        });
        found
    }

    /// The program in a project of its own, whose packages are built when their files `go-NAME` are there.
    fn turbo(&self, case: &Case, team: &str, packages: &[&str]) -> (Command, PathBuf) {
        let project = self.folder.path().join(team);
        chain_of_packages(&project, packages);
        let mut command = Command::new(&case.program);
        command
            .args(["run", "build", "--token=token"])
            .arg(format!("--team={team}"));
        command.arg(format!("--api=https://127.0.0.1:{}", self.server(case).1));
        command
            .env("SSL_CERT_FILE", &self.certificates.authority)
            .current_dir(&project);
        (command, project)
    }
}

fn is_of(truth: &Truth, team: &str) -> bool {
    (truth.text("target")).is_some_and(|target| target.ends_with(&format!("={team}")))
}

fn chain_of_packages(project: &Path, names: &[&str]) {
    let workspace = r#"{"name":"root","private":true,"packageManager":"npm@8.0.0","workspaces":["packages/*"],
        "turbo":{"pipeline":{"build":{"dependsOn":["^build"],"outputs":["dist/**"]}}}}"#;
    std::fs::create_dir_all(project).expect("create a folder");
    std::fs::write(project.join("package.json"), workspace).expect("write a file");
    std::fs::write(project.join("package-lock.json"), "{}").expect("write a file");
    let mut former = String::new();
    for name in names {
        let package = project.join("packages").join(name);
        std::fs::create_dir_all(&package).expect("create a folder");
        let script =
            format!("while [ ! -e ../../go-{name} ]; do sleep 0.05; done; mkdir -p dist && date >dist/out");
        let package_json = format!(
            r#"{{"name":"{name}","version":"1.0.0","dependencies":{{{former}}},"scripts":{{"build":"{script}"}}}}"#
        );
        std::fs::write(package.join("package.json"), package_json).expect("write a file");
        former = format!(r#""{name}":"1.0.0""#);
    }
    run_ok(Command::new("git").args(["init", "-q"]).arg(project));
}

fn go(project: &Path, package: &str) {
    std::fs::write(project.join(format!("go-{package}")), "").expect("write a file");
}

fn turbo_row(build: &str) -> Runtime {
    Runtime {
        name: "Go net/http (turbo 1.1.10)".to_owned(),
        ..row("1.17.8", build, Side::Client)
    }
}

/// What was captured whole is what the server saw, of which nginx has rewritten the heads where it is HTTP/2.
fn assert_exact(transaction: &Value, truth: &Truth, case: &Case) {
    if case.protocol == "http1" {
        assert_truth(transaction, truth, Side::Client);
        return;
    }
    let [sent, received] = ["request_body_sha256", "response_body_sha256"].map(|key| truth.text(key));
    assert_complete(transaction, sent, received);
    let (request, response) = (&transaction["request"], &transaction["response"]);
    assert_eq!(request["method"], truth.0["method"], "{}", outline(transaction));
    assert_eq!(request["path"], truth.0["target"], "{}", outline(transaction));
    assert_eq!(response["status"], truth.0["status"], "{}", outline(transaction));
}

/// "1.17", and that `strip` takes nothing away that is needed: the cache is asked for a package, and given it.
#[test]
fn a_program_of_go_117_is_read() {
    let cases = Cases::new();
    let all = cases.all();
    let build = |case: &Case, team: &str| {
        let (mut command, project) = cases.turbo(case, team, &PACKAGES[..1]);
        go(&project, PACKAGES[0]);
        run_ok(&mut command).pid
    };
    let agent = Agent::start(&Config::default());
    // The agent may meet a program after its first connection.
    for (number, case) in all
        .iter()
        .enumerate()
        .filter(|(_, case)| case.protocol == "http1")
    {
        build(case, &format!("team_met{number}"));
    }
    std::thread::sleep(PROBED);
    let mut runs = Vec::new();
    for (number, case) in all.iter().enumerate() {
        let team = format!("team_read{number}");
        let pid = build(case, &team);
        runs.push((case, pid, cases.truths(&team, 2)));
    }
    for (_, pid, truths) in &runs {
        agent.wait_for("the transactions of turbo", LINE, |events| {
            let captures = events.of_pid(*pid);
            let seen = captures.iter().map(|capture| capture.transactions.len());
            seen.sum::<usize>() >= truths.len()
        });
    }
    let events = agent.stop();
    let mut zoo = Zoo::open("go-117");
    for (case, pid, truths) in runs {
        let captures = events.of_pid(pid);
        zoo.check(&turbo_row(case.build), case.columns[0], || {
            assert_turbo(&captures, &truths, case);
            read()
        });
    }
    zoo.finish();
}

/// Everything that the server saw was read by secrets, and nothing else was.
fn assert_turbo(captures: &[Capture], truths: &[Truth], case: &Case) {
    let mut seen = 0;
    // Go may dial for a request that another connection then carries: nothing is said on that one.
    for capture in captures.iter().filter(|capture| !capture.transactions.is_empty()) {
        assert_healthy(capture, Transport::Tls);
        let connection = &capture.connection;
        assert_eq!(connection["meta"]["tlsProbeTypesDetected"], json!(["gotls"]));
        assert_eq!(connection["meta"]["tlsSource"], "secrets");
        assert_eq!(connection["l7Protocol"], case.protocol);
        for transaction in &capture.transactions {
            let request = &transaction["request"];
            let is_it = |truth: &&Truth| {
                truth.0["target"] == request["path"] && truth.0["method"] == request["method"]
            };
            let truth = truths.iter().find(is_it);
            let truth = truth.unwrap_or_else(|| panic!("the server saw no {}", outline(transaction)));
            assert_exact(transaction, truth, case);
            let agent = truth.0["request_headers"].to_string();
            assert!(agent.contains("go1.17.8"), "{agent}");
            seen += 1;
        }
    }
    assert_eq!(seen, truths.len());
}

/// The program asks for each package and puts it on one connection, which is older than the agent.
#[test]
fn a_connection_of_go_117_that_is_older_than_the_agent_is_read_by_calls() {
    let cases = Cases::new();
    let all = cases.all();
    let mut running = Vec::new();
    for (number, case) in all.iter().enumerate() {
        let team = format!("team_late{number}");
        let (mut command, project) = cases.turbo(case, &team, &PACKAGES);
        running.push((case, team, project, Program::start(&mut command)));
    }
    // Each has asked for the first package, and builds it.
    for (_, team, ..) in &running {
        let _ = cases.truths(team, 1);
    }
    let agent = Agent::start(&Config::default());
    for (.., turbo) in &running {
        agent.wait_until_found(turbo.pid(), "gotls");
    }
    for (number, package) in PACKAGES.iter().enumerate() {
        for (_, _, project, _) in &running {
            go(project, package);
        }
        if number == 0 {
            // This is what tells the agent that calls are needed.
            std::thread::sleep(2 * PROBED);
        }
        // It was put, and the next one asked for.
        for (_, team, ..) in &running {
            let _ = cases.truths(team, (2 * number + 3).min(2 * PACKAGES.len()));
        }
    }
    let mut ended = Vec::new();
    for (case, team, _, turbo) in running {
        let pid = turbo.pid();
        assert!(turbo.finish(LINE).status.success());
        agent.wait_for("the end of a late connection", LINE, |events| {
            !events.of_pid(pid).is_empty()
        });
        ended.push((case, pid, cases.truths(&team, 2 * PACKAGES.len())));
    }
    let events = agent.stop();
    let mut zoo = Zoo::open("go-117-late");
    for (case, pid, truths) in ended {
        let captures = events.of_pid(pid);
        zoo.check(&turbo_row(case.build), case.columns[1], || {
            assert_late_turbo(&captures, &truths, case)
        });
    }
    zoo.finish();
}

/// What the program said on the late connection was read whole: some of the packages, as over HTTP/1.1 it has a second connection for its
/// statistics, and either may carry any. Over HTTP/2 heads may be partial, which they say.
fn assert_late_turbo(captures: &[Capture], truths: &[Truth], case: &Case) -> Found {
    let is_late = |capture: &&Capture| capture.reasons().contains(&"joined_midstream");
    let late: Vec<&Capture> = captures.iter().filter(is_late).collect();
    let [late] = late[..] else {
        panic!("one late connection expected: {captures:#?}");
    };
    let connection = &late.connection;
    assert_eq!(connection["meta"]["tlsSource"], "calls", "{connection:#}");
    assert_eq!(connection["l7Protocol"], case.protocol, "{connection:#}");
    let (mut read, mut put) = (0, 0);
    for transaction in &late.transactions {
        if transaction["incomplete"] == true || transaction["outcome"] != "complete" {
            continue;
        }
        let request = &transaction["request"];
        let bodies = ["request", "response"].map(|part| body_digest(&transaction[part]));
        let is_it = |truth: &&Truth| {
            let digest = |key| truth.text(key).map_or_else(|| hex_sha256(&[]), str::to_owned);
            let is_named = truth.0["target"] == request["path"] && truth.0["method"] == request["method"];
            (is_named || is_flagged(transaction))
                && ["request_body_sha256", "response_body_sha256"].map(digest) == bodies
        };
        let truth = truths.iter().find(is_it);
        let truth = truth.unwrap_or_else(|| panic!("the server saw no {}", outline(transaction)));
        if !is_flagged(transaction) {
            assert_exact(transaction, truth, case);
        }
        read += 1;
        put += usize::from(truth.0["method"] == "PUT");
    }
    assert!(read >= 3 && put >= 1, "{read}, {put}: {connection:#}");
    Found::Read("calls".to_owned())
}
