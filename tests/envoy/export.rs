//! Faults of the receiver, in a real Envoy: no request notices, and every span is exported or counted under the reason why not.
//!
//! Requests are spied on loosely: the bounds catch a request that waits for the receiver, not a slow machine.

use crate::ledger::{Ledger, balanced, exporter_lines};
use crate::stage::{SOON, Stage, config, filter};
use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use sidespan_harness::bootstrap::{Bootstrap, Cluster, Direction, Listener, Node, Plugin, Route};
use sidespan_harness::client::{Client, fire};
use sidespan_harness::provide::Shell;
use sidespan_harness::receiver::{Export, Reply};
use sidespan_harness::usage::{Worker, resident_bytes};
use sidespan_harness::{Envoy, Receiver, Result, Upstream, envoy_binary};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// No request may take longer, on the busiest machine. Receivers in these tests are stuck for longer, or not at all.
const LATE: Duration = Duration::from_secs(4);

/// Half of all requests are faster, on a busy machine.
const USUAL: Duration = Duration::from_millis(400);

/// Requests in the middle of which the receiver is killed, twice.
const MANY: usize = 20_000;

/// What the process may grow by, whatever is wrong with the receiver: the queues of all roots, their copies while a call is
/// made, allocators' reserves, and Envoy's own buffers. Generous; docs/export.md has what was measured.
const GROWTH: u64 = 64 * 1024 * 1024;

/// Short waits, so that tests are quick.
fn impatient(patch: Value) -> Value {
    let mut config = config(json!({"exporter": {
        "otlp": {"timeout": "6s"},
        "retry": {"initial": "100ms", "max": "400ms", "maxElapsed": "60s"},
    }}));
    sidespan_harness::merge(&mut config, patch);
    config
}

/// The trace of request `number` of a run.
fn trace_id(number: usize) -> String {
    format!("{:032x}", number + 1)
}

/// Requests `range`, each sampled and in a trace of its own. None may fail, and none may wait.
async fn load(client: &Client, range: std::ops::Range<usize>) -> Result<()> {
    let first = range.start;
    let answers = fire(range.len(), 16, |index| {
        let client = client.clone();
        async move {
            let traceparent = format!("00-{}-00f067aa0ba902b7-01", trace_id(first + index));
            let begin = Instant::now();
            let reply = client.get("backend", "/", &[("traceparent", &traceparent)]).await?;
            ensure!(reply.status == 200, "request {}: {}", first + index, reply.status);
            Ok(begin.elapsed())
        }
    });
    let mut times = answers.await.into_iter().collect::<Result<Vec<Duration>>>()?;
    times.sort_unstable();
    let (median, slowest) = (times[times.len() / 2], times[times.len() - 1]);
    ensure!(slowest < LATE && median < USUAL, "requests waited: median {median:?}, slowest {slowest:?}");
    Ok(())
}

/// How often each trace of `range` was received; every one of them must be there `at_least` so often.
fn deliveries(receiver: &Receiver) -> BTreeMap<String, usize> {
    let mut times = BTreeMap::new();
    for span in receiver.spans() {
        *times.entry(span.trace_id).or_insert(0) += 1;
    }
    times
}

fn assert_exactly_once(receiver: &Receiver, range: std::ops::Range<usize>) {
    let times = deliveries(receiver);
    let wrong: Vec<_> = range.filter(|number| times.get(&trace_id(*number)) != Some(&1)).collect();
    assert!(wrong.is_empty(), "{} spans did not come exactly once, such as {:?}", wrong.len(), wrong.first());
}

/// What the account must say about one request, by what it was answered.
fn expected(exports: &[Export]) -> BTreeMap<&'static str, u64> {
    let mut sums = BTreeMap::new();
    for export in exports {
        let spans = export.span_count() as u64;
        let mut add = |name, spans| *sums.entry(name).or_insert(0) += spans;
        let (_, reply) = match export.reply.clone() {
            Reply::Delay(delay, reply) => (delay, *reply),
            reply => (Duration::ZERO, reply),
        };
        match reply {
            Reply::Accept | Reply::Garbage => add("spans_exported", spans),
            Reply::Partial { rejected, .. } => {
                let rejected = spans.min(rejected as u64);
                add("dropped_rejected", rejected);
                add("spans_exported", spans - rejected);
            }
            Reply::Status { code: 413, .. } => add("dropped_too_large", spans),
            Reply::Status { code: 429 | 502..=504, .. } | Reply::Reset | Reply::ReceiveThenReset | Reply::Never => {
                add("spans_retried", spans);
            }
            Reply::Status { .. } => add("dropped_not_retryable", spans),
            other => panic!("no rule for {other:?}"),
        }
    }
    sums
}

#[tokio::test]
async fn whatever_the_receiver_answers_every_span_is_accounted_for() -> Result<()> {
    let config = impatient(json!({"exporter": {"otlp": {"timeout": "2s"}}}));
    let mut stage = Stage::start(Upstream::ok().await?, &config).await?;
    let client = stage.client("inbound")?;
    let later = |code, after: &str| Reply::Status { code, retry_after: Some(after.to_owned()) };
    let partial = |rejected, message: &str| Reply::Partial { rejected, message: message.to_owned() };
    // (answers, calls counted under this name)
    let table = [
        (vec![Reply::status(503), Reply::status(502), Reply::status(504)], "calls_unavailable"),
        (vec![later(429, "1")], "calls_throttled"),
        (vec![Reply::status(400)], "calls_rejected"),
        (vec![Reply::status(500)], "calls_rejected"),
        (vec![Reply::status(413)], "calls_too_large"),
        (vec![partial(3, "too old")], "calls_partial"),
        (vec![partial(0, "please upgrade")], "calls_partial"),
        (vec![partial(1_000_000, "nonsense")], "calls_partial"),
        (vec![Reply::Garbage], "calls_success"),
        (vec![Reply::Accept.after(Duration::from_millis(900))], "calls_success"),
        (vec![Reply::Never], "calls_timeout"),
        (vec![Reply::Reset], "calls_refused"),
        (vec![Reply::ReceiveThenReset], "calls_refused"),
    ];
    let mut number = 0;
    for (script, outcome) in table {
        let before = Ledger::read(&stage.envoy).await?;
        stage.receiver.clear();
        stage.receiver.script(script.clone());
        let range = number..number + 40;
        load(&client, range.clone()).await?;
        number += 40;
        let since = Ledger::settled(&stage.envoy, &before, 40, SOON).await.with_context(|| format!("{script:?}"))?;
        let exports = stage.receiver.exports();
        assert!(since.get(outcome) >= script.len() as u64, "{script:?}: {since:?}");
        assert_eq!(since.get("calls"), exports.len() as u64, "{script:?}: {since:?}");
        let expected = expected(&exports);
        for name in
            ["spans_exported", "spans_retried", "dropped_rejected", "dropped_not_retryable", "dropped_too_large"]
        {
            assert_eq!(since.get(name), expected.get(name).copied().unwrap_or(0), "{name} after {script:?}: {since:?}");
        }
        let lost_reply = matches!(script[..], [Reply::ReceiveThenReset]);
        let most = deliveries(&stage.receiver).into_values().max().unwrap_or(1);
        assert_eq!(most, if lost_reply { 2 } else { 1 }, "{script:?}");
        if since.dropped() == 0 && !lost_reply {
            assert_exactly_once(&stage.receiver, range);
        }
        if let Reply::Status { retry_after: Some(_), .. } = script[0] {
            let waited = exports[1].at.duration_since(exports[0].at)?;
            assert!(waited >= Duration::from_secs(1), "Retry-After: 1, but it came after {waited:?}");
        }
    }
    let lines = exporter_lines(&stage.envoy.log());
    let mut unique: Vec<_> = lines.iter().filter(|line| !line.contains("takes spans again")).cloned().collect();
    assert!(unique.len() >= 6 && lines.len() <= 16, "one line for each change of state: {lines:#?}");
    unique.sort();
    unique.dedup_by_key(|line| line.split_once(':').map(|(_, text)| text.chars().take(30).collect::<String>()));
    let troubles = lines.len() - lines.iter().filter(|line| line.contains("takes spans again")).count();
    assert_eq!(unique.len(), troubles, "no trouble is told twice: {lines:#?}");
    stage.envoy.assert_no_trap();
    Ok(())
}

#[tokio::test]
async fn a_receiver_that_is_down_or_killed_gets_everything_in_the_end() -> Result<()> {
    let receiver = Receiver::start().await?;
    receiver.refuse().await?;
    let app = Upstream::ok().await?;
    let config = impatient(json!({"exporter": {"queue": {"maxBytes": "48MiB"}}}));
    let bootstrap = Bootstrap::new(Node::sidecar("backend", "shop"))
        .listener(Listener::inbound("app").filter(filter(&config)?))
        .cluster(Cluster::new("app", app.port()))
        .cluster(Cluster::new("collector", receiver.port()));
    let mut envoy = Envoy::start(&envoy_binary()?, &bootstrap).await?;
    let client = Client::http1(envoy.port("inbound")?);

    // Down when Envoy starts.
    load(&client, 0..200).await?;
    envoy.wait_for_stat("wasmcustom.sidespan_calls_refused_total", 2, SOON).await?;
    let waiting = balanced(&envoy, 200, SOON).await?;
    assert_eq!((waiting.queued(), waiting.get("spans_exported")), (200, 0));
    receiver.resume().await?;
    let ledger = Ledger::settled(&envoy, &Ledger::default(), 200, SOON).await?;
    assert_eq!((ledger.get("spans_exported"), ledger.dropped()), (200, 0));
    assert_exactly_once(&receiver, 0..200);

    // 503 for some seconds.
    receiver.answer_with(Reply::status(503));
    load(&client, 200..400).await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    receiver.answer_with(Reply::Accept);
    let ledger = Ledger::settled(&envoy, &Ledger::default(), 400, SOON).await?;
    assert_eq!((ledger.get("spans_exported"), ledger.dropped()), (400, 0));
    assert!(ledger.get("calls_unavailable") >= 2, "{ledger:?}");
    assert_exactly_once(&receiver, 0..400);

    // Killed and restarted in the middle of many requests.
    let before = resident_bytes(envoy.id());
    let begin = Instant::now();
    let kill = async {
        for _ in 0..2 {
            let so_far = receiver.spans().len();
            receiver.wait_for(so_far + MANY / 8, SOON * 3).await?;
            receiver.refuse().await?;
            tokio::time::sleep(Duration::from_millis(700)).await;
            receiver.resume().await?;
        }
        Ok(())
    };
    tokio::try_join!(load(&client, 400..400 + MANY), kill)?;
    println!("{MANY} requests took {:?}", begin.elapsed());
    let all = 400 + MANY;
    let ledger = Ledger::settled(&envoy, &Ledger::default(), all as u64, SOON).await?;
    assert_eq!((ledger.get("spans_exported"), ledger.dropped()), (all as u64, 0), "{ledger:?}");
    let (once_more, lost) = once_more_and_lost(&receiver, all);
    assert_eq!(lost, 0, "{ledger:?}");
    // Whatever was under way when the receiver was killed may have been taken: the reply was lost.
    assert!(once_more <= 2 * 4 * 512, "{once_more} spans came twice: {ledger:?}");
    if let (Some(before), Some(after)) = (before, resident_bytes(envoy.id())) {
        println!("the process grew by {} kB", after.saturating_sub(before) / 1024);
        assert!(after < before + GROWTH, "from {before} to {after}");
    }
    let lines = exporter_lines(&envoy.log());
    assert!(lines.len() <= 8, "one line for each change of state: {lines:#?}");
    assert!(
        lines[0].contains("cannot connect") && lines[1].contains("takes spans again; 0 were dropped"),
        "{lines:#?}"
    );
    envoy.assert_no_trap();
    Ok(())
}

/// How many deliveries too many there were, and how many spans never came.
fn once_more_and_lost(receiver: &Receiver, all: usize) -> (usize, usize) {
    let times = deliveries(receiver);
    let lost = (0..all).filter(|number| !times.contains_key(&trace_id(*number))).count();
    (times.values().map(|times| times - 1).sum(), lost)
}

#[tokio::test]
async fn with_nowhere_to_send_spans_are_dropped_by_reason_and_traffic_goes_on() -> Result<()> {
    let app = Upstream::ok().await?;
    let retry = json!({"initial": "100ms", "max": "200ms", "maxElapsed": "1s"});
    let mut bootstrap = Bootstrap::new(Node::sidecar("backend", "shop"))
        .cluster(Cluster::new("app", app.port()))
        .cluster(Cluster::without_endpoints("empty"));
    // (cluster, counter, largest queue)
    let table = [
        ("missing", "calls_unknown_cluster", "1MiB"),
        ("empty", "calls_no_host", "1MiB"),
        ("missing-small", "calls_unknown_cluster", "64KiB"),
    ];
    for (cluster, _, queue) in table {
        let otlp = json!({"cluster": cluster});
        let config = impatient(json!({"exporter": {"otlp": otlp, "retry": retry, "queue": {"maxBytes": queue}}}));
        let wasm = filter(&config)?.named(&format!("istio-system.{cluster}"));
        let listener = Listener::new(cluster, Direction::Inbound).route(Route::cluster("/", "app")).filter(wasm);
        bootstrap = bootstrap.listener(listener);
    }
    let mut envoy = Envoy::start(&envoy_binary()?, &bootstrap).await?;
    for (cluster, outcome, queue) in table {
        let before = Ledger::read(&envoy).await?;
        load(&Client::http1(envoy.port(cluster)?), 0..400).await?;
        let since = Ledger::settled(&envoy, &before, 400, SOON).await?;
        assert_eq!((since.dropped(), since.get("spans_exported")), (400, 0), "{cluster}: {since:?}");
        assert!(since.get(outcome) >= 2, "{cluster}: {since:?}");
        assert!(since.get("dropped_retry_exhausted") > 0, "{cluster}: {since:?}");
        assert_eq!(since.get("dropped_queue_full_plain") > 0, queue == "64KiB", "{cluster}: {since:?}");
        let log = envoy.log();
        let lines: Vec<_> =
            exporter_lines(&log).into_iter().filter(|line| line.starts_with(&format!("\"{cluster}\""))).collect();
        assert_eq!(lines.len(), if queue == "64KiB" { 2 } else { 1 }, "{lines:#?}");
    }
    envoy.assert_no_trap();
    Ok(())
}

#[tokio::test]
async fn a_slow_receiver_slows_nobody() -> Result<()> {
    let mut stage = Stage::start(Upstream::ok().await?, &impatient(json!({}))).await?;
    stage.receiver.answer_with(Reply::Accept.after(LATE + Duration::from_secs(1)));
    let (inbound, outbound) = (stage.client("inbound")?, stage.client("outbound")?);
    tokio::try_join!(load(&inbound, 0..500), load(&outbound, 500..1000))?;
    let under_way = Ledger::read(&stage.envoy).await?.get("calls_under_way");
    assert!((1..=8).contains(&under_way), "at most four calls of each root: {under_way}");
    let ledger = Ledger::settled(&stage.envoy, &Ledger::default(), 1000, SOON * 2).await?;
    assert_eq!((ledger.get("spans_exported"), ledger.get("spans_retried")), (1000, 0), "{ledger:?}");
    assert_exactly_once(&stage.receiver, 0..1000);
    stage.envoy.assert_no_trap();
    Ok(())
}

#[tokio::test]
async fn a_reload_under_load_loses_nothing_and_sends_nothing_twice() -> Result<()> {
    const REQUESTS: usize = 4000;
    let (app, receiver) = (Upstream::ok().await?, Receiver::start().await?);
    let generation = |number: usize| -> Result<Plugin> {
        Ok(filter(&impatient(json!({"resource": {"generation": number}})))?.discovered())
    };
    let bootstrap = Bootstrap::new(Node::sidecar("backend", "shop"))
        .listener(Listener::inbound("app").filter(generation(0)?))
        .cluster(Cluster::new("app", app.port()))
        .cluster(Cluster::new("collector", receiver.port()));
    let mut envoy = Envoy::start(&envoy_binary()?, &bootstrap).await?;
    let client = Client::http1(envoy.port("inbound")?);
    let reload = async {
        for number in 1..=4 {
            let seen = app.requests().len();
            app.wait_for(seen + REQUESTS / 8, SOON).await?;
            ensure!(envoy.update_plugin(&generation(number)?).await?, "generation {number} was refused");
        }
        Ok(())
    };
    tokio::try_join!(load(&client, 0..REQUESTS), reload)?;
    load(&client, REQUESTS..REQUESTS + 10).await?;
    let all = REQUESTS + 10;
    let ledger = Ledger::settled(&envoy, &Ledger::default(), all as u64, SOON).await?;
    let (once_more, lost) = once_more_and_lost(&receiver, all);
    assert_eq!(lost, 0, "{ledger:?}");
    // Envoy cancels the calls of a dynamic module whose configuration ends, so their spans are sent again.
    let at_most = if Shell::from_environment()? == Shell::Wasm { 0 } else { 4 * 512 };
    assert!(once_more <= at_most, "{once_more} spans came twice: {ledger:?}");
    let last = receiver.spans().iter().filter(|span| span.resource.get("generation") == Some(&json!(4))).count();
    assert!((10..all).contains(&last), "{last} spans of the last configuration");
    assert_eq!((ledger.get("spans_exported"), ledger.dropped()), (all as u64, 0), "{ledger:?}");
    envoy.assert_no_trap();
    Ok(())
}

#[tokio::test]
async fn a_graceful_drain_delivers_everything_before_the_end() -> Result<()> {
    let stage = Stage::start(Upstream::ok().await?, &impatient(json!({}))).await?;
    let client = stage.client("inbound")?;
    load(&client, 0..300).await?;
    // What Istio's agent does: drain, wait (terminationDrainDuration, 5 s), end.
    stage.envoy.admin_post("/drain_listeners?graceful").await?;
    let ledger = Ledger::settled(&stage.envoy, &Ledger::default(), 300, SOON).await?;
    assert_eq!(ledger.get("spans_exported"), 300, "{ledger:?}");
    let traps = stage.envoy.traps();
    let begin = Instant::now();
    let (status, _) = stage.envoy.terminate().await?;
    assert!(status.success() && begin.elapsed() < Duration::from_secs(8), "{status} after {:?}", begin.elapsed());
    assert_eq!(traps, Vec::<String>::new());
    assert_exactly_once(&stage.receiver, 0..300);
    Ok(())
}

#[tokio::test]
async fn a_bare_sigterm_ends_at_once_and_sends_nothing_twice() -> Result<()> {
    for standing in [Reply::Accept, Reply::status(503), Reply::Never] {
        let stage = Stage::start(Upstream::ok().await?, &impatient(json!({}))).await?;
        stage.receiver.answer_with(standing.clone());
        load(&stage.client("inbound")?, 0..300).await?;
        let begin = Instant::now();
        let (status, log) = stage.envoy.terminate().await?;
        println!("{standing:?}: ended after {:?}, {} of 300 spans came", begin.elapsed(), stage.receiver.spans().len());
        assert!(status.success() && begin.elapsed() < Duration::from_secs(8), "{status} after {:?}", begin.elapsed());
        assert!(deliveries(&stage.receiver).into_values().all(|times| times == 1));
        assert!(!log.contains("panicked at") && !log.contains("in-VM backtrace"));
    }
    Ok(())
}

/// Not a test but the measurement behind the table of docs/export.md:
/// `cargo test --test envoy memory_of_a_queue -- --ignored --nocapture`.
#[tokio::test]
#[ignore = "a measurement for the documentation; takes minutes"]
async fn memory_of_a_queue() -> Result<()> {
    for (spans, bound) in [(10, "4MiB"), (1_000, "4MiB"), (100_000, "4MiB"), (100_000, "128MiB")] {
        let app = Upstream::ok().await?;
        let receiver = Receiver::start().await?;
        let retry = json!({"maxElapsed": "1h", "max": "60s", "initial": "60s"});
        let config = config(json!({"exporter": {"queue": {"maxBytes": bound}, "retry": retry}}));
        let bootstrap = Bootstrap::new(Node::sidecar("backend", "shop"))
            .listener(Listener::inbound("app").filter(filter(&config)?))
            .cluster(Cluster::new("app", app.port()))
            .cluster(Cluster::new("collector", receiver.port()));
        let envoy = Envoy::start(&envoy_binary()?, &bootstrap).await?;
        let client = Client::http1(envoy.port("inbound")?);
        // Warm: connections, code, the first batches delivered; then the receiver refuses.
        load(&client, 0..2000).await?;
        Ledger::settled(&envoy, &Ledger::default(), 2000, SOON).await?;
        receiver.refuse().await?;
        let before = resident_bytes(envoy.id()).context("Linux only")?;
        let begin = Instant::now();
        load(&client, 0..spans).await?;
        let ledger = balanced(&envoy, 2000 + spans as u64, SOON).await?;
        let after = resident_bytes(envoy.id()).context("Linux only")?;
        println!(
            "{spans} spans, bound {bound}: queued {} spans, {} kB; dropped {}; process grew by {} kB, from {} kB ({:?})",
            ledger.queued(),
            ledger.get("queue_bytes") / 1024,
            ledger.dropped(),
            after.saturating_sub(before) / 1024,
            before / 1024,
            begin.elapsed()
        );
    }
    Ok(())
}

/// Not a test but the measurement behind the table of docs/export.md:
/// `cargo test --test envoy cost_of_compression -- --ignored --nocapture`.
#[tokio::test]
#[ignore = "a measurement for the documentation; takes a minute"]
async fn cost_of_compression() -> Result<()> {
    const ROUNDS: usize = 12;
    const BURST: usize = 1_000;
    let kinds = ["none", "deflate", "gzip"];
    let app = Upstream::ok().await?;
    let receiver = Receiver::start().await?;
    let mut bootstrap = Bootstrap::new(Node::sidecar("backend", "shop"))
        .concurrency(1)
        .cluster(Cluster::new("app", app.port()))
        .cluster(Cluster::new("collector", receiver.port()));
    for kind in kinds {
        let config = config(json!({"exporter": {"otlp": {"compression": kind}}}));
        bootstrap = bootstrap.listener(Listener::inbound("app").named(kind).filter(filter(&config)?));
    }
    let envoy = Envoy::start(&envoy_binary()?, &bootstrap).await?;
    let worker = Worker::of(envoy.id()).context("Linux only")?;
    let mut costs: Vec<Vec<f64>> = vec![Vec::new(); kinds.len()];
    let mut kept = 0;
    for round in 0..=ROUNDS {
        // Forwards, then backwards: what drifts falls on all alike.
        for place in 0..kinds.len() {
            let kind = if round % 2 == 0 { place } else { kinds.len() - 1 - place };
            let client = Client::http1(envoy.port(kinds[kind])?);
            let before = worker.run_time_ns().context("Linux only")?;
            load(&client, 0..BURST).await?;
            kept += BURST as u64;
            Ledger::settled(&envoy, &Ledger::default(), kept, SOON).await?;
            let spent = worker.run_time_ns().context("Linux only")? - before;
            // The first round warms.
            if round > 0 {
                costs[kind].push(spent as f64 / BURST as f64 / 1e3);
            }
        }
    }
    let none = costs[0].clone();
    for (kind, costs) in kinds.iter().zip(&costs) {
        let mut added: Vec<f64> = costs.iter().zip(&none).map(|(cost, none)| cost - none).collect();
        added.sort_by(f64::total_cmp);
        let quartile = |quarter: usize| added[added.len() * quarter / 4];
        println!("{kind}: median +{:.2} µs a request ({:.2} to {:.2})", quartile(2), quartile(1), quartile(3));
    }
    for kind in ["", "deflate", "gzip"] {
        let exports = receiver.exports();
        let of_kind = exports.iter().filter(|export| export.encoding == kind);
        let (wire, decoded) = of_kind.fold((0, 0), |(wire, all), one| (wire + one.wire_bytes, all + one.decoded_bytes));
        println!("{kind:>8}: {wire} bytes sent for {decoded}");
    }
    Ok(())
}
