//! An error storm through a gateway and four services with two workers each: what survives the cap is whole, and counts made
//! from it are the true ones.

use crate::paths::{HOPS, Paths, all_exported, borrowed, config, request_headers, threshold, trace_of, weight};
use crate::stage::filter;
use serde_json::{Value, json};
use sidespan_harness::bootstrap::Cluster;
use sidespan_harness::mesh::{Action, Forwarding, Mesh, MeshBuilder, Plan, Service};
use sidespan_harness::{ReceivedSpan, Receiver, Result, envoy_binary, merge};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

const WORKERS: usize = 2;
const PER_SECOND: usize = 5;
/// Failing paths a second, twelve times what the cap of one worker allows.
const RATE: u64 = 60;

/// gateway → frontend → backend → database, and frontend → cart on the side, with this `pluginConfig` everywhere.
pub async fn start(
    settings: &Value,
    forwarding: Forwarding,
    change: impl FnOnce(MeshBuilder) -> MeshBuilder,
) -> Result<Paths> {
    let receiver = Receiver::start().await?;
    let service = |name: &str| Service::new(name, "shop").forwards(forwarding);
    let mesh = Mesh::builder()
        .gateway("istio-ingressgateway", "frontend")
        .service(service("frontend").calls("cart", "/cart").calls("backend", "/api"))
        .service(service("backend").calls("database", "/query"))
        .service(service("cart"))
        .service(service("database"))
        .filter(filter(settings)?)
        .cluster(Cluster::new("collector", receiver.port()))
        .bootstraps(|_, bootstrap| bootstrap.concurrency(WORKERS as u32));
    let mesh = change(mesh).start(&envoy_binary()?).await?;
    Ok(Paths { mesh, receiver })
}

/// A cap that the storm exceeds, and the delay of a fresh installation: it is the window of the cap.
pub fn capped(config: fn(Value) -> Value, sampling: Value) -> Value {
    let mut sampling = sampling;
    merge(&mut sampling, json!({"errors": {"percentage": 100, "maxPerSecond": PER_SECOND}}));
    config(json!({"exporter": {"batch": {"delay": null}}, "sampling": sampling}))
}

/// Every request fails at the database, and every third of them is answered 200 by the backend. Answers how many there were.
pub async fn rage(paths: &Paths, seconds: u64) -> usize {
    let begin = Instant::now();
    let mut tick = tokio::time::interval(Duration::from_millis(1000 / RATE));
    // On a busy machine the storm has a lull, not a burst.
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut requests = tokio::task::JoinSet::new();
    let mut sent = 0;
    while begin.elapsed() < Duration::from_secs(seconds) {
        tick.tick().await;
        let plan = Plan::new().with("database", Action::Status(503));
        let plan = if sent % 3 == 0 { plan.with("backend", Action::Mask) } else { plan };
        let (client, host, headers) =
            (paths.mesh.client(), paths.mesh.host().to_owned(), request_headers(&sent.to_string(), &plan, &[]));
        // A connection of its own for each, so that both workers have their share.
        requests.spawn(async move { client.get(&host, "/shop", &borrowed(&headers)).await.map(|_| ()) });
        sent += 1;
    }
    let answered = requests.join_all().await.into_iter().filter(Result::is_ok).count();
    assert_eq!(answered, sent, "every request is answered");
    sent
}

/// Where on the failing path a span is. The call of the cart is good, and kept by the head only.
pub fn hop_of(span: &ReceivedSpan) -> Option<usize> {
    if span.text("url.full").is_some_and(|url| url.ends_with("/cart")) {
        return None;
    }
    // Beside a native tracer the namespace is part of the name.
    let name = span.service().split('.').next().unwrap_or_default();
    HOPS.iter().position(|(service, kind)| (name, span.kind) == (*service, *kind))
}

/// Waits for the end of a storm of `sent` requests.
pub async fn settled(paths: &Paths, sent: usize) -> Result<()> {
    let passes = |name: &str| match name {
        "frontend" => 3,
        "backend" => 2,
        _ => 1,
    };
    let envoys: Vec<_> = paths.mesh.envoys().map(|(name, envoy)| (name, envoy, (sent * passes(name)) as u64)).collect();
    all_exported(&envoys, &paths.receiver).await
}

/// How many of the traces have the whole failing path, and how many there are.
pub fn survivors(traces: &BTreeMap<String, Vec<ReceivedSpan>>) -> (usize, usize) {
    let is_whole = |spans: &&Vec<ReceivedSpan>| {
        let mut there: Vec<_> = spans.iter().filter_map(hop_of).collect();
        there.sort_unstable();
        there == [0, 1, 2, 3, 4, 5]
    };
    let whole = traces.values().filter(is_whole).count();
    println!("{whole} of {} survivors whole", traces.len());
    // For whoever looks for the reason: without the first windows, in which no hop knew of a storm.
    let start = traces.values().flatten().map(|span| span.start_ns).min().unwrap_or_default() + 3_000_000_000;
    let later = || traces.values().filter(|spans| spans.iter().all(|span| span.start_ns > start));
    println!("without the first three seconds: {} of {}", later().filter(is_whole).count(), later().count());
    (whole, traces.len())
}

/// Of each hop: the sum of the weights against the number of requests, all of which failed there or below. Answers those whose count
/// is wrong.
pub fn biased(spans: &[ReceivedSpan], sent: usize, seconds: f64) -> Vec<String> {
    let mut out = Vec::new();
    for (index, (service, kind)) in HOPS.iter().enumerate() {
        let kept: Vec<_> = spans.iter().filter(|span| hop_of(span) == Some(index)).collect();
        let unknown = kept.iter().filter(|span| threshold(span).is_none()).count();
        let weights: Vec<f64> = kept.iter().filter(|span| threshold(span).is_some()).map(|span| weight(span)).collect();
        // A trace is kept with the probability 1/w whatever the others are, so w(w - 1) estimates its part of the variance.
        let (count, variance) = weights.iter().fold((0.0, 0.0), |(sum, squares), w| (sum + w, squares + w * (w - 1.0)));
        let error = f64::sqrt(variance);
        let line = format!(
            "{service} {kind:?}: {} kept, {unknown} of unknown weight, counted {count:.0} of {sent}, standard error {error:.0}",
            kept.len()
        );
        println!("{line}");
        // Both workers, and room for the windows that the storm began and ended in.
        let most = WORKERS as f64 * PER_SECOND as f64 * (seconds + 4.0) + sent as f64 * 0.03;
        if (count - sent as f64).abs() > 3.0 * error || unknown > 0 || kept.len() as f64 > most {
            out.push(line);
        }
    }
    out
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_survives_a_storm_is_whole_and_counts_stay_true() -> Result<()> {
    let settings = capped(config, json!({"randomSamplingPercentage": 1}));
    let mut paths = start(&settings, Forwarding::All, |mesh| mesh).await?;
    let (begin, sent) = (Instant::now(), rage(&paths, 18).await);
    let seconds = begin.elapsed().as_secs_f64();
    settled(&paths, sent).await?;
    let mut traces = BTreeMap::<String, Vec<ReceivedSpan>>::new();
    for span in paths.receiver.spans() {
        traces.entry(span.trace_id.clone()).or_default().push(span);
    }
    for exchange in paths.cases()?.values() {
        // What the head sampled is whole in any case, so it says nothing about the cap.
        if exchange.received.header("traceparent").is_some_and(|sent| sent.ends_with("-03")) {
            traces.remove(trace_of(exchange)?);
        }
    }
    let (whole, survivors) = survivors(&traces);
    let share = whole as f64 / survivors.max(1) as f64;
    println!("{sent} failing paths in {seconds:.1} s");
    let biased = biased(&paths.receiver.spans(), sent, seconds);
    paths.mesh.assert_no_trap();
    assert!(survivors as f64 >= 2.0 * seconds, "the cap leaves room for more than {survivors}");
    assert!(share >= 0.95, "{whole} of {survivors} surviving traces are whole");
    assert!(biased.is_empty(), "{biased:#?}");
    Ok(())
}

/// What hops tell each other in `tracestate` is lost at each application: traces may be torn, but counts are not wrong.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_applications_that_drop_tracestate_counts_stay_true() -> Result<()> {
    let settings = capped(config, json!({"randomSamplingPercentage": 0}));
    let mut paths = start(&settings, Forwarding::WithoutState, |mesh| mesh).await?;
    let (begin, sent) = (Instant::now(), rage(&paths, 10).await);
    let seconds = begin.elapsed().as_secs_f64();
    settled(&paths, sent).await?;
    let biased = biased(&paths.receiver.spans(), sent, seconds);
    paths.mesh.assert_no_trap();
    assert!(biased.is_empty(), "{biased:#?}");
    Ok(())
}
