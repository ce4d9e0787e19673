//! Whether all parts of the agent are at work.

use std::thread::JoinHandle;

/// An error that names the first part which ended: a worker, or a thread that is there and over. None of them ends before the agent is to stop,
/// but by a panic.
pub(super) fn check<'a>(
    is_worker_lost: bool,
    threads: impl IntoIterator<Item = (&'a str, Option<&'a JoinHandle<()>>)>,
) -> anyhow::Result<()> {
    let worker = is_worker_lost.then_some("a worker of the engine");
    let thread = || (threads.into_iter()).find_map(|(part, thread)| thread?.is_finished().then_some(part));
    match worker.or_else(thread) {
        None => Ok(()),
        Some(part) => {
            anyhow::bail!(
                "internal error: {part} ended, as said above; please report it, and start qtap again"
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn the_part_that_panicked_is_named() {
        let (stop, stopped) = channel::<()>();
        let lives = std::thread::spawn(move || {
            let _ = stopped.recv();
        });
        let panics = std::thread::spawn(|| panic!("as the test asked for"));
        let until = Instant::now() + Duration::from_secs(10);
        while !panics.is_finished() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(1));
        }
        let whole = [("one", Some(&lives)), ("none", None)];
        assert!(check(false, whole).is_ok());
        let lost = check(true, whole).map_err(|error| error.to_string());
        assert!(lost.is_err_and(|error| error.contains("a worker of the engine")));
        let ended = check(false, [("one", Some(&lives)), ("two", Some(&panics))]);
        assert!(ended.is_err_and(|error| error.to_string().contains("two ended")));
        drop(stop);
        assert!(lives.join().is_ok() && panics.join().is_err());
    }
}
