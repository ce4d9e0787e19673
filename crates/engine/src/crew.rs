//! Which thread serves which worker.
//!
//! While there is little to do the first thread serves all workers: each further thread would wake up by itself, on a processor of its own, for work that
//! one does with warm caches. A worker that falls behind gets the thread of its own number, until it has been on top of its work for a while.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, TryLockError};
use std::time::Duration;

use crossbeam_channel::{Receiver, Select, Sender, bounded};
use qtap_capture::KernelTime;

use crate::engine::{Shift, Turn};
use crate::pace::Backlog;
use crate::queue::Bell;

/// What makes a worker get its own thread.
const MUCH: Backlog = Backlog {
    waited: Duration::from_millis(100),
    filled: 0.25,
};
/// What is little for one that has it.
const LITTLE: Backlog = Backlog {
    waited: Duration::from_millis(50),
    filled: 0.1,
};
/// It has to have so little for so long to lose it.
const CALM: Duration = Duration::from_secs(1);

/// One worker, in the hands of whoever holds the lock; `None` once it ended.
struct Post {
    shift: Mutex<Option<Shift>>,
    /// It has its own thread, or is about to.
    is_own: AtomicBool,
    bell: Bell,
}

/// All workers.
pub(crate) struct Crew {
    posts: Vec<Post>,
    /// A worker was given back to the first thread.
    returned: Sender<()>,
}

/// What the first thread waits for beside events.
pub(crate) struct Calls {
    returned: Receiver<()>,
}

impl Crew {
    pub(crate) fn new(shifts: Vec<Shift>) -> (Arc<Self>, Calls) {
        let (returned, calls) = bounded(1);
        let posts = shifts.into_iter().map(|shift| Post {
            bell: shift.bell(),
            shift: Mutex::new(Some(shift)),
            is_own: AtomicBool::new(false),
        });
        let crew = Self {
            posts: posts.collect(),
            returned,
        };
        (Arc::new(crew), Calls { returned: calls })
    }

    /// The first thread: serves every worker that has no thread of its own, until all of them ended.
    pub(crate) fn serve(&self, calls: &Calls) {
        loop {
            let mut round = Round::default();
            for post in &self.posts {
                post.serve(&mut round);
            }
            if round.worked {
                continue;
            }
            if round.waits_for.is_empty() && !round.is_elsewhere {
                return;
            }
            let mut select = Select::new();
            for bell in &round.waits_for {
                bell.add_to(&mut select);
            }
            select.recv(&calls.returned);
            if select.ready_timeout(round.wait.unwrap_or(Shift::IDLE)).is_ok() {
                let _ = calls.returned.try_recv();
            }
        }
    }

    /// The thread of one of the others: serves it whenever it is called, until nobody can call any more.
    pub(crate) fn help(&self, number: usize, called: &Receiver<()>) {
        let Some(post) = self.posts.get(number) else {
            return;
        };
        while called.recv().is_ok() {
            post.serve_alone();
            // One that is there says it too.
            let _ = self.returned.try_send(());
        }
    }
}

/// What one look at all workers found.
#[derive(Default)]
struct Round<'a> {
    worked: bool,
    /// A worker has not ended and is in another thread's hands, which says so when it lets go of it.
    is_elsewhere: bool,
    /// When the earliest timer is due.
    wait: Option<Duration>,
    waits_for: Vec<&'a Bell>,
}

impl Post {
    /// One batch, if it is ours to serve.
    fn serve<'a>(&'a self, round: &mut Round<'a>) {
        if self.is_own.load(Ordering::Acquire) {
            round.is_elsewhere = true;
            return;
        }
        let mut shift = match self.shift.try_lock() {
            Ok(shift) => shift,
            // Its thread is about to return it.
            Err(TryLockError::WouldBlock) => {
                round.is_elsewhere = true;
                return;
            }
            // A worker that panics is not there any more.
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
        };
        match take_turn(&mut shift) {
            Turn::Worked => round.worked = true,
            Turn::Idle(wait) => {
                round.wait = Some(round.wait.map_or(wait, |earlier| earlier.min(wait)));
                round.waits_for.push(&self.bell);
            }
            Turn::Over => {}
        }
    }

    fn serve_alone(&self) {
        // The first thread may be at its last batch.
        let mut shift = self.shift.lock().unwrap_or_else(PoisonError::into_inner);
        while self.is_own.load(Ordering::Acquire) {
            match take_turn(&mut shift) {
                Turn::Worked => {}
                Turn::Idle(wait) => self.bell.wait(wait),
                Turn::Over => self.is_own.store(false, Ordering::Release),
            }
        }
    }
}

/// Ends the worker when that was its last, or when it panics; the others that the thread serves go on.
fn take_turn(place: &mut Option<Shift>) -> Turn {
    let Some(shift) = place else {
        return Turn::Over;
    };
    let turn = catch_unwind(AssertUnwindSafe(|| {
        let turn = shift.turn();
        if matches!(turn, Turn::Over) {
            shift.end();
        }
        turn
    }));
    let turn = turn.unwrap_or_else(|_| {
        shift.tell_loss();
        Turn::Over
    });
    if matches!(turn, Turn::Over) {
        *place = None;
    }
    turn
}

/// Decides whether one worker has its own thread.
pub(crate) struct Helper {
    crew: Arc<Crew>,
    number: usize,
    call: Sender<()>,
    /// Since when it has little to do.
    calm: Option<KernelTime>,
}

impl Helper {
    pub(crate) fn new(crew: Arc<Crew>, number: usize) -> (Self, Receiver<()>) {
        let (call, called) = bounded(1);
        let helper = Self {
            crew,
            number,
            call,
            calm: None,
        };
        (helper, called)
    }

    pub(crate) fn judge(&mut self, backlog: Backlog, now: KernelTime) {
        let Some(post) = self.crew.posts.get(self.number) else {
            return;
        };
        if !post.is_own.load(Ordering::Relaxed) {
            if backlog.exceeds(MUCH) {
                self.calm = None;
                post.is_own.store(true, Ordering::Release);
                // A call that is still there does as well.
                let _ = self.call.try_send(());
            }
        } else if backlog.exceeds(LITTLE) {
            self.calm = None;
        } else {
            let since = *self.calm.get_or_insert(now);
            if Duration::from_nanos(now.0.saturating_sub(since.0)) >= CALM {
                post.is_own.store(false, Ordering::Release);
            }
        }
    }
}
