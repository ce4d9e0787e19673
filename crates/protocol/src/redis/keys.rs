//! Where the keys of commands are, as `COMMAND` of Redis 7.0 tells it, names of channels counted in.

use super::request::Request;

/// Places of arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Keys {
    /// The first, the one behind the last, and every which of them.
    range: (usize, usize, usize),
    /// One that stands apart.
    apart: usize,
}

impl Keys {
    const fn new(first: usize, end: usize, step: usize) -> Self {
        Self {
            range: (first, end, step),
            apart: 0,
        }
    }

    const fn and(self, apart: usize) -> Self {
        Self { apart, ..self }
    }

    /// Whether the argument at `index`, of which 0 is the name of the command, is a key.
    pub(super) const fn has(self, index: usize) -> bool {
        let (first, end, step) = self.range;
        (first <= index && index < end && (index - first).is_multiple_of(step))
            || (index == self.apart && index > 0)
    }
}

/// The keys of a command with this name in capitals; of one that is not known, none.
pub(super) fn keys(name: &str, request: &Request) -> Keys {
    let count = request.arguments.len();
    // As many from `first` on as the argument before it says.
    let counted = |at: usize| {
        let number = request.text(at).and_then(|text| text.parse::<usize>().ok());
        Keys::new(
            at + 1,
            at.saturating_add(1).saturating_add(number.unwrap_or(0)),
            1,
        )
    };
    match name {
        "APPEND"
        | "BITCOUNT"
        | "BITFIELD"
        | "BITFIELD_RO"
        | "BITPOS"
        | "DECR"
        | "DECRBY"
        | "DUMP"
        | "EXPIRE"
        | "EXPIREAT"
        | "EXPIRETIME"
        | "GEOADD"
        | "GEODIST"
        | "GEOHASH"
        | "GEOPOS"
        | "GEORADIUS"
        | "GEORADIUS_RO"
        | "GEORADIUSBYMEMBER"
        | "GEORADIUSBYMEMBER_RO"
        | "GEOSEARCH"
        | "GET"
        | "GETBIT"
        | "GETDEL"
        | "GETEX"
        | "GETRANGE"
        | "GETSET"
        | "HDEL"
        | "HEXISTS"
        | "HGET"
        | "HGETALL"
        | "HINCRBY"
        | "HINCRBYFLOAT"
        | "HKEYS"
        | "HLEN"
        | "HMGET"
        | "HMSET"
        | "HRANDFIELD"
        | "HSCAN"
        | "HSET"
        | "HSETNX"
        | "HSTRLEN"
        | "HVALS"
        | "INCR"
        | "INCRBY"
        | "INCRBYFLOAT"
        | "LINDEX"
        | "LINSERT"
        | "LLEN"
        | "LPOP"
        | "LPOS"
        | "LPUSH"
        | "LPUSHX"
        | "LRANGE"
        | "LREM"
        | "LSET"
        | "LTRIM"
        | "MOVE"
        | "PERSIST"
        | "PEXPIRE"
        | "PEXPIREAT"
        | "PEXPIRETIME"
        | "PFADD"
        | "PSETEX"
        | "PTTL"
        | "PUBLISH"
        | "RESTORE"
        | "RESTORE-ASKING"
        | "RPOP"
        | "RPUSH"
        | "RPUSHX"
        | "SADD"
        | "SCARD"
        | "SET"
        | "SETBIT"
        | "SETEX"
        | "SETNX"
        | "SETRANGE"
        | "SISMEMBER"
        | "SMEMBERS"
        | "SMISMEMBER"
        | "SORT"
        | "SORT_RO"
        | "SPOP"
        | "SPUBLISH"
        | "SRANDMEMBER"
        | "SREM"
        | "SSCAN"
        | "STRLEN"
        | "SUBSTR"
        | "TTL"
        | "TYPE"
        | "XACK"
        | "XADD"
        | "XAUTOCLAIM"
        | "XCLAIM"
        | "XDEL"
        | "XLEN"
        | "XPENDING"
        | "XRANGE"
        | "XREVRANGE"
        | "XSETID"
        | "XTRIM"
        | "ZADD"
        | "ZCARD"
        | "ZCOUNT"
        | "ZINCRBY"
        | "ZLEXCOUNT"
        | "ZMSCORE"
        | "ZPOPMAX"
        | "ZPOPMIN"
        | "ZRANDMEMBER"
        | "ZRANGE"
        | "ZRANGEBYLEX"
        | "ZRANGEBYSCORE"
        | "ZRANK"
        | "ZREM"
        | "ZREMRANGEBYLEX"
        | "ZREMRANGEBYRANK"
        | "ZREMRANGEBYSCORE"
        | "ZREVRANGE"
        | "ZREVRANGEBYLEX"
        | "ZREVRANGEBYSCORE"
        | "ZREVRANK"
        | "ZSCAN"
        | "ZSCORE" => Keys::new(1, 2, 1),
        "BLMOVE" | "BRPOPLPUSH" | "COPY" | "GEOSEARCHSTORE" | "LCS" | "LMOVE" | "RENAME" | "RENAMENX"
        | "RPOPLPUSH" | "SMOVE" | "ZRANGESTORE" => Keys::new(1, 3, 1),
        "DEL" | "EXISTS" | "MGET" | "PFCOUNT" | "PFMERGE" | "PSUBSCRIBE" | "PUNSUBSCRIBE" | "SDIFF"
        | "SDIFFSTORE" | "SINTER" | "SINTERSTORE" | "SSUBSCRIBE" | "SUBSCRIBE" | "SUNION" | "SUNIONSTORE"
        | "SUNSUBSCRIBE" | "TOUCH" | "UNLINK" | "UNSUBSCRIBE" | "WATCH" => Keys::new(1, count, 1),
        "MSET" | "MSETNX" => Keys::new(1, count, 2),
        "BLPOP" | "BRPOP" | "BZPOPMAX" | "BZPOPMIN" => Keys::new(1, count.saturating_sub(1), 1),
        "BITOP" => Keys::new(2, count, 1),
        "MEMORY" | "OBJECT" | "XGROUP" | "XINFO" | "PFDEBUG" => Keys::new(2, 3, 1),
        "MIGRATE" => Keys::new(3, 4, 1),
        "LMPOP" | "SINTERCARD" | "ZDIFF" | "ZINTER" | "ZINTERCARD" | "ZMPOP" | "ZUNION" => counted(1),
        "BLMPOP" | "BZMPOP" | "EVAL" | "EVALSHA" | "EVALSHA_RO" | "EVAL_RO" | "FCALL" | "FCALL_RO" => {
            counted(2)
        }
        "ZDIFFSTORE" | "ZINTERSTORE" | "ZUNIONSTORE" => counted(2).and(1),
        // As many ids follow as there are keys.
        "XREAD" | "XREADGROUP" => {
            let streams = (1..count).find(|index| request.word(*index).as_deref() == Some("STREAMS"));
            streams.map_or(Keys::new(0, 0, 1), |at| {
                Keys::new(at + 1, at + 1 + (count - at - 1) / 2, 1)
            })
        }
        _ => Keys::new(0, 0, 1),
    }
}

/// Whether the first argument is the name of a command below this one.
pub(super) fn is_container(name: &str) -> bool {
    matches!(
        name,
        "ACL"
            | "CLIENT"
            | "CLUSTER"
            | "COMMAND"
            | "CONFIG"
            | "DEBUG"
            | "FUNCTION"
            | "LATENCY"
            | "MEMORY"
            | "MODULE"
            | "OBJECT"
            | "PUBSUB"
            | "SCRIPT"
            | "SENTINEL"
            | "SLOWLOG"
            | "XGROUP"
            | "XINFO"
    )
}
