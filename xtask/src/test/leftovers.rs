//! Ends processes that tests started and did not end: a killed test does not run its destructors.

use std::path::Path;
use std::process::{Command, Stdio};

/// The environment variable that marks every process of one run. All descendants inherit it.
pub(super) const MARK: &str = "SIDESPAN_TEST_RUN";

/// Ends every process with the mark and returns their names. It reads `/proc`, so it finds none on other systems than Linux.
pub(super) fn end(mark: &str) -> Vec<String> {
    let entry = format!("{MARK}={mark}");
    let Ok(processes) = std::fs::read_dir("/proc") else { return Vec::new() };
    let marked = processes.flatten().map(|process| process.path()).filter(|process| carries(process, &entry));
    marked.filter_map(|process| end_one(&process)).collect()
}

fn carries(process: &Path, entry: &str) -> bool {
    // Unreadable for processes of other users, which are not of this run.
    std::fs::read(process.join("environ"))
        .is_ok_and(|environment| environment.split(|byte| *byte == 0).any(|variable| variable == entry.as_bytes()))
}

fn end_one(process: &Path) -> Option<String> {
    let id = process.file_name()?.to_str().filter(|id| id.bytes().all(|byte| byte.is_ascii_digit()))?;
    let name = std::fs::read_to_string(process.join("comm")).ok()?;
    let ended = Command::new("kill").args(["-KILL", id]).stderr(Stdio::null()).status().ok()?.success();
    ended.then(|| format!("{} ({id})", name.trim()))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    fn sleeper(mark: &str) -> std::process::Child {
        let child = Command::new("sleep").arg("60").env(MARK, mark).spawn().expect("sleep exists");
        // Before `exec`, the child still has the environment of this process.
        let deadline = Instant::now() + Duration::from_secs(10);
        let process = Path::new("/proc").join(child.id().to_string());
        while !carries(&process, &format!("{MARK}={mark}")) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        child
    }

    #[test]
    fn only_the_processes_of_the_run_are_ended() {
        let mark = format!("test-{}", std::process::id());
        let (mut ours, mut other) = (sleeper(&mark), sleeper(&format!("{mark}0")));
        assert_eq!(end(&mark), [format!("sleep ({})", ours.id())]);
        assert!(!ours.wait().expect("our child").success());
        assert!(other.try_wait().expect("our child").is_none(), "it still runs");
        other.kill().expect("our child");
        other.wait().expect("our child");
    }
}
