//! A worker with a host and a consumer that record, and connections made of kernel events.
#![allow(dead_code, unreachable_pub)] // each test file uses its own part
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "helpers of tests fail as tests do"
)]

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use bytes::Bytes;
use qtap_capture::{
    Closed, ConnectionId, Data, Direction, Event, KernelTime, Layer, Loss, Opened, Pid, QuicBytes, Role,
    Verdict, WallClock,
};
use qtap_engine::{
    Budget, CommandTransaction, ConnectionFacts, ConnectionReport, Consumer, DnsTransaction, Exclusion, Host,
    IdSource, Interest, Load, MemorySearch, ProcessLookup, ProcessTls, ReasonCode, Settings, Shared, Stats,
    TlsMode, Transaction, Unbound, Worker,
};
use qtap_process::Process;
use qtap_protocol::detect::Protocol;
use qtap_protocol::{Command, RequestHead, StreamKey};
use qtap_tls::FoundSecrets;

pub const PID: Pid = Pid(4242);
pub const MS: u64 = 1_000_000;

fn by_calls() -> Settings {
    Settings {
        tls: TlsMode::Calls,
        ..Settings::default()
    }
}

/// A ClientHello of TLS 1.2 with one suite and no extensions, in a record.
pub fn client_hello() -> Vec<u8> {
    let mut hello = vec![0x16, 3, 1, 0, 47, 1, 0, 0, 43, 3, 3];
    hello.extend_from_slice(&[7; 32]);
    hello.extend_from_slice(&[0, 0, 2, 0xc0, 0x2f, 1, 0, 0, 0]);
    hello
}

pub fn process() -> Arc<Process> {
    Arc::new(Process {
        start_ns: 1,
        exe: "/usr/bin/curl".to_owned(),
        args: vec!["curl".to_owned()],
        ..Process::unknown(PID)
    })
}

/// What the host answers, and what it was told.
#[derive(Default)]
pub struct HostState {
    pub process: Option<Arc<Process>>,
    /// Process events are not worked off yet.
    pub is_behind: bool,
    pub exclusion: Exclusion,
    pub tls: Option<ProcessTls>,
    pub verdicts: Vec<(ConnectionId, Verdict)>,
    pub ignored: Vec<Pid>,
    pub calls: i32,
    pub datagrams_lost: u64,
    /// What sockets of QUIC have moved, and sent to single peers.
    pub quic: HashMap<(u64, Option<SocketAddr>), QuicBytes>,
    /// Where secrets came from that opened a record, and those that did not, with whether they were certainly of their connection.
    pub proved: Vec<u64>,
    pub failed: Vec<(u64, bool)>,
    /// What searches of memory find, one after the other; `None`: memory is not searched.
    pub searches: Option<Vec<Arc<FoundSecrets>>>,
    /// Times that the engine asked for it.
    pub asked: u64,
}

#[derive(Clone, Default)]
pub struct TestHost(pub Arc<Mutex<HostState>>);

impl Host for TestHost {
    fn ticket(&self) -> u64 {
        0
    }
    fn process(&self, _: Pid, _: KernelTime, _: u64) -> ProcessLookup {
        let state = self.0.lock().unwrap();
        match &state.process {
            Some(process) => ProcessLookup::Known(Arc::clone(process)),
            None if state.is_behind => ProcessLookup::Pending,
            None => ProcessLookup::Missing,
        }
    }
    fn exclusion(&self, _: &Process) -> Exclusion {
        self.0.lock().unwrap().exclusion.clone()
    }
    fn tls(&self, _: Pid) -> Option<ProcessTls> {
        self.0.lock().unwrap().tls.clone()
    }
    fn verdict(&self, id: ConnectionId, verdict: Verdict) {
        self.0.lock().unwrap().verdicts.push((id, verdict));
    }
    fn ignore(&self, process: &Process) {
        self.0.lock().unwrap().ignored.push(process.pid);
    }
    fn need_calls(&self, _: Pid) {
        self.0.lock().unwrap().calls += 1;
    }
    fn quic_bytes(&self, socket: u64, peer: Option<SocketAddr>) -> Option<QuicBytes> {
        self.0.lock().unwrap().quic.get(&(socket, peer)).copied()
    }
    fn calls_done(&self, _: Pid) {
        self.0.lock().unwrap().calls -= 1;
    }
    fn datagrams_lost(&self) -> u64 {
        self.0.lock().unwrap().datagrams_lost
    }
    fn may_search_memory(&self, _: Pid) -> bool {
        self.0.lock().unwrap().searches.is_some()
    }
    fn search_memory(&self, _: Pid, but: Option<u64>) -> MemorySearch {
        let mut state = self.0.lock().unwrap();
        state.asked += 1;
        let Some(searches) = &state.searches else {
            return MemorySearch::Impossible;
        };
        let found = searches.iter().find(|found| but.is_none_or(|but| found.id > but));
        found.map_or(MemorySearch::Pending, |found| {
            MemorySearch::Found(Arc::clone(found))
        })
    }
    fn origin_proved(&self, _: Pid, origin: u64) {
        self.0.lock().unwrap().proved.push(origin);
    }
    fn origin_failed(&self, _: Pid, origin: u64, is_certain: bool) {
        self.0.lock().unwrap().failed.push((origin, is_certain));
    }
}

/// What the consumer received.
#[derive(Default)]
pub struct Received {
    pub transactions: Vec<Transaction>,
    pub progress: Vec<Transaction>,
    pub commands: Vec<CommandTransaction>,
    pub lookups: Vec<(ConnectionFacts, DnsTransaction)>,
    /// What was known of the connection of each transaction.
    pub facts: Vec<ConnectionFacts>,
    pub reports: Vec<ConnectionReport>,
    /// It panics when it is asked what it wants.
    pub panics: bool,
}

#[derive(Clone)]
pub struct Recorder {
    pub received: Arc<Mutex<Received>>,
    pub wants: bool,
    pub interest: Interest,
}

impl Consumer for Recorder {
    fn wants(&mut self, _: &ConnectionFacts, _: Protocol) -> bool {
        let panics = self.received.lock().unwrap().panics;
        assert!(!panics, "as the test asked for");
        self.wants
    }
    fn interest(&mut self, _: &ConnectionFacts, _: StreamKey, _: &RequestHead) -> Interest {
        self.interest
    }
    fn transaction(&mut self, facts: &ConnectionFacts, transaction: &Transaction) {
        let mut received = self.received.lock().unwrap();
        received.transactions.push(transaction.clone());
        received.facts.push(facts.clone());
    }
    fn progress(&mut self, _: &ConnectionFacts, transaction: &Transaction) {
        self.received.lock().unwrap().progress.push(transaction.clone());
    }
    fn wants_command(&mut self, _: &ConnectionFacts, _: StreamKey, _: &Command) -> bool {
        self.interest != Interest::None
    }
    fn command(&mut self, _: &ConnectionFacts, transaction: &CommandTransaction) {
        self.received.lock().unwrap().commands.push(transaction.clone());
    }
    fn wants_dns(&mut self, _: &ConnectionFacts) -> bool {
        self.wants
    }
    fn dns(&mut self, facts: &ConnectionFacts, transaction: &DnsTransaction) {
        let told = (facts.clone(), transaction.clone());
        self.received.lock().unwrap().lookups.push(told);
    }
    fn connection(&mut self, report: &ConnectionReport) {
        self.received.lock().unwrap().reports.push(report.clone());
    }
}

/// A connection of the process that begins at `time`.
pub fn opened(id: ConnectionId, time: u64, role: Role) -> Opened {
    let address = |text: &str| text.parse::<SocketAddr>().unwrap();
    Opened {
        id,
        time: KernelTime(time),
        pid: PID,
        tid: PID.0,
        fd: 3,
        role,
        local: address("127.0.0.1:40000"),
        remote: address("127.0.0.1:8080"),
        ipv6_socket: false,
        cookie: 0,
        midstream: false,
        shed: false,
        netns: 0,
    }
}

/// A host that knows the process of every connection.
pub fn known_process() -> TestHost {
    let host = TestHost::default();
    host.0.lock().unwrap().process = Some(process());
    host
}

/// What the workers of an engine share at its start.
pub fn shared(host: &TestHost, settings: Settings) -> Shared {
    Shared {
        host: Arc::new(host.clone()),
        budget: Arc::new(Budget::new(settings.memory)),
        settings,
        clock: WallClock::new(SystemTime::UNIX_EPOCH),
        ids: Arc::new(IdSource::new(7)),
        stats: Arc::default(),
        load: Arc::default(),
        names: Arc::default(),
        unbound: Arc::default(),
        audits_dns: Arc::default(),
    }
}

/// A worker, the time, and one connection's positions.
pub struct Bench {
    pub worker: Worker,
    pub host: TestHost,
    pub received: Arc<Mutex<Received>>,
    pub stats: Arc<Stats>,
    pub now: u64,
    positions: [[u64; 2]; 2],
    lost_ends: [[u64; 2]; 2],
    lost: u64,
    pub id: ConnectionId,
    pub load: Arc<Load>,
    pub budget: Arc<Budget>,
    /// Connections open while new ones are only counted.
    pub opens_shed: bool,
    /// What workers share of their connections.
    pub unbound: Arc<Unbound>,
}

impl Bench {
    pub fn new() -> Self {
        Self::with(true, Interest::Body(1 << 20))
    }

    pub fn with(wants: bool, interest: Interest) -> Self {
        Self::within(64 << 20, wants, interest)
    }

    /// With a budget of `memory` bytes.
    pub fn within(memory: u64, wants: bool, interest: Interest) -> Self {
        let settings = Settings {
            memory,
            ..Settings::default()
        };
        Self::set(settings, wants, interest, Arc::default())
    }

    /// That reads TLS by calls.
    pub fn reading_calls() -> Self {
        Self::set(by_calls(), true, Interest::Body(1 << 20), Arc::default())
    }

    /// The same as another worker of the same engine.
    pub fn beside(&self) -> Self {
        let bench = Self::set(
            by_calls(),
            true,
            Interest::Body(1 << 20),
            Arc::clone(&self.unbound),
        );
        bench.host.0.lock().unwrap().tls = self.host.0.lock().unwrap().tls.clone();
        bench
    }

    fn set(settings: Settings, wants: bool, interest: Interest, unbound: Arc<Unbound>) -> Self {
        let host = known_process();
        let received = Arc::new(Mutex::new(Received::default()));
        let shared = Shared {
            unbound: Arc::clone(&unbound),
            ..shared(&host, settings)
        };
        let stats = Arc::clone(&shared.stats);
        let load = Arc::clone(&shared.load);
        let budget = Arc::clone(&shared.budget);
        let recorder = Recorder {
            received: Arc::clone(&received),
            wants,
            interest,
        };
        Self {
            worker: Worker::new(shared, Box::new(recorder)),
            host,
            received,
            stats,
            now: MS,
            positions: [[0; 2]; 2],
            lost_ends: [[0; 2]; 2],
            lost: 0,
            id: ConnectionId(1),
            load,
            budget,
            opens_shed: false,
            unbound,
        }
    }

    pub fn open(&mut self, role: Role, midstream: bool) {
        let opened = Opened {
            midstream,
            shed: self.opens_shed,
            ..opened(self.id, self.now, role)
        };
        self.send(Event::Opened(opened));
    }

    /// What follows is of another connection.
    pub fn turn_to(&mut self, id: u64) {
        self.id = ConnectionId(id);
        (self.positions, self.lost_ends, self.lost) = Default::default();
    }

    pub fn send(&mut self, event: Event) {
        self.now += 1000;
        self.worker.event(event, KernelTime(self.now));
    }

    pub fn wait_ms(&mut self, milliseconds: u64) {
        for _ in 0..milliseconds {
            self.now += MS;
            self.worker.tick(KernelTime(self.now));
        }
    }

    pub fn record(
        &mut self,
        direction: Direction,
        layer: Layer,
        bytes: &[u8],
        missing: Option<(u32, Loss)>,
    ) -> Data {
        let positions = match layer {
            Layer::KernelTls => Layer::Socket,
            layer => layer,
        } as usize;
        let position = &mut self.positions[positions][direction as usize];
        let data = Data {
            id: self.id,
            time: KernelTime(self.now),
            pid: PID,
            tid: PID.0,
            direction,
            layer,
            position: *position,
            bytes: Bytes::copy_from_slice(bytes),
            missing,
            call_start: true,
            other_settled: self.lost_ends[positions][direction.opposite() as usize],
            session: None,
        };
        *position += bytes.len() as u64 + missing.map_or(0, |(length, _)| u64::from(length));
        data
    }

    pub fn writes(&mut self, bytes: &[u8]) {
        let data = self.record(Direction::Egress, Layer::Socket, bytes, None);
        self.send(Event::Data(data));
    }

    pub fn reads(&mut self, bytes: &[u8]) {
        let data = self.record(Direction::Ingress, Layer::Socket, bytes, None);
        self.send(Event::Data(data));
    }

    /// Bytes that the kernel side could not hand on.
    pub fn loses(&mut self, direction: Direction, length: u64) {
        let layer = Layer::Socket as usize;
        self.positions[layer][direction as usize] += length;
        self.lost += length;
        self.lost_ends[layer][direction as usize] = self.positions[layer][direction as usize];
    }

    /// Bytes that the kernel side passed over, as it was told.
    pub fn passes(&mut self, direction: Direction, length: u64) {
        self.positions[Layer::Socket as usize][direction as usize] += length;
    }

    pub fn end(&self, layer: Layer, direction: Direction) -> u64 {
        self.positions[layer as usize][direction as usize]
    }

    pub fn closed(&self) -> Closed {
        let written = self.end(Layer::Socket, Direction::Egress);
        let read = self.end(Layer::Socket, Direction::Ingress);
        Closed {
            id: self.id,
            time: KernelTime(self.now),
            written,
            read,
            calls_written: self.end(Layer::Calls, Direction::Egress),
            calls_read: self.end(Layer::Calls, Direction::Ingress),
            kernel_sent: written,
            kernel_received: read,
            unread: 0,
            lost_ring_full: self.lost,
            reset: false,
            io_uring: false,
        }
    }

    pub fn close(&mut self) {
        let closed = self.closed();
        self.send(Event::Closed(closed));
    }

    pub fn transactions(&self) -> Vec<Transaction> {
        self.received.lock().unwrap().transactions.clone()
    }

    /// Reports so far.
    pub fn reports(&self) -> usize {
        self.received.lock().unwrap().reports.len()
    }

    pub fn final_report(&self) -> ConnectionReport {
        let received = self.received.lock().unwrap();
        let mut finals = received.reports.iter().filter(|report| report.finalized);
        let report = finals.next().expect("a final report").clone();
        assert!(finals.next().is_none(), "one final report");
        report
    }

    pub fn codes(&self) -> Vec<ReasonCode> {
        self.final_report()
            .health
            .reasons
            .iter()
            .map(|reason| reason.code)
            .collect()
    }
}
