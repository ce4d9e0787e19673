//! End-to-end tests: the agent as users run it, real clients and servers, assertions on its JSON lines.
//!
//! What a test does: start servers ([`Nginx`], [`PythonServer`], …), start the [`Agent`], run clients ([`run`]), wait for
//! their connections, [`Agent::stop`], compare the [`Capture`]s with what the programs really sent and received.
//!
//! * The agent sees the whole host, so events are always selected by pid or port ([`Events`]), never counted globally.
//! * The agent is `QTAP_BIN`, by default `target/release/qtap`; without it, or without root, tests fail.
//! * Every process is killed and reaped by its guard, and every wait has an end.

#![expect(
    clippy::missing_panics_doc,
    reason = "a helper of tests panics where the test is to fail"
)]

mod account;
mod agent;
mod certificates;
mod cgroup;
mod check;
mod config;
mod curl;
pub mod databases;
mod disk;
mod events;
mod expect;
mod files;
mod guest;
mod load;
mod maps;
mod net;
mod netns;
mod nginx;
mod program;
mod python;
mod quic;
mod resolver;
mod root;
mod runtimes;
mod web;
mod zoo;

pub use account::{Account, Metrics, Rest};
pub use agent::{Agent, qtap_bin, qtap_command};
pub use certificates::Certificates;
pub use cgroup::{Cgroup, Controller};
pub use check::{Verdict, check};
pub use config::Config;
pub use curl::Curl;
pub use disk::Disk;
pub use events::{Capture, Events, Side};
pub use expect::{
    Transport, assert_complete, assert_healthy, assert_sums, assert_truth, header_lists, headers_of,
    is_flagged, one, outline, single, single_on_port, wait_for_both_ends,
};
pub use files::{deterministic_bytes, hex_sha256, node_clients, programs, scratch, system_library, venv};
pub use guest::{
    Expected, Front, GRPC_PATHS, Guest, HTTP_PATHS, Matter, assert_exchange, assert_implementation,
    assert_rounds, guest, runtime,
};
pub use load::Load;
pub use maps::{KernelMaps, assert_nothing_in_flight};
pub use net::{free_port, http_get, wait_for_listener};
pub use netns::Namespaces;
pub use nginx::{Nginx, NginxRecord};
pub use program::{Finished, Program, run, run_ok, until};
pub use python::{PythonServer, Truth, client, python};
pub use quic::{QuicServer, quic, quic_curl};
pub use resolver::{Resolver, dig};
pub use root::{fetch_in_root, root_with_curl};
pub use runtimes::{
    Bench, Late, Row, assert_blind, assert_late, read_by_secrets, read_late, rustls_exchange_program,
    wheels_python,
};
pub use web::{WebServer, web};
pub use zoo::{Column, Found, Runtime, Zoo};
