//! Ctrl-C and SIGTERM, so that whatever was started is ended.

use anyhow::{Result, bail};
use std::future::Future;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Listens from its making on: what comes between two steps ends the next one.
///
/// A handler that is installed stays for as long as the process lives, so a listener for each step would swallow those.
pub struct Interrupt {
    pressed: Signal,
    terminated: Signal,
}

// === impl Interrupt ===

impl Interrupt {
    /// Takes both signals over; they do nothing by themselves any more.
    pub fn listen() -> Result<Self> {
        sidespan_harness::run(async {
            Ok(Self { pressed: signal(SignalKind::interrupt())?, terminated: signal(SignalKind::terminate())? })
        })
    }

    /// Runs it unless a signal comes, or came, first; whatever it had started ends then.
    pub fn or<T>(&mut self, work: impl Future<Output = Result<T>>) -> Result<T> {
        sidespan_harness::run(async {
            tokio::select! {
                biased;
                () = self.come() => bail!("interrupted; everything that was started has been ended"),
                done = work => done,
            }
        })
    }

    /// Waits for a signal.
    pub async fn come(&mut self) {
        tokio::select! {
            _ = self.pressed.recv() => (),
            _ = self.terminated.recv() => (),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, id};

    #[test]
    fn a_signal_between_two_steps_ends_the_next_one() -> Result<()> {
        for name in ["-INT", "-TERM"] {
            let mut interrupt = Interrupt::listen()?;
            interrupt.or(async { Ok(()) })?;
            assert!(Command::new("kill").args([name, &id().to_string()]).status()?.success());
            let patience = std::time::Duration::from_secs(30);
            let next = interrupt.or(async {
                tokio::time::sleep(patience).await;
                Ok(())
            });
            assert!(next.is_err(), "{name}");
        }
        Ok(())
    }
}
