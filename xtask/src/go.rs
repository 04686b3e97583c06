//! Shows how far a build of Go programs has come: on standard error, a bar on a terminal, a line now and then elsewhere.

use crate::steps::Elapsed;
use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};
use sidespan_harness::provide::GoProgress;
use std::cell::Cell;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// One build.
pub(crate) struct Display {
    what: &'static str,
    duration: &'static str,
    packages: usize,
    bar: ProgressBar,
    begin: Instant,
    last: Cell<Instant>,
    /// Several modules may be built one after the other.
    announced: Cell<bool>,
}

/// Between two lines where there is no terminal.
const PAUSE: Duration = Duration::from_secs(20);

// === impl Display ===

impl Display {
    /// `what` is built, which takes about `duration` and compiles about so many `packages` if Go has nothing in its cache.
    pub(crate) fn new(what: &'static str, duration: &'static str, packages: usize) -> Self {
        let now = Instant::now();
        Self {
            what,
            duration,
            packages,
            bar: ProgressBar::hidden(),
            begin: now,
            last: Cell::new(now),
            announced: Cell::new(false),
        }
    }

    /// Takes note of progress.
    pub(crate) fn show(&self, progress: GoProgress) {
        match progress {
            GoProgress::Waiting => eprintln!("waiting for another process that builds {} ...", self.what),
            GoProgress::Building if self.announced.replace(true) => {}
            GoProgress::Building => {
                eprintln!("building {} with Go: about {} on two cores, once ...", self.what, self.duration);
            }
            GoProgress::Compiled(number) if std::io::stderr().is_terminal() => self.draw(number),
            GoProgress::Compiled(number) if self.last.get().elapsed() > PAUSE => {
                self.last.set(Instant::now());
                eprintln!("    {number} of about {} packages compiled", self.packages);
            }
            GoProgress::Compiled(_) => {}
        }
    }

    fn draw(&self, number: usize) {
        if self.bar.is_hidden() {
            self.bar.set_draw_target(indicatif::ProgressDrawTarget::stderr());
            if let Ok(style) = ProgressStyle::with_template("    {bar:40} {pos} of about {len} packages") {
                self.bar.set_style(style);
            }
            self.bar.set_length(self.packages as u64);
        }
        self.bar.set_position(number as u64);
    }

    /// Says how long it took, if it took long.
    pub(crate) fn finish<T>(&self, result: Result<T>) -> Result<T> {
        self.bar.finish_and_clear();
        if result.is_ok() && self.begin.elapsed().as_secs() > 0 {
            eprintln!("ready after {}: {}", Elapsed(self.begin.elapsed()), self.what);
        }
        result
    }
}
