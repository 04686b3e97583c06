//! Why a span is kept.

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
    /// Its caller left before an answer.
    Cancelled,
    /// The caller asked for debugging.
    Debug,
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
            Self::Cancelled => "cancelled",
            Self::Debug => "debug",
        }
    }
}
