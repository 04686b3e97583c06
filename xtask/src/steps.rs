//! Prints a headline for each step of a command, and the time that it took.

use std::fmt;
use std::time::{Duration, Instant};

/// A numbered sequence of steps.
pub(crate) struct Steps {
    total: usize,
    done: usize,
    start: Instant,
}

/// A duration, written as seconds with one decimal, or as minutes and seconds.
pub(crate) struct Elapsed(pub Duration);

// === impl Steps ===

impl Steps {
    /// Starts the clock.
    pub(crate) fn new(total: usize) -> Self {
        Self { total, done: 0, start: Instant::now() }
    }

    /// Prints the headline, does the work, prints how long it took.
    pub(crate) fn step<T>(&mut self, headline: &str, work: impl FnOnce() -> T) -> T {
        self.done += 1;
        println!("==> [{}/{}] {headline}", self.done, self.total);
        let start = Instant::now();
        let result = work();
        println!("    {}", Elapsed(start.elapsed()));
        result
    }

    /// The time since the first step began.
    pub(crate) fn elapsed(&self) -> Elapsed {
        Elapsed(self.start.elapsed())
    }
}

// === impl Elapsed ===

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_secs() {
            0..60 => write!(f, "{:.1} s", self.0.as_secs_f64()),
            seconds => write!(f, "{} min {:02} s", seconds / 60, seconds % 60),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_in_seconds_or_minutes() {
        let table =
            [(0, "0.0 s"), (1_250, "1.2 s"), (59_900, "59.9 s"), (60_000, "1 min 00 s"), (125_999, "2 min 05 s")];
        for (milliseconds, expected) in table {
            assert_eq!(Elapsed(Duration::from_millis(milliseconds)).to_string(), expected);
        }
    }
}
