//! Databases inside of TLS, both ends: servers with OpenSSL, their own clients, and clients for Python and Node.js. TLS begins in
//! mid-stream with PostgreSQL and MariaDB, as STARTTLS does.
//!
//! Required: "PostgreSQL, Redis, MariaDB (STARTTLS-like upgrades)"; "copies bundled in wheels (… psycopg-binary)".

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use qtap_e2e::databases::{MariaDb, Postgres, Redis, SECRET, agent, mariadb, of_connection, postgres, redis};
use qtap_e2e::{
    Agent, Capture, Certificates, Column, Events, Found, Guest, Matter, Runtime, Side, Transport, Zoo,
    assert_healthy, assert_implementation, guest, node_clients, run_ok, runtime, scratch, venv,
    wheels_python,
};
use tempfile::TempDir;

const DEBIAN: &str = "Debian, shared";

/// The servers, which all tests here could share, and what they are made of.
struct Servers {
    folder: TempDir,
    certificates: Certificates,
    mariadb: MariaDb,
    postgres: Postgres,
    redis: Redis,
}

impl Servers {
    fn start() -> Self {
        let folder = scratch();
        let certificates = Certificates::make(folder.path());
        Self {
            mariadb: mariadb(folder.path(), &certificates),
            postgres: postgres(folder.path(), &certificates),
            redis: redis(folder.path(), &certificates),
            certificates,
            folder,
        }
    }

    fn port(&self, database: Database) -> u16 {
        match database {
            Database::MariaDb => self.mariadb.port,
            Database::Postgres => self.postgres.port,
            Database::Redis => self.redis.tls,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Database {
    MariaDb,
    Postgres,
    Redis,
}

impl Database {
    /// Of a round.
    fn statement(self, round: usize) -> String {
        match self {
            Self::MariaDb | Self::Postgres => format!("select 41 + {round} as answer"),
            Self::Redis => format!("INCRBY zoo:answer {round}"),
        }
    }

    const fn protocol(self) -> &'static str {
        match self {
            Self::MariaDb => "mysql",
            Self::Postgres => "postgres",
            Self::Redis => "redis",
        }
    }

    /// The row of its server.
    fn server(self) -> Runtime {
        let (name, command) = match self {
            Self::MariaDb => ("MariaDB server", Command::new("/usr/sbin/mariadbd")),
            Self::Postgres => (
                "PostgreSQL server",
                Command::new(newest("/usr/lib/postgresql").join("bin/postgres")),
            ),
            Self::Redis => ("Redis server", Command::new("redis-server")),
        };
        let mut command = command;
        let said = run_ok(command.arg("--version")).text();
        let word = said
            .split([' ', '='])
            .find(|word| word.starts_with(|c: char| c.is_ascii_digit()))
            .unwrap_or_else(|| panic!("{name}: {said}"));
        let library = run_ok(Command::new("openssl").arg("version")).text();
        Runtime {
            name: name.to_owned(),
            version: word.trim().split('-').next().unwrap_or_default().to_owned(),
            library: library.split(" (").next().unwrap_or_default().trim().to_owned(),
            build: DEBIAN.to_owned(),
            side: Side::Server,
        }
    }
}

fn newest(folder: &str) -> PathBuf {
    let entries = std::fs::read_dir(folder).expect("PostgreSQL is installed; run scripts/setup tests");
    entries
        .map(|entry| entry.expect("an entry").path())
        .max()
        .expect("a version")
}

/// Name of the row, build, database, program for a mode, and the mode.
type Client = (
    &'static str,
    &'static str,
    Database,
    fn(&str) -> Command,
    &'static str,
);

fn with_python(mode: &str) -> Command {
    guest(venv().join("bin/python"), "zoo_db.py", mode)
}

fn with_wheels(mode: &str) -> Command {
    guest(wheels_python(), "zoo_db.py", mode)
}

fn with_node(mode: &str) -> Command {
    let mut command = guest(runtime("node-22").join("bin/node"), "zoo_db.js", mode);
    command.env("NODE_PATH", node_clients());
    command
}

/// The first of each database is the one whose server is looked at, too.
const CLIENTS: [Client; 9] = [
    (
        "MariaDB client",
        DEBIAN,
        Database::MariaDb,
        with_python,
        "mariadb",
    ),
    ("PostgreSQL psql", DEBIAN, Database::Postgres, with_python, "psql"),
    (
        "Redis redis-cli",
        DEBIAN,
        Database::Redis,
        with_python,
        "redis-cli",
    ),
    (
        "Python PyMySQL",
        DEBIAN,
        Database::MariaDb,
        with_python,
        "pymysql",
    ),
    (
        "Python psycopg",
        "psycopg-binary wheel, shared",
        Database::Postgres,
        with_wheels,
        "psycopg",
    ),
    ("Python redis", DEBIAN, Database::Redis, with_python, "redis-py"),
    (
        "Node.js mysql2",
        "npm binary, OpenSSL linked in",
        Database::MariaDb,
        with_node,
        "mysql2",
    ),
    (
        "Node.js pg",
        "npm binary, OpenSSL linked in",
        Database::Postgres,
        with_node,
        "pg",
    ),
    (
        "Node.js redis",
        "npm binary, OpenSSL linked in",
        Database::Redis,
        with_node,
        "redis",
    ),
];

struct Running {
    name: &'static str,
    build: &'static str,
    database: Database,
    port: u16,
    guest: Guest,
    /// Its server is looked at, too.
    with_server: bool,
}

impl Running {
    fn runtime(&self) -> Runtime {
        let text = |key: &str| self.guest.facts[key].as_str().unwrap_or_default().to_owned();
        Runtime {
            name: self.name.to_owned(),
            version: text("version"),
            library: text("library"),
            build: self.build.to_owned(),
            side: Side::Client,
        }
    }

    /// Both ends of its connection.
    fn ends(&self, events: &Events) -> (Vec<Capture>, Vec<Capture>) {
        let clients = events.of_pid(self.guest.pid());
        let ports: Vec<_> = (clients.iter())
            .map(|capture| capture.connection["source"]["address"]["port"].clone())
            .collect();
        let servers = events.of_port(self.port, Side::Server).into_iter();
        let servers =
            servers.filter(|server| ports.contains(&server.connection["source"]["address"]["port"]));
        (clients, servers.collect())
    }
}

fn start(servers: &Servers) -> Vec<Running> {
    let mut all: Vec<Running> = Vec::new();
    for (name, build, database, program, mode) in CLIENTS {
        let port = servers.port(database);
        let mut command = program(mode);
        command
            .arg(port.to_string())
            .arg(&servers.certificates.authority)
            .env("ZOO_PASSWORD", SECRET);
        let with_server = !all.iter().any(|other| other.database == database);
        all.push(Running {
            name,
            build,
            database,
            port,
            guest: Guest::spawn(&mut command),
            with_server,
        });
    }
    for one in &mut all {
        one.guest.welcome();
    }
    all
}

/// Lets every connection end, then the agent.
fn end(agent: Agent, all: &mut [Running]) -> Events {
    for one in all.iter_mut() {
        one.guest.close_input();
    }
    let deadline = Instant::now() + Duration::from_secs(15);
    let is_over = |one: &Running, events: &Events| {
        let (clients, servers) = one.ends(events);
        !clients.is_empty() && servers.len() >= clients.len()
    };
    while !all.iter().all(|one| is_over(one, &agent.events())) && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(200));
    }
    agent.stop()
}

/// The answer to the statement of a round was seen, whole.
fn assert_round(events: &Events, captures: &[Capture], database: Database, round: usize) {
    let statement = database.statement(round);
    let requests: Vec<_> = (captures.iter())
        .flat_map(|capture| of_connection(events, capture))
        // psql sends what it read.
        .filter(|request| {
            request["statement"]
                .as_str()
                .map(|text| text.trim_end_matches(';'))
                == Some(&*statement)
        })
        .collect();
    let [request] = *requests else {
        panic!("{} of {statement}: {captures:#?}", requests.len());
    };
    assert_eq!(request["outcome"], "complete", "{request:#}");
    assert_eq!(request["isError"], false, "{request:#}");
    assert_eq!(request["databaseType"], database.protocol(), "{request:#}");
}

fn assert_source(captures: &[Capture], source: &str) {
    for capture in captures {
        assert_eq!(
            capture.connection["meta"]["tlsSource"], source,
            "{:#}",
            capture.connection
        );
        assert_implementation(capture, "openssl");
    }
}

/// Connections of before and after the agent, by the same servers.
#[test]
fn databases_are_read_at_both_ends_by_secrets_and_when_the_agent_comes_late_by_calls() {
    let servers = Servers::start();
    let matter = Matter::make(servers.folder.path());
    let mut zoo = Zoo::open("databases");

    // The programs of the databases connect at once.
    let fresh = agent();
    let mut all = start(&servers);
    // Until the programs that nobody ran before are probed.
    std::thread::sleep(Duration::from_millis(1500));
    for one in &mut all {
        one.guest.round(&matter);
        one.guest.round(&matter);
    }
    let events = end(fresh, &mut all);
    for one in &all {
        let (clients, at_server) = one.ends(&events);
        let look = |captures: &[Capture]| {
            assert_source(captures, "secrets");
            let busy: Vec<_> = (captures.iter())
                .filter(|capture| !of_connection(&events, capture).is_empty())
                .collect();
            for capture in &busy {
                assert_healthy(capture, Transport::Tls);
                assert_eq!(capture.connection["l7Protocol"], one.database.protocol());
            }
            for round in [1, 2] {
                assert_round(&events, captures, one.database, round);
            }
            Found::Read("secrets".to_owned())
        };
        zoo.check(&one.runtime(), Column::Other, || look(&clients));
        if one.with_server {
            zoo.check(&one.database.server(), Column::Other, || look(&at_server));
        }
    }

    let mut all = start(&servers);
    for one in &mut all {
        one.guest.round(&matter);
    }
    let late = agent();
    // The first may be what tells the agent that the process needs its calls probed.
    for _ in 0..2 {
        for one in &mut all {
            one.guest.round(&matter);
        }
        std::thread::sleep(Duration::from_millis(500));
    }
    for one in &mut all {
        one.guest.round(&matter);
    }
    let events = end(late, &mut all);
    for one in &all {
        let (clients, at_server) = one.ends(&events);
        let look = |captures: &[Capture]| {
            assert_source(captures, "calls");
            for capture in captures {
                assert!(
                    capture.reasons().contains(&"joined_midstream"),
                    "{:#}",
                    capture.connection
                );
            }
            assert_round(&events, captures, one.database, 4);
            Found::Read("calls".to_owned())
        };
        zoo.check(&one.runtime(), Column::LateOther, || look(&clients));
        if one.with_server {
            zoo.check(&one.database.server(), Column::LateOther, || look(&at_server));
        }
    }
    zoo.finish();
}
