//! Random bytes from the system, many at a time. Each thread has its own.

use crate::clock;
use sidespan_core::id::Entropy;
use sidespan_core::random::SplitMix64;
use std::cell::RefCell;

const POOL: usize = 512;

/// A pool of random bytes.
pub(crate) struct Pool {
    bytes: [u8; POOL],
    used: usize,
    fallback: SplitMix64,
}

thread_local! {
    static OWN: RefCell<Pool> = const { RefCell::new(Pool::new()) };
}

/// Runs with the pool of this thread.
pub(crate) fn with<T>(run: impl FnOnce(&mut dyn Entropy) -> T) -> T {
    OWN.with(|own| match own.try_borrow_mut() {
        Ok(mut own) => run(&mut *own),
        // Only if `run` asks for a pool again, which nothing does.
        Err(_) => run(&mut Pool::new()),
    })
}

// === impl Pool ===

impl Pool {
    const fn new() -> Self {
        Self { bytes: [0; POOL], used: POOL, fallback: SplitMix64::new(0) }
    }

    fn refill(&mut self) {
        if getrandom::fill(&mut self.bytes).is_err() {
            // Ids must stay distinct without randomness, so they come from the clock and an address of this thread.
            let seed = clock::now_ns() ^ (std::ptr::from_ref(self).addr() as u64);
            self.fallback.reseed(seed);
            for chunk in self.bytes.chunks_mut(8) {
                for (target, source) in chunk.iter_mut().zip(self.fallback.next_u64().to_le_bytes()) {
                    *target = source;
                }
            }
        }
        self.used = 0;
    }
}

impl Entropy for Pool {
    fn fill(&mut self, out: &mut [u8]) {
        for target in out {
            if self.used >= POOL {
                self.refill();
            }
            *target = self.bytes.get(self.used).copied().unwrap_or_default();
            self.used = self.used.saturating_add(1);
        }
    }
}
