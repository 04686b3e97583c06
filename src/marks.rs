//! Marks in Envoy's shared data: fixed slots that all workers and listeners of a proxy see.
//!
//! A value in shared data never expires and cannot be removed, and the plugins of all vendors share one namespace. So every key
//! has a prefix, every value a version, and a value that is found may be of another plugin.

use crate::abi::{self, Failed};
use sidespan_core::sampling::late_keep::{self, Mark};
use sidespan_core::stream::MarkWritten;

/// How often a write is tried while other workers write the same slot.
const TRIES: u32 = 4;

/// The mark in the slot of `randomness`.
pub(crate) fn read(randomness: u64) -> Option<Mark> {
    let (bytes, _) = abi::shared_data(key(randomness).as_bytes()).ok()?;
    Mark::decode(&bytes)
}

/// Merges a mark into the slot of `randomness`.
pub(crate) fn write(randomness: u64, mark: Mark) -> MarkWritten {
    let key = key(randomness);
    for _ in 0..TRIES {
        let (old, cas) = abi::shared_data(key.as_bytes()).unwrap_or_default();
        let (merged, lost) = mark.replace(Mark::decode(&old));
        match abi::set_shared_data(key.as_bytes(), &merged.encode(), cas) {
            Ok(()) if lost => return MarkWritten::Overwrote,
            Ok(()) => return MarkWritten::Stored,
            // Another worker has written the slot since: merge with its mark.
            Err(Failed::CAS_MISMATCH) => {}
            Err(_) => return MarkWritten::Failed,
        }
    }
    MarkWritten::Failed
}

fn key(randomness: u64) -> String {
    late_keep::slot_key(late_keep::slot(randomness))
}
