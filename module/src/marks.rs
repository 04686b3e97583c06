//! Marks of the process: a table of fixed size that all workers and listeners share.
//!
//! A slot is locked for a copy of some bytes only, never while Envoy is called, and the lock is tried, never waited for.

use sidespan_core::sampling::late_keep::{self, Mark, SLOTS};
use sidespan_core::stream::MarkWritten;
use std::hint::spin_loop;
use std::sync::{Mutex, MutexGuard, OnceLock};

/// How often a slot is tried that another worker copies at this moment.
const TRIES: u32 = 64;

type Slot = Mutex<Option<Mark>>;

/// The mark in the slot of `randomness`.
pub(crate) fn read(randomness: u64) -> Option<Mark> {
    *lock(randomness)?
}

/// Merges a mark into the slot of `randomness`.
pub(crate) fn write(randomness: u64, mark: Mark) -> MarkWritten {
    let Some(mut slot) = lock(randomness) else { return MarkWritten::Failed };
    let (merged, lost) = mark.replace(*slot);
    *slot = Some(merged);
    if lost { MarkWritten::Overwrote } else { MarkWritten::Stored }
}

fn lock(randomness: u64) -> Option<MutexGuard<'static, Option<Mark>>> {
    static TABLE: OnceLock<Box<[Slot]>> = OnceLock::new();
    let table = TABLE.get_or_init(|| (0..SLOTS).map(|_| Mutex::new(None)).collect());
    let slot = table.get(usize::try_from(late_keep::slot(randomness)).ok()?)?;
    for _ in 0..TRIES {
        if let Ok(mark) = slot.try_lock() {
            return Some(mark);
        }
        spin_loop();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use sidespan_core::id::TraceId;
    use sidespan_core::sampling::late_keep::{Below, Kept};
    use sidespan_core::sampling::threshold::Threshold;

    fn mark(trace: u64) -> Mark {
        let trace_id = TraceId::from_halves(1, trace).expect("not zero");
        Mark { trace_id, below: Below::uncapped(Kept::At(Threshold::ALWAYS)), time_ns: 1, parent: None }
    }

    #[test]
    fn a_mark_is_found_by_every_worker_and_slots_do_not_mix() {
        std::thread::scope(|scope| {
            for worker in 0..8u64 {
                scope.spawn(move || {
                    for round in 0..500 {
                        let randomness = worker * 500 + round;
                        assert_ne!(write(randomness, mark(randomness + 1)), MarkWritten::Failed);
                    }
                });
            }
        });
        for randomness in 0..4000 {
            assert_eq!(read(randomness).map(|mark| mark.trace_id), Some(mark(randomness + 1).trace_id));
        }
        assert_eq!(read(4095), None);
    }
}
