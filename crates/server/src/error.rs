//! What can go wrong.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

/// Why the server could not start or stop.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}; {}", remedy(source))]
    Bind {
        /// What was asked for.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The thread or its runtime could not be made.
    #[error("cannot start the status server: {0}; check the limits on threads and open files")]
    Start(#[source] io::Error),
    /// A [`crate::State`] held the server for longer than it may.
    #[error("the status server did not stop within {0:?}; it ends with the process")]
    Stop(Duration),
}

fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "another program, perhaps another agent, listens there: stop it or choose another port"
        }
        io::ErrorKind::PermissionDenied => "ports below 1024 need CAP_NET_BIND_SERVICE: choose another port",
        io::ErrorKind::AddrNotAvailable => {
            "no interface of this host has that address: use 127.0.0.1 or one it has"
        }
        _ => "choose another address",
    }
}
