//! The server's thread: accepting, limits, stopping.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{sleep, timeout};

use crate::routes::{Context, Counters, router};
use crate::{Error, State};

/// Connections at a time: scrapers and probes are few.
const MAX_CONNECTIONS: usize = 64;
/// Time for a client to send the head of its request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// Time for a whole connection: one request, one answer.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(10);
/// Time for answers under way when the server stops.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(3);
/// Time for [`Server::stop`].
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// A running server; stops when dropped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    /// Disconnected when the thread is through.
    done: mpsc::Receiver<()>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Listens on `listen` (port 0 takes any) and answers from `state` on a thread of its own.
    ///
    /// # Errors
    /// If the address cannot be had, or the thread.
    pub fn start(listen: SocketAddr, state: Arc<dyn State>) -> Result<Self, Error> {
        let bind = |source| Error::Bind {
            address: listen,
            source,
        };
        let listener = TcpListener::bind(listen).map_err(bind)?;
        listener.set_nonblocking(true).map_err(bind)?;
        let address = listener.local_addr().map_err(bind)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(Error::Start)?;
        let listener = {
            let _entered = runtime.enter();
            tokio::net::TcpListener::from_std(listener).map_err(bind)?
        };
        let (stop, stopping) = watch::channel(false);
        let (running, done) = mpsc::channel();
        let context = Arc::new(Context {
            state,
            counters: Counters::default(),
        });
        let serve = move || {
            runtime.block_on(accept(listener, context, stopping));
            drop(runtime);
            drop(running);
        };
        let thread = Builder::new()
            .name("qtap-server".to_owned())
            .spawn(serve)
            .map_err(Error::Start)?;
        tracing::info!(%address, "status server listens");
        Ok(Self {
            address,
            stop,
            done,
            thread: Some(thread),
        })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops listening, lets answers under way finish, and ends within 5 s.
    ///
    /// # Errors
    /// If the [`State`] holds the thread for longer; the thread is then left behind.
    pub fn stop(mut self) -> Result<(), Error> {
        self.stop.send_replace(true);
        if self.done.recv_timeout(STOP_TIMEOUT) == Err(mpsc::RecvTimeoutError::Timeout) {
            return Err(Error::Stop(STOP_TIMEOUT));
        }
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("status server thread ended by a panic");
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

/// Resolves once the server stops.
async fn stopped(stopping: &mut watch::Receiver<bool>) {
    // An error means that the server was dropped: it stops as well.
    let _ = stopping.wait_for(|stop| *stop).await;
}

async fn accept(
    listener: tokio::net::TcpListener,
    context: Arc<Context>,
    mut stopping: watch::Receiver<bool>,
) {
    let counters = &context.counters;
    let router = router(context.clone());
    let limit = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = stopped(&mut stopping) => break,
            Some(ended) = connections.join_next() => note(ended, counters),
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => match limit.clone().try_acquire_owned() {
                    Ok(permit) => {
                        let (router, context, stopping) = (router.clone(), context.clone(), stopping.clone());
                        connections.spawn(async move {
                            serve(stream, router, &context.counters, stopping).await;
                            drop(permit);
                        });
                    }
                    Err(_) => {
                        counters.refused.fetch_add(1, Ordering::Relaxed);
                        tracing::debug!(%peer, limit = MAX_CONNECTIONS, "connection refused: too many");
                    }
                },
                Err(error) => {
                    // Out of descriptors, most likely: accepting again at once would spin.
                    counters.failed.fetch_add(1, Ordering::Relaxed);
                    tracing::warn!(%error, "cannot accept a connection");
                    sleep(Duration::from_millis(100)).await;
                }
            },
        }
    }
    drop(listener);
    let drain = async {
        while let Some(ended) = connections.join_next().await {
            note(ended, counters);
        }
    };
    if timeout(DRAIN_TIMEOUT, drain).await.is_err() {
        tracing::warn!("status server stops with answers unsent");
    }
}

fn note(ended: Result<(), JoinError>, counters: &Counters) {
    if let Err(error) = ended {
        counters.failed.fetch_add(1, Ordering::Relaxed);
        tracing::error!(%error, "answering a status request failed");
    }
}

/// One connection: one request, one answer. Connections are not kept, so that a slow client costs at most
/// [`CONNECTION_TIMEOUT`].
async fn serve(stream: TcpStream, router: Router, counters: &Counters, mut stopping: watch::Receiver<bool>) {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .keep_alive(false)
        .max_buf_size(16 << 10);
    let connection = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = std::pin::pin!(connection);
    let served = async {
        tokio::select! {
            result = connection.as_mut() => return result,
            () = stopped(&mut stopping) => connection.as_mut().graceful_shutdown(),
        }
        connection.await
    };
    match timeout(CONNECTION_TIMEOUT, served).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) if error.is_timeout() => {
            counters.timed_out.fetch_add(1, Ordering::Relaxed);
        }
        Ok(Err(error)) => tracing::debug!(%error, "status client went away"),
        Err(_) => {
            counters.timed_out.fetch_add(1, Ordering::Relaxed);
        }
    }
}
