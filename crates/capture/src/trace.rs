//! What the kernel side decided, call by call: `--bpf-trace`.

use crate::bindings::{self as kernel, call, trace_message as message};
use crate::{ConnectionId, Direction, KernelTime, Pid};

/// What to trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TraceModule {
    /// System calls on sockets and files, and what became of their bytes.
    Socket,
    /// Calls and derivations of OpenSSL and its kin.
    OpenSsl,
    /// The same of GnuTLS.
    GnuTls,
    /// The same of Go.
    GoTls,
    /// Exec and exit.
    Process,
}

impl TraceModule {
    pub(crate) fn bit(self) -> u32 {
        match self {
            Self::Socket => kernel::trace_module::TRACE_SOCKET.0,
            Self::OpenSsl => kernel::trace_module::TRACE_OPENSSL.0,
            Self::GnuTls => kernel::trace_module::TRACE_GNUTLS.0,
            Self::GoTls => kernel::trace_module::TRACE_GOTLS.0,
            Self::Process => kernel::trace_module::TRACE_PROCESS.0,
        }
    }
}

/// One decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    /// When.
    pub time: KernelTime,
    /// Process.
    pub pid: Pid,
    /// Thread.
    pub tid: u32,
    /// What happened, as the message of `--bpf-trace`.
    pub message: &'static str,
    /// The descriptor, where there is one.
    pub fd: Option<i32>,
    /// Bytes moved.
    pub bytes: i64,
    /// Which way they moved.
    pub direction: Direction,
    /// The connection, where it is known.
    pub connection: Option<ConnectionId>,
    /// Address of the TLS session, for messages of TLS libraries.
    pub object: Option<u64>,
}

/// `None` for numbers we do not know.
fn text(number: u32) -> Option<&'static str> {
    system_call(number).or_else(|| {
        Some(match message(number) {
            message::MESSAGE_NO_CONNECTION => "process_data (conn_info = NULL)",
            message::MESSAGE_NOT_OPEN => "process_data (conn_info->is_open = false)",
            message::MESSAGE_IGNORED => "process_data (ignore = true)",
            message::MESSAGE_DATA => "process_data",
            message::MESSAGE_SETTINGS_IGNORE => "process_data (settings = IGNORE, ignore = true)",
            message::MESSAGE_ADOPTED => "init_conn (adopted)",
            message::MESSAGE_SHED => "process_data (shed = true)",
            message::MESSAGE_SSL_READ => "openssl/read",
            message::MESSAGE_SSL_READ_EX => "openssl/read_ex",
            message::MESSAGE_SSL_WRITE => "openssl/write",
            message::MESSAGE_SSL_WRITE_EX => "openssl/write_ex",
            message::MESSAGE_GNUTLS_RECV => "gnutls/recv",
            message::MESSAGE_GNUTLS_SEND => "gnutls/send",
            message::MESSAGE_SSL_FREE => "openssl/free",
            message::MESSAGE_GNUTLS_DEINIT => "gnutls/deinit",
            message::MESSAGE_CALL_FAILED => "tls call (funcRet < 1)",
            message::MESSAGE_CALL_NO_CONNECTION => "tls call (no connection found)",
            message::MESSAGE_SECRET => "tls secret",
            message::MESSAGE_GO_READ => "gotls/read",
            message::MESSAGE_GO_WRITE => "gotls/write",
            message::MESSAGE_EXEC => "process/exec",
            message::MESSAGE_EXIT => "process/exit",
            _ => return None,
        })
    })
}

fn system_call(number: u32) -> Option<&'static str> {
    Some(match call(number) {
        call::CALL_READ => "syscall/read",
        call::CALL_WRITE => "syscall/write",
        call::CALL_READV => "syscall/readv",
        call::CALL_WRITEV => "syscall/writev",
        call::CALL_RECVFROM => "syscall/recvfrom",
        call::CALL_SENDTO => "syscall/sendto",
        call::CALL_RECVMSG => "syscall/recvmsg",
        call::CALL_SENDMSG => "syscall/sendmsg",
        call::CALL_RECVMMSG => "syscall/recvmmsg",
        call::CALL_SENDMMSG => "syscall/sendmmsg",
        call::CALL_SENDFILE => "syscall/sendfile",
        call::CALL_SPLICE => "syscall/splice",
        call::CALL_ACCEPT => "syscall/accept",
        call::CALL_ACCEPT4 => "syscall/accept4",
        call::CALL_URING => "io_uring",
        _ => return None,
    })
}

/// The trace of a record.
pub(crate) fn decode_trace(event: &kernel::event_trace) -> Option<Trace> {
    Some(Trace {
        time: KernelTime(event.time),
        pid: Pid(event.pid),
        tid: event.tid,
        message: text(event.message)?,
        fd: (event.fd >= 0).then_some(event.fd),
        bytes: event.bytes,
        direction: if event.direction == kernel::direction::DIRECTION_EGRESS.0 {
            Direction::Egress
        } else {
            Direction::Ingress
        },
        connection: (event.connection != 0).then_some(ConnectionId(event.connection)),
        object: (event.object != 0).then_some(event.object),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_message_has_a_text_of_its_own() {
        let last = message::MESSAGE_EXIT.0;
        let mut texts: Vec<_> = (0..=last).filter_map(text).collect();
        assert_eq!(texts.len(), 15 + 22);
        texts.sort_unstable();
        texts.dedup();
        assert_eq!(texts.len(), 15 + 22);
    }
}
