//! The lines that wait for standard error, and the thread that writes them.
//!
//! The crate `tracing-appender` does the same, but its queue is bounded in lines and not in bytes, nobody hears of lost lines,
//! and it prints to standard output when it can't end in time, which panics or blocks where that is the same pipe.

use std::{
    collections::VecDeque,
    io::{self, Write},
    mem,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

/// Bytes of lines that may wait. Beyond it, lines are lost, because whoever logs must not wait.
const MAX_BYTES: usize = 1024 * 1024;
/// Bytes that a line takes beside its text.
const LINE_BYTES: usize = 64;
/// The pause before the next try, where standard error is full and does not block.
const RETRY: Duration = Duration::from_millis(20);

/// The way to standard error. Cheap to clone. What is written at once is a line.
#[derive(Clone)]
pub(super) struct Lines(Arc<Shared>);

#[derive(Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Default)]
struct Waiting {
    lines: VecDeque<Vec<u8>>,
    bytes: usize,
    /// Lines that found no room or that could not be written, since the log last told.
    lost: u64,
    is_writing: bool,
    /// There is no thread, so whoever logs writes.
    is_alone: bool,
    /// The last line was pushed. The process ends, and threads that still log would only hide it.
    is_closed: bool,
}

impl Lines {
    /// Starts the thread. It is never ended, because a last line may come at any time.
    pub(super) fn start() -> Self {
        let lines = Self(Arc::default());
        let thread = thread::Builder::new().name("coir-log".to_owned());
        let shared = lines.clone();
        if thread.spawn(move || shared.write_all_to(&mut io::stderr())).is_err() {
            lines.lock().is_alone = true;
        }
        lines
    }

    /// Adds a line, unless too much waits.
    pub(super) fn push(&self, line: Vec<u8>) {
        let waiting = self.lock();
        if !waiting.is_closed {
            self.add(waiting, line);
        }
    }

    /// Adds the last line. What comes behind it is not written.
    pub(super) fn push_last(&self, line: Vec<u8>) {
        let mut waiting = self.lock();
        let is_closed = mem::replace(&mut waiting.is_closed, true);
        if !is_closed {
            self.add(waiting, line);
        }
    }

    fn add(&self, mut waiting: MutexGuard<'_, Waiting>, line: Vec<u8>) {
        if waiting.is_alone {
            drop(waiting);
            // Nothing can be told where this fails.
            let _ = io::stderr().write_all(&line);
            return;
        }
        let bytes = waiting.bytes + line.len() + LINE_BYTES;
        if bytes > MAX_BYTES {
            waiting.lost += 1;
            return;
        }
        waiting.bytes = bytes;
        waiting.lines.push_back(line);
        self.0.changed.notify_all();
    }

    /// Waits until every line was written or lost, but no longer than `limit`.
    pub(super) fn wait_until_written(&self, limit: Duration) {
        let is_busy = |waiting: &mut Waiting| waiting.is_writing || !waiting.lines.is_empty();
        drop(self.0.changed.wait_timeout_while(self.lock(), limit, is_busy));
    }

    fn write_all_to(&self, stderr: &mut impl Write) {
        loop {
            let is_empty = |waiting: &mut Waiting| waiting.lines.is_empty();
            let waiting = self.0.changed.wait_while(self.lock(), is_empty);
            let mut waiting = waiting.unwrap_or_else(PoisonError::into_inner);
            let lines = mem::take(&mut waiting.lines);
            (waiting.bytes, waiting.is_writing) = (0, true);
            drop(waiting);
            let count = lines.len() as u64;
            let written = lines.iter().filter(|line| write_line(stderr, line).is_ok()).count() as u64;
            let mut waiting = self.lock();
            waiting.lost += count - written;
            let lost = if written > 0 { mem::take(&mut waiting.lost) } else { 0 };
            drop(waiting);
            if lost > 0 {
                tracing::warn!(
                    lost,
                    "{lost} lines of the log are lost, because standard error could not take them"
                );
            }
            self.lock().is_writing = false;
            self.0.changed.notify_all();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Write for Lines {
    /// Never fails and never waits.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.push(line.to_vec());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn write_line(stderr: &mut impl Write, mut line: &[u8]) -> io::Result<()> {
    while !line.is_empty() {
        match stderr.write(line) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => line = &line[written..],
            Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
            // Another process has made the pipe non-blocking.
            Err(err) if err.kind() == io::ErrorKind::WouldBlock => thread::sleep(RETRY),
            Err(err) => return Err(err),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// Standard error that is taken line by line, and that fails where the test says so.
    struct Fake {
        answers: mpsc::Receiver<io::Result<()>>,
        written: mpsc::Sender<Vec<u8>>,
    }

    impl Write for Fake {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            self.answers.recv().map_err(io::Error::other)??;
            self.written.send(line.to_vec()).unwrap();
            Ok(line.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_that_find_no_room_or_fail_are_counted_and_the_others_are_written_in_order() {
        let (answer, answers) = mpsc::channel();
        let (written, output) = mpsc::channel();
        let lines = Lines(Arc::default());
        let shared = lines.clone();
        thread::spawn(move || shared.write_all_to(&mut Fake { answers, written }));
        lines.push(b"fails".to_vec());
        answer.send(Err(io::ErrorKind::StorageFull.into())).unwrap();
        lines.wait_until_written(Duration::from_secs(60));
        assert_eq!(lines.lock().lost, 1);

        lines.push(b"first".to_vec());
        // The thread has taken it and waits for standard error.
        while !lines.lock().is_writing {
            thread::yield_now();
        }
        for _ in 0..3 {
            lines.push(vec![b'x'; MAX_BYTES / 2 - LINE_BYTES]);
        }
        assert_eq!(lines.lock().lost, 2);
        assert!(lines.lock().bytes <= MAX_BYTES);
        (0..3).for_each(|_| answer.send(Ok(())).unwrap());
        lines.wait_until_written(Duration::from_secs(60));
        let lengths: Vec<_> = output.try_iter().map(|line| line.len()).collect();
        assert_eq!(lengths, [5, MAX_BYTES / 2 - LINE_BYTES, MAX_BYTES / 2 - LINE_BYTES]);
        assert_eq!(lines.lock().lost, 0, "it was told");

        lines.push_last(b"last".to_vec());
        lines.push(b"late".to_vec());
        (0..2).for_each(|_| answer.send(Ok(())).unwrap());
        lines.wait_until_written(Duration::from_secs(60));
        assert_eq!(output.try_iter().collect::<Vec<_>>(), [b"last"], "nothing follows the last line");
    }
}
