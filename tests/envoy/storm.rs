//! An error storm through a gateway and four services with two workers each: what survives the cap is whole, and counts made
//! from it are the true ones.

use crate::paths::{HOPS, Paths, all_exported, borrowed, config, request_headers, threshold, trace_of, weight};
use crate::stage::filter;
use serde_json::json;
use sidespan_harness::bootstrap::Cluster;
use sidespan_harness::mesh::{Action, Mesh, Plan, Service};
use sidespan_harness::{ReceivedSpan, Receiver, Result, envoy_binary};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

const WORKERS: usize = 2;
const PER_SECOND: usize = 5;
/// Failing paths a second, twelve times what the cap of one worker allows.
const RATE: u64 = 60;
const SECONDS: u64 = 18;

/// gateway → frontend → backend → database, and frontend → cart on the side.
async fn start() -> Result<Paths> {
    let receiver = Receiver::start().await?;
    let errors = json!({"percentage": 100, "maxPerSecond": PER_SECOND});
    // The delay of a fresh installation: it is the window of the cap.
    let settings = config(json!({"exporter": {"batch": {"delay": null}}, "sampling": {"errors": errors}}));
    let mesh = Mesh::builder()
        .gateway("istio-ingressgateway", "frontend")
        .service(Service::new("frontend", "shop").calls("cart", "/cart").calls("backend", "/api"))
        .service(Service::new("backend", "shop").calls("database", "/query"))
        .service(Service::new("cart", "shop"))
        .service(Service::new("database", "data"))
        .filter(filter(&settings)?)
        .cluster(Cluster::new("collector", receiver.port()))
        .bootstraps(|_, bootstrap| bootstrap.concurrency(WORKERS as u32))
        .start(&envoy_binary()?)
        .await?;
    Ok(Paths { mesh, receiver })
}

/// Every request fails at the database, and every third of them is answered 200 by the backend. Answers how many there were.
async fn rage(paths: &Paths) -> usize {
    let begin = Instant::now();
    let mut tick = tokio::time::interval(Duration::from_millis(1000 / RATE));
    // On a busy machine the storm has a lull, not a burst.
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut requests = tokio::task::JoinSet::new();
    let mut sent = 0;
    while begin.elapsed() < Duration::from_secs(SECONDS) {
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

fn hop_of(span: &ReceivedSpan) -> Option<usize> {
    HOPS.iter().position(|(service, kind)| (span.service(), span.kind) == (*service, *kind))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_survives_a_storm_is_whole_and_counts_stay_true() -> Result<()> {
    let mut paths = start().await?;
    let begin = Instant::now();
    let sent = rage(&paths).await;
    let seconds = begin.elapsed().as_secs_f64();
    let passes = |name: &str| match name {
        "frontend" => 3,
        "backend" => 2,
        _ => 1,
    };
    let envoys: Vec<_> = paths.mesh.envoys().map(|(name, envoy)| (name, envoy, (sent * passes(name)) as u64)).collect();
    all_exported(&envoys, &paths.receiver).await?;
    let mut traces = BTreeMap::<String, Vec<ReceivedSpan>>::new();
    for span in paths.receiver.spans() {
        traces.entry(span.trace_id.clone()).or_default().push(span);
    }
    for exchange in paths.cases()?.values() {
        // What the head sampled is whole in any case, so it says nothing about the cap.
        let sampled = exchange.received.header("traceparent").is_some_and(|sent| sent.ends_with("-03"));
        if sampled {
            traces.remove(trace_of(exchange)?);
        }
    }
    let is_whole = |spans: &&Vec<ReceivedSpan>| {
        let mut there: Vec<_> = spans.iter().filter_map(hop_of).collect();
        there.sort_unstable();
        there == [0, 1, 2, 3, 4, 5]
    };
    let whole = traces.values().filter(is_whole).count();
    let share = whole as f64 / traces.len().max(1) as f64;
    println!(
        "{sent} failing paths in {seconds:.1} s: {whole} of {} survivors whole ({:.1} %)",
        traces.len(),
        share * 100.0
    );

    // Of each hop: the sum of the weights against the number of requests, all of which failed there or below. One trace is kept
    // with the probability 1/w whatever the others are, so w(w - 1) estimates its part of the variance.
    let mut biased = Vec::new();
    for (index, (service, kind)) in HOPS.iter().enumerate() {
        let all = paths.receiver.spans();
        let kept: Vec<_> = all.iter().filter(|span| hop_of(span) == Some(index)).collect();
        let unknown = kept.iter().filter(|span| threshold(span).is_none()).count();
        let weights: Vec<f64> = kept.iter().filter(|span| threshold(span).is_some()).map(|span| weight(span)).collect();
        let (count, variance) = weights.iter().fold((0.0, 0.0), |(sum, squares), w| (sum + w, squares + w * (w - 1.0)));
        let error = f64::sqrt(variance);
        println!(
            "{service} {kind:?}: {} kept, {unknown} of unknown weight, counted {count:.0} of {sent}, standard error {error:.0}",
            kept.len()
        );
        if (count - sent as f64).abs() > 3.0 * error || unknown > 0 {
            biased.push(*service);
        }
        // Both workers, and room for the windows that the storm began and ended in.
        let most = WORKERS as f64 * PER_SECOND as f64 * (seconds + 4.0) + sent as f64 * 0.03;
        assert!((kept.len() as f64) < most, "{service} {kind:?}: {} kept, the cap allows {most:.0}", kept.len());
    }
    paths.mesh.assert_no_trap();
    assert!(traces.len() >= 2 * SECONDS as usize, "the cap leaves room for more than {}", traces.len());
    assert!(share >= 0.95, "{whole} of {} surviving traces are whole", traces.len());
    assert!(biased.is_empty(), "biased: {biased:?}");
    Ok(())
}
