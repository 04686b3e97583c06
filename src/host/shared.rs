//! Marks in Envoy's shared data: fixed slots, because nothing in it ever expires or goes away.

use super::abi::{self, Failed};
use crate::filter::{Marks, Written};
use crate::sampling::keep::{self, Mark};

/// Marks of this proxy, seen by all its workers and listeners.
pub struct SharedMarks;

impl Marks for SharedMarks {
    fn read(&mut self, randomness: u64) -> Option<Mark> {
        let (bytes, _) = abi::shared_data(keep::slot_key(keep::slot(randomness)).as_bytes()).ok()?;
        Mark::decode(&bytes)
    }

    fn write(&mut self, randomness: u64, mark: Mark) -> Written {
        let key = keep::slot_key(keep::slot(randomness));
        // Another worker may write the same slot in between: once more with what it left, then it wins.
        for _ in 0..2 {
            let (old, cas) = abi::shared_data(key.as_bytes()).unwrap_or_default();
            let (merged, overwrote) = mark.merge(Mark::decode(&old));
            match abi::set_shared_data(key.as_bytes(), &merged.encode(), cas) {
                Ok(()) if overwrote => return Written::Overwrote,
                Ok(()) => return Written::Stored,
                Err(Failed::CAS_MISMATCH) => {}
                Err(_) => return Written::Failed,
            }
        }
        Written::Failed
    }
}
