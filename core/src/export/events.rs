//! Log lines of the exporter: one for each change of state, never one for each failure.

use crate::otlp::Failure;
use log::Level;

/// A line for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Severity.
    pub level: Level,
    /// Names the cluster, and what to check.
    pub text: String,
}

/// The state that the log shows.
#[derive(Debug, Default)]
pub(super) struct Events {
    cluster: String,
    /// The failure that lasts, and whether a line has been written about it.
    state: Option<(Failure, bool)>,
    /// When each kind of line was last written: a receiver that goes up and down each second gets one line a minute.
    written: Vec<(Kind, u64)>,
    /// Spans lost before the present failure began.
    lost_before: u64,
    queue_full: bool,
    pending: Vec<Event>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Failed(Failure),
    QueueFull,
    Rejected,
    Compression,
}

const QUIET_NS: u64 = 60_000_000_000;
const MAX_PENDING: usize = 32;

// === impl Events ===

impl Events {
    pub(super) fn new(cluster: &str) -> Self {
        Self { cluster: cluster.to_owned(), ..Self::default() }
    }

    /// A call failed. `in_a_row` counts failures with this one: right after its start Envoy may not know the cluster or its
    /// endpoints yet, so that one such failure is not logged.
    pub(super) fn failed(
        &mut self,
        (failure, retryable): (Failure, bool),
        message: &str,
        in_a_row: u32,
        lost: u64,
        now_ns: u64,
    ) {
        let starting = matches!(failure, Failure::UnknownCluster | Failure::NoHealthyHost) && in_a_row < 2;
        if starting || self.state.is_some_and(|(known, shown)| known == failure && shown) {
            return;
        }
        if self.state.is_none() {
            self.lost_before = lost;
        }
        let shown = self.may_write(Kind::Failed(failure), now_ns);
        // A line about another failure stays valid until spans are delivered again.
        let stands = self.state.is_some_and(|(_, shown)| shown);
        self.state = Some((failure, shown || stands));
        if shown {
            let (level, outlook) =
                if retryable { (Level::Warn, "spans wait for a retry") } else { (Level::Error, "spans were dropped") };
            let detail = if message.is_empty() { String::new() } else { format!(" [{message}]") };
            self.write(level, &format!("{}; {outlook}{detail}", failure.hint()));
        }
    }

    /// A call succeeded.
    pub(super) fn delivered(&mut self, lost: u64) {
        if let Some((_, true)) = self.state.take() {
            let lost = lost.saturating_sub(self.lost_before);
            self.write(Level::Info, &format!("takes spans again; {lost} were dropped meanwhile"));
        }
    }

    /// Spans were dropped because the queue was full.
    pub(super) fn queue_full(&mut self, now_ns: u64) {
        if !std::mem::replace(&mut self.queue_full, true) && self.may_write(Kind::QueueFull, now_ns) {
            self.write(
                Level::Warn,
                "the queue is full and spans are dropped: raise queue.maxBytes, or lower the sampling rate",
            );
        }
    }

    /// There is room again.
    pub(super) fn queue_has_room(&mut self) {
        self.queue_full = false;
    }

    /// A partial success: `rejected` spans, or none and only a warning.
    pub(super) fn rejected(&mut self, rejected: u64, message: &str, now_ns: u64) {
        if self.may_write(Kind::Rejected, now_ns) {
            let text = match rejected {
                0 => format!("took all spans, with a warning: {message}"),
                _ => format!("took the request but rejected {rejected} spans: {message}"),
            };
            self.write(Level::Warn, &text);
        }
    }

    /// The host could not compress a request.
    pub(super) fn not_compressed(&mut self, now_ns: u64) {
        if self.may_write(Kind::Compression, now_ns) {
            self.write(Level::Warn, "requests are sent uncompressed, because Envoy's compress function failed");
        }
    }

    /// The lines written since the last call.
    pub(super) fn take(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.pending)
    }

    fn may_write(&mut self, kind: Kind, now_ns: u64) -> bool {
        match self.written.iter_mut().find(|(known, _)| *known == kind) {
            Some((_, at)) if now_ns.saturating_sub(*at) < QUIET_NS => false,
            Some((_, at)) => {
                *at = now_ns;
                true
            }
            None => {
                self.written.push((kind, now_ns));
                true
            }
        }
    }

    fn write(&mut self, level: Level, text: &str) {
        if self.pending.len() < MAX_PENDING {
            self.pending.push(Event { level, text: format!("exporter, cluster \"{}\": {text}", self.cluster) });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;

    fn lines(events: &mut Events) -> Vec<(Level, String)> {
        events.take().into_iter().map(|event| (event.level, event.text)).collect()
    }

    #[test]
    fn a_trouble_is_one_line_and_its_end_another() {
        let mut events = Events::new("otel");
        (0..50).for_each(|n| events.failed((Failure::Refused, true), "HTTP 503", n, 0, S));
        let written = lines(&mut events);
        assert_eq!(written.len(), 1);
        assert_eq!(written[0].0, Level::Warn);
        assert!(
            written[0].1.contains("\"otel\"") && written[0].1.contains("check") && written[0].1.contains("HTTP 503")
        );
        (0..50).for_each(|_| events.delivered(7));
        let written = lines(&mut events);
        assert_eq!((written.len(), written[0].0), (1, Level::Info));
        assert!(written[0].1.contains("7 were dropped"));
    }

    #[test]
    fn flapping_is_one_line_a_minute() {
        let mut events = Events::new("otel");
        for second in 0..120 {
            events.failed((Failure::Refused, true), "", 2, 0, second * S);
            events.failed((Failure::Timeout, true), "", 3, 0, second * S);
            events.delivered(0);
        }
        assert!(lines(&mut events).len() <= 6);
    }

    #[test]
    fn a_cluster_that_is_not_there_at_the_start_is_no_news_yet() {
        let mut events = Events::new("otel");
        events.failed((Failure::UnknownCluster, true), "", 1, 0, S);
        assert_eq!(lines(&mut events), []);
        events.failed((Failure::UnknownCluster, true), "", 2, 0, S);
        assert_eq!(lines(&mut events).len(), 1);
    }
}
