//! What the addresses of an answer are called.

use std::collections::HashSet;
use std::net::IpAddr;

use super::{Answer, Message, Name};

impl Message {
    /// The addresses of the name that was asked for, each with the seconds it may be kept, whatever aliases lead to it. Records of names
    /// that the question does not lead to are left aside.
    pub fn addresses(&self) -> Vec<(IpAddr, u32)> {
        let names = self.names();
        let mut found = Vec::new();
        for record in self.records.iter().filter(|record| names.contains(&record.name)) {
            match &record.answer {
                Answer::A(ip) => found.push((IpAddr::V4(*ip), record.ttl)),
                Answer::Aaaa(ip) => found.push((IpAddr::V6(*ip), record.ttl)),
                Answer::Service { v4, v6, .. } => {
                    let all = v4.iter().copied().map(IpAddr::V4);
                    let all = all.chain(v6.iter().copied().map(IpAddr::V6));
                    found.extend(all.map(|ip| (ip, record.ttl)));
                }
                Answer::Alias(_) | Answer::Other(_) => {}
            }
        }
        found
    }

    /// The name that was asked for, and those that it is an alias of, in whatever order they come.
    fn names(&self) -> HashSet<&Name> {
        let mut names = HashSet::from([&self.question.name]);
        loop {
            let before = names.len();
            for record in &self.records {
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
}
