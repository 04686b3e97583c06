//! The requests of the clients, at a constant rate. Some of them carry a plan that makes them fail.

use anyhow::{Context, Result};
use sidespan_harness::client::{Client, fire};
use sidespan_harness::mesh::{Action, PLAN, Plan};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// The results as the clients saw them.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    /// Answers with a status below 500.
    pub succeeded: usize,
    /// Answers with 500 or above.
    pub failed: usize,
    /// Requests without an answer, with the reason of one of them.
    pub unanswered: Vec<String>,
    /// From the first request to the last answer.
    pub time: Duration,
}

/// Trace headers of the one client that sends a context: B3 in several headers, 64-bit ids, sampled.
pub(super) const B3_CLIENT_HEADERS: &[(&str, &str)] =
    &[("x-b3-traceid", "a3ce929d0e0e4736"), ("x-b3-spanid", "00f067aa0ba902b7"), ("x-b3-sampled", "1")];

/// The trace id of that client, as 32 hex digits.
pub(super) const B3_CLIENT_TRACE: &str = "0000000000000000a3ce929d0e0e4736";

/// At most so many requests at once.
const CONCURRENCY: usize = 64;

/// The plan of the n-th request: four of a hundred fail, and for two of these the client still gets 200.
pub(super) fn plan(n: usize) -> Plan {
    let jitter = Duration::from_millis(((n * 7919) % 13) as u64);
    let plan = Plan::new().with("database", Action::Delay(jitter));
    match n % 100 {
        13 => plan.with("database", Action::Status(503)),
        38 => plan.with("database", Action::Status(503)).with("backend", Action::Mask),
        63 => plan.with("backend", Action::Status(500)),
        88 => plan.with("database", Action::Reset).with("backend", Action::Mask),
        _ => plan,
    }
}

/// Sends `total` requests for `host` at `rate` a second, one of them with the headers of the B3 client. Calls `progress` with the number of answers.
pub(super) async fn send(client: &Client, host: &str, total: usize, rate: f64, progress: impl Fn(usize)) -> Traffic {
    let (begin, answered) = (tokio::time::Instant::now(), AtomicUsize::new(0));
    let (answered, progress) = (&answered, &progress);
    let exchange = |n: usize| async move {
        tokio::time::sleep_until(begin + Duration::from_secs_f64(n as f64 / rate)).await;
        let outcome = request(client, host, n, n == total / 2).await;
        progress(answered.fetch_add(1, Ordering::Relaxed) + 1);
        outcome
    };
    let started = Instant::now();
    let outcomes = fire(total, CONCURRENCY, exchange).await;
    let mut traffic = Traffic { time: started.elapsed(), ..Traffic::default() };
    for outcome in outcomes {
        match outcome {
            Ok(status) if status < 500 => traffic.succeeded += 1,
            Ok(_) => traffic.failed += 1,
            Err(error) => traffic.unanswered.push(format!("{error:#}")),
        }
    }
    traffic
}

async fn request(client: &Client, host: &str, n: usize, with_b3: bool) -> Result<u16> {
    let plan = if with_b3 { Plan::new() } else { plan(n) }.to_string();
    let mut headers = vec![(PLAN, plan.as_str()), ("x-tenant-id", ["acme", "globex", "initech"][n % 3])];
    headers.extend(B3_CLIENT_HEADERS.iter().filter(|_| with_b3));
    let path = format!("/checkout/{}", 10_000 + n);
    let reply = client.get(host, &path, &headers).await.with_context(|| format!("request {n}"))?;
    Ok(reply.status.as_u16())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_hundred_requests_four_fail_and_two_of_them_are_masked() {
        let fails = |plan: &Plan| {
            plan.to_string().contains(['=']) && {
                let ends = |name| plan.actions(name).any(|action| !matches!(action, Action::Delay(_) | Action::Mask));
                ends("database") || ends("backend")
            }
        };
        let masked = |plan: &Plan| plan.actions("backend").any(|action| action == Action::Mask);
        let plans: Vec<Plan> = (0..100).map(plan).collect();
        assert_eq!(plans.iter().filter(|plan| fails(plan)).count(), 4);
        assert_eq!(plans.iter().filter(|plan| masked(plan)).count(), 2);
        assert_ne!(plan(50).to_string(), plan(51).to_string(), "durations differ");
        assert!(!fails(&plan(50)), "the request with B3 headers does not fail");
    }
}
