//! Export calls under way: HTTP streams of Envoy, because an answer to a simple callout comes without its trailers, which gRPC
//! needs.

use crate::bytes::Pairs;
use sidespan_core::export::Reply;
use sidespan_core::http::headers::first;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A reply is read up to here; a receiver must not send more (OTLP specification: 4 MiB is an error).
const MAX_REPLY: usize = 4 * 1024 * 1024 + 1;

/// Of one tracer.
#[derive(Default)]
pub(crate) struct Calls(Mutex<State>);

#[derive(Default)]
struct State {
    last_token: u32,
    under_way: Vec<Call>,
    done: Vec<Call>,
    /// Tokens of calls whose configuration has ended.
    lost: Vec<u32>,
}

/// One call, with what has come of its answer.
struct Call {
    token: u32,
    /// The filter configuration that made it.
    config: usize,
    /// Envoy's number; `None` while it is being started, when Envoy may already answer.
    stream: Option<u64>,
    answer: Answer,
}

/// The answer to a call.
#[derive(Default)]
struct Answer {
    headers: Pairs,
    body: Vec<u8>,
    trailers: Pairs,
}

/// A part of an answer.
pub(crate) enum Part<'a> {
    Headers(Pairs),
    Data(&'a [&'a [u8]]),
    Trailers(Pairs),
    Complete,
    Reset,
}

// === impl Calls ===

impl Calls {
    /// A call is being started. Returns its token.
    pub(crate) fn begin(&self, config: usize) -> u32 {
        let mut state = self.lock();
        state.last_token = state.last_token.wrapping_add(1);
        let token = state.last_token;
        state.under_way.push(Call { token, config, stream: None, answer: Answer::default() });
        token
    }

    /// It was started, as Envoy's `stream`.
    pub(crate) fn started(&self, token: u32, stream: u64) {
        if let Some(call) = self.lock().under_way.iter_mut().find(|call| call.token == token) {
            call.stream = Some(stream);
        }
    }

    /// It was not started.
    pub(crate) fn refused(&self, token: u32) {
        let mut state = self.lock();
        state.under_way.retain(|call| call.token != token);
        state.done.retain(|call| call.token != token);
    }

    /// Whether a stream of Envoy is one of these calls.
    pub(crate) fn has(&self, config: usize, stream: u64) -> bool {
        self.lock().under_way.iter().any(|call| call.is(config, stream))
    }

    /// A part of an answer has come. True if the answer is complete, or will not come.
    pub(crate) fn take(&self, config: usize, stream: u64, part: Part<'_>) -> bool {
        let mut state = self.lock();
        let Some(place) = state.under_way.iter().position(|call| call.is(config, stream)) else { return false };
        let Some(call) = state.under_way.get_mut(place) else { return false };
        call.stream = Some(stream);
        let over = matches!(part, Part::Complete | Part::Reset);
        match part {
            Part::Headers(headers) => call.answer.headers = headers,
            Part::Data(chunks) => chunks.iter().for_each(|chunk| call.answer.append(chunk)),
            Part::Trailers(trailers) => call.answer.trailers = trailers,
            Part::Reset => call.answer = Answer::default(),
            Part::Complete => {}
        }
        if over {
            let call = state.under_way.swap_remove(place);
            state.done.push(call);
        }
        over
    }

    /// Envoy's numbers of the calls of a configuration.
    pub(crate) fn streams_of(&self, config: usize) -> Vec<u64> {
        let state = self.lock();
        state.under_way.iter().filter(|call| call.config == config).filter_map(|call| call.stream).collect()
    }

    /// The calls of a configuration that has ended will not be answered. True if there was one.
    pub(crate) fn lose(&self, config: usize) -> bool {
        let mut state = self.lock();
        let State { under_way, lost, .. } = &mut *state;
        let before = lost.len();
        lost.extend(under_way.iter().filter(|call| call.config == config).map(|call| call.token));
        under_way.retain(|call| call.config != config);
        lost.len() > before
    }

    /// The calls that were lost since the last time.
    pub(crate) fn take_lost(&self) -> Vec<u32> {
        std::mem::take(&mut self.lock().lost)
    }

    /// Hands over the answers that are complete; none of them twice. Nothing is locked meanwhile.
    pub(crate) fn deliver(&self, mut take: impl FnMut(u32, Reply<'_>)) {
        loop {
            let Some(call) = self.lock().done.pop() else { return };
            let headers = call.answer.headers.view();
            let status = first(&headers, b":status").and_then(|status| std::str::from_utf8(status).ok()?.parse().ok());
            let trailers = call.answer.trailers.view();
            take(call.token, Reply { status, headers: &headers, body: &call.answer.body, trailers: &trailers });
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Call ===

impl Call {
    /// While a call is started, Envoy may already answer it: no other one is started meanwhile.
    fn is(&self, config: usize, stream: u64) -> bool {
        self.config == config && self.stream.is_none_or(|known| known == stream)
    }
}

// === impl Answer ===

impl Answer {
    fn append(&mut self, chunk: &[u8]) {
        let room = MAX_REPLY.saturating_sub(self.body.len());
        self.body.extend(chunk.iter().take(room));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sidespan_core::http::headers::Header;

    fn delivered(calls: &Calls) -> Vec<(u32, Option<u16>, Vec<u8>)> {
        let mut all = Vec::new();
        calls.deliver(|token, reply| all.push((token, reply.status, reply.body.to_vec())));
        all
    }

    fn ok() -> Part<'static> {
        Part::Headers(Pairs::new([Header::new(":status", "200")]))
    }

    #[test]
    fn an_answer_comes_in_parts_and_is_delivered_once() {
        let calls = Calls::default();
        let (first, second) = (calls.begin(1), 0);
        calls.started(first, 7);
        assert!(!calls.take(1, 7, ok()));
        assert!(!calls.take(1, 7, Part::Data(&[b"a", b"b"])));
        assert!(!calls.take(1, 8, Part::Complete), "another stream");
        assert!(!calls.take(2, 7, Part::Complete), "another configuration");
        assert!(calls.take(1, 7, Part::Complete));
        assert_eq!(delivered(&calls), [(first, Some(200), b"ab".to_vec())]);
        assert!(delivered(&calls).is_empty() && second == 0);
    }

    #[test]
    fn an_answer_inside_of_the_start_finds_its_call() {
        let calls = Calls::default();
        let token = calls.begin(1);
        assert!(!calls.take(1, 9, ok()));
        assert!(calls.take(1, 9, Part::Complete));
        calls.started(token, 9);
        assert_eq!(delivered(&calls), [(token, Some(200), Vec::new())]);
        let token = calls.begin(1);
        assert!(calls.take(1, 10, Part::Reset));
        calls.refused(token);
        assert!(delivered(&calls).is_empty(), "a call that was refused is not answered too");
    }

    #[test]
    fn the_calls_of_a_configuration_that_ends_are_lost_and_no_others() {
        let calls = Calls::default();
        let (lost, kept) = (calls.begin(1), calls.begin(2));
        calls.started(lost, 1);
        calls.started(kept, 1);
        assert!(!calls.take(1, 1, ok()));
        assert_eq!(calls.streams_of(1), [1]);
        assert!(calls.lose(1) && !calls.lose(1));
        assert_eq!((calls.take_lost(), calls.take_lost()), (vec![lost], vec![]));
        assert!(delivered(&calls).is_empty() && !calls.take(1, 1, Part::Complete));
        assert!(calls.take(2, 1, Part::Complete));
        assert_eq!(delivered(&calls), [(kept, None, Vec::new())]);
    }

    #[test]
    fn a_reply_without_end_is_bounded() {
        let calls = Calls::default();
        let token = calls.begin(1);
        calls.started(token, 1);
        let chunk = vec![0; 1024 * 1024];
        (0..8).for_each(|_| assert!(!calls.take(1, 1, Part::Data(&[&chunk]))));
        assert!(calls.take(1, 1, Part::Complete));
        assert_eq!(delivered(&calls)[0].2.len(), MAX_REPLY);
    }
}
