//! What the sources counted = what the agent emitted + what it counts as lost: for each connection and in total, whatever is
//! too small, too slow or stopped. And nothing of it is left over afterwards.

use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use qtap_e2e::{
    Account, Agent, Certificates, Config, KernelMaps, Metrics, Nginx, Program, Rest,
    assert_nothing_in_flight, deterministic_bytes, free_port, python, run_ok, scratch, until,
};
use rustix::process::Signal;

/// Records of one transaction in the configuration of the tests: `request`, `artifact_record`, `artifact`.
const LINES: u64 = 3;

/// Connections that ended, of a plain and a TLS port.
#[derive(Clone, Copy, Default)]
struct Made {
    plain: usize,
    tls: usize,
}

/// A server that counts, and the loads on it.
struct Source {
    folder: tempfile::TempDir,
    nginx: Nginx,
    plain: u16,
    tls: u16,
}

impl Source {
    /// With a document `d` of so many bytes.
    fn new(document: usize) -> Self {
        let folder = scratch();
        let certificates = Certificates::make(folder.path());
        let (plain, tls) = (free_port(), free_port());
        // It writes its log and opens the document not once a request, so that bursts are fast on a slow machine too.
        let common = "location /slow/ { limit_rate 200k; } access_log access.json truth buffer=64k flush=100ms; open_file_cache max=8;";
        let servers = format!(
            "server {{ listen 127.0.0.1:{plain} backlog=2048; {common} }}\n\
             server {{ listen 127.0.0.1:{tls} ssl backlog=2048; {common} ssl_certificate {}; ssl_certificate_key {}; }}",
            certificates.certificate.display(),
            certificates.key.display()
        );
        let nginx = Nginx::start(folder.path(), &servers, &[plain, tls]);
        nginx.put("d", &deterministic_bytes(document));
        Self {
            folder,
            nginx,
            plain,
            tls,
        }
    }

    fn plain(&self, requests: usize, connections: usize) -> Program {
        load(
            &format!("http://127.0.0.1:{}/d", self.plain),
            requests,
            connections,
        )
    }

    fn tls(&self, requests: usize, connections: usize) -> Program {
        load(
            &format!("https://127.0.0.1:{}/d", self.tls),
            requests,
            connections,
        )
    }

    /// Waits until the agent has worked everything off, and compares. `requests`: how many were answered on both ports.
    fn compare(&self, agent: Agent, requests: usize, made: Made) -> Metrics {
        let records = self.nginx.records(requests, |_| true);
        assert_eq!(records.len(), requests, "the server's log");
        assert_nothing_in_flight(&agent);
        let rest = Rest::of(&agent);
        let events = agent.stop();
        let mut account = Account::new(&events, &rest);
        account.server(self.plain, &records, made.plain, false);
        account.server(self.tls, &records, made.tls, true);
        account.totals(LINES);
        account.close();
        rest.metrics().clone()
    }
}

fn load(url: &str, requests: usize, connections: usize) -> Program {
    let mut command = Command::new("h2load");
    command.args([
        "--h1",
        "-n",
        &requests.to_string(),
        "-c",
        &connections.to_string(),
        url,
    ]);
    Program::start(&mut command)
}

/// The workload must not notice.
fn unharmed(load: Program) -> String {
    let text = load.finish(Duration::from_secs(60)).text();
    assert!(text.contains(" 0 failed, 0 errored"), "{text}");
    text
}

fn agent(limits: &str) -> Agent {
    Agent::start(&Config {
        limits: limits.to_owned(),
        tap: Config::without_this_test(),
        ..Config::default()
    })
}

#[test]
fn small_rings() {
    let source = Source::new(3000);
    let agent = agent("data_ring: 64kb, control_ring: 8kb, body: 64kb");
    let loads = [source.plain(4000, 10), source.tls(4000, 10)];
    loads.into_iter().for_each(|load| drop(unharmed(load)));
    // A connection for every request, of which even the control ring cannot tell.
    let loads = [source.plain(400, 400), source.tls(100, 100)];
    loads.into_iter().for_each(|load| drop(unharmed(load)));
    let metrics = source.compare(agent, 8500, Made { plain: 410, tls: 110 });
    assert!(
        metrics.kernel_lost("data_bytes_lost_ring_full") > 0.0,
        "{metrics:#?}"
    );
}

#[test]
fn a_store_that_is_not_read() {
    let source = Source::new(8000);
    let agent = agent("data_ring: 128mb, body: 64kb");
    let output = agent.hold_output();
    let _ = unharmed(source.plain(4000, 8));
    let _ = unharmed(source.tls(500, 8));
    until(Duration::from_secs(60), "a loss of the store", || {
        Metrics::of(&agent).store_lost() > 0.0
    });
    drop(output);
    let _ = unharmed(source.plain(100, 2));
    let metrics = source.compare(agent, 4600, Made { plain: 10, tls: 8 });
    assert!(metrics.store_lost() > 0.0, "{metrics:#?}");
}

/// Slower than what comes, in short spells.
#[test]
fn a_store_that_is_read_slowly() {
    let source = Source::new(8000);
    let agent = agent("body: 64kb");
    let loads = [source.plain(4000, 8), source.tls(1000, 8)];
    for _ in 0..40 {
        let output = agent.hold_output();
        sleep(Duration::from_millis(90));
        drop(output);
        sleep(Duration::from_millis(10));
    }
    loads.into_iter().for_each(|load| drop(unharmed(load)));
    source.compare(agent, 5000, Made { plain: 8, tls: 8 });
}

#[test]
fn a_stopped_agent() {
    let source = Source::new(3000);
    let agent = agent("data_ring: 1mb, control_ring: 64kb, body: 64kb");
    let _ = unharmed(source.plain(100, 4));
    agent.signal(Signal::STOP);
    let before = irq_work_interrupts();
    let loads = [
        source.plain(5000, 10),
        source.tls(3000, 10),
        source.plain(500, 500),
    ];
    loads.into_iter().for_each(|load| drop(unharmed(load)));
    let interrupts = irq_work_interrupts() - before;
    agent.signal(Signal::CONT);
    let _ = unharmed(source.tls(100, 4));
    let metrics = source.compare(agent, 8700, Made { plain: 514, tls: 14 });
    assert!(
        metrics.kernel_lost("data_bytes_lost_ring_full") > 0.0,
        "{metrics:#?}"
    );
    assert!(metrics.engine_lost("connection_end") > 0.0, "{metrics:#?}");
    // The ring of payload alone has room for some thousand records behind the mark from where on its reader is called.
    assert!(
        interrupts < 200,
        "{interrupts} calls for a reader that cannot come"
    );
}

/// So far, on all processors: what waking the reader of a ring costs.
fn irq_work_interrupts() -> u64 {
    let interrupts = std::fs::read_to_string("/proc/interrupts").expect("the table of interrupts");
    let row = interrupts
        .lines()
        .find(|line| line.contains("IRQ work interrupts"));
    let counts = row.expect("a row of IRQ work").split_whitespace().skip(1);
    counts.map_while(|count| count.parse::<u64>().ok()).sum()
}

/// Stops one thread of the agent for so many seconds.
fn hold_thread(agent: &Agent, name: &str, seconds: u32) -> Program {
    let mut command = python("hold_thread.py");
    command.args([&agent.pid().to_string(), name, &seconds.to_string()]);
    let mut holder = Program::start(&mut command);
    assert_eq!(holder.line(Duration::from_secs(10)), "held");
    holder
}

#[test]
fn a_stopped_worker() {
    let source = Source::new(3000);
    let agent = agent("data_ring: 1mb, memory: 4mb, body: 64kb");
    let holder = hold_thread(&agent, "qtap-engine-0", 2);
    let loads = [source.plain(4000, 10), source.tls(2000, 10)];
    loads.into_iter().for_each(|load| drop(unharmed(load)));
    assert!(holder.finish(Duration::from_secs(20)).status.success());
    let _ = unharmed(source.tls(100, 4));
    let metrics = source.compare(agent, 6100, Made { plain: 10, tls: 14 });
    assert!(metrics.engine_lost("queue_full") > 0.0, "{metrics:#?}");
}

#[test]
fn little_memory() {
    let source = Source::new(3000);
    source.nginx.put("slow/d", &deterministic_bytes(300_000));
    let agent = agent("memory: 1mb, body: 1mb");
    // Many bodies at a time, slowly, so that it is not the queues that give out.
    let slow = |scheme: &str, port| load(&format!("{scheme}://127.0.0.1:{port}/slow/d"), 30, 15);
    let loads = [slow("http", source.plain), slow("https", source.tls)];
    loads.into_iter().for_each(|load| drop(unharmed(load)));
    let metrics = source.compare(agent, 60, Made { plain: 15, tls: 15 });
    assert!(metrics.engine_lost("memory_budget") > 0.0, "{metrics:#?}");
}

/// What a call left in the kernel goes with its thread.
#[test]
fn a_program_killed_within_a_call() {
    let source = Source::new(100);
    let agent = Agent::start(&Config {
        tls_source: "calls",
        tap: Config::without_this_test(),
        ..Config::default()
    });
    let program = format!(
        "import socket, ssl\n\
         context = ssl._create_unverified_context()\n\
         stream = context.wrap_socket(socket.create_connection(('127.0.0.1', {})))\n\
         print('reading', flush=True)\n\
         stream.recv(1)\n",
        source.tls
    );
    let mut reader = Program::start(Command::new("/usr/bin/python3").args(["-c", &program]));
    assert_eq!(reader.line(Duration::from_secs(20)), "reading");
    let maps = KernelMaps::of(&agent);
    let within = || {
        let threads = maps
            .entries("frames")
            .into_iter()
            .filter_map(|(key, _)| key.as_u64());
        threads
            .map(|key| key >> 32)
            .any(|pid| pid == u64::from(reader.pid()))
    };
    until(Duration::from_secs(20), "a thread within a call", within);
    reader.signal(Signal::KILL);
    assert!(!reader.finish(Duration::from_secs(5)).status.success());
    assert_nothing_in_flight(&agent);
}

/// So many requests a second, as h2load says itself. Others may have the processors for a moment: one of some bursts has to be as fast.
#[test]
fn bursts_of_twenty_thousand_requests_a_second() {
    const RATE: f64 = 20_000.0;
    let source = Source::new(200);
    let agent = agent("body: 64kb");
    let mut rates = Vec::new();
    while rates.iter().all(|rate| *rate < RATE) {
        assert!(
            rates.len() < 5,
            "too slow to be bursts: {rates:?} requests a second"
        );
        rates.push(rate_of(source.plain(20_000, 16)));
    }
    let _ = unharmed(source.tls(10_000, 16));
    println!("{rates:?} requests a second");
    let (requests, plain) = (rates.len() * 20_000 + 10_000, rates.len() * 16);
    source.compare(agent, requests, Made { plain, tls: 16 });
}

/// Requests a second of a load that did no harm: "finished in 612.70ms, 32642.40 req/s, 13.32MB/s".
fn rate_of(load: Program) -> f64 {
    let text = unharmed(load);
    let rate = text.split(", ").find_map(|part| part.strip_suffix(" req/s"));
    rate.and_then(|rate| rate.parse().ok())
        .unwrap_or_else(|| panic!("no rate: {text}"))
}

/// Connections that are over before their process can be looked at.
#[test]
fn many_short_programs() {
    let source = Source::new(1000);
    let agent = agent("body: 64kb");
    short_programs(&source, 400);
    let metrics = source.compare(agent, 400, Made { plain: 400, tls: 0 });
    assert_eq!(metrics.store_lost(), 0.0);
}

/// For longer than connections wait for their process to be known: those of programs that began meanwhile have none.
#[test]
fn a_stopped_table_of_processes() {
    let source = Source::new(1000);
    let agent = agent("body: 64kb");
    let holder = hold_thread(&agent, "qtap-process", 8);
    short_programs(&source, 200);
    let loads = [source.plain(3000, 20), source.tls(1000, 20)];
    loads.into_iter().for_each(|load| drop(unharmed(load)));
    assert!(holder.finish(Duration::from_secs(20)).status.success());
    short_programs(&source, 100);
    source.compare(agent, 4300, Made { plain: 320, tls: 20 });
}

/// So many at once, each with one request on a connection of its own.
fn short_programs(source: &Source, count: usize) {
    let script = format!(
        "for i in $(seq {count}); do (exec 3<>/dev/tcp/127.0.0.1/{}; \
         printf 'GET /d HTTP/1.1\\r\\nHost: short\\r\\nConnection: close\\r\\n\\r\\n' >&3; exec cat <&3 >/dev/null) & done; wait",
        source.plain
    );
    run_ok(
        Command::new("bash")
            .args(["-c", &script])
            .current_dir(source.folder.path()),
    );
}
