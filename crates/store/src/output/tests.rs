use std::io::{BufRead, BufReader, Error, ErrorKind, Read};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};

use super::*;

const PATIENCE: Duration = Duration::from_secs(10);

fn assert_sums(counters: &OutputCounters) {
    assert_eq!(
        counters.received,
        counters.emitted + counters.lost_total() + counters.waiting_records,
        "{counters:?}"
    );
}

/// Waits until `condition` holds.
fn until(output: &Output, condition: impl Fn(&OutputCounters) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition(&output.counters()) {
        assert!(Instant::now() < deadline, "{:?}", output.counters());
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Answers each write with the next of a script, then takes everything.
struct Scripted {
    answers: Vec<Result<usize, ErrorKind>>,
    written: Arc<Mutex<Vec<u8>>>,
}

impl Write for Scripted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let answer = if self.answers.is_empty() {
            Ok(usize::MAX)
        } else {
            self.answers.remove(0)
        };
        let count = answer.map_err(Error::from)?.min(bytes.len());
        self.written.lock().unwrap().extend_from_slice(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn scripted(answers: Vec<Result<usize, ErrorKind>>) -> (Output, Arc<Mutex<Vec<u8>>>) {
    let written = Arc::new(Mutex::new(Vec::new()));
    let writer = Scripted {
        answers,
        written: Arc::clone(&written),
    };
    (Output::new(writer, OutputLimits::default()).unwrap(), written)
}

/// Blocks in every write until told to go on.
struct Stuck(Receiver<()>);

impl Write for Stuck {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0
            .recv()
            .map_err(|_gone| Error::from(ErrorKind::BrokenPipe))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn records_of_many_threads_are_never_mixed() {
    let (reader, writer) = io::pipe().unwrap();
    let output = Output::new(writer, OutputLimits::default()).unwrap();
    let reading = std::thread::spawn(move || {
        BufReader::new(reader)
            .lines()
            .map(Result::unwrap)
            .collect::<Vec<_>>()
    });
    std::thread::scope(|scope| {
        for letter in [b'a', b'b', b'c', b'd'] {
            let output = &output;
            scope.spawn(move || {
                for length in 1..500 {
                    let mut record = vec![letter; length * 7 % 300 + 1];
                    record.extend_from_slice(b"1\n");
                    record.extend_from_slice(&[letter; 3]);
                    record.extend_from_slice(b"2\n");
                    assert!(output.write(record));
                }
            });
        }
    });
    assert!(output.flush(PATIENCE));
    assert_sums(&output.counters());
    drop(output);
    let lines = reading.join().unwrap();
    assert_eq!(lines.len(), 4 * 499 * 2);
    for pair in lines.chunks(2) {
        let letter = &pair[0][..1];
        assert_eq!(pair[0], format!("{}1", letter.repeat(pair[0].len() - 1)));
        assert_eq!(pair[1], format!("{}2", letter.repeat(3)));
    }
}

#[test]
fn a_stuck_reader_costs_the_newest_records_and_they_are_counted() {
    let (release, receiver) = sync_channel(0);
    let limits = OutputLimits {
        records: 10,
        bytes: 1 << 20,
    };
    let output = Output::new(Stuck(receiver), limits).unwrap();
    let taken = (0..25)
        .filter(|number| output.write(format!("{number}\n").into_bytes()))
        .count();
    let counters = output.counters();
    assert_eq!(
        (taken, counters.received, counters.lost(Lost::QueueFull)),
        (10, 25, 15)
    );
    assert_sums(&counters);

    assert!(
        !output.flush(Duration::from_millis(20)),
        "nothing can be flushed to a stuck reader"
    );
    let counters = output.counters();
    assert_sums(&counters);
    // What the thread holds in its hands is neither written nor lost; the rest is lost.
    assert_eq!(counters.lost(Lost::Shutdown) + counters.waiting_records, 10);
    assert!(!output.write(b"late\n".to_vec()));

    drop(release);
    until(&output, |counters| counters.waiting_records == 0);
    let counters = output.counters();
    assert_sums(&counters);
    assert_eq!(
        (counters.emitted, counters.lost_total(), counters.waiting_bytes),
        (0, 26, 0)
    );
}

#[test]
fn bytes_are_bounded_but_one_large_record_passes_an_empty_queue() {
    let (release, receiver) = sync_channel(8);
    let output = Output::new(
        Stuck(receiver),
        OutputLimits {
            records: 100,
            bytes: 10,
        },
    )
    .unwrap();
    assert!(output.write(vec![b'x'; 50]));
    assert!(!output.write(b"y\n".to_vec()));
    release.send(()).unwrap();
    assert!(output.flush(PATIENCE));
    let counters = output.counters();
    assert_eq!(
        (
            counters.emitted,
            counters.emitted_bytes,
            counters.lost(Lost::QueueFull)
        ),
        (1, 50, 1)
    );
}

#[test]
fn a_closed_pipe_is_counted_and_the_agent_goes_on() {
    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    let output = Output::new(writer, OutputLimits::default()).unwrap();
    for _ in 0..3 {
        assert!(output.write(b"nobody reads this\n".to_vec()));
    }
    until(&output, |counters| counters.lost(Lost::BrokenPipe) == 3);
    assert_sums(&output.counters());
}

#[test]
fn after_a_full_disk_the_torn_line_is_ended_before_the_next() {
    let (output, written) = scripted(vec![Ok(3), Err(ErrorKind::StorageFull)]);
    assert!(output.write(b"first\n".to_vec()));
    until(&output, |counters| counters.lost(Lost::NoSpace) == 1);
    assert!(output.write(b"second\n".to_vec()));
    assert!(output.write(b"third\n".to_vec()));
    assert!(output.flush(PATIENCE));
    assert_eq!(written.lock().unwrap().as_slice(), b"fir\nsecond\nthird\n");
    let counters = output.counters();
    assert_eq!((counters.emitted, counters.lost_total()), (2, 1));
    assert_sums(&counters);
}

#[test]
fn interrupted_short_and_would_block_writes_lose_nothing() {
    let answers = vec![
        Err(ErrorKind::Interrupted),
        Ok(1),
        Err(ErrorKind::WouldBlock),
        Ok(2),
    ];
    let (output, written) = scripted(answers);
    assert!(output.write(b"whole line\n".to_vec()));
    assert!(output.flush(PATIENCE));
    assert_eq!(written.lock().unwrap().as_slice(), b"whole line\n");
}

#[test]
fn a_lone_record_is_written_without_waiting_for_more() {
    let (mut reader, writer) = io::pipe().unwrap();
    let output = Output::new(writer, OutputLimits::default()).unwrap();
    assert!(output.write(b"now\n".to_vec()));
    let mut line = [0; 4];
    reader.read_exact(&mut line).unwrap();
    assert_eq!(&line, b"now\n");
}

/// Counts writes.
struct Counting(Arc<AtomicUsize>);

impl Write for Counting {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn records_that_follow_closely_share_a_write() {
    let writes = Arc::new(AtomicUsize::new(0));
    let output = Output::new(Counting(Arc::clone(&writes)), OutputLimits::default()).unwrap();
    for _ in 0..1_000 {
        assert!(output.write(b"{}\n".to_vec()));
        std::thread::sleep(Duration::from_micros(10));
    }
    assert!(output.flush(PATIENCE));
    let writes = writes.load(Ordering::Relaxed);
    assert!(writes <= 500, "{writes} writes for 1000 records");
}

#[test]
fn room_grows_with_the_body_limit() {
    assert_eq!(OutputLimits::for_bodies(1 << 20).bytes, 32 << 20);
    assert_eq!(OutputLimits::for_bodies(64 << 20).bytes, 512 << 20);
}
