//! Runs one test program, prints its output, and counts its results.

use anyhow::{Context, Result};
use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

/// The result of a program.
pub(super) struct Outcome {
    /// Whether its exit code was 0.
    pub success: bool,
    /// Names of processes that it started and did not end.
    pub left_running: Vec<String>,
}

/// Sums over the result lines of test programs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// Tests that passed.
    pub passed: u64,
    /// Tests that failed.
    pub failed: u64,
    /// Tests that are marked as ignored.
    pub ignored: u64,
}

/// Interval between checks whether the program still runs, and the longest wait for its last output.
const POLL: Duration = Duration::from_millis(50);

/// Runs the program to its end, then `end_leftovers`, which returns the names of processes that it ended. These inherited the
/// standard output, so waiting for the end of the output alone could take forever.
pub(super) fn run(
    command: &mut Command,
    tally: &mut Tally,
    end_leftovers: impl Fn() -> Vec<String>,
) -> Result<Outcome> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
    let child = child.as_mut().map_err(|error| anyhow::anyhow!("cannot run {:?}: {error}", command.get_program()))?;
    let lines = lines(child.stdout.take().context("a pipe was asked for")?);
    let status = loop {
        match lines.recv_timeout(POLL) {
            Ok(line) => tally.show(&line),
            Err(RecvTimeoutError::Disconnected) => break child.wait()?,
            Err(RecvTimeoutError::Timeout) => {
                if let Some(status) = child.try_wait()? {
                    break status;
                }
            }
        }
    };
    let left_running = end_leftovers();
    while let Ok(line) = lines.recv_timeout(POLL) {
        tally.show(&line);
    }
    Ok(Outcome { success: status.success(), left_running })
}

/// The lines of a stream, without line ends. A thread reads them until the stream ends.
fn lines(stream: impl Read + Send + 'static) -> Receiver<Vec<u8>> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let lines = BufReader::new(stream).split(b'\n').map_while(Result::ok);
        lines.map(|line| sender.send(line)).take_while(Result::is_ok).for_each(drop);
    });
    receiver
}

// === impl Tally ===

impl Tally {
    fn show(&mut self, line: &[u8]) {
        let line = String::from_utf8_lossy(line);
        println!("{line}");
        self.read(&line);
    }

    /// Reads `test result: ok. 5 passed; 0 failed; 1 ignored; …`; other lines are ignored.
    fn read(&mut self, line: &str) {
        let Some(result) = line.trim_start().strip_prefix("test result: ") else { return };
        for part in result.split(';') {
            let mut words = part.split_whitespace().rev();
            let (label, number) = (words.next(), words.next().and_then(|word| word.parse::<u64>().ok()));
            match (label, number) {
                (Some("passed"), Some(number)) => self.passed += number,
                (Some("failed"), Some(number)) => self.failed += number,
                (Some("ignored"), Some(number)) => self.ignored += number,
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_os = "linux")]
    use std::time::Instant;

    #[test]
    fn result_lines_are_summed_and_other_lines_ignored() {
        let mut tally = Tally::default();
        for line in [
            "test result: ok. 5 passed; 0 failed; 1 ignored; 0 measured; 2 filtered out; finished in 0.31s",
            "test result: \u{1b}[31mFAILED\u{1b}[m. 2 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out",
            "test says::7 passed; 3 failed ... ok",
            "running 5 tests",
            "test result: ",
        ] {
            tally.read(line);
        }
        assert_eq!(tally, Tally { passed: 7, failed: 1, ignored: 1 });
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_program_that_leaves_a_child_with_its_output_is_not_waited_for() {
        use crate::test::leftovers;
        let (start, mark) = (Instant::now(), format!("run-{}", std::process::id()));
        let mut command = Command::new("sh");
        command
            .args(["-c", "echo 'test result: ok. 1 passed; 0 failed'; sleep 60 & exit 3"])
            .env(leftovers::MARK, &mark);
        let mut tally = Tally::default();
        let outcome = run(&mut command, &mut tally, || leftovers::end(&mark)).expect("sh exists");
        assert!(start.elapsed() < Duration::from_secs(30));
        assert!(!outcome.success && outcome.left_running.len() == 1, "{:?}", outcome.left_running);
        assert_eq!(tally.passed, 1);
    }
}
