//! Random bytes from the host, many at a time, because each read is a host call.

use crate::abi;
use sidespan_core::id::Entropy;
use sidespan_core::random::SplitMix64;

const POOL: usize = 256;

/// A pool of random bytes.
pub(crate) struct Pool {
    bytes: [u8; POOL],
    used: usize,
    fallback: SplitMix64,
}

impl Pool {
    /// Empty: the first use fills it.
    pub(crate) fn new() -> Self {
        Self { bytes: [0; POOL], used: POOL, fallback: SplitMix64::new(0) }
    }

    fn refill(&mut self) {
        if getrandom::fill(&mut self.bytes).is_err() {
            self.fill_without_randomness();
        }
        self.used = 0;
    }

    /// Ids must stay distinct when the host has no randomness, so they come from the clock and a counter.
    fn fill_without_randomness(&mut self) {
        self.fallback.reseed(abi::now_ns().unwrap_or_default());
        for chunk in self.bytes.chunks_mut(8) {
            for (target, source) in chunk.iter_mut().zip(self.fallback.next_u64().to_le_bytes()) {
                *target = source;
            }
        }
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
