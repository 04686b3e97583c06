//! Handles Ctrl-C and SIGTERM, so that every started process is stopped.

use anyhow::{Result, bail};
use std::future::Future;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Receives both signals from its creation on. A signal between two steps ends the next step.
///
/// One value serves all steps: an installed handler stays for the life of the process, so a signal between two values would be lost.
pub(crate) struct Interrupt {
    pressed: Signal,
    terminated: Signal,
}

// === impl Interrupt ===

impl Interrupt {
    /// Installs the handlers. From now on the signals do not end the process by themselves.
    pub(crate) fn listen() -> Result<Self> {
        sidespan_harness::run(async {
            Ok(Self { pressed: signal(SignalKind::interrupt())?, terminated: signal(SignalKind::terminate())? })
        })
    }

    /// Runs `work` until it ends or a signal arrives; a signal that arrived before counts too. Dropping `work` stops what it started.
    ///
    /// # Errors
    /// Those of `work`, or that it was interrupted.
    pub(crate) fn run_unless_interrupted<T>(&mut self, work: impl Future<Output = Result<T>>) -> Result<T> {
        sidespan_harness::run(async {
            tokio::select! {
                biased;
                () = self.wait() => bail!("interrupted; all started processes were stopped"),
                done = work => done,
            }
        })
    }

    /// Waits for a signal.
    pub(crate) async fn wait(&mut self) {
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
            interrupt.run_unless_interrupted(async { Ok(()) })?;
            assert!(Command::new("kill").args([name, &id().to_string()]).status()?.success());
            let patience = std::time::Duration::from_secs(30);
            let next = interrupt.run_unless_interrupted(async {
                tokio::time::sleep(patience).await;
                Ok(())
            });
            assert!(next.is_err(), "{name}");
        }
        Ok(())
    }
}
