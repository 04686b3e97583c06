//! Signals of others: a callee that always answers `traceresponse` or `server-timing: trace` must neither make us keep its good
//! requests nor use up the cap; what a believed signal may claim is bounded by the local policy.

use crate::paths::{
    FAILED, Paths, all_exported, borrowed, config, hops, is_head_sampled, request_headers, threshold, trace_of,
};
use crate::stage::{Stage, filter};
use serde_json::{Value, json};
use sidespan_harness::bootstrap::{Cluster, Direction, Listener, Node, Route};
use sidespan_harness::client::fire;
use sidespan_harness::mesh::{Action, Plan};
use sidespan_harness::upstream::{header, status};
use sidespan_harness::{Result, Upstream};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

const REQUESTS: usize = 400;
const SPAN: &str = "00f067aa0ba902b7";
/// The header of an application that says for each request that it was sampled, in the words of the request's `x-form`.
const FORMS: [&str; 3] = ["own", "traceresponse", "server-timing"];

/// A server outside the mesh, which answers every request of a trace with a signal.
async fn server() -> Result<Upstream> {
    Upstream::start(|request| async move {
        let text = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
        let answer = status(200, "fine").await;
        let Some(trace) = text("traceparent").and_then(|parent| parent.get(3..35)) else { return answer };
        let child = format!("00-{trace}-b7ad6b7169203331-01");
        match text("x-form").unwrap_or("traceresponse") {
            "server-timing" => header(answer, "server-timing", &format!("trace;desc={child}")),
            "own" => header(answer, "server-timing", &format!("trace;desc={child};th=0")),
            "both" => header(header(answer, "traceresponse", &child), "server-timing", &format!("trace;desc={child}")),
            _ => header(answer, "traceresponse", &child),
        }
    })
    .await
}

/// No head sampling and no cap, changed by `patch`; listeners `outbound` and `gateway`.
async fn stage(patch: Value) -> Result<Stage> {
    let mut settings = config(json!({"sampling": {"randomSamplingPercentage": 0}}));
    sidespan_harness::merge(&mut settings, patch);
    let filters = (filter(&settings)?, filter(&settings)?.named("test.gateway"));
    Stage::bare(Node::sidecar("backend", "shop"), server().await?, |bootstrap| {
        let gateway = Listener::new("gateway", Direction::Unspecified).route(Route::cluster("/", "app"));
        bootstrap.listener(Listener::outbound("app").filter(filters.0)).listener(gateway.filter(filters.1))
    })
    .await
}

/// A trace with this R.
fn trace(r: u64) -> String {
    format!("4bf92f3577b34da6a3{r:014x}")
}

/// `n` unsampled requests of traces that no other call has, R spread evenly.
async fn send(stage: &Stage, listener: &str, host: &str, form: &str, n: usize) -> Result<()> {
    static CALLS: AtomicU64 = AtomicU64::new(0);
    let (client, call) = (stage.client(listener)?, CALLS.fetch_add(1, Relaxed));
    let replies = fire(n, 8, |index| {
        let client = client.clone();
        let traceparent = format!("00-{}-{SPAN}-00", trace(index as u64 * ((1 << 56) / n as u64) + call));
        async move { client.get(host, "/", &[("traceparent", traceparent.as_str()), ("x-form", form)]).await }
    });
    for reply in replies.await {
        assert_eq!(reply?.status, 200);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_good_request_is_not_kept_because_a_callee_says_that_it_was_sampled() -> Result<()> {
    let mut stage = stage(json!({})).await?;
    let mut sent = 0;
    let mut wrong = Vec::new();
    for (listener, form) in [("outbound", "traceresponse"), ("outbound", "server-timing"), ("gateway", "both")] {
        let before = stage.receiver.spans().len();
        send(&stage, listener, "api.example.com", form, REQUESTS).await?;
        sent += REQUESTS;
        all_exported(&[("backend", &stage.envoy, sent as u64)], &stage.receiver).await?;
        let kept = stage.receiver.spans().len() - before;
        println!("{listener}, {form}: {kept} of {REQUESTS} good requests kept");
        if kept > 0 {
            wrong.push((listener, form, kept));
        }
    }
    stage.envoy.assert_no_trap();
    assert!(wrong.is_empty(), "{wrong:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn error_paths_stay_whole_beside_a_callee_that_always_says_so() -> Result<()> {
    let outside = server().await?;
    let cluster = Cluster::new("outbound|80||api.example.com", outside.port());
    // The cap of a fresh installation.
    let settings = config(json!({"sampling": {"errors": {"maxPerSecond": null}}}));
    let frontend =
        |service: sidespan_harness::mesh::Service| service.calls_external("api.example.com", "/rates", cluster);
    let mut paths = Paths::with(&settings, frontend, |backend| backend, |mesh| mesh).await?;
    let client = paths.mesh.client();
    let plan = |case: usize| match case.is_multiple_of(40) {
        true => Plan::new().with("database", Action::Status(503)),
        false => Plan::new(),
    };
    const REQUESTS: usize = 1_600;
    let replies = fire(REQUESTS, 8, |case| {
        let (client, host) = (client.clone(), paths.mesh.host());
        let headers = request_headers(&case.to_string(), &plan(case), &[]);
        async move { client.get(host, "/shop", &borrowed(&headers)).await }
    });
    for reply in replies.await {
        reply?;
    }
    // The frontend's outbound listener is passed twice.
    let listeners = |name: &str| {
        if name == "frontend" {
            3
        } else if name == "backend" {
            2
        } else {
            1
        }
    };
    let envoys: Vec<_> =
        paths.mesh.envoys().map(|(name, envoy)| (name, envoy, (REQUESTS * listeners(name)) as u64)).collect();
    all_exported(&envoys, &paths.receiver).await?;
    let spans = paths.receiver.spans();
    let (mut failing, mut whole, mut good) = (0, 0, 0);
    for (case, exchange) in paths.cases()? {
        let trace = trace_of(&exchange)?;
        let of_trace: Vec<_> = spans.iter().filter(|span| span.trace_id == trace).collect();
        if !case.parse::<usize>()?.is_multiple_of(40) {
            good += usize::from(!is_head_sampled(trace) && !of_trace.is_empty());
            continue;
        }
        failing += 1;
        let there = |hop: &crate::paths::Hop| {
            of_trace.iter().any(|span| {
                span.service() == hop.service
                    && span.kind == hop.kind
                    && span.text("sidespan.sampling.reason") == Some(hop.reason)
                    && threshold(span) == Some("0")
            })
        };
        whole += usize::from(hops(FAILED, "0").iter().all(there));
    }
    println!("{whole} of {failing} error paths whole, {good} good requests kept");
    paths.mesh.assert_no_trap();
    assert_eq!((whole, good), (failing, 0), "(whole error paths, good requests kept)");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_kept_for_a_signal_counts_against_the_cap() -> Result<()> {
    const PER_SECOND: f64 = 5.0;
    for form in FORMS {
        let mut settings = json!({"sampling": {"errors": {"maxPerSecond": PER_SECOND as u64}}});
        if form != "own" {
            settings["propagation"] = json!({"foreignKeepSignals": true});
        }
        let mut stage = stage(settings).await?;
        let begin = Instant::now();
        let mut sent = 0;
        while begin.elapsed() < Duration::from_secs(4) {
            send(&stage, "outbound", "api.example.com", form, 100).await?;
            sent += 100;
        }
        all_exported(&[("backend", &stage.envoy, sent)], &stage.receiver).await?;
        let (kept, seconds) = (stage.receiver.spans().len(), begin.elapsed().as_secs_f64());
        println!("{form}: {kept} of {sent} kept in {seconds:.1} s");
        let most = PER_SECOND * (seconds + 2.0);
        assert!(kept > 0, "{form}: it is believed");
        assert!(kept as f64 <= most, "{form}: {kept} kept, the cap allows {most}");
        stage.envoy.assert_no_trap();
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rule_refuses_the_signals_of_some_hosts() -> Result<()> {
    let rule = json!({"name": "external", "match": {"host": ["*.example.com"]}, "keepSignals": false});
    let mut stage = stage(json!({"propagation": {"foreignKeepSignals": true}, "sampling": {"rules": [rule]}})).await?;
    let mut sent = 0;
    for form in FORMS {
        for (host, expected) in [("api.example.com", 0), ("backend.shop", 40)] {
            let before = stage.receiver.spans().len();
            send(&stage, "outbound", host, form, 40).await?;
            sent += 40;
            all_exported(&[("backend", &stage.envoy, sent)], &stage.receiver).await?;
            assert_eq!(stage.receiver.spans().len() - before, expected, "{host} {form}");
        }
    }
    stage.envoy.assert_no_trap();
    Ok(())
}

/// A callee claims 100 %, the policy here is 10 %: the signal keeps one in ten, and each says that it stands for ten.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_threshold_that_a_signal_claims_is_bounded_by_the_local_policy() -> Result<()> {
    const TEN_PERCENT: &str = "e666";
    let mut stage = stage(json!({"sampling": {"errors": {"percentage": 10}}})).await?;
    let mut sent = 0;
    for listener in ["outbound", "gateway"] {
        let before = stage.receiver.spans().len();
        send(&stage, listener, "backend.shop", "own", REQUESTS).await?;
        sent += REQUESTS as u64;
        all_exported(&[("backend", &stage.envoy, sent)], &stage.receiver).await?;
        let spans = stage.receiver.spans().split_off(before);
        println!("{listener}: {} of {REQUESTS} kept", spans.len());
        let least = format!("{TEN_PERCENT:0<14}");
        let allowed = (0..REQUESTS as u64).filter(|n| trace(n * ((1 << 56) / REQUESTS as u64))[18..] >= *least).count();
        assert_eq!(spans.len(), allowed, "{listener}");
        for span in &spans {
            assert_eq!((threshold(span), span.text("sidespan.sampling.reason")), (Some(TEN_PERCENT), Some("marked")));
        }
    }
    stage.envoy.assert_no_trap();
    Ok(())
}
