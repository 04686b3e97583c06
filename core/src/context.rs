//! The span context that one hop sends to the next: ids, flags and the sampling state.

use crate::id::{SpanId, TraceId};

/// The sampling state that a context carries (B3's four states; W3C knows the first two).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sampled {
    /// The caller records.
    Accept,
    /// The caller does not record.
    Deny,
    /// B3 debug: record, whatever the rates say.
    Debug,
    /// The caller left the decision to us.
    Defer,
}

/// Trace flags of W3C Trace Context level 2. Unknown bits are never kept ("other flags MUST be zero on emit").
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(u8);

/// The part of a context that a child needs to link to its parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpanContext {
    /// The trace.
    pub trace_id: TraceId,
    /// The span that acts as the parent of what comes next.
    pub span_id: SpanId,
    /// Sampled and random.
    pub flags: Flags,
}

// === impl Sampled ===

impl Sampled {
    /// `None` when the decision was left to us.
    pub fn decision(self) -> Option<bool> {
        match self {
            Self::Accept | Self::Debug => Some(true),
            Self::Deny => Some(false),
            Self::Defer => None,
        }
    }

    /// The word that `sidespan explain` prints.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Accept => "accept",
            Self::Deny => "deny",
            Self::Debug => "debug",
            Self::Defer => "defer",
        }
    }
}

// === impl Flags ===

impl Flags {
    const SAMPLED: u8 = 0x01;
    const RANDOM: u8 = 0x02;

    /// Keeps the two known bits.
    pub fn from_bits(bits: u8) -> Self {
        Self(bits & (Self::SAMPLED | Self::RANDOM))
    }

    /// From the two known flags.
    pub fn new(sampled: bool, random: bool) -> Self {
        Self(u8::from(sampled) | (u8::from(random) << 1))
    }

    /// The caller may have recorded the trace.
    pub fn sampled(self) -> bool {
        self.0 & Self::SAMPLED != 0
    }

    /// The right-most 56 bits of the trace id are uniform random.
    pub fn random(self) -> bool {
        self.0 & Self::RANDOM != 0
    }

    /// The two known bits.
    pub fn bits(self) -> u8 {
        self.0
    }
}
