//! A child process that never outlives this one (on Linux), started from a thread that lives as long as the process.

use anyhow::{Context as _, Result, anyhow};
use rustix::process::{Pid, Signal, kill_process};
use std::process::{Child, Command, ExitStatus};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

/// A child that is killed and reaped when dropped.
pub struct Process {
    child: Child,
}

type Job = (Command, Sender<std::io::Result<Child>>);

// === impl Process ===

impl Process {
    /// Starts the program.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn spawn(mut command: Command) -> Result<Self> {
        die_with_parent(&mut command);
        let program = command.get_program().to_string_lossy().into_owned();
        let (reply, answer) = channel();
        let gone = || anyhow!("the thread that starts processes is gone");
        crate::support::lock(spawner()).send((command, reply)).map_err(|_| gone())?;
        let child = answer.recv().map_err(|_| gone())?.with_context(|| format!("start {program}"))?;
        Ok(Self { child })
    }

    /// Process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// `None` while it runs.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Asks it to end.
    pub fn terminate(&mut self) {
        if self.exited().is_none()
            && let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw)
        {
            let _ = kill_process(pid, Signal::TERM);
        }
    }

    /// Waits for the end; `None` if it still runs after `patience`.
    pub async fn wait(&mut self, patience: Duration) -> Option<ExitStatus> {
        let begin = Instant::now();
        loop {
            if let Some(status) = self.exited() {
                return Some(status);
            }
            if begin.elapsed() > patience {
                return None;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Ends it at once and waits for its end.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The parent-death signal is sent when the *thread* that forked ends, and test threads end early. This one never does.
fn spawner() -> &'static Mutex<Sender<Job>> {
    static SPAWNER: OnceLock<Mutex<Sender<Job>>> = OnceLock::new();
    SPAWNER.get_or_init(|| {
        let (sender, jobs) = channel::<Job>();
        std::thread::spawn(move || {
            for (mut command, reply) in jobs {
                let _ = reply.send(command.spawn());
            }
        });
        Mutex::new(sender)
    })
}

#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
fn die_with_parent(command: &mut Command) {
    use rustix::process::{getppid, set_parent_process_death_signal};
    use std::os::unix::process::CommandExt as _;
    let parent = Pid::from_raw(std::process::id().cast_signed());
    // SAFETY: between fork and exec only two system calls are made, both async-signal-safe; nothing allocates.
    unsafe {
        command.pre_exec(move || {
            set_parent_process_death_signal(Some(Signal::KILL))?;
            // The parent may have died before the signal was set.
            if getppid() == parent { Ok(()) } else { Err(std::io::Error::from_raw_os_error(3)) }
        });
    }
}

#[cfg(not(target_os = "linux"))]
fn die_with_parent(_: &mut Command) {}
