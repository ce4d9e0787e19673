//! Names of Kafka's topics, which one connection tells and others need: their workers do not wait for each other.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "tests"
)]

#[path = "support/kafka.rs"]
mod kafka;
mod support;

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use kafka::{Id, described, fetch, fetched, metadata};
use qtap_capture::{ConnectionId, Data, Direction, Event, KernelTime, Layer, Living, Role};
use qtap_engine::{
    CommandTransaction, ConnectionFacts, ConnectionReport, Consumer, Engine, Interest, Transaction,
};
use qtap_protocol::detect::Protocol;
use qtap_protocol::{Command, Outcome, RequestHead, StreamKey};
use support::{Bench, MS, PID};

/// A fetch and its reply, 3 ms later.
fn fetches(bench: &mut Bench, number: u8, id: Id) {
    bench.writes(&fetch(number, id));
    bench.wait_ms(3);
    bench.reads(&fetched(number, id));
}

/// Another connection on another worker, that tells the name.
fn tell(name: &str, id: Id) {
    let mut bench = Bench::new();
    bench.open(Role::Client, false);
    bench.writes(&metadata(1));
    bench.reads(&described(1, name, id));
    assert_eq!(commands(&bench).len(), 1);
}

fn commands(bench: &Bench) -> Vec<CommandTransaction> {
    bench.received.lock().unwrap().commands.clone()
}

fn statements(bench: &Bench) -> Vec<String> {
    let commands = commands(bench);
    commands
        .iter()
        .map(|done| done.command.statement().into_owned())
        .collect()
}

#[test]
fn a_fetch_waits_for_the_name_that_another_worker_reads() {
    let id = *b"waits for a name";
    let mut bench = Bench::new();
    bench.open(Role::Client, false);
    fetches(&mut bench, 1, id);
    bench.wait_ms(300);
    assert!(commands(&bench).is_empty() && bench.worker.held() > 0);
    tell("orders", id);
    bench.wait_ms(25);
    let told = commands(&bench);
    assert_eq!(statements(&bench), ["Fetch orders"]);
    let error = told[0].result.as_ref().unwrap().error.as_ref().unwrap();
    assert!(error.message.starts_with("orders/0: "), "{error:?}");
    let took = told[0].total_ns();
    assert!(
        took > 3 * MS && took < 4 * MS,
        "the wait is none of its own: {took}"
    );
    let finished = told[0].finished.duration_since(told[0].started).unwrap();
    assert_eq!(u128::from(took), finished.as_nanos());
    assert_eq!(bench.worker.held(), 0);
    bench.close();
    let report = bench.final_report();
    assert_eq!((report.transactions, report.health.reasons), (1, Vec::new()));
}

#[test]
fn a_name_that_never_comes_delays_one_fetch_only() {
    let id = *b"is never learned";
    let mut bench = Bench::new();
    bench.open(Role::Client, false);
    fetches(&mut bench, 1, id);
    bench.wait_ms(490);
    assert!(commands(&bench).is_empty());
    bench.wait_ms(40);
    let by_id = ["Fetch aXMgbmV2ZXIgbGVhcm5lZA"];
    assert_eq!(statements(&bench), by_id);
    fetches(&mut bench, 2, id);
    assert_eq!(statements(&bench), [by_id[0]; 2], "at once");
}

#[test]
fn commands_wait_beyond_the_end_of_their_connection() {
    // Told in time, told never.
    for (id, name) in [(*b"told at its end.", "orders"), (*b"ends in the wait", "")] {
        let mut bench = Bench::new();
        bench.open(Role::Client, false);
        fetches(&mut bench, 1, id);
        bench.writes(&fetch(2, id));
        bench.wait_ms(5);
        bench.close();
        let end = bench.now;
        bench.wait_ms(300);
        assert!(commands(&bench).is_empty());
        assert_eq!(bench.reports(), 0, "the last one tells of all commands");
        // What else comes of it changes nothing.
        bench.writes(&fetch(3, id));
        let living = Living {
            time: KernelTime(bench.now),
            ids: HashSet::new(),
        };
        bench.send(Event::Living(Arc::new(living)));
        if !name.is_empty() {
            tell(name, id);
        }
        bench.wait_ms(if name.is_empty() { 230 } else { 25 });
        let expected = if name.is_empty() {
            "Fetch ZW5kcyBpbiB0aGUgd2FpdA"
        } else {
            "Fetch orders"
        };
        assert_eq!(statements(&bench), [expected; 2]);
        let outcomes: Vec<_> = commands(&bench).iter().map(|done| done.outcome).collect();
        assert_eq!(outcomes, [Outcome::Complete, Outcome::Canceled]);
        let report = bench.final_report();
        assert_eq!(report.transactions, 2);
        let closed = report.closed.unwrap().duration_since(SystemTime::UNIX_EPOCH);
        assert!(closed.unwrap().as_nanos() <= end.into(), "when it ended");
        assert_eq!((bench.worker.connections(), bench.worker.held()), (0, 0));
        assert_eq!((bench.stats.open.get(), bench.stats.lost_ends.get()), (0, 0));
    }
}

#[test]
fn when_the_agent_stops_nothing_waits() {
    for closes in [false, true] {
        let id = *b"the agent stops.";
        let mut bench = Bench::new();
        bench.open(Role::Client, false);
        fetches(&mut bench, 1, id);
        if closes {
            bench.close();
        }
        assert!(commands(&bench).is_empty());
        bench.worker.shut_down(KernelTime(bench.now));
        assert_eq!(statements(&bench), ["Fetch dGhlIGFnZW50IHN0b3BzLg"]);
        let report = bench.final_report();
        assert_eq!((report.transactions, report.closed.is_some()), (1, closes));
        assert_eq!(bench.worker.connections(), 0);
    }
}

#[test]
fn when_memory_is_short_nothing_waits() {
    let id = *b"memory is short.";
    for closes in [false, true] {
        let mut bench = Bench::within(64, true, Interest::Head);
        bench.open(Role::Client, false);
        fetches(&mut bench, 1, id);
        if closes {
            bench.close();
        }
        assert!(commands(&bench).is_empty() && bench.worker.held() > 64);
        // The next look at memory.
        bench.wait_ms(260);
        assert_eq!((statements(&bench).len(), bench.worker.held()), (1, 0));
        assert_eq!(bench.worker.connections(), usize::from(!closes));
    }
}

/// What the workers told, and whether the one that reads metadata may go on.
#[derive(Default)]
struct State {
    is_stopped: bool,
    may_go: bool,
    /// Fetches asked for, by connection, and the threads that asked.
    asked: Vec<Arc<str>>,
    threads: Vec<String>,
    told: Vec<String>,
}

#[derive(Clone, Default)]
struct Gate(Arc<(Mutex<State>, Condvar)>);

impl Gate {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.0.lock().unwrap()
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state());
        self.0.1.notify_all();
    }

    /// Waits until this holds.
    fn until(&self, what: &str, holds: impl Fn(&State) -> bool) {
        self.keeping_on(what, holds, || {});
    }

    /// The same, and does this again and again meanwhile, as the agent does.
    fn keeping_on(&self, what: &str, holds: impl Fn(&State) -> bool, mut again: impl FnMut()) {
        let end = Instant::now() + Duration::from_secs(30);
        let mut state = self.state();
        while !holds(&state) {
            assert!(Instant::now() < end, "{what} does not come: {:?}", state.told);
            again();
            state = self.0.1.wait_timeout(state, Duration::from_millis(5)).unwrap().0;
        }
    }
}

impl Consumer for Gate {
    fn wants(&mut self, _: &ConnectionFacts, _: Protocol) -> bool {
        true
    }
    fn interest(&mut self, _: &ConnectionFacts, _: StreamKey, _: &RequestHead) -> Interest {
        Interest::Head
    }
    fn transaction(&mut self, _: &ConnectionFacts, _: &Transaction) {}
    fn wants_command(&mut self, facts: &ConnectionFacts, _: StreamKey, command: &Command) -> bool {
        if command.name == "Metadata" {
            self.change(|state| state.is_stopped = true);
            self.until("leave to go on", |state| state.may_go);
        } else {
            let thread = std::thread::current().name().unwrap().to_owned();
            self.change(|state| {
                state.asked.push(Arc::clone(&facts.public_id));
                state.threads.push(thread);
            });
        }
        true
    }
    fn command(&mut self, _: &ConnectionFacts, done: &CommandTransaction) {
        self.change(|state| state.told.push(done.command.statement().into_owned()));
    }
    fn connection(&mut self, _: &ConnectionReport) {}
}

/// Events of a connection that opens and says this, by turns.
fn conversation(id: u64, pieces: &[Vec<u8>]) -> Vec<Event> {
    let mut events = vec![Event::Opened(support::opened(ConnectionId(id), MS, Role::Client))];
    let mut positions = [0, 0];
    for (number, piece) in pieces.iter().enumerate() {
        let direction = [Direction::Egress, Direction::Ingress][number % 2];
        let position = &mut positions[number % 2];
        events.push(Event::Data(Data {
            id: ConnectionId(id),
            time: KernelTime(MS),
            pid: PID,
            tid: PID.0,
            direction,
            layer: Layer::Socket,
            position: *position,
            bytes: Bytes::copy_from_slice(piece),
            missing: None,
            call_start: true,
            other_settled: 0,
            session: None,
        }));
        *position += piece.len() as u64;
    }
    events
}

/// An engine of two workers that tell the gate, and its time, which passes as the test wants it to, so that a busy machine changes nothing.
fn two_workers(gate: &Gate) -> (Engine, Arc<AtomicU64>) {
    let shared = support::shared(&support::known_process(), qtap_engine::Settings::default());
    let time = Arc::new(AtomicU64::new(2 * MS));
    let clock = Arc::clone(&time);
    let clock: qtap_engine::Clock = Arc::new(move || KernelTime(clock.load(Ordering::SeqCst)));
    let consumers = (0..2).map(|_| Box::new(gate.clone()) as Box<dyn Consumer>);
    (Engine::start(&shared, &clock, consumers.collect()).unwrap(), time)
}

/// Connections of the first worker, and of the second.
const FIRST: [u64; 4] = [2, 3, 6, 7];
const SECOND: [u64; 4] = [1, 4, 5, 8];

fn dispatch(engine: &mut Engine, events: impl IntoIterator<Item = Event>) {
    for event in events {
        engine.dispatch(event);
    }
    engine.flush();
}

#[test]
fn of_two_workers_the_one_ahead_waits_for_the_other() {
    let id = *b"two workers race";
    let gate = Gate::default();
    let (mut engine, time) = two_workers(&gate);
    let pieces = [metadata(1), described(1, "orders", id)];
    dispatch(&mut engine, conversation(FIRST[0], &pieces));
    gate.until("the request for metadata", |state| state.is_stopped);
    // The next fetch is read behind the reply to the one before.
    let pieces = [fetch(1, id), fetched(1, id), fetch(2, id), fetched(2, id)];
    let fetching = [&FIRST[1..], &SECOND].concat();
    for number in &fetching {
        dispatch(&mut engine, conversation(*number, &pieces));
    }
    let is_second_asked = |state: &State| {
        let mut asked = state.asked.iter();
        asked.any(|one| state.asked.iter().filter(|other| *other == one).count() == 2)
    };
    gate.keeping_on("a second fetch", is_second_asked, || {
        engine.pace(0.0);
    });
    time.fetch_add(100 * MS, Ordering::SeqCst);
    assert_eq!(gate.state().told, Vec::<String>::new());
    gate.change(|state| state.may_go = true);
    gate.until("the reply", |state| state.told.contains(&"Metadata".to_owned()));
    time.fetch_add(100 * MS, Ordering::SeqCst);
    gate.until("every fetch", |state| state.told.len() == 1 + 2 * fetching.len());
    let fetches: Vec<_> = (gate.state().told.iter())
        .filter(|told| told.starts_with("Fetch"))
        .cloned()
        .collect();
    assert_eq!(fetches, vec!["Fetch orders"; 2 * fetching.len()]);
    engine.stop(Duration::from_secs(10));
}

#[test]
fn the_second_worker_has_a_thread_of_its_own_while_the_first_thread_is_behind() {
    let id = *b"threads of two w";
    let gate = Gate::default();
    let (mut engine, _) = two_workers(&gate);
    let said = [fetch(1, id), fetched(1, id)];
    let asked = |count: usize| move |state: &State| state.asked.len() == count;
    dispatch(&mut engine, conversation(SECOND[0], &said));
    gate.until("the first fetch", asked(1));

    let pieces = [metadata(1), described(1, "orders", id)];
    dispatch(&mut engine, conversation(FIRST[0], &pieces));
    gate.until("the request for metadata", |state| state.is_stopped);
    dispatch(&mut engine, conversation(SECOND[1], &said));
    gate.keeping_on("a fetch beside it", asked(2), || {
        engine.pace(0.0);
    });
    // Still so a moment later, whoever could do it.
    gate.change(|state| state.may_go = true);
    dispatch(&mut engine, conversation(SECOND[2], &said));
    gate.until("a fetch just after it", asked(3));

    let calm = Instant::now() + Duration::from_millis(1500);
    gate.keeping_on(
        "a time with nothing to do",
        |_| Instant::now() > calm,
        || {
            engine.pace(0.0);
        },
    );
    dispatch(&mut engine, conversation(SECOND[3], &said));
    gate.until("a fetch after a while", asked(4));
    let (first, own) = ("qtap-engine-0", "qtap-engine-1");
    assert_eq!(gate.state().threads, [first, own, own, first]);
    engine.stop(Duration::from_secs(10));
}
