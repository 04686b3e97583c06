//! Span ids of inbound requests, which can be recognised without any state.
//!
//! An application forwards the span id of the inbound request that it serves as the parent of its outbound requests, unless an
//! SDK in it puts a span of its own between. A mark that an outbound request leaves belongs to that inbound request only. To tell
//! whether a parent is *another* inbound request, and not a span of an SDK, 24 of the 64 bits of these ids are check digits,
//! computed from the other 40, which are random, and from the trace id.
//!
//! An id that comes from elsewhere is taken for one of these with probability 2^-24: its mark is then refused. Of 1000 inbound
//! spans of one trace, two have the same id with probability 1000² / 2 / 2^40 = 5e-7.

use crate::id::{Entropy, SpanId, TraceId};

const CHECK: u64 = (1 << 24) - 1;
/// So that no other software computes the same digits.
const KEY: u64 = 0x7369_6465_7370_616e;

/// A new span id for an inbound request.
pub(super) fn inbound(trace_id: TraceId, entropy: &mut dyn Entropy) -> SpanId {
    let random = SpanId::random(entropy);
    let high = random.to_u64() & !CHECK;
    // Zero is no id; with random bits it does not occur.
    SpanId::from_u64(high | check(high, trace_id)).unwrap_or(random)
}

/// Whether an inbound listener with this filter made the id for a request of this trace.
pub(super) fn is_inbound(span_id: SpanId, trace_id: TraceId) -> bool {
    let id = span_id.to_u64();
    id & CHECK == check(id & !CHECK, trace_id)
}

fn check(high: u64, trace_id: TraceId) -> u64 {
    [high, trace_id.high64(), trace_id.low64()].into_iter().fold(KEY, |state, part| mix(state ^ part)) & CHECK
}

/// The finaliser of SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014).
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ value >> 31
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers that differ, as bytes.
    struct Numbers(u64);

    impl Entropy for Numbers {
        fn fill(&mut self, out: &mut [u8]) {
            for chunk in out.chunks_mut(8) {
                self.0 = self.0.wrapping_add(1);
                chunk.copy_from_slice(&mix(self.0).to_be_bytes()[..chunk.len()]);
            }
        }
    }

    struct Zeros;

    impl Entropy for Zeros {
        fn fill(&mut self, out: &mut [u8]) {
            out.fill(0);
        }
    }

    #[test]
    fn an_id_of_an_inbound_request_is_recognised_in_its_own_trace_and_others_are_not() {
        let mut numbers = Numbers(7);
        let mut wrong = 0;
        for _ in 0..10_000 {
            let (trace, other) = (TraceId::random(&mut numbers), TraceId::random(&mut numbers));
            let id = inbound(trace, &mut numbers);
            assert!(is_inbound(id, trace));
            wrong += u32::from(is_inbound(id, other)) + u32::from(is_inbound(SpanId::random(&mut numbers), trace));
        }
        assert!(wrong <= 1, "{wrong} of 20,000; 0.001 are expected");
    }

    #[test]
    fn ids_of_one_trace_differ_in_their_random_bits() {
        let (trace, mut numbers) = (TraceId::from_halves(1, 2).expect("not zero"), Numbers(1));
        let ids: std::collections::BTreeSet<_> =
            (0..10_000).map(|_| inbound(trace, &mut numbers).to_u64() >> 24).collect();
        assert_eq!(ids.len(), 10_000);
    }

    #[test]
    fn without_entropy_there_still_is_an_id() {
        let trace = TraceId::from_halves(0, 1).expect("not zero");
        assert!(is_inbound(inbound(trace, &mut Zeros), trace));
    }
}
