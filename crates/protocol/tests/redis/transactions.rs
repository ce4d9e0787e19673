//! P-R4: results inside of the reply to `EXEC`.

use qtap_protocol::{Outcome, Values};

use crate::support::Talk;

/// A transaction of these commands, and the reply to `EXEC`.
fn transaction(talk: &mut Talk, commands: &[&[&str]], reply: &str) {
    talk.command(&["MULTI"]).server("+OK\r\n");
    for words in commands {
        talk.command(words).server("+QUEUED\r\n");
    }
    talk.command(&["EXEC"]).server(reply);
}

#[test]
fn p_r4_exec_tells_the_result_of_each_command() {
    let mut talk = Talk::new();
    transaction(
        &mut talk,
        &[
            &["SET", "a", "1"],
            &["INCR", "a"],
            &["LRANGE", "l", "0", "-1"],
            &["GET", "none"],
        ],
        "*4\r\n+OK\r\n:2\r\n*2\r\n$1\r\nx\r\n*1\r\n:7\r\n$-1\r\n",
    );
    let done = talk.done();
    let exec = done.last().unwrap();
    let result = exec.result.as_ref().unwrap();
    assert_eq!(
        result.tags,
        [
            "SET a 1: OK",
            "INCR a: 2",
            "LRANGE l 0 -1: [x, [7]]",
            "GET none: (nil)"
        ]
    );
    assert_eq!(
        (result.kind, result.count, result.error.as_ref()),
        ("array", Some(4), None)
    );
    let queued = done.iter().filter(|done| done.shown().2 == "QUEUED");
    assert_eq!(queued.count(), 4, "which is their own result");
}

#[test]
fn p_r4_a_command_that_fails_in_a_transaction_is_an_error_of_exec() {
    let mut talk = Talk::new();
    transaction(
        &mut talk,
        &[&["MGET", "a", "b"], &["INCR", "l"], &["INCR", "m"]],
        "*3\r\n*2\r\n:1\r\n:2\r\n-WRONGTYPE of l\r\n-ERR of m\r\n",
    );
    let exec = talk.done().pop().unwrap();
    let result = exec.result.unwrap();
    let error = result.error.unwrap();
    assert_eq!(
        (error.code.as_str(), error.message.as_str()),
        ("WRONGTYPE", "INCR l: WRONGTYPE of l")
    );
    assert_eq!(result.tags[1..], ["INCR l: WRONGTYPE of l", "INCR m: ERR of m"]);
}

#[test]
fn p_r4_a_transaction_that_was_given_up_leaves_nothing_to_the_next() {
    for (end, reply) in [
        ("DISCARD", "+OK\r\n"),
        ("EXEC", "*-1\r\n"),
        ("EXEC", "-EXECABORT no\r\n"),
    ] {
        let mut talk = Talk::new();
        talk.command(&["MULTI"]).server("+OK\r\n");
        talk.command(&["INCR", "a"]).server("+QUEUED\r\n");
        talk.command(&[end]).server(reply);
        transaction(&mut talk, &[&["INCR", "b"]], "*1\r\n:1\r\n");
        let tags: Vec<_> = talk
            .done()
            .into_iter()
            .flat_map(|done| done.result.unwrap().tags)
            .collect();
        assert_eq!(tags, ["INCR b: 1"], "{end} {reply}");
    }
}

#[test]
fn p_r4_and_p_r5_credentials_in_results_of_a_transaction_are_not_shown() {
    let mut talk = Talk::new();
    transaction(
        &mut talk,
        &[&["CONFIG", "GET", "requirepass"], &["INCR", "a"]],
        "*2\r\n*2\r\n$11\r\nrequirepass\r\n$7\r\nhunter2\r\n:1\r\n",
    );
    let result = talk.done().pop().unwrap().result.unwrap();
    assert_eq!(result.tags, ["CONFIG GET requirepass", "INCR a"]);
    assert!(!format!("{:?}", talk.events).contains("hunter2"));
    // The next one holds none.
    transaction(&mut talk, &[&["INCR", "a"]], "*1\r\n:2\r\n");
    assert_eq!(talk.done().pop().unwrap().shown().2, "[2]");
}

#[test]
fn p_r4_results_of_a_transaction_whose_beginning_was_not_seen_are_not_shown() {
    let mut talk = Talk::new();
    talk.resync(qtap_protocol::Side::Client).wait(2);
    talk.command(&["EXEC"]).server("*1\r\n$7\r\nhunter2\r\n");
    let done = talk.done().pop().unwrap();
    assert_eq!((done.outcome, done.shown().2.as_str()), (Outcome::Complete, ""));
}

#[test]
fn p_r4_with_values_hidden_only_the_commands_are_named() {
    let mut talk = Talk::with_values(Values::Keys);
    transaction(
        &mut talk,
        &[&["SET", "a", "hunter2"], &["GET", "a"], &["EVAL", "x", "0"]],
        "*3\r\n+OK\r\n$7\r\nhunter2\r\n-ERR hunter2\r\n",
    );
    let result = talk.done().pop().unwrap().result.unwrap();
    assert_eq!(result.tags, ["SET a ?", "GET a", "EVAL ? ?"]);
    assert_eq!(result.error.unwrap().message, "ERR [REDACTED]");
    assert!(!format!("{:?}", talk.events).contains("hunter2"));
}

#[test]
fn p_r4_long_transactions_are_cut() {
    let mut talk = Talk::new();
    let commands = vec![&["INCR", "a"][..]; 300];
    let reply = format!("*300\r\n{}", ":1\r\n".repeat(300));
    transaction(&mut talk, &commands, &reply);
    let result = talk.done().pop().unwrap().result.unwrap();
    assert_eq!(
        (result.tags.len(), result.truncated, result.count),
        (256, true, Some(300))
    );
}
