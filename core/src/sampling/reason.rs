//! Why a span is kept, and which cap counts it.

/// Why a span is kept: the value of `sidespan.sampling.reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// By our own rate.
    Head,
    /// By the caller's decision.
    Parent,
    /// It failed.
    Error,
    /// It was slow.
    Slow,
    /// An error below it was kept.
    Marked,
    /// The caller asked for debugging.
    Debug,
}

/// The two caps of late keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cap {
    /// `errors.maxPerSecond`: errors and what is marked for them.
    Errors,
    /// `slow.maxPerSecond`.
    Slow,
}

// === impl Reason ===

impl Reason {
    /// The value of the span's attribute.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Head => "head",
            Self::Parent => "parent",
            Self::Error => "error",
            Self::Slow => "slow",
            Self::Marked => "marked",
            Self::Debug => "debug",
        }
    }
}
