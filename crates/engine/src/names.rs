//! What addresses are called, learnt from answers of DNS that programs received.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock};

use qtap_capture::{Datagram, Direction, KernelTime, Opened, Pid, Role};
use qtap_protocol::dns::{Exchange, Message, Name, Rcode, Response};

use crate::{ConnectionFacts, Stats};

/// Names remembered. At the limit those that are over are forgotten, then the half that ends first.
const MOST: usize = 64 * 1024;

/// Bounds of how long a name is believed: programs keep addresses longer than they were told to, but not for ever.
const LEAST_TTL: u64 = 60;
const MOST_TTL: u64 = 24 * 60 * 60;

/// Who asked. The same address may be called otherwise by others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Asker {
    Process(Pid),
    /// Some program of this network namespace: a daemon that resolves for all.
    Namespace(u32),
    /// Some program of this host.
    Host,
}

#[derive(Debug)]
struct Entry {
    name: Arc<str>,
    /// When it was first learnt, as far as it was so called all the time.
    since: KernelTime,
    until: KernelTime,
}

/// An answer, and who got it.
struct NamesOfAnswer<'a> {
    /// Not known of a connection whose process is not.
    pid: Option<Pid>,
    netns: u32,
    time: KernelTime,
    name: &'a Name,
    /// With the seconds each may be kept.
    addresses: Vec<(IpAddr, u32)>,
}

/// Names by address.
#[derive(Debug, Default)]
pub struct Names {
    entries: RwLock<HashMap<(Asker, IpAddr), Entry>>,
}

impl Names {
    /// Learns from an answer; other datagrams are left aside.
    pub fn learn(&self, datagram: &Datagram, stats: &Stats) {
        if datagram.direction != Direction::Ingress {
            return;
        }
        let Ok(message) = Message::parse(&datagram.bytes) else {
            stats.dns_unreadable.add(1);
            return;
        };
        if !message.is_response || message.rcode != Rcode::NO_ERROR {
            return;
        }
        let answer = NamesOfAnswer {
            pid: Some(datagram.pid),
            netns: datagram.netns,
            time: datagram.time,
            name: &message.question.name,
            addresses: message.addresses(),
        };
        self.take(answer, stats);
    }

    /// Learns from an answer that a connection brought.
    pub(crate) fn learn_exchange(&self, facts: &ConnectionFacts, exchange: &Exchange, stats: &Stats) {
        let is_well = |response: &Response| response.rcode == Rcode::NO_ERROR;
        if facts.role != Role::Client || !exchange.response.as_ref().is_some_and(is_well) {
            return;
        }
        let answer = NamesOfAnswer {
            pid: facts.process.as_ref().map(|process| process.pid),
            netns: facts.netns,
            time: KernelTime(exchange.ended.0),
            name: &exchange.query.question.name,
            addresses: exchange.addresses(),
        };
        self.take(answer, stats);
    }

    fn take(&self, answer: NamesOfAnswer<'_>, stats: &Stats) {
        stats.dns_answers.add(1);
        if answer.addresses.is_empty() || answer.name.as_str().is_empty() {
            return;
        }
        let name: Arc<str> = answer.name.as_str().into();
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        let askers = [
            answer.pid.map(Asker::Process),
            Some(Asker::Namespace(answer.netns)),
            Some(Asker::Host),
        ];
        for (address, ttl) in answer.addresses {
            let seconds = u64::from(ttl).clamp(LEAST_TTL, MOST_TTL);
            let until = KernelTime(answer.time.0.saturating_add(seconds * 1_000_000_000));
            for asker in askers.into_iter().flatten() {
                if entries.len() >= MOST && !entries.contains_key(&(asker, address)) {
                    stats
                        .dns_names_forgotten
                        .add(make_room(&mut entries, answer.time));
                }
                let former = entries.get(&(asker, address));
                let since = match former {
                    Some(former) if former.name == name => former.since.min(answer.time),
                    _ => answer.time,
                };
                let name = Arc::clone(&name);
                entries.insert((asker, address), Entry { name, since, until });
            }
        }
    }

    /// What the peer of a connection that was dialled is called: by its process, else by a program of its network namespace, else by
    /// some program of the host.
    #[must_use]
    pub fn of(&self, opened: &Opened) -> Option<Arc<str>> {
        self.find(opened, |_| true)
    }

    /// The same some time later: what was learnt since may not be why it was dialled.
    pub(crate) fn of_before(&self, opened: &Opened) -> Option<Arc<str>> {
        self.find(opened, |entry| entry.since <= opened.time)
    }

    fn find(&self, opened: &Opened, may_be: impl Fn(&Entry) -> bool) -> Option<Arc<str>> {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        if entries.is_empty() {
            return None;
        }
        let address = opened.remote.ip();
        let askers = [
            Asker::Process(opened.pid),
            Asker::Namespace(opened.netns),
            Asker::Host,
        ];
        askers
            .into_iter()
            .filter_map(|asker| entries.get(&(asker, address)))
            .find(|entry| entry.until >= opened.time && may_be(entry))
            .map(|entry| Arc::clone(&entry.name))
    }
}

/// Forgets what is over, and where that is not half of the table, what ends first. Returns how many were forgotten before their time.
fn make_room(entries: &mut HashMap<(Asker, IpAddr), Entry>, now: KernelTime) -> u64 {
    entries.retain(|_, entry| entry.until >= now);
    if entries.len() < MOST / 2 {
        return 0;
    }
    let mut ends: Vec<_> = entries.values().map(|entry| entry.until).collect();
    let (_, middle, _) = ends.select_nth_unstable(entries.len() / 2);
    let (middle, before) = (*middle, entries.len());
    entries.retain(|_, entry| entry.until > middle);
    (before - entries.len()) as u64
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use bytes::Bytes;
    use qtap_capture::ConnectionId;

    use super::*;

    /// `api.test` is 10.0.0.N for 300 s.
    fn answer(pid: u32, netns: u32, seconds: u64, last: u8) -> Datagram {
        let mut bytes = b"\x12\x34\x81\x80\0\x01\0\x01\0\0\0\0\x03api\x04test\0\0\x01\0\x01\
            \xc0\x0c\0\x01\0\x01\0\0\x01\x2c\0\x04\x0a\0\0"
            .to_vec();
        bytes.push(last);
        Datagram {
            time: KernelTime(seconds * 1_000_000_000),
            pid: Pid(pid),
            tid: pid,
            direction: Direction::Ingress,
            socket: 1,
            netns,
            local: SocketAddr::from(([127, 0, 0, 1], 40_000)),
            remote: None,
            length: bytes.len() as u32,
            bytes: Bytes::from(bytes),
        }
    }

    fn opened(pid: u32, netns: u32, seconds: u64, last: u8) -> Opened {
        Opened {
            id: ConnectionId(1),
            time: KernelTime(seconds * 1_000_000_000),
            pid: Pid(pid),
            tid: pid,
            fd: 3,
            role: Role::Client,
            local: SocketAddr::from(([127, 0, 0, 1], 40_001)),
            remote: SocketAddr::from(([10, 0, 0, last], 443)),
            ipv6_socket: false,
            cookie: 0,
            midstream: false,
            shed: false,
            netns,
        }
    }

    fn known(names: &Names) -> usize {
        names.entries.read().unwrap().len()
    }

    #[test]
    fn a_name_holds_for_who_asked_and_serves_others() {
        let (names, stats) = (Names::default(), Stats::default());
        names.learn(&answer(7, 1, 10, 1), &stats);
        for (pid, netns) in [(7, 1), (8, 1), (9, 2)] {
            assert_eq!(
                names.of(&opened(pid, netns, 11, 1)).as_deref(),
                Some("api.test"),
                "{pid}"
            );
        }
        assert_eq!(names.of(&opened(7, 1, 11, 2)), None);
        assert_eq!((stats.dns_answers.get(), known(&names)), (1, 3));
    }

    #[test]
    fn who_asked_itself_is_told_its_own_name() {
        let (names, stats) = (Names::default(), Stats::default());
        names.learn(&answer(7, 1, 10, 1), &stats);
        let mut other = answer(8, 1, 20, 1);
        let mut bytes = other.bytes.to_vec();
        bytes[13..16].copy_from_slice(b"cdn");
        other.bytes = bytes.into();
        names.learn(&other, &stats);
        let name = |pid| names.of(&opened(pid, 1, 21, 1)).unwrap();
        assert_eq!(
            (&*name(7), &*name(8), &*name(9)),
            ("api.test", "cdn.test", "cdn.test")
        );
    }

    #[test]
    fn a_name_is_over_when_its_time_is() {
        let (names, stats) = (Names::default(), Stats::default());
        names.learn(&answer(7, 1, 10, 1), &stats);
        assert!(names.of(&opened(7, 1, 310, 1)).is_some());
        assert_eq!(names.of(&opened(7, 1, 311, 1)), None);
    }

    #[test]
    fn a_later_look_finds_only_what_was_known_before() {
        let (names, stats) = (Names::default(), Stats::default());
        names.learn(&answer(7, 1, 10, 1), &stats);
        let early = opened(7, 1, 9, 1);
        assert_eq!(
            (names.of_before(&early), names.of(&early).is_some()),
            (None, true)
        );
        // Asked again, it is still known since the first time.
        names.learn(&answer(7, 1, 20, 1), &stats);
        assert_eq!(names.of_before(&opened(7, 1, 11, 1)).as_deref(), Some("api.test"));
    }

    #[test]
    fn queries_failures_and_other_bytes_teach_nothing() {
        let (names, stats) = (Names::default(), Stats::default());
        let mut sent = answer(7, 1, 10, 1);
        sent.direction = Direction::Egress;
        names.learn(&sent, &stats);
        let mut failed = answer(7, 1, 10, 1);
        let mut bytes = failed.bytes.to_vec();
        bytes[3] |= 3;
        failed.bytes = bytes.into();
        names.learn(&failed, &stats);
        let mut cut = answer(7, 1, 10, 1);
        cut.bytes.truncate(14);
        names.learn(&cut, &stats);
        assert_eq!(known(&names), 0);
        assert_eq!(stats.dns_unreadable.get(), 1);
    }

    #[test]
    fn the_table_is_bounded_and_what_is_forgotten_is_counted() {
        let (names, stats) = (Names::default(), Stats::default());
        let netns = |number: u32| number + 1000;
        // Three entries each, one of them new for the host only the first time.
        for number in 0..MOST as u32 {
            names.learn(
                &answer(number, netns(number), u64::from(number) / 1000, 1),
                &stats,
            );
        }
        assert!(known(&names) <= MOST);
        assert!(stats.dns_names_forgotten.get() > 0);
        let last = MOST as u32 - 1;
        assert!(names.of(&opened(last, netns(last), 66, 1)).is_some());
    }
}
