//! Panics on demand, to prove that no hook lets one through. Only in a build with the feature `fault`.

/// Panics in the hook that the environment variable `SIDESPAN_FAULT` names; `all` names every hook
/// of Envoy.
#[cfg(all(feature = "fault", not(test)))]
#[allow(clippy::panic, reason = "what the feature is for")]
pub(crate) fn provoke(hook: &str) {
    static NAMED: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    let named = NAMED.get_or_init(|| std::env::var("SIDESPAN_FAULT").ok());
    let every = !matches!(hook, "give_up" | "ticker");
    if named.as_deref().is_some_and(|named| named == hook || (named == "all" && every)) {
        panic!("provoked in {hook}");
    }
}

#[cfg(test)]
thread_local! {
    /// Every hook of this thread panics.
    pub(crate) static ON: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// Panics if the test says so.
#[cfg(test)]
pub(crate) fn provoke(hook: &str) {
    assert!(!ON.get(), "provoked in {hook}");
}

/// Does nothing.
#[cfg(not(any(test, feature = "fault")))]
#[inline(always)]
pub(crate) fn provoke(_: &str) {}
