//! A small generator of pseudo-random numbers, for what need not be unpredictable: the spread of retries, the ids of export
//! calls, and ids where the host has no randomness.

/// SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014). Equal seeds give equal numbers.
#[derive(Clone, Debug)]
pub struct SplitMix64(u64);

// === impl SplitMix64 ===

impl SplitMix64 {
    /// Any seed will do.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number, uniform in all 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Uniform in `0..=max`.
    pub fn up_to(&mut self, max: u64) -> u64 {
        let range = u128::from(max).saturating_add(1);
        (u128::from(self.next_u64()).saturating_mul(range) >> 64) as u64
    }

    /// Another state of the same sequence: `amount` further than the seed says.
    pub fn reseed(&mut self, amount: u64) {
        self.0 = self.0.wrapping_add(amount);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_reference_implementation() {
        // `splitmix64.c` of Sebastiano Vigna with the seed 1234567.
        let mut random = SplitMix64::new(1_234_567);
        let first: Vec<u64> = (0..3).map(|_| random.next_u64()).collect();
        assert_eq!(first, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
    }
}
