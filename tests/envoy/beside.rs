//! The filter beside Envoy's own tracer, which samples 1 %: for every failing request all spans from the gateway to the failing
//! hop, each from one exporter or the other, none twice; nothing else from the filter.

use crate::beside_mesh::{
    Beside, Described, PROTOCOLS, assert_headers_of_the_native_tracer, assert_whole, is_ours, trace_of,
};
use crate::paths::{FAILED, MASKED, borrowed, outline, request_headers, timings};
use sidespan_harness::bootstrap::Tracer;
use sidespan_harness::client::fire;
use sidespan_harness::mesh::{Action, NativeTracing, Plan};
use sidespan_harness::{Result, provide};
use std::collections::BTreeSet;

/// One of each supported minor version that has another tracer than the newest one: from 1.39 on, the OpenTelemetry tracer
/// does not follow its parent's decision.
const OLDER: [&str; 2] = ["1.36.4", "1.39.3"];

/// 3 % fail at the database, half of them hidden by the backend.
fn plan(case: usize) -> Plan {
    match (case % 100 < 3, (case / 100 + case).is_multiple_of(2)) {
        (false, _) => Plan::new(),
        (true, false) => Plan::new().with("database", Action::Status(503)),
        (true, true) => Plan::new().with("database", Action::Status(503)).with("backend", Action::Mask),
    }
}

/// Sends requests of which 3 % fail, and looks at the trace of each. Answers how many failed and how many the tracer sampled.
async fn prove(beside: &mut Beside, requests: usize) -> Result<(usize, usize)> {
    let client = beside.paths.mesh.client();
    let replies = fire(requests, 8, |case| {
        let headers = request_headers(&case.to_string(), &plan(case), &[]);
        let (client, host) = (client.clone(), beside.paths.mesh.host());
        async move { client.get(host, "/shop", &borrowed(&headers)).await }
    })
    .await;
    for (case, reply) in replies.into_iter().enumerate() {
        let (reply, plan) = (reply?, plan(case));
        let fails = plan.actions("database").next().is_some() && plan.actions("backend").next().is_none();
        assert_eq!(reply.status, if fails { 500 } else { 200 }, "case {case}");
        assert_eq!(reply.header("server-timing"), None, "case {case}: the client sees a signal");
    }
    let traces = beside.traces(requests as u64).await?;
    let cases = beside.paths.cases()?;
    assert_eq!(cases.len(), requests);
    let (mut failing, mut sampled, mut known) = (0, 0, BTreeSet::new());
    for (case, exchange) in &cases {
        assert_headers_of_the_native_tracer(exchange);
        for call in &exchange.calls {
            let answer = call.answer.iter().map(|(name, value)| (name.as_str(), value.as_ref()));
            assert_eq!(timings(answer), [""; 0], "case {case}: the application sees a signal");
        }
        let (trace, plan) = (trace_of(exchange)?, plan(case.parse()?));
        known.insert(trace);
        let spans = traces.get(trace).map(Vec::as_slice).unwrap_or_default();
        let native = spans.iter().any(|span| !is_ours(span));
        sampled += usize::from(native);
        let fails = plan.actions("database").next().is_some();
        failing += usize::from(fails);
        let reasons = if plan.actions("backend").next().is_some() { MASKED } else { FAILED };
        if fails || native {
            let ours = assert_whole(&format!("case {case}"), spans, &reasons, 1);
            assert_eq!(ours, if native { 0 } else { 6 }, "case {case}: {:#?}", outline(spans));
        } else {
            assert!(spans.is_empty(), "case {case}: {:#?}", outline(spans));
        }
    }
    let strangers: Vec<_> = traces.iter().filter(|(trace, _)| !known.contains(trace.as_str())).collect();
    assert!(strangers.is_empty(), "{strangers:#?}");
    for metric in ["propagation_overwritten", "host_errors", "capped"] {
        assert_eq!(beside.paths.total(metric).await?, 0, "{metric}");
    }
    beside.paths.mesh.assert_no_trap();
    Ok((failing, sampled))
}

async fn prove_at_one_percent(described: Described, what: &str, requests: usize) -> Result<()> {
    let mut beside = described.start(|mesh| mesh).await?;
    let (failing, sampled) = prove(&mut beside, requests).await?;
    assert_eq!(failing, requests * 3 / 100);
    println!(
        "{what}: {failing} of {failing} failing requests whole; the native tracer sampled {sampled} of {requests}"
    );
    beside.paths.mesh.quit().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_native_opentelemetry_each_failing_request_is_whole_and_no_span_is_exported_twice() -> Result<()> {
    prove_at_one_percent(Described::new(NativeTracing::opentelemetry, 1.0)?, "OpenTelemetry", 2_000).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_native_zipkin_each_failing_request_is_whole_and_no_span_is_exported_twice() -> Result<()> {
    prove_at_one_percent(Described::new(NativeTracing::zipkin, 1.0)?, "Zipkin", 2_000).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_older_envoys_it_is_the_same() -> Result<()> {
    for version in OLDER {
        // ENVOY_BIN names the version of the other tests, and would win.
        let envoy = tokio::task::spawn_blocking(|| provide::envoy_version_binary(version, |_| {})).await??;
        for (name, protocol) in PROTOCOLS {
            let described = Described::new(protocol, 1.0)?.in_envoy(&envoy);
            prove_at_one_percent(described, &format!("{name} in Envoy {version}"), 300).await?;
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_the_native_tracer_samples_everything_the_filter_exports_nothing() -> Result<()> {
    let mut beside = Described::new(NativeTracing::zipkin, 100.0)?.start(|mesh| mesh).await?;
    let (failing, sampled) = prove(&mut beside, 100).await?;
    assert_eq!((failing, sampled), (3, 100));
    assert_eq!((beside.paths.receiver.spans().len(), beside.paths.total("spans_created").await?), (0, 0));
    assert_eq!(beside.paths.total("native_sampled").await?, 6 * 3, "and says why");
    beside.paths.mesh.quit().await
}

/// Without a tracer there is no identity to adopt: errors are kept all the same, each under an identity of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_native_tracer_errors_are_exported_counted_and_the_operator_is_told_once() -> Result<()> {
    const REQUESTS: usize = 40;
    let described = Described { protocol: None, ..Described::new(NativeTracing::opentelemetry, 1.0)? };
    // A `tracing` block without provider is Istio's default.
    let null = |_: &str, listener: sidespan_harness::bootstrap::Listener| listener.tracer(&Tracer::Null, 100.0);
    let mut beside = described.start(|mesh| mesh.listeners(null)).await?;
    let client = beside.paths.mesh.client();
    for case in 0..REQUESTS {
        let plan = if case % 2 == 0 { Plan::new().with("database", Action::Status(503)) } else { Plan::new() };
        let headers = request_headers(&case.to_string(), &plan, &[]);
        client.get(beside.paths.mesh.host(), "/shop", &borrowed(&headers)).await?;
    }
    let traces = beside.traces(REQUESTS as u64).await?;
    let spans: Vec<_> = traces.values().flatten().collect();
    println!("without a native tracer: {} spans for {} failing requests", spans.len(), REQUESTS / 2);
    assert_eq!(spans.len(), 6 * REQUESTS / 2, "each hop that failed, and no other request");
    let ids: BTreeSet<_> = spans.iter().map(|span| &span.span_id).collect();
    assert_eq!(ids.len(), spans.len(), "each has an identity of its own");
    for exchange in beside.paths.cases()?.values() {
        assert!(trace_of(exchange).is_err(), "no trace header is written: {:?}", exchange.received.headers);
    }
    assert_eq!(beside.paths.total("native_absent").await?, spans.len() as u64);
    // Both listeners of a sidecar share their configuration, so they share what has been said.
    let told = beside.log_lines("nativeTracer is adopt, but a request went upstream without ids");
    assert_eq!(told, 4, "one line for each Envoy");
    beside.paths.mesh.assert_no_trap();
    beside.paths.mesh.quit().await
}
