//! Small things that several rooms need.

use anyhow::{Error, Result};
use serde_json::Value;
use std::future::Future;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

/// Runs `future` on one runtime that lives as long as the process.
///
/// A `#[tokio::test]` ends its runtime, and with it every server in it, when the test ends. What several tests share must
/// therefore be started here.
///
/// # Panics
/// If called from within a runtime, or if the system refuses to start threads.
pub fn run<F: Future>(future: F) -> F::Output {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    let runtime = RUNTIME.get_or_init(|| match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => panic!("no runtime: {error}"),
    });
    runtime.block_on(future)
}

/// How long something may take. (Rooms that must stay `Send` loop over it; tests call [`eventually`].)
pub(crate) struct Patience {
    what: String,
    timeout: Duration,
    begin: Instant,
}

/// Asks `probe` every 10 ms until it answers; its last `Err` is part of the error after `timeout`.
///
/// # Errors
/// If the time is over: what was awaited, and what the probe said last.
pub async fn eventually<T, F>(what: &str, timeout: Duration, mut probe: F) -> Result<T>
where
    F: AsyncFnMut() -> Result<T>,
{
    let patience = Patience::new(what, timeout);
    loop {
        match probe().await {
            Ok(answer) => return Ok(answer),
            Err(last) => patience.pause(last).await?,
        }
    }
}

// === impl Patience ===

impl Patience {
    pub(crate) fn new(what: impl Into<String>, timeout: Duration) -> Self {
        Self { what: what.into(), timeout, begin: Instant::now() }
    }

    /// Waits a little, or gives up because of `last`.
    pub(crate) async fn pause(&self, last: Error) -> Result<()> {
        if self.begin.elapsed() > self.timeout {
            return Err(last.context(format!("{}: not within {:?}", self.what, self.timeout)));
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
        Ok(())
    }
}

/// JSON merge: objects are merged member by member, a `null` removes a member, anything else replaces (RFC 7396).
pub fn merge(into: &mut Value, patch: Value) {
    let Value::Object(patch) = patch else {
        *into = patch;
        return;
    };
    if !into.is_object() {
        *into = Value::Object(serde_json::Map::new());
    }
    let Some(members) = into.as_object_mut() else { return };
    for (name, value) in patch {
        if value.is_null() {
            members.remove(&name);
        } else {
            merge(members.entry(name).or_insert(Value::Null), value);
        }
    }
}

/// A lock that a panicking test cannot poison for the others.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_patch_adds_replaces_and_removes() {
        let table = [
            (json!({"a": 1}), json!({"b": 2}), json!({"a": 1, "b": 2})),
            (json!({"a": {"b": 1, "c": 2}}), json!({"a": {"b": null}}), json!({"a": {"c": 2}})),
            (json!({"a": [1, 2]}), json!({"a": [3]}), json!({"a": [3]})),
            (json!({"a": 1}), json!({"a": {"b": 1}}), json!({"a": {"b": 1}})),
        ];
        for (mut value, patch, expected) in table {
            merge(&mut value, patch);
            assert_eq!(value, expected);
        }
    }
}
