//! What a stream asks of the proxy while one of its callbacks runs.

use crate::sampling::late_keep::Mark;
use crate::span::Attributes;

/// The proxy, as a stream sees it. Every method may be a host call, so a stream asks only for what it needs, once.
pub trait StreamHost {
    /// Envoy's attributes and header maps.
    fn attributes(&self) -> &dyn Attributes;
    /// Nanoseconds since the Unix epoch.
    fn now_ns(&self) -> u64;
    /// The mark in the slot of `randomness`, of whichever trace. All workers of a proxy share the slots.
    fn read_mark(&self, randomness: u64) -> Option<Mark>;
    /// Puts a mark into the slot of `randomness`, merged with the one that is there ([`Mark::replace`]).
    fn write_mark(&self, randomness: u64, mark: Mark) -> MarkWritten;
}

/// The result of writing a mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MarkWritten {
    /// Stored.
    Stored,
    /// Stored, and a mark of another trace that may still have been needed was lost.
    Overwrote,
    /// Not stored.
    Failed,
}
