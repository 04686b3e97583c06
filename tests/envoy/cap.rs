//! An error storm through one sidecar: the cap holds, what survives says with which probability, and nothing is lost silently.

use crate::paths::{all_exported, config, stat, threshold, timings, weight};
use crate::stage::{SOON, Stage};
use anyhow::Context as _;
use serde_json::json;
use sidespan_harness::client::fire;
use sidespan_harness::upstream::{header, status};
use sidespan_harness::{Result, Upstream};
use std::collections::{BTreeMap, BTreeSet};

const STORM: u64 = 2_400;
/// Every sixth request of the storm succeeds.
const ERRORS: u64 = STORM / 6 * 5;
const PER_SECOND: usize = 20;
const SPAN: &str = "00f067aa0ba902b7";

/// A trace id whose R looks random and is always the same (splitmix64).
fn trace(n: u64) -> String {
    let mut z = n.wrapping_add(5_001).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    format!("4bf92f3577b34da6a3{:014x}", (z ^ (z >> 31)) >> 8)
}

/// R of a trace: 14 digits, which compare as numbers.
fn r(trace_id: &str) -> &str {
    &trace_id[18..]
}

fn padded(threshold: &str) -> String {
    format!("{threshold:0<14}")
}

/// An application that answers what the request's headers say.
async fn app() -> Result<Upstream> {
    Upstream::start(|request| async move {
        let text = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
        let answer = status(text("x-status").and_then(|code| code.parse().ok()).unwrap_or(200), "done").await;
        match text("x-signal") {
            Some(signal) => header(answer, "server-timing", signal),
            None => answer,
        }
    })
    .await
}

async fn start() -> Result<Stage> {
    let errors = json!({"percentage": 100, "maxPerSecond": PER_SECOND});
    let config = config(json!({"exporter": {"batch": {"delay": "500ms"}}, "sampling": {"errors": errors}}));
    Stage::with(app().await?, &config, |bootstrap| bootstrap.concurrency(2)).await
}

async fn send(stage: &Stage, listener: &str, trace: &str, extra: &[(&str, &str)]) -> Result<Vec<String>> {
    let traceparent = format!("00-{trace}-{SPAN}-00");
    let headers: Vec<_> = [("traceparent", traceparent.as_str())].into_iter().chain(extra.iter().copied()).collect();
    let reply = stage.client(listener)?.get("backend", "/orders", &headers).await?;
    Ok(timings(reply.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()))))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_a_storm_the_cap_holds_and_counts_stay_true() -> Result<()> {
    let mut stage = start().await?;
    let client = stage.client("inbound")?;
    let replies = fire(STORM as usize, 8, |n| {
        let (client, n) = (client.clone(), n as u64);
        async move {
            let traceparent = format!("00-{}-{SPAN}-00", trace(n));
            let code = if n % 6 == 0 { "200" } else { "503" };
            client.get("backend", "/orders", &[("traceparent", traceparent.as_str()), ("x-status", code)]).await
        }
    })
    .await;
    all_exported(&[("backend", &stage.envoy, STORM)], &stage.receiver).await?;

    let failed: BTreeSet<String> = (0..STORM).filter(|n| n % 6 != 0).map(trace).collect();
    let spans = stage.receiver.spans();
    let exported: BTreeSet<&str> = spans.iter().map(|span| span.trace_id.as_str()).collect();
    assert_eq!(exported.len(), spans.len(), "each once");
    assert!(exported.iter().all(|trace| failed.contains(*trace)), "errors only");

    let mut count = 0.0;
    let mut variance = 0.0;
    for span in &spans {
        assert_eq!(span.text("sidespan.sampling.reason"), Some("error"));
        let threshold = threshold(span).context("a threshold")?;
        assert!(r(&span.trace_id) >= padded(threshold).as_str(), "kept with {threshold} although R is below");
        count += weight(span);
        variance += weight(span) * (weight(span) - 1.0);
    }
    println!("{} of {ERRORS} errors exported, counted {count:.0}", spans.len());
    assert!(spans.len() * 2 < failed.len(), "this was no storm");
    let error = (count - ERRORS as f64).abs();
    assert!(error <= 4.0 * variance.sqrt(), "counted {count}, standard error {}", variance.sqrt());

    // Every failing response tells its caller, also one that is not kept here: which cap applies, and that nothing was kept.
    let mut signals = 0;
    for (n, reply) in replies.into_iter().enumerate() {
        let heard = timings(reply?.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())));
        let Some(signal) = heard.first() else { continue };
        let trace = trace(n as u64);
        let (desc, parameters) = signal.split_once(";th=").context("our signal")?;
        let (th, cap) = parameters.split_once(";cap=").unwrap_or((parameters, "0"));
        assert!(failed.contains(&trace) && desc.starts_with(&format!("trace;desc=00-{trace}-")), "{signal}");
        assert_eq!(th, cap, "all errors are kept but for the cap");
        let kept = exported.contains(trace.as_str());
        assert_eq!(kept, r(&trace) >= padded(th).as_str(), "{signal} promises what will not be");
        assert!(desc.ends_with(if kept { "-01" } else { "-00" }), "{signal}");
        signals += 1;
    }
    let stats = stage.envoy.stats().await?;
    let (kept, exported) = (failed.len() as u64, spans.len() as u64);
    for (metric, expected) in [
        ("kept_error", exported),
        ("spans_created", exported),
        ("spans_exported", exported),
        ("capped", kept - exported),
        ("signals_sent", signals),
        ("marks_written", 0),
        ("thresholds_erased", 0),
        ("requests_inbound", STORM),
    ] {
        assert_eq!(stat(&stats, metric), expected, "{metric}");
    }
    assert_eq!(signals, kept, "one for each error");
    stage.envoy.assert_no_trap();
    Ok(())
}

#[tokio::test]
async fn signals_and_marks_are_counted() -> Result<()> {
    let mut stage = start().await?;
    // Three traces share a slot of the marks: the last three digits of R are the same.
    let slot = |n: u64| format!("4bf92f3577b34da6a3{:011x}abc", 0x100 + n);
    let (first, second, third) = (slot(1), slot(2), slot(3));
    let signal = |trace: &str| format!("trace;desc=00-{trace}-b7ad6b7169203331-01;th=0");
    send(&stage, "outbound", &first, &[("x-status", "503")]).await?;
    send(&stage, "outbound", &first, &[("x-status", "503")]).await?;
    send(&stage, "outbound", &second, &[("x-status", "503")]).await?;
    // Heard and passed on; not believed for another trace; neither ever seen by the application.
    assert_eq!(send(&stage, "outbound", &third, &[("x-signal", &signal(&third))]).await?, [""; 0]);
    assert_eq!(send(&stage, "outbound", &slot(4), &[("x-signal", &signal(&third))]).await?, [""; 0]);
    // The mark of the slot is the third trace's, older than this request: nothing to tell.
    assert_eq!(send(&stage, "inbound", &third, &[]).await?, [""; 0]);
    let told = send(&stage, "inbound", &second, &[("x-status", "503")]).await?;
    assert!(told.len() == 1 && told[0].contains(&second), "{told:?}");

    stage.receiver.wait_for(5, SOON).await?;
    all_exported(&[("backend", &stage.envoy, 7)], &stage.receiver).await?;
    let stats = stage.envoy.stats().await?;
    let expected = BTreeMap::from([
        ("kept_error", 4),
        ("kept_marked", 1),
        ("kept_head", 0),
        ("marks_written", 4),
        ("marks_overwritten", 2),
        ("marks_found", 0),
        ("signals_sent", 1),
        ("signals_received", 1),
        ("signals_ignored", 1),
        ("capped", 0),
        ("spans_exported", 5),
        ("host_errors", 0),
    ]);
    let seen: BTreeMap<_, _> = expected.keys().map(|metric| (*metric, stat(&stats, metric))).collect();
    assert_eq!(seen, expected);
    stage.envoy.assert_no_trap();
    Ok(())
}
