//! What is known of single commands: how many replies they have, of which type, and for how long they may wait.

/// How a command is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// By one reply.
    One,
    /// By a confirmation for each channel (P-R3).
    Confirmations(Channels),
    /// By one reply, and by what other clients do from then on.
    Monitor,
    /// By one reply, and by a stream of replication from then on.
    Replication,
}

/// Kinds of subscriptions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Channels {
    /// `SUBSCRIBE`.
    Plain,
    /// `PSUBSCRIBE`.
    Patterns,
    /// `SSUBSCRIBE`.
    Sharded,
}

impl Channels {
    pub(super) const fn index(self) -> usize {
        self as usize
    }
}

/// Whether confirmations of this name open a subscription or end one.
pub(super) fn subscription(word: &[u8]) -> Option<(Channels, bool)> {
    let word = word.to_ascii_lowercase();
    Some(match word.as_slice() {
        b"subscribe" => (Channels::Plain, true),
        b"psubscribe" => (Channels::Patterns, true),
        b"ssubscribe" => (Channels::Sharded, true),
        b"unsubscribe" => (Channels::Plain, false),
        b"punsubscribe" => (Channels::Patterns, false),
        b"sunsubscribe" => (Channels::Sharded, false),
        _ => return None,
    })
}

/// Whether an array that begins with `word` is a message of a subscription.
pub(super) fn is_message(word: &[u8]) -> bool {
    matches!(word, b"message" | b"pmessage" | b"smessage")
}

pub(super) fn answer(name: &str) -> Answer {
    match name {
        "MONITOR" => Answer::Monitor,
        "PSYNC" | "SYNC" => Answer::Replication,
        _ => {
            subscription(name.as_bytes()).map_or(Answer::One, |(channels, _)| Answer::Confirmations(channels))
        }
    }
}

/// Commands that wait for something to happen, for hours if need be.
pub(super) fn is_blocking(name: &str) -> bool {
    matches!(
        name,
        "BLPOP"
            | "BRPOP"
            | "BRPOPLPUSH"
            | "BLMOVE"
            | "BLMPOP"
            | "BZPOPMIN"
            | "BZPOPMAX"
            | "BZMPOP"
            | "XREAD"
            | "XREADGROUP"
            | "WAIT"
            | "WAITAOF"
    )
}

/// Commands whose reply can hold credentials.
pub(super) fn has_secret_reply(name: &str) -> bool {
    matches!(
        name,
        "CONFIG" | "ACL" | "HELLO" | "AUTH" | "SENTINEL" | "MONITOR" | "DEBUG" | "MODULE"
    )
}

/// Commands that run code of the client.
pub(super) fn runs_script(name: &str) -> bool {
    name.starts_with("EVAL") || name.starts_with("FCALL")
}

/// Whether a reply of this type can be that of the command: what proves a wrong pairing.
pub(super) fn is_plausible(name: &str, kind: u8) -> bool {
    if matches!(kind, b'-' | b'!') {
        return true;
    }
    match name {
        "GET" | "HGET" | "ECHO" | "GETSET" | "LINDEX" | "RPOPLPUSH" | "GETRANGE" => {
            matches!(kind, b'$' | b'_' | b'+')
        }
        "INCR" | "DECR" | "INCRBY" | "DECRBY" | "LPUSH" | "RPUSH" | "SADD" | "SREM" | "DEL" | "UNLINK"
        | "EXISTS" | "EXPIRE" | "HSET" | "HDEL" | "LLEN" | "SCARD" | "ZADD" | "ZREM" | "PUBLISH" | "TTL"
        | "DBSIZE" => {
            matches!(kind, b':' | b'+')
        }
        "SET" | "SETEX" | "MSET" | "SELECT" | "AUTH" | "HMSET" | "MULTI" | "WATCH" | "TYPE" | "FLUSHALL"
        | "RESET" => {
            matches!(kind, b'+' | b'_' | b'$')
        }
        "PING" => matches!(kind, b'+' | b'$' | b'*'),
        "HGETALL" | "LRANGE" | "SMEMBERS" | "MGET" | "HMGET" | "KEYS" | "SCAN" | "ZRANGE" | "EXEC"
        | "HKEYS" | "HVALS" => {
            matches!(kind, b'*' | b'%' | b'~' | b'_' | b'+')
        }
        _ => true,
    }
}

/// Whether people or health checks type this inline: a known name with as many arguments as it takes. With `more` to come it is
/// enough that there are not too many yet.
pub(super) fn is_inline(words: &[&[u8]], more: bool) -> bool {
    let Some((name, arguments)) = words.split_first() else {
        return more;
    };
    if more && arguments.is_empty() && name.len() <= 10 && name.iter().all(u8::is_ascii_alphabetic) {
        return true;
    }
    let expected = match name.to_ascii_uppercase().as_slice() {
        b"PING" | b"INFO" => 0..=1,
        b"QUIT" | b"DBSIZE" | b"MONITOR" | b"TIME" | b"ROLE" | b"LASTSAVE" => 0..=0,
        b"AUTH" => 1..=2,
        b"HELLO" => 0..=6,
        b"GET" | b"INCR" | b"DECR" | b"TTL" | b"TYPE" | b"SELECT" | b"ECHO" | b"KEYS" | b"LLEN" => 1..=1,
        b"DEL" | b"EXISTS" | b"SUBSCRIBE" => 1..=8,
        b"SET" => 2..=6,
        b"CONFIG" | b"CLIENT" | b"COMMAND" => 1..=4,
        _ => return false,
    };
    arguments.len() <= *expected.end() && (more || expected.contains(&arguments.len()))
}
