//! Random bytes from the host, many at a time: each fill is a host call.

use crate::abi;
use sidespan_core::id::Entropy;

const POOL: usize = 256;

/// A pool of random bytes.
pub struct Pool {
    bytes: [u8; POOL],
    used: usize,
    fallback: u64,
}

impl Pool {
    /// Empty: the first use fills it.
    pub fn new() -> Self {
        Self { bytes: [0; POOL], used: POOL, fallback: 0 }
    }

    fn refill(&mut self) {
        if getrandom::fill(&mut self.bytes).is_err() {
            self.weak_fill();
        }
        self.used = 0;
    }

    /// Ids must go on being distinct when the host has no randomness: splitmix64 over the clock and a counter.
    fn weak_fill(&mut self) {
        self.fallback = self.fallback.wrapping_add(abi::now_ns().unwrap_or_default());
        for chunk in self.bytes.chunks_mut(8) {
            self.fallback = self.fallback.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut word = self.fallback;
            word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            word ^= word >> 31;
            for (target, source) in chunk.iter_mut().zip(word.to_le_bytes()) {
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
