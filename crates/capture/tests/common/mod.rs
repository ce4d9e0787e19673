//! What the tests share: the kernel side loaded for one test, and the events of the sockets that this test made. Other programs and
//! other tests run at the same time, so nothing is looked up but by the addresses of one's own sockets.
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part")]

use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use qtap_capture::{
    Capture, Closed, ConnectionId, Control, Data, Direction, Event, Hook, Layer, Misfit, Opened, Options,
    Pid, ProbeLinks, Reader, TlsSecret,
};

const PATIENCE: Duration = Duration::from_secs(10);

/// The kernel side at work, and all it told so far.
pub struct Tap {
    pub capture: Capture,
    pub reader: Reader,
    pub control: Control,
    pub events: Vec<Event>,
}

/// One connection as told.
#[derive(Clone, Debug)]
pub struct Flow {
    pub opened: Opened,
    pub data: Vec<Data>,
    pub closed: Vec<Closed>,
}

impl Tap {
    /// Loads and attaches everything; the test process itself is observed.
    pub fn start() -> Self {
        Self::with(Options::default())
    }

    pub fn with(options: Options) -> Self {
        let options = Options {
            own_pid: None,
            // These run the tests of another file in this way.
            watch_system_calls: env!("CARGO_CRATE_NAME") == "system_calls",
            ..options
        };
        let mut capture = Capture::load(&options).expect("the kernel side loads; tests run as root");
        for report in capture.attach() {
            assert!(
                report.problem.is_none() || report.group.is_optional(),
                "{report:?}"
            );
        }
        let reader = capture.reader().unwrap();
        let control = capture.control();
        Self {
            capture,
            reader,
            control,
            events: Vec::new(),
        }
    }

    /// Reads until `done`, and fails when that does not come.
    pub fn until(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !done(self) {
            assert!(Instant::now() < deadline, "did not see: {what}");
            let events = &mut self.events;
            self.reader
                .poll(Duration::from_millis(20), &mut |event| events.push(event))
                .unwrap();
        }
    }

    /// Reads what comes during `time`.
    pub fn during(&mut self, time: Duration) {
        let deadline = Instant::now() + time;
        while Instant::now() < deadline {
            let events = &mut self.events;
            self.reader
                .poll(Duration::from_millis(10), &mut |event| events.push(event))
                .unwrap();
        }
    }

    /// Reads until all that was told before has come, payload included.
    pub fn settle(&mut self) {
        self.during(2 * Reader::GATHER);
    }

    pub fn flows(&self) -> Vec<Flow> {
        let mut flows: Vec<Flow> = Vec::new();
        let mut places: HashMap<ConnectionId, usize> = HashMap::new();
        for event in &self.events {
            if let Event::Opened(opened) = event {
                let former = places.insert(opened.id, flows.len());
                assert_eq!(former, None, "opened twice: {opened:?}");
                flows.push(Flow {
                    opened: opened.clone(),
                    data: Vec::new(),
                    closed: Vec::new(),
                });
            }
        }
        for event in &self.events {
            match event {
                Event::Data(data) => {
                    if let Some(place) = places.get(&data.id) {
                        flows[*place].data.push(data.clone());
                    }
                }
                Event::Closed(closed) => {
                    if let Some(place) = places.get(&closed.id) {
                        flows[*place].closed.push(closed.clone());
                    }
                }
                _ => {}
            }
        }
        flows
    }

    /// The flow with these addresses, as its own end sees them.
    pub fn flow(&self, local: SocketAddr, remote: SocketAddr) -> Option<Flow> {
        let mut found = self
            .flows()
            .into_iter()
            .filter(|flow| flow.opened.local == local && flow.opened.remote == remote);
        let flow = found.next();
        assert!(found.next().is_none(), "two connections from {local} to {remote}");
        flow
    }

    /// Waits for the end of the connection between two sockets and returns both ends, the dialling one first.
    pub fn ended(&mut self, dialled: SocketAddr, accepted: SocketAddr) -> (Flow, Flow) {
        self.until("the end of both sides", |tap| {
            [(dialled, accepted), (accepted, dialled)]
                .iter()
                .all(|(local, remote)| {
                    tap.flow(*local, *remote)
                        .is_some_and(|flow| !flow.closed.is_empty())
                })
        });
        (
            self.flow(dialled, accepted).unwrap(),
            self.flow(accepted, dialled).unwrap(),
        )
    }

    pub fn closed_order_holds(&self, id: ConnectionId) {
        let of_connection = |event: &Event| match event {
            Event::Opened(event) => event.id == id,
            Event::Data(event) => event.id == id,
            Event::Closed(event) => event.id == id,
            _ => false,
        };
        let events: Vec<_> = self.events.iter().filter(|event| of_connection(event)).collect();
        assert!(matches!(events.first(), Some(Event::Opened(_))));
        assert!(matches!(events.last(), Some(Event::Closed(_))));
    }
}

impl Flow {
    pub fn records(&self, direction: Direction, layer: Layer) -> impl Iterator<Item = &Data> {
        self.data
            .iter()
            .filter(move |data| data.direction == direction && data.layer == layer)
    }

    /// All bytes of a direction of the socket layer; fails where one is missing or out of place.
    pub fn bytes(&self, direction: Direction) -> Vec<u8> {
        self.layer_bytes(direction, Layer::Socket)
    }

    pub fn layer_bytes(&self, direction: Direction, layer: Layer) -> Vec<u8> {
        let mut all = Vec::new();
        for record in self.records(direction, layer) {
            assert_eq!(record.position, all.len() as u64, "a gap or an overlap");
            assert_eq!(record.missing, None);
            all.extend_from_slice(&record.bytes);
        }
        all
    }

    pub fn end(&self) -> &Closed {
        assert_eq!(self.closed.len(), 1, "closed once");
        &self.closed[0]
    }
}

/// Connected sockets on loopback, the dialling one first.
pub fn pair(listen: &str) -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind(listen).unwrap();
    let dialled = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (accepted, _) = listener.accept().unwrap();
    (dialled, accepted)
}

/// Bytes that differ from their neighbours and from themselves shifted.
pub fn pattern(length: usize) -> Vec<u8> {
    (0..length)
        .map(|index| (index ^ ((index >> 8) * 7) ^ ((index >> 16) * 31)) as u8)
        .collect()
}

/// Probes a function of this program, which has the arguments and the result of a library's.
pub fn probe(tap: &Tap, hook: Hook, function: usize) -> ProbeLinks {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let number = |text: &str| usize::from_str_radix(text, 16).unwrap();
    let offset = maps.lines().find_map(|line| {
        let mut fields = line.split_whitespace();
        let (start, end) = fields.next()?.split_once('-')?;
        let inside = (number(start)..number(end)).contains(&function);
        inside.then(|| function - number(start) + number(fields.nth(1).unwrap()))
    });
    let offset = offset.expect("the function is mapped") as u64;
    let own = Pid(std::process::id());
    tap.capture
        .attach_uprobe("/proc/self/exe", Some(own), &[(hook, offset)])
        .unwrap()
}

/// What the probed functions of this program told within a short while.
pub fn told(tap: &mut Tap) -> (Vec<TlsSecret>, Vec<Misfit>) {
    tap.during(Duration::from_millis(50));
    let own = Pid(std::process::id());
    let (mut secrets, mut misfits) = (Vec::new(), Vec::new());
    for event in &tap.events {
        match event {
            Event::Secret(secret) if secret.pid == own => secrets.push(secret.clone()),
            Event::Misfit(misfit) if misfit.pid == own => misfits.push(misfit.clone()),
            _ => {}
        }
    }
    (secrets, misfits)
}
