//! Envoy's shared data: marks in fixed slots, and the trace that a good configuration leaves.
//!
//! Nothing in shared data ever expires or can be removed, and it is one namespace for the plugins of all vendors: every key
//! has a prefix, every value a version, and whatever is found may be somebody else's.

use crate::abi::{self, Failed};
use sidespan_core::filter::{Marks, Written};
use sidespan_core::sampling::keep::{self, Mark};

/// Marks of this proxy, seen by all its workers and listeners.
pub struct SharedMarks;

impl Marks for SharedMarks {
    fn read(&mut self, randomness: u64) -> Option<Mark> {
        let (bytes, _) = abi::shared_data(keep::slot_key(keep::slot(randomness)).as_bytes()).ok()?;
        Mark::decode(&bytes)
    }

    fn write(&mut self, randomness: u64, mark: Mark) -> Written {
        let key = keep::slot_key(keep::slot(randomness));
        // Another worker may take the slot in between: look again at what it left, a few times.
        for _ in 0..4 {
            let (old, cas) = abi::shared_data(key.as_bytes()).unwrap_or_default();
            let (merged, lost) = mark.replace(Mark::decode(&old));
            match abi::set_shared_data(key.as_bytes(), &merged.encode(), cas) {
                Ok(()) if lost => return Written::Overwrote,
                Ok(()) => return Written::Stored,
                Err(Failed::CAS_MISMATCH) => {}
                Err(_) => return Written::Failed,
            }
        }
        Written::Failed
    }
}

/// Whether a good configuration of this plugin has been in force in this proxy: then a bad one is an update.
pub fn was_configured() -> bool {
    abi::shared_data(&configured_key()).is_ok()
}

/// Remembers it. Only from a tick: `on_configure` also runs in a canary.
pub fn set_configured() {
    let _ = abi::set_shared_data(&configured_key(), &[1], 0);
}

fn configured_key() -> Vec<u8> {
    let mut key = b"io.sidespan.configured.".to_vec();
    key.extend(abi::property(b"plugin_name").unwrap_or_default());
    key
}
