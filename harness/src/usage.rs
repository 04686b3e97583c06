//! What a process uses, by the kernel's account. Linux only: elsewhere every answer is `None`.

use std::fs;
use std::path::{Path, PathBuf};

/// The thread of Envoy's first worker.
#[derive(Clone, Debug)]
pub struct Worker {
    task: PathBuf,
}

// === impl Worker ===

impl Worker {
    /// The first worker of the Envoy with this process id; `None` if there is none.
    pub fn of(pid: u32) -> Option<Self> {
        let mut tasks = fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten().map(|task| task.path());
        let is_worker =
            |task: &PathBuf| fs::read_to_string(task.join("comm")).is_ok_and(|name| name.starts_with("wrk:worker_0"));
        tasks.find(is_worker).map(|task| Self { task })
    }

    /// Its thread id, for a profiler.
    pub fn thread(&self) -> String {
        self.task.file_name().map_or_else(String::new, |id| id.to_string_lossy().into_owned())
    }

    /// Nanoseconds that it has run so far; exact while it sleeps.
    pub fn run_time_ns(&self) -> Option<u64> {
        task_run_time_ns(&self.task)
    }
}

/// Nanoseconds that all threads of a process have run so far, but for those that have ended.
pub fn run_time_ns(pid: u32) -> Option<u64> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten();
    Some(tasks.filter_map(|task| task_run_time_ns(&task.path())).sum())
}

/// The first number of `schedstat`.
fn task_run_time_ns(task: &Path) -> Option<u64> {
    let spent = fs::read_to_string(task.join("schedstat")).ok()?;
    spent.split_whitespace().next()?.parse().ok()
}

/// Resident memory of a process (`VmRSS`), in bytes.
pub fn resident_bytes(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}
