//! What the addresses of an answer are called.

use std::collections::HashSet;
use std::net::IpAddr;

use super::{Answer, Exchange, Message, Name, Record};

impl Message {
    /// The addresses of the name that was asked for, each with the seconds it may be kept, whatever aliases lead to it. Records of names
    /// that the question does not lead to are left aside.
    pub fn addresses(&self) -> Vec<(IpAddr, u32)> {
        addresses(&self.question.name, &self.records)
    }
}

impl Exchange {
    /// The same of the answer that came; none without one.
    pub fn addresses(&self) -> Vec<(IpAddr, u32)> {
        let records = self.response.as_ref().map(|response| &response.records[..]);
        addresses(&self.query.question.name, records.unwrap_or_default())
    }
}

fn addresses(asked: &Name, records: &[Record]) -> Vec<(IpAddr, u32)> {
    let names = names(asked, records);
    let mut found = Vec::new();
    for record in records.iter().filter(|record| names.contains(&record.name)) {
        match &record.answer {
            Answer::A(ip) => found.push((IpAddr::V4(*ip), record.ttl)),
            Answer::Aaaa(ip) => found.push((IpAddr::V6(*ip), record.ttl)),
            Answer::Service { v4, v6, .. } => {
                let all = v4.iter().copied().map(IpAddr::V4);
                let all = all.chain(v6.iter().copied().map(IpAddr::V6));
                found.extend(all.map(|ip| (ip, record.ttl)));
            }
            _ => {}
        }
    }
    found
}

/// The name that was asked for, and those that it is an alias of, in whatever order they come.
fn names<'a>(asked: &'a Name, records: &'a [Record]) -> HashSet<&'a Name> {
    let mut names = HashSet::from([asked]);
    loop {
        let before = names.len();
        for record in records {
            if let Answer::Alias(target) = &record.answer
                && names.contains(&record.name)
            {
                names.insert(target);
            }
        }
        if names.len() == before {
            return names;
        }
    }
}
