//! The whole path where the failure has another shape: gRPC, resets, bodies that break, retries by Envoy; HTTP/2 between the
//! sidecars and two workers in each.

use crate::paths::{
    FAILED, Hop, MASKED, ONE_PERCENT, Paths, SAMPLED, assert_path, borrowed, config, hops, is_head_sampled,
    request_headers, timings, trace_of,
};
use serde_json::json;
use sidespan_harness::client::{Client, fire};
use sidespan_harness::mesh::{Action, Plan};
use sidespan_harness::{Result, envoy_version};

/// How often each case is sent.
const TIMES: usize = 10;

struct Case {
    what: &'static str,
    grpc: bool,
    plan: Plan,
    /// `None`: nothing failed.
    reasons: Option<[&'static str; 6]>,
    /// Failed attempts at the database besides the last one.
    more_attempts: usize,
}

/// As [`MASKED`], where an attempt failed and the next one did not.
const RETRIED: [&str; 6] = ["marked", "marked", "marked", "marked", "marked", "error"];

fn case(what: &'static str, plan: Plan, reasons: Option<[&'static str; 6]>) -> Case {
    Case { what, grpc: false, plan, reasons, more_attempts: 0 }
}

fn database(action: Action) -> Plan {
    Plan::new().with("database", action)
}

fn masked(action: Action) -> Plan {
    database(action).with("backend", Action::Mask)
}

impl Case {
    fn grpc(self) -> Self {
        Self { grpc: true, ..self }
    }

    fn attempts(self, attempts: usize) -> Self {
        Self { more_attempts: attempts - 1, ..self }
    }

    fn expected(&self, trace_id: &str) -> Vec<Hop> {
        let Some(reasons) = self.reasons else {
            return if is_head_sampled(trace_id) { hops(SAMPLED, ONE_PERCENT) } else { Vec::new() };
        };
        let mut expected = hops(reasons, "0");
        let last = expected[5].clone();
        expected.extend(std::iter::repeat_n(last, self.more_attempts));
        if reasons == RETRIED && is_head_sampled(trace_id) {
            // The head sampled the attempt that succeeded.
            expected.extend(hops(SAMPLED, ONE_PERCENT).pop());
        }
        expected
    }

    /// What the client hears in `server-timing`.
    async fn send(&self, client: &Client, host: &str, name: &str) -> Result<Vec<String>> {
        let headers = request_headers(name, &self.plan, &[]);
        let headers = borrowed(&headers);
        let reply = match self.grpc {
            true => client.grpc(host, "/shop.Cart/Add", &[b"one"], &headers).await?.http,
            false => client.get(host, "/shop", &headers).await?,
        };
        Ok(timings(reply.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()))))
    }
}

/// Sends each case some times, all of them together, and looks at each trace.
async fn prove(paths: &mut Paths, cases: &[Case]) -> Result<()> {
    let client = paths.mesh.client();
    let names = cases.iter().enumerate().flat_map(|(number, case)| (0..TIMES).map(move |time| (number, time, case)));
    let all: Vec<_> = names.collect();
    let replies = fire(all.len(), 8, |index| {
        let (number, time, case) = all[index];
        let (client, host) = (client.clone(), paths.mesh.host());
        async move { case.send(&client, host, &format!("{number}/{time}")).await }
    })
    .await;
    for (seen, (_, _, case)) in replies.into_iter().zip(&all) {
        let seen = seen?;
        assert!(seen.is_empty(), "{}: the client sees {seen:?}", case.what);
    }
    let traces = paths.traces(all.len() as u64).await?;
    let exchanges = paths.cases()?;
    assert_eq!(exchanges.len(), all.len());
    let mut kept = 0;
    for (name, exchange) in &exchanges {
        let (number, _) = name.split_once('/').unwrap();
        let case = &cases[number.parse::<usize>()?];
        let trace = trace_of(exchange)?;
        let spans = traces.get(trace).map(Vec::as_slice).unwrap_or_default();
        assert_path(case.what, spans, &case.expected(trace), "");
        kept += usize::from(!spans.is_empty());
        for call in &exchange.calls {
            let answer = call.answer.iter().map(|(name, value)| (name.as_str(), value.as_ref()));
            assert_eq!(timings(answer), [""; 0], "{}: the application sees a signal", case.what);
        }
    }
    assert_eq!(kept, traces.len(), "traces that nobody asked for");
    paths.mesh.assert_no_trap();
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_http2_two_workers_grpc_and_resets() -> Result<()> {
    let two_workers = |_: &str, bootstrap: sidespan_harness::bootstrap::Bootstrap| bootstrap.concurrency(2);
    let mut paths = Paths::start(&config(json!({})), |mesh| mesh.http2().bootstraps(two_workers)).await?;
    // Up to Envoy 1.36 a broken body ends with `NO_ERROR`, so the caller takes it for a whole one: the error is masked.
    let broken = if envoy_version()? < (1, 37) { MASKED } else { FAILED };
    let cases = [
        case("success", Plan::new(), None),
        case("a status", database(Action::Status(503)), Some(FAILED)),
        case("a masked status", masked(Action::Status(503)), Some(MASKED)),
        case("a reset stream", database(Action::Reset), Some(FAILED)),
        case("a masked reset", masked(Action::Reset), Some(MASKED)),
        case("a closed connection", database(Action::Close), Some(FAILED)),
        case("a body that breaks", database(Action::Cut), Some(broken)),
        case("a masked body that breaks", masked(Action::Cut), Some(MASKED)),
        case("the client's mistake is no error", masked(Action::Status(404)), None),
        case("gRPC success", Plan::new(), None).grpc(),
        case("gRPC status in trailers", database(Action::Grpc(13)), Some(FAILED)).grpc(),
        case("gRPC status in trailers, masked", masked(Action::Grpc(13)), Some(MASKED)).grpc(),
        case("gRPC trailers-only", database(Action::TrailersOnly(14)), Some(FAILED)).grpc(),
        case("gRPC trailers-only, masked", masked(Action::TrailersOnly(14)), Some(MASKED)).grpc(),
        case("gRPC status of the caller's mistake", database(Action::Grpc(5)), None).grpc(),
        case("gRPC over a plain HTTP error", database(Action::Status(503)), Some(FAILED)).grpc(),
        case("gRPC reset", database(Action::Reset), Some(FAILED)).grpc(),
        case("gRPC reset, masked", masked(Action::Reset), Some(MASKED)).grpc(),
        case("gRPC stream that breaks, masked", masked(Action::Cut), Some(MASKED)).grpc(),
    ];
    prove(&mut paths, &cases).await?;
    paths.mesh.quit().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_retries_by_envoy_and_http1_without_any_trailers() -> Result<()> {
    let frontend = |service: sidespan_harness::mesh::Service| service.retries("gateway-error", 1);
    let backend = |service: sidespan_harness::mesh::Service| service.retries("5xx,reset", 1);
    let mut paths = Paths::with(&config(json!({})), frontend, backend, |mesh| mesh).await?;
    let cases = [
        case("success", Plan::new(), None),
        case("the second attempt succeeds", database(Action::Once(503)), Some(RETRIED)),
        case("the second attempt succeeds, masked or not", masked(Action::Once(503)), Some(RETRIED)),
        case("both attempts fail", database(Action::Status(503)), Some(FAILED)).attempts(2),
        case("both attempts fail, masked", masked(Action::Status(503)), Some(MASKED)).attempts(2),
        case("both attempts are reset", database(Action::Reset), Some(FAILED)).attempts(2),
        case("both attempts are reset, masked", masked(Action::Reset), Some(MASKED)).attempts(2),
        // Not masked: where a body breaks after its headers, Envoy closes an HTTP/1.1 connection before it tells the filter,
        // so an application that hides it at once may have answered before there is a mark. HTTP/2 has no such race.
        case("a body that breaks is not tried again", database(Action::Cut), Some(FAILED)),
    ];
    prove(&mut paths, &cases).await?;

    // The attempt that failed at the backend had nothing below it, and the next one is nobody's business.
    paths.mesh.clear();
    let before = paths.receiver.spans().len();
    let plan = Plan::new().with("backend", Action::Once(503));
    let headers = request_headers("upper", &plan, &[]);
    let reply = paths.mesh.client().get(paths.mesh.host(), "/", &borrowed(&headers)).await?;
    assert_eq!(reply.status, 200);
    let exchanges = paths.cases()?;
    let trace = trace_of(&exchanges["upper"])?;
    paths.receiver.wait_for(before + 4, crate::stage::SOON).await?;
    let traces = paths.traces(cases.len() as u64 * TIMES as u64 + 1).await?;
    if !is_head_sampled(trace) {
        let expected = hops(["marked", "marked", "marked", "error", "", ""], "0");
        assert_path("a retry further up", &traces[trace], &expected[..4], "");
    }
    paths.mesh.assert_no_trap();
    paths.mesh.quit().await
}
