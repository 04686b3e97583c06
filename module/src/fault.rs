//! Panics on demand, to prove that no hook lets one through. Only in a build with the feature `fault`.

/// Panics in the hook that the environment variable `SIDESPAN_FAULT` names; `all` names every hook
/// of Envoy.
#[cfg(feature = "fault")]
#[allow(clippy::panic, reason = "what the feature is for")]
pub(crate) fn provoke(hook: &str) {
    static NAMED: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    let named = NAMED.get_or_init(|| std::env::var("SIDESPAN_FAULT").ok());
    let every = !matches!(hook, "give_up" | "ticker");
    if named.as_deref().is_some_and(|named| named == hook || (named == "all" && every)) {
        panic!("provoked in {hook}");
    }
}

/// Does nothing.
#[cfg(not(feature = "fault"))]
#[inline(always)]
pub(crate) fn provoke(_: &str) {}
