//! P-R5: values are shown as the user wants.

use qtap_protocol::Values;

use crate::support::Talk;

const SECRET: &str = "hunter2";

/// What is shown of a command with keys, and with none.
fn shown(words: &[&str]) -> [String; 2] {
    [Values::Keys, Values::None].map(|values| {
        let mut talk = Talk::with_values(values);
        talk.command(words).server("$7\r\nhunter2\r\n");
        let done = talk.done();
        assert_eq!(done[0].shown().1, "bulk_string", "{words:?}");
        assert!(
            !format!("{:?}", talk.events).contains(SECRET),
            "{:?}",
            talk.events
        );
        done[0].command.statement().into_owned()
    })
}

#[test]
fn p_r5_keys_are_shown_without_values_or_not_at_all() {
    for (words, keys, none) in [
        (&["SET", "k", SECRET, "EX", "7"][..], "SET k ? ? ?", "SET ? ? ? ?"),
        (&["hset", "k", "f", SECRET], "hset k ? ?", "hset ? ? ?"),
        (
            &["MSET", "a", SECRET, "b", SECRET],
            "MSET a ? b ?",
            "MSET ? ? ? ?",
        ),
        (&["DEL", "a", "b", "c"], "DEL a b c", "DEL ? ? ?"),
        (&["BLPOP", "a", "b", "0"], "BLPOP a b ?", "BLPOP ? ? ?"),
        (&["RENAME", "a", "b"], "RENAME a b", "RENAME ? ?"),
        (&["BITOP", "AND", "d", "a", "b"], "BITOP ? d a b", "BITOP ? ? ? ?"),
        (
            &["EVAL", "return hunter2", "2", "a", "b", SECRET],
            "EVAL ? ? a b ?",
            "EVAL ? ? ? ? ?",
        ),
        (&["EVAL", "return hunter2", "x", "a"], "EVAL ? ? ?", "EVAL ? ? ?"),
        (
            &["ZUNIONSTORE", "d", "2", "a", "b", "WEIGHTS", "1", "2"],
            "ZUNIONSTORE d ? a b ? ? ?",
            "ZUNIONSTORE ? ? ? ? ? ? ?",
        ),
        (&["LMPOP", "1", "a", "LEFT"], "LMPOP ? a ?", "LMPOP ? ? ?"),
        (
            &["XREAD", "COUNT", "2", "STREAMS", "a", "b", "0", "0"],
            "XREAD ? ? ? a b ? ?",
            "XREAD ? ? ? ? ? ? ?",
        ),
        (&["PUBLISH", "news", SECRET], "PUBLISH news ?", "PUBLISH ? ?"),
        (
            &["OBJECT", "ENCODING", "k"],
            "OBJECT ENCODING k",
            "OBJECT ENCODING ?",
        ),
        (
            &["CLIENT", "SETNAME", SECRET],
            "CLIENT SETNAME ?",
            "CLIENT SETNAME ?",
        ),
        (&["AUTH", SECRET], "AUTH [REDACTED]", "AUTH [REDACTED]"),
        (&["WHATEVER", "k", SECRET], "WHATEVER ? ?", "WHATEVER ? ?"),
        (
            &["EVAL", "return hunter2", "18446744073709551615", "a"],
            "EVAL ? ? a",
            "EVAL ? ? ?",
        ),
        (&["PING"], "PING", "PING"),
    ] {
        assert_eq!(shown(words), [keys, none], "{words:?}");
    }
}

#[test]
fn p_r5_counts_sizes_and_codes_are_told_without_values() {
    let mut talk = Talk::with_values(Values::Keys);
    talk.command(&["LRANGE", "l", "0", "-1"])
        .server("*2\r\n$7\r\nhunter2\r\n$1\r\nb\r\n");
    talk.command(&["NOSUCH", SECRET])
        .server("-ERR unknown command 'NOSUCH', with args beginning with: 'hunter2' \r\n");
    talk.command(&["EVAL", "x", "0"])
        .server("-ERR hunter2 is wrong\r\n");
    talk.command(&["INCR", "l"])
        .server("-WRONGTYPE Operation against a key holding the wrong kind of value\r\n");
    let done = talk.done();
    let result = |index: usize| done[index].result.clone().unwrap();
    assert_eq!((result(0).count, result(0).preview.as_str()), (Some(2), ""));
    let error = |index| result(index).error.unwrap();
    assert_eq!(error(1).message, "ERR unknown command [REDACTED] ");
    assert_eq!(
        (error(2).code.as_str(), error(2).message.as_str()),
        ("ERR", "ERR [REDACTED]")
    );
    assert!(error(3).message.ends_with("holding the wrong kind of value"));
    assert!(!format!("{:?}", talk.events).contains(SECRET));
}

#[test]
fn p_r5_inline_commands_show_no_values() {
    let mut talk = Talk::with_values(Values::Keys);
    talk.client(format!("SET k {SECRET}\r\n")).server("+OK\r\n");
    assert_eq!(talk.done()[0].command.statement(), "SET k ?");
}
