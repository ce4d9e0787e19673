//! Programs on OpenSSL wherever it is: the system's, bundled in wheels, linked in, against musl in a root of its own.
//!
//! Required: "Ruby net/http, PHP curl and streams, Perl LWP, Apache, HAProxy, …, Python aiohttp, httpx (h1, h2),
//! asyncio; copies bundled in wheels (`cryptography`, psycopg-binary); OpenSSL 1.1.1, 3.0, 3.5 and newer; a musl build in a chroot".

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use qtap_e2e::{
    Bench, Guest, Late, Program, Row, Side, Zoo, free_port, programs, read_by_secrets, read_late, run_ok,
    runtime, system_library, venv, wait_for_listener, wheels_python,
};
use serde_json::json;

const DEBIAN: &str = "Debian, shared";
const ONE_REQUEST: &str = "closes after each request";

/// A client against the common server.
const fn client(
    name: &'static str,
    build: &'static str,
    protocol: &'static str,
    client: fn(&Bench, &str) -> Command,
) -> Row {
    Row {
        name,
        build,
        side: Side::Client,
        protocol,
        implementation: "openssl",
        client,
        server: None,
        late: Late::Calls,
    }
}

/// A server, with a Python client that speaks `protocol`.
const fn server(
    name: &'static str,
    build: &'static str,
    protocol: &'static str,
    server: fn(&Bench) -> Guest,
) -> Row {
    Row {
        name,
        build,
        side: Side::Server,
        protocol,
        implementation: "openssl",
        client: if protocol.len() == "http2".len() && protocol.as_bytes()[4] == b'2' {
            |bench, address| python(bench, "httpx-h2", address)
        } else {
            |bench, address| python(bench, "http.client", address)
        },
        server: Some(server),
        late: Late::Calls,
    }
}

fn python(bench: &Bench, mode: &str, address: &str) -> Command {
    bench.client(wheels_python(), "zoo.py", mode, address)
}

fn python_server(bench: &Bench, mode: &str) -> Guest {
    Guest::start(&mut bench.server(wheels_python(), "zoo.py", mode))
}

/// What a program says of its version, its first line without the words before it.
fn version(command: &str, argument: &str, before: &str) -> String {
    let said = run_ok(Command::new(command).arg(argument)).text();
    let rest = said
        .split(before)
        .nth(1)
        .unwrap_or_else(|| panic!("{command}: {said}"));
    let is_part = |c: char| c.is_ascii_digit() || c == '.';
    rest.trim_start().chars().take_while(|c| is_part(*c)).collect()
}

/// Apache as a proxy before the common server's Python, with HTTP/1.1 and HTTP/2.
fn apache(bench: &Bench) -> Guest {
    let port = free_port();
    let modules = Path::new("/usr/lib/apache2/modules");
    let folder = tempfile::Builder::new()
        .prefix("apache-")
        .tempdir_in(bench.folder())
        .unwrap()
        .keep();
    let load: String = [
        "mpm_event",
        "authz_core",
        "ssl",
        "socache_shmcb",
        "http2",
        "proxy",
        "proxy_http",
    ]
    .iter()
    .map(|name| format!("LoadModule {name}_module {}/mod_{name}.so\n", modules.display()))
    .collect();
    let text = format!(
        "ServerRoot {root}\nPidFile {root}/pid\nServerName localhost\nErrorLog {root}/error\nListen 127.0.0.1:{port}\n{load}\
         Protocols h2 http/1.1\nKeepAliveTimeout 60\nSSLEngine on\nSSLCertificateFile {certificate}\nSSLCertificateKeyFile {key}\n\
         StartServers 1\nServerLimit 1\nThreadsPerChild 8\nMaxRequestWorkers 8\nProxyPass / http://127.0.0.1:{origin}/\n",
        root = folder.display(),
        certificate = bench.certificates.certificate.display(),
        key = bench.certificates.key.display(),
        origin = bench.front.origin().port,
    );
    let config = folder.join("apache.conf");
    std::fs::write(&config, text).unwrap();
    let mut command = Command::new("apache2");
    command.args(["-X", "-f"]).arg(&config).stdin(Stdio::null());
    daemon(&mut command, port, version("apache2", "-v", "Apache/"))
}

/// HAProxy the same.
fn haproxy(bench: &Bench) -> Guest {
    let port = free_port();
    let folder = tempfile::Builder::new()
        .prefix("haproxy-")
        .tempdir_in(bench.folder())
        .unwrap()
        .keep();
    let mut pem = std::fs::read(&bench.certificates.certificate).unwrap();
    pem.extend(std::fs::read(&bench.certificates.key).unwrap());
    std::fs::write(folder.join("both.pem"), pem).unwrap();
    let text = format!(
        "global\n  nbthread 1\ndefaults\n  mode http\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n\
         frontend f\n  bind 127.0.0.1:{port} ssl crt {}/both.pem alpn h2,http/1.1\n  default_backend b\n\
         backend b\n  server s 127.0.0.1:{}\n",
        folder.display(),
        bench.front.origin().port,
    );
    let config = folder.join("haproxy.cfg");
    std::fs::write(&config, text).unwrap();
    let mut command = Command::new("haproxy");
    command.arg("-db").arg("-f").arg(&config).stdin(Stdio::null());
    daemon(&mut command, port, version("haproxy", "-v", "version "))
}

fn daemon(command: &mut Command, port: u16, version: String) -> Guest {
    let program = Program::start(command);
    wait_for_listener(port);
    let library = run_ok(Command::new("openssl").arg("version")).text();
    let library = library.split(" (").next().unwrap_or_default().trim().to_owned();
    Guest::adopt(
        program,
        json!({"version": version, "library": library, "port": port}),
    )
}

/// The file in `folder` whose name begins with `prefix` and has `part` (`libssl3.so` is NSS, and has no version behind it).
fn library_in(folder: &Path, prefix: &str, part: &str) -> PathBuf {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with(prefix) && name.contains(part)
        })
        .unwrap_or_else(|| panic!("no {prefix} in {}", folder.display()))
}

/// `programs/runtimes/zoo.c` with the libssl in `libraries`.
fn through_c(bench: &Bench, libraries: &Path, address: &str) -> Command {
    let program = bench.folder().join("zoo");
    if !program.exists() {
        let source = programs().join("runtimes/zoo.c");
        run_ok(
            Command::new("cc")
                .args(["-O1", "-D_GNU_SOURCE", "-o"])
                .arg(&program)
                .arg(source)
                .arg("-ldl"),
        );
    }
    let port = address.rsplit(':').next().unwrap();
    let mut command = Command::new(program);
    command
        .arg(library_in(libraries, "libssl", ".so."))
        .arg(port)
        .arg(&bench.certificates.authority)
        .arg(&bench.matter.posted)
        .env("LD_LIBRARY_PATH", libraries);
    command
}

/// The same built against musl, in a root with musl's loader and the libraries of a wheel for musl, and nothing else.
fn in_a_musl_root(bench: &Bench, address: &str) -> Command {
    let root = bench.folder().join("musl-root");
    let libraries = root.join("lib");
    std::fs::create_dir_all(&libraries).unwrap();
    let source = programs().join("runtimes/zoo.c");
    run_ok(
        Command::new("musl-gcc")
            .args(["-O1", "-D_GNU_SOURCE", "-o"])
            .arg(root.join("zoo"))
            .arg(source),
    );
    let loader = library_in(Path::new("/lib"), "ld-musl-", ".so.1");
    let name = loader.file_name().unwrap().to_string_lossy().into_owned();
    std::fs::copy(&loader, libraries.join(&name)).unwrap();
    std::os::unix::fs::symlink(&name, libraries.join(name.replace("ld-musl-", "libc.musl-"))).unwrap();
    let wheel = runtime("musl/wheel/psycopg_binary.libs");
    for entry in std::fs::read_dir(&wheel).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, libraries.join(path.file_name().unwrap())).unwrap();
    }
    std::fs::copy(&bench.certificates.authority, root.join("ca.pem")).unwrap();
    std::fs::copy(&bench.matter.posted, root.join("posted")).unwrap();
    let library = library_in(&libraries, "libssl", ".so.");
    let mut command = Command::new("chroot");
    command
        .arg(&root)
        .arg("/zoo")
        .arg(Path::new("/lib").join(library.file_name().unwrap()))
        .arg(address.rsplit(':').next().unwrap())
        .args(["/ca.pem", "/posted"])
        .env("LD_LIBRARY_PATH", "/lib");
    command
}

fn rows() -> Vec<Row> {
    vec![
        client("Ruby net/http", DEBIAN, "http1", |b, a| {
            b.client("ruby", "zoo.rb", "net-http", a)
        }),
        server("Ruby OpenSSL server", DEBIAN, "http1", |b| {
            Guest::start(&mut b.server("ruby", "zoo.rb", "server"))
        }),
        client("PHP curl", DEBIAN, "http1", |b, a| {
            b.client("php", "zoo.php", "curl", a)
        }),
        client("PHP curl", DEBIAN, "http2", |b, a| {
            b.client("php", "zoo.php", "curl-h2", a)
        }),
        Row {
            late: Late::Not(ONE_REQUEST),
            ..client("PHP streams", DEBIAN, "http1", |b, a| {
                b.client("php", "zoo.php", "streams", a)
            })
        },
        client("Perl LWP", DEBIAN, "http1", |b, a| {
            b.client("perl", "zoo.pl", "lwp", a)
        }),
        client("Python http.client", DEBIAN, "http1", |b, a| {
            python(b, "http.client", a)
        }),
        client("Python asyncio", DEBIAN, "http1", |b, a| python(b, "asyncio", a)),
        server("Python asyncio server", DEBIAN, "http1", |b| {
            python_server(b, "asyncio-server")
        }),
        client("Python aiohttp", DEBIAN, "http1", |b, a| python(b, "aiohttp", a)),
        server("Python aiohttp server", DEBIAN, "http1", |b| {
            python_server(b, "aiohttp-server")
        }),
        client("Python httpx", DEBIAN, "http1", |b, a| python(b, "httpx", a)),
        client("Python httpx", DEBIAN, "http2", |b, a| python(b, "httpx-h2", a)),
        client(
            "Python cryptography (pyOpenSSL)",
            "wheel, OpenSSL linked in",
            "http1",
            |b, a| python(b, "pyopenssl", a),
        ),
        server("Apache", DEBIAN, "http1", apache),
        server("Apache", DEBIAN, "http2", apache),
        server("HAProxy", DEBIAN, "http1", haproxy),
        server("HAProxy", DEBIAN, "http2", haproxy),
        client("libssl in C", "psycopg2-binary wheel, shared", "http1", |b, a| {
            through_c(b, &venv().join("openssl-1.1.1/psycopg2_binary.libs"), a)
        }),
        client("libssl in C", DEBIAN, "http1", |b, a| {
            through_c(b, system_library("libssl.so.3").parent().unwrap(), a)
        }),
        client("libssl in C", "psycopg-binary wheel, shared", "http1", |b, a| {
            let site = runtime("venv/lib/python3.11/site-packages/psycopg_binary.libs");
            through_c(b, &site, a)
        }),
        client(
            "libssl in C, chroot",
            "musl, psycopg-binary wheel, shared",
            "http1",
            in_a_musl_root,
        ),
    ]
}

/// Every one, whole and exact, by secrets alone.
#[test]
fn everything_on_openssl_is_read_by_secrets() {
    let mut zoo = Zoo::open("openssl");
    read_by_secrets(&mut zoo, &rows());
    zoo.finish();
}

/// Connections older than the agent are read by calls.
#[test]
fn everything_on_openssl_is_read_by_calls_when_the_agent_comes_late() {
    let mut zoo = Zoo::open("openssl-late");
    read_late(&mut zoo, &rows());
    zoo.finish();
}
