//! What counts as an error, what counts as slow.

use crate::config;
use crate::sampling::response_flags::ResponseFlags;
use crate::sampling::threshold::Threshold;

/// What is known of a request when it ends (or so far).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// HTTP status sent or received; `None` when there was no response.
    pub http_status: Option<u16>,
    /// gRPC status from trailers, or from headers when trailers-only; `None` for plain HTTP and where none arrived.
    pub grpc_status: Option<u32>,
    /// The request is gRPC (`content-type: application/grpc…`).
    pub grpc: bool,
    /// Envoy's response flags.
    pub flags: ResponseFlags,
    /// Nanoseconds from first to last byte, so far.
    pub duration_ns: u64,
    /// Upstream attempts (retries and hedges included); 0 if no upstream was tried or it was not read.
    pub attempts: u32,
}

/// `sampling.errors`, compiled.
#[derive(Clone, Debug, PartialEq)]
pub struct ErrorPolicy {
    /// `None`: errors are not kept late.
    pub threshold: Option<Threshold>,
    /// Every span from the root to the error.
    pub whole_path: bool,
    /// Late keeps a second and worker; `None`: no cap.
    pub max_per_second: Option<u32>,
    client_disconnect: bool,
    /// Bit `status - 100` of 512.
    http: [u64; 8],
    /// Bit `code` of 32.
    grpc: u32,
}

/// `sampling.slow`, compiled.
#[derive(Clone, Debug, PartialEq)]
pub struct SlowPolicy {
    /// `None`: slow requests are not kept late.
    pub threshold: Option<Threshold>,
    /// At least this long is slow.
    pub at_least_ns: u64,
    /// Late keeps a second and worker; `None`: no cap.
    pub max_per_second: Option<u32>,
}

/// `sampling.cancelled`, compiled.
#[derive(Clone, Debug, PartialEq)]
pub struct CancelledPolicy {
    /// `None`: cancelled requests are not kept late.
    pub threshold: Option<Threshold>,
    /// Late keeps a second and worker; `None`: no cap.
    pub max_per_second: Option<u32>,
}

// === impl Outcome ===

impl Outcome {
    /// The flags, but for those that are the ordinary end of a tunnel (a websocket, after 101): its server closes the
    /// connection, which Envoy reports as a reset after the response had started.
    pub fn flags_that_count(&self) -> ResponseFlags {
        match self.http_status {
            Some(101) => self.flags.without(ResponseFlags::TUNNEL_END),
            _ => self.flags,
        }
    }

    /// Nobody answered before the caller left. Each hop that was under way sees that by itself.
    pub fn is_cancelled(&self) -> bool {
        self.http_status.is_none() && self.flags.any(ResponseFlags::CLIENT_GONE)
    }
}

// === impl ErrorPolicy ===

impl ErrorPolicy {
    /// From the configuration.
    pub fn new(config: &config::Errors) -> Self {
        let mut http = [0u64; 8];
        for status in 100..600u16 {
            if config.http_status.iter().any(|pattern| pattern.matches(status)) {
                let (word, bit) = place(status);
                if let Some(word) = http.get_mut(word) {
                    *word |= bit;
                }
            }
        }
        Self {
            threshold: Threshold::from_probability(config.percentage.probability()),
            whole_path: config.whole_path,
            max_per_second: (config.max_per_second > 0).then_some(config.max_per_second),
            client_disconnect: config.client_disconnect,
            http,
            grpc: config.grpc_status.iter().filter(|code| **code < 32).fold(0, |bits, code| bits | 1 << code),
        }
    }

    /// Whether a request that has ended failed.
    pub fn is_error(&self, outcome: &Outcome) -> bool {
        let flags = outcome.flags_that_count();
        if flags.any(ResponseFlags::CLIENT_GONE) && !flags.any(ResponseFlags::FAILURE) {
            // The client did not wait for the answer; a status that is an error counts all the same.
            return self.client_disconnect || self.is_error_so_far(outcome);
        }
        outcome.http_status.is_none() || flags.any(ResponseFlags::FAILURE) || self.is_error_so_far(outcome)
    }

    /// Whether the response headers show a failure. Without a response it is not known yet.
    pub fn is_error_so_far(&self, outcome: &Outcome) -> bool {
        let grpc = outcome.grpc_status.is_some_and(|code| code > 31 || self.grpc >> code & 1 == 1);
        grpc || outcome.http_status.is_some_and(|status| self.is_error_status(status))
    }

    fn is_error_status(&self, status: u16) -> bool {
        let (word, bit) = place(status);
        self.http.get(word).is_some_and(|word| word & bit != 0)
    }
}

/// The word and the bit of a status; a status below 100 has none.
fn place(status: u16) -> (usize, u64) {
    match status.checked_sub(100) {
        Some(index) => (usize::from(index / 64), 1 << (index % 64)),
        None => (usize::MAX, 0),
    }
}

// === impl SlowPolicy ===

impl SlowPolicy {
    /// From the configuration.
    pub fn new(config: &config::Slow) -> Self {
        Self {
            threshold: Threshold::from_probability(config.percentage.probability()),
            at_least_ns: config.threshold.as_nanos(),
            max_per_second: (config.max_per_second > 0).then_some(config.max_per_second),
        }
    }

    /// Whether it took, or has taken, too long.
    pub fn is_slow(&self, outcome: &Outcome) -> bool {
        outcome.duration_ns >= self.at_least_ns
    }
}

// === impl CancelledPolicy ===

impl CancelledPolicy {
    /// From the configuration.
    pub fn new(config: &config::Cancelled) -> Self {
        Self {
            threshold: Threshold::from_probability(config.percentage.probability()),
            max_per_second: (config.max_per_second > 0).then_some(config.max_per_second),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(http: u16, grpc: Option<u32>, flags: &[&str]) -> Outcome {
        let flags =
            flags.iter().filter_map(|name| ResponseFlags::named(name)).fold(ResponseFlags(0), ResponseFlags::union);
        Outcome {
            http_status: (http > 0).then_some(http),
            grpc_status: grpc,
            grpc: grpc.is_some(),
            flags,
            ..Outcome::default()
        }
    }

    #[test]
    fn errors_are_told_by_status_grpc_status_flags_and_silence() {
        let policy = ErrorPolicy::new(&config::Errors::default());
        type Row<'a> = (u16, Option<u32>, &'a [&'a str], bool, &'a str);
        let table: &[Row<'_>] = &[
            (200, None, &[], false, "success"),
            (404, None, &[], false, "the client's mistake"),
            (404, None, &["NR"], true, "no route: nothing served it"),
            (500, None, &[], true, "5xx"),
            (503, None, &["UF"], true, "upstream refused"),
            (0, None, &[], true, "no response at all"),
            (0, None, &["DC"], false, "the client went away"),
            (500, None, &["DC"], true, "it failed before the client went away"),
            (0, None, &["DC", "UT"], true, "it timed out as well"),
            (200, None, &["UC"], true, "reset after the headers"),
            (101, None, &["UC"], false, "the server closed a websocket"),
            (101, None, &["SI"], true, "a websocket was cut off"),
            (429, None, &["RL"], false, "rate limited: an answer"),
            (403, None, &["UAEX"], false, "denied: an answer"),
            (200, None, &["RFCF"], false, "answered from a cache"),
            (200, Some(0), &[], false, "gRPC OK"),
            (200, Some(5), &[], false, "NOT_FOUND is not in the default list"),
            (200, Some(13), &[], true, "INTERNAL"),
            (200, Some(14), &[], true, "UNAVAILABLE"),
            (200, Some(99), &[], true, "a code that does not exist"),
        ];
        for (http, grpc, flags, expected, why) in table {
            assert_eq!(policy.is_error(&outcome(*http, *grpc, flags)), *expected, "{why}");
        }
    }

    #[test]
    fn the_configuration_says_what_is_an_error() {
        let config = config::Errors {
            http_status: vec![config::StatusPattern::Exact(429), config::StatusPattern::Class(4)],
            grpc_status: vec![5],
            client_disconnect: true,
            max_per_second: 0,
            ..config::Errors::default()
        };
        let policy = ErrorPolicy::new(&config);
        for (http, grpc, flags, expected) in [
            (499, None, &[][..], true),
            (500, None, &[], false),
            (599, None, &[], false),
            (200, Some(5), &[], true),
            (200, Some(13), &[], false),
            (0, None, &["DC"], true),
        ] {
            assert_eq!(policy.is_error(&outcome(http, grpc, flags)), expected, "{http} {grpc:?} {flags:?}");
        }
        assert_eq!(policy.max_per_second, None);
    }

    #[test]
    fn a_request_is_cancelled_if_nobody_answered_before_its_caller_left() {
        for (http, flags, expected) in
            [(0, &["DC"][..], true), (0, &["DR"], true), (200, &["DC"], false), (0, &["UR"], false), (0, &[], false)]
        {
            assert_eq!(outcome(http, None, flags).is_cancelled(), expected, "{http} {flags:?}");
        }
    }

    #[test]
    fn before_the_end_silence_is_not_an_error() {
        let policy = ErrorPolicy::new(&config::Errors::default());
        assert!(!policy.is_error_so_far(&outcome(0, None, &[])));
        assert!(policy.is_error_so_far(&outcome(502, None, &[])));
    }

    #[test]
    fn slow_is_at_least_the_threshold() {
        let config = config::Slow {
            threshold: config::Duration::from_secs(1),
            percentage: config::Percentage::all(),
            max_per_second: 10,
        };
        let slow = SlowPolicy::new(&config);
        for (duration_ns, expected) in [(999_999_999, false), (1_000_000_000, true), (u64::MAX, true)] {
            assert_eq!(slow.is_slow(&Outcome { duration_ns, ..Outcome::default() }), expected);
        }
    }
}
