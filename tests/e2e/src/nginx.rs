//! nginx with a configuration of the test's own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::{Program, until, wait_for_listener};

/// One line of nginx's access log: what the server itself says.
#[derive(Clone, Debug)]
pub struct NginxRecord(pub Value);

impl NginxRecord {
    /// A number of the log.
    #[must_use]
    pub fn number(&self, key: &str) -> u64 {
        let text = self.0[key].as_str().unwrap_or_default();
        text.parse()
            .unwrap_or_else(|_| panic!("{key} of {} is not a number", self.0))
    }
}

/// A running nginx with one worker; ended when dropped.
pub struct Nginx {
    program: Option<Program>,
    folder: PathBuf,
}

impl Nginx {
    /// Starts it in `folder` with these `server` blocks and waits for `ports`.
    #[must_use]
    pub fn start(folder: &Path, servers: &str, ports: &[u16]) -> Self {
        Self::start_workers(folder, servers, ports, 1)
    }

    /// The same with a number of workers.
    #[must_use]
    pub fn start_workers(folder: &Path, servers: &str, ports: &[u16], workers: usize) -> Self {
        let folder = folder.join("nginx");
        fs::create_dir_all(folder.join("www")).expect("create a folder");
        let config = folder.join("nginx.conf");
        let log = "escape=json '{\"method\":\"$request_method\",\"uri\":\"$request_uri\",\"status\":\"$status\",\
                   \"sent\":\"$bytes_sent\",\"body\":\"$body_bytes_sent\",\"received\":\"$request_length\",\
                   \"protocol\":\"$server_protocol\",\"tls\":\"$ssl_protocol\",\"port\":\"$server_port\",\
                   \"client_port\":\"$remote_port\",\"connection\":\"$connection\",\"agent\":\"$http_user_agent\",\"pid\":\"$pid\"}'";
        let text = format!(
            "user root; worker_processes {workers}; daemon off; pid nginx.pid; error_log stderr warn;\n\
             events {{ worker_connections 4096; }}\n\
             http {{\n  default_type application/octet-stream; sendfile off; ssl_protocols TLSv1.2 TLSv1.3; keepalive_requests 1000000;\n  \
             client_max_body_size 0; client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;\n  \
             uwsgi_temp_path uwsgi; scgi_temp_path scgi;\n  log_format truth {log};\n  access_log access.json truth;\n  \
             root www;\n{servers}\n}}\n"
        );
        fs::write(&config, text).expect("write a configuration");
        let mut command = Command::new("nginx");
        command
            .arg("-p")
            .arg(&folder)
            .arg("-c")
            .arg(&config)
            .stdin(std::process::Stdio::null());
        let program = Program::start(&mut command);
        let nginx = Self {
            program: Some(program),
            folder,
        };
        ports.iter().copied().for_each(wait_for_listener);
        nginx
    }

    /// Puts a file into the document root.
    pub fn put(&self, name: &str, content: &[u8]) {
        let path = self.document_root().join(name);
        fs::create_dir_all(path.parent().expect("a path with a parent")).expect("create a folder");
        fs::write(path, content).expect("write a document");
    }

    /// The document root.
    #[must_use]
    pub fn document_root(&self) -> PathBuf {
        self.folder.join("www")
    }

    /// Waits until the access log has `count` lines that `wanted` selects, and returns these.
    #[must_use]
    pub fn records(&self, count: usize, wanted: impl Fn(&Value) -> bool) -> Vec<NginxRecord> {
        let mut records = Vec::new();
        until(
            Duration::from_secs(10),
            &format!("{count} records of nginx"),
            || {
                let text = fs::read_to_string(self.folder.join("access.json")).unwrap_or_default();
                records = text
                    .lines()
                    .filter_map(|line| serde_json::from_str(line).ok())
                    .filter(|record| wanted(record))
                    .map(NginxRecord)
                    .collect();
                records.len() >= count
            },
        );
        records
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // The master ends its workers on TERM; a kill would leave them behind.
        if let Some(mut program) = self.program.take()
            && program.is_running()
        {
            program.signal(Signal::TERM);
            let deadline = std::time::Instant::now() + Duration::from_secs(5);
            while program.is_running() && std::time::Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }
}
