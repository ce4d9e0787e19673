//! `--bpf-trace`: tells the kernel side what to trace and prints its decisions.

use crossbeam_channel::{Sender, bounded};
use qtap_capture::{Control, Trace, TraceModule};
use qtap_process::{Process, Table};

use crate::cli::{self, TraceQuery};

/// Decisions that may wait to be printed; more are dropped and counted.
const QUEUE: usize = 4096;

/// A query in force.
#[derive(Clone, Debug)]
pub(crate) struct Tracer {
    query: TraceQuery,
    control: Control,
    table: Table,
}

impl Tracer {
    /// Puts `query` in force; nothing is traced for an empty one.
    pub(super) fn new(query: TraceQuery, control: Control, table: Table) -> Self {
        let modules = [
            (cli::TraceModule::Socket, TraceModule::Socket),
            (cli::TraceModule::OpenSsl, TraceModule::OpenSsl),
            (cli::TraceModule::GnuTls, TraceModule::GnuTls),
            (cli::TraceModule::GoTls, TraceModule::GoTls),
            (cli::TraceModule::Process, TraceModule::Process),
        ];
        if !query.is_empty() {
            let wanted: Vec<_> = modules
                .into_iter()
                .filter(|&(name, _)| query.includes(name))
                .map(|(_, module)| module)
                .collect();
            if wanted.is_empty() {
                tracing::warn!(
                    "none of the modules of --bpf-trace is there yet; socket, openssl, gnutls, gotls and process are"
                );
            }
            control.trace(&wanted, query.selects(0, None, None));
            tracing::info!(?query, "BPF Trace enabled for module|process");
        }
        Self {
            query,
            control,
            table,
        }
    }

    /// Traces `process` if the query names it. Called when its record is new or changed.
    pub(super) fn consider(&self, process: &Process) {
        if self.query.is_empty() {
            return;
        }
        let container = process.container.as_ref().map(|container| container.id.as_str());
        if self.query.selects(process.pid.0, Some(&process.exe), container)
            && let Err(error) = self.control.trace_process(process.pid, true)
        {
            tracing::warn!(pid = process.pid.0, %error, "process cannot be traced");
        }
    }

    /// Starts the thread that prints, so that a slow terminal never holds up the ring reader. `None` if nothing is
    /// traced.
    pub(super) fn start_printer(&self) -> anyhow::Result<Option<Sender<Trace>>> {
        if self.query.is_empty() {
            return Ok(None);
        }
        let (sender, decisions) = bounded::<Trace>(QUEUE);
        let tracer = self.clone();
        super::spawn("qtap-trace", move || {
            decisions.iter().for_each(|trace| tracer.print(&trace))
        })?;
        Ok(Some(sender))
    }

    /// Prints one decision.
    fn print(&self, trace: &Trace) {
        let process = self.table.find(trace.pid);
        let exe = process.as_ref().map(|process| process.exe.as_str());
        tracing::info!(
            msg = trace.message,
            pid = trace.pid.0,
            exe,
            fd = trace.fd,
            bytes = trace.bytes,
            direction = trace.direction as u32,
            ssl = trace
                .object
                .filter(|&object| object > 4096)
                .map(|object| format!("{object:#x}")),
            connection = trace.connection.map(|id| id.0),
            "eBPF trace"
        );
    }
}
