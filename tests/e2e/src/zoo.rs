//! What the tests of many runtimes find, written where the table of `docs/runtimes.md` is made from.
//!
//! Each test that goes through a list of programs opens a [`Zoo`], has each [`Column`] of each [`Runtime`] checked by
//! [`Zoo::check`], and ends it with [`Zoo::finish`], which writes `target/runtimes/NAME.json`: a list of cells
//!
//! ```json
//! {"runtime":"Node.js","version":"22.23.3","library":"OpenSSL 3.5.4","build":"npm, static","side":"client",
//!  "column":"http1","state":"read","source":"secrets","reason":null}
//! ```
//!
//! `scripts/runtimes-table` makes the table of them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::Side;

/// A program, or a library in one: a row of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Runtime {
    /// What people call it, and what of it was used: `Ruby net/http`.
    pub name: String,
    /// Its version as it says itself.
    pub version: String,
    /// The TLS library in it, with its version where it says one.
    pub library: String,
    /// Where it is from and how the library is linked.
    pub build: String,
    /// Which end of the connection it is.
    pub side: Side,
}

/// A column of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    /// HTTP/1.1 whose connection begins after the agent.
    Http1,
    /// HTTP/2 whose connection begins after the agent.
    Http2,
    /// TLS with another protocol inside, which is decrypted and reconciled, not parsed.
    Other,
    /// HTTP/1.1 on a connection that is older than the agent.
    LateHttp1,
    /// HTTP/2 on a connection that is older than the agent.
    LateHttp2,
    /// Another protocol on a connection that is older than the agent.
    LateOther,
}

impl Column {
    fn name(self) -> &'static str {
        match self {
            Self::Http1 => "http1",
            Self::Http2 => "http2",
            Self::Other => "other",
            Self::LateHttp1 => "late_http1",
            Self::LateHttp2 => "late_http2",
            Self::LateOther => "late_other",
        }
    }
}

/// What was found where nothing is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// Everything was read exactly, by this source (`secrets` or `calls`).
    Read(String),
    /// Nothing or not all was read, and the agent says so itself: why.
    Told(String),
    /// The program does no such thing: why.
    NotApplicable(String),
}

/// The cells that one test fills.
#[derive(Debug)]
pub struct Zoo {
    name: String,
    cells: Vec<Value>,
    wrong: Vec<String>,
}

impl Zoo {
    /// Cells of the test `name`, none yet.
    #[must_use]
    pub fn open(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            cells: Vec::new(),
            wrong: Vec::new(),
        }
    }

    /// Has one cell looked at. `look` panics where something is wrong; that is kept, and the others are still looked at.
    pub fn check(&mut self, runtime: &Runtime, column: Column, look: impl FnOnce() -> Found) {
        let (state, source, reason) = match catch_unwind(AssertUnwindSafe(look)) {
            Ok(Found::Read(source)) => ("read", Some(source), None),
            Ok(Found::Told(reason)) => ("told", None, Some(reason)),
            Ok(Found::NotApplicable(reason)) => ("n/a", None, Some(reason)),
            Err(panic) => {
                let what = (panic.downcast_ref::<String>().map(String::as_str))
                    .or_else(|| panic.downcast_ref::<&str>().copied())
                    .unwrap_or("a panic without words");
                let name = format!("{} {:?} {}", runtime.name, runtime.side, column.name());
                self.wrong.push(format!("{name}: {what}"));
                ("wrong", None, what.lines().next().map(str::to_owned))
            }
        };
        let Runtime {
            name,
            version,
            library,
            build,
            side,
        } = runtime;
        let side = match side {
            Side::Client => "client",
            Side::Server => "server",
        };
        self.cells.push(json!({
            "runtime": name, "version": version, "library": library, "build": build, "side": side,
            "column": column.name(), "state": state, "source": source, "reason": reason,
        }));
    }

    /// Writes the cells; panics where one is wrong.
    pub fn finish(self) {
        let folder = folder();
        std::fs::create_dir_all(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let file = folder.join(&self.name).with_extension("json");
        let text = format!("{:#}\n", Value::Array(self.cells));
        std::fs::write(&file, text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        assert!(
            self.wrong.is_empty(),
            "{} cells are wrong:\n{}",
            self.wrong.len(),
            self.wrong.join("\n")
        );
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/runtimes")
}
