//! Taking probes off beside the tracker's own work.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

/// Threads that remove at the same time. At each removal the kernel waits for grace periods, some 30 ms; those who wait at
/// the same time wait for the same ones.
const WORKERS: usize = 16;

/// Drops what holds probes in place. Nine links for each of some hundred processes with call probes, dropped one after
/// another, would keep the tracker from its work, and the agent from its end, for a minute.
#[derive(Debug)]
pub(super) struct Remover<L> {
    shared: Arc<Mutex<Shared<L>>>,
    workers: Vec<JoinHandle<()>>,
    is_open: bool,
}

#[derive(Debug)]
struct Shared<L> {
    /// No more than were attached.
    doomed: Vec<L>,
    workers: usize,
}

impl<L: Send + 'static> Remover<L> {
    /// One that drops where it is called, until [`Self::open`].
    pub(super) fn new() -> Self {
        let shared = Shared {
            doomed: Vec::new(),
            workers: 0,
        };
        Self {
            shared: Arc::new(Mutex::new(shared)),
            workers: Vec::new(),
            is_open: false,
        }
    }

    /// From now on others do it.
    pub(super) fn open(&mut self) {
        self.is_open = true;
    }

    /// Has `links` dropped soon.
    pub(super) fn remove(&mut self, links: L) {
        if !self.is_open {
            drop(links);
            return;
        }
        let mut shared = lock(&self.shared);
        shared.doomed.push(links);
        if shared.workers >= WORKERS {
            return;
        }
        shared.workers += 1;
        drop(shared);
        self.workers.retain(|worker| !worker.is_finished());
        let shared = Arc::clone(&self.shared);
        let worker = thread::Builder::new()
            .name("qtap-remover".to_owned())
            .spawn(move || work(&shared));
        match worker {
            Ok(worker) => self.workers.push(worker),
            Err(error) => {
                tracing::debug!(%error, "no thread to remove probes");
                work(&self.shared);
            }
        }
    }

    /// Waits until everything is dropped.
    pub(super) fn finish(&mut self) {
        for worker in self.workers.drain(..) {
            if worker.join().is_err() {
                tracing::error!("a thread that removes probes ended by a panic");
            }
        }
    }
}

/// Drops until nothing is left.
fn work<L>(shared: &Mutex<Shared<L>>) {
    loop {
        let mut guard = lock(shared);
        let Some(links) = guard.doomed.pop() else {
            guard.workers -= 1;
            return;
        };
        drop(guard);
        drop(links);
    }
}

// Nothing panics under the lock.
fn lock<L>(shared: &Mutex<Shared<L>>) -> MutexGuard<'_, Shared<L>> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::{Duration, Instant};

    struct Slow(Arc<AtomicUsize>);

    impl Drop for Slow {
        fn drop(&mut self) {
            thread::sleep(Duration::from_millis(20));
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn many_are_dropped_at_the_same_time_and_all_before_the_end() {
        let dropped = Arc::new(AtomicUsize::new(0));
        let mut remover = Remover::new();
        remover.open();
        let start = Instant::now();
        for _ in 0..160 {
            remover.remove(Slow(Arc::clone(&dropped)));
        }
        remover.finish();
        assert_eq!(dropped.load(Ordering::Relaxed), 160);
        assert!(
            start.elapsed() < Duration::from_millis(160 * 20 / 2),
            "{:?}",
            start.elapsed()
        );
    }

    #[test]
    fn until_it_is_open_it_drops_at_once() {
        let dropped = Arc::new(AtomicUsize::new(0));
        Remover::new().remove(Slow(Arc::clone(&dropped)));
        assert_eq!(dropped.load(Ordering::Relaxed), 1);
    }
}
