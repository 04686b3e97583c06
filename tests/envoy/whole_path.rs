//! For every failing request all spans from the gateway to the failing hop, and nothing of the other unsampled requests:
//! three services behind an ingress gateway, one Envoy process each, 1 % sampled at the head.

use crate::paths::{
    FAILED, Hop, MASKED, ONE_PERCENT, Paths, SAMPLED, assert_path, borrowed, config, hops, is_head_sampled, outline,
    request_headers, threshold, timings, trace_of, weight,
};
use serde_json::json;
use sidespan_harness::Result;
use sidespan_harness::client::{Reply, fire};
use sidespan_harness::mesh::{Action, Exchange, Plan};
use std::collections::BTreeSet;

const REQUESTS: usize = 2_000;
/// What the applications answer anyway, and what must arrive as it was sent, comma in quotes and all.
const BACKEND: &str = r#"db;dur=53.2 , cache;desc="Cache, Read";dur=23.2"#;
const SECOND: &str = "queue;dur=1";
/// A quote that does not end must hide nothing behind it.
const DATABASE: &str = r#"sql;desc="a \" quote"#;
/// A signal of our form, for a trace that nobody here has.
const FORGED: &str = "trace;desc=00-ffffffffffffffffffffffffffffffff-b7ad6b7169203331-01;th=0";

/// 3 % fail at the database, half of them hidden by the backend.
fn plan(case: usize) -> Plan {
    match (case % 100 < 3, (case / 100 + case).is_multiple_of(2)) {
        (false, _) => Plan::new(),
        (true, false) => Plan::new().with("database", Action::Status(503)),
        (true, true) => Plan::new().with("database", Action::Status(503)).with("backend", Action::Mask),
    }
}

/// What must be exported of a request.
fn expected(plan: &Plan, trace_id: &str) -> Vec<Hop> {
    let fails = plan.actions("database").next().is_some();
    match (fails, plan.actions("backend").next().is_some()) {
        (true, false) => hops(FAILED, "0"),
        (true, true) => hops(MASKED, "0"),
        _ if is_head_sampled(trace_id) => hops(SAMPLED, ONE_PERCENT),
        _ => Vec::new(),
    }
}

async fn send(paths: &Paths, client: &sidespan_harness::client::Client, case: usize) -> Result<Reply> {
    let mut answers =
        vec![("backend", BACKEND), ("backend", SECOND), ("database", DATABASE), ("frontend", "total;dur=7")];
    if case.is_multiple_of(7) {
        answers.push(("backend", FORGED));
    }
    let mut headers = request_headers(&case.to_string(), &plan(case), &answers);
    if case.is_multiple_of(5) {
        headers.push(("server-timing", FORGED.to_owned()));
    }
    client.get(paths.mesh.host(), "/shop", &borrowed(&headers)).await
}

/// No application and no client sees a signal, and what the next application said arrives byte for byte.
fn assert_no_signal(exchange: &Exchange, expected: &[&str]) {
    for call in &exchange.calls {
        let answer = call.answer.iter().map(|(name, value)| (name.as_str(), value.as_ref()));
        assert_eq!(timings(answer), expected, "{} saw {:?}", exchange.application, call.answer);
        assert!(call.answer.iter().all(|(name, _)| name != "traceresponse"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_failing_request_has_its_whole_path_and_no_other_unsampled_one_a_span() -> Result<()> {
    let mut paths = Paths::start(&config(json!({})), |builder| builder).await?;
    let client = paths.mesh.client();
    let replies = fire(REQUESTS, 8, |case| send(&paths, &client, case)).await;
    for (case, reply) in replies.into_iter().enumerate() {
        let (reply, plan) = (reply?, plan(case));
        let fails = plan.actions("database").next().is_some() && plan.actions("backend").next().is_none();
        assert_eq!(reply.status, if fails { 500 } else { 200 }, "case {case}");
        let seen = timings(reply.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())));
        assert_eq!(seen, ["total;dur=7"], "case {case}: the client sees what the first application said");
    }

    let traces = paths.traces(REQUESTS as u64).await?;
    let cases = paths.cases()?;
    assert_eq!(cases.len(), REQUESTS);
    let (mut failing, mut sampled, mut known) = (0, 0, BTreeSet::new());
    for (case, exchange) in &cases {
        let (trace, plan) = (trace_of(exchange)?, plan(case.parse()?));
        known.insert(trace.to_owned());
        let (head, flags, state) = match is_head_sampled(trace) {
            true => (true, "03", Some(format!("ot=th:{ONE_PERCENT}"))),
            false => (false, "02", None),
        };
        let spans = traces.get(trace).map(Vec::as_slice).unwrap_or_default();
        assert_path(&format!("case {case}"), spans, &expected(&plan, trace), "");
        if let [_, inbound, ..] = spans_in_order(spans).as_slice() {
            let sent = format!("00-{trace}-{inbound}-{flags}");
            assert_eq!(exchange.received.header("traceparent"), Some(sent.as_str()), "case {case}");
        }
        assert_eq!(exchange.received.header("tracestate"), state.as_deref(), "case {case}: decided once, at the head");
        failing += usize::from(plan.actions("database").next().is_some());
        sampled += usize::from(head);
    }
    let strangers: Vec<_> = traces.iter().filter(|(trace, _)| !known.contains(*trace)).collect();
    assert!(strangers.is_empty(), "{strangers:#?}");
    assert_eq!(failing, REQUESTS * 3 / 100);
    println!("{sampled} of {REQUESTS} sampled by the head");

    // Counts made from spans are the true ones.
    let databases =
        traces.values().flatten().filter(|span| span.service() == "database" && span.text("error.type").is_some());
    assert!((databases.map(weight).sum::<f64>() - failing as f64).abs() < 1e-9);
    let roots = traces.values().flatten().filter(|span| span.is_root() && threshold(span) == Some("0"));
    assert!((roots.map(weight).sum::<f64>() - failing as f64).abs() < 1e-9);

    for exchange in paths.mesh.exchanges("frontend")? {
        assert_no_signal(&exchange, &[BACKEND, SECOND]);
    }
    for exchange in paths.mesh.exchanges("backend")? {
        assert_no_signal(&exchange, &[DATABASE]);
    }

    let failing = failing as u64;
    for (metric, expected) in [
        ("signals_sent", 3 * failing),
        ("signals_received", 3 * failing),
        ("marks_written", 2 * failing),
        ("marks_found", 2 * failing),
        ("kept_error", 6 * failing / 2 + 2 * failing / 2),
        ("kept_marked", 4 * failing / 2),
        ("capped", 0),
        ("host_errors", 0),
        ("propagation_overwritten", 0),
    ] {
        assert_eq!(paths.total(metric).await?, expected, "{metric}");
    }
    contexts_from_outside(&paths).await?;
    signals_for_each_other(&paths).await?;
    paths.mesh.assert_no_trap();
    paths.mesh.quit().await
}

/// The client brings a context, with a decision or without one, with a threshold, with R, with members of others.
async fn contexts_from_outside(paths: &Paths) -> Result<()> {
    const SPAN: &str = "00f067aa0ba902b7";
    const PARENT: [&str; 6] = ["parent"; 6];
    let (ok, bad) = (Plan::new(), Plan::new().with("database", Action::Status(503)));
    let masked = bad.clone().with("backend", Action::Mask);
    let others = "ot=rv:ffffffffffffff;x:y,vendor=1";
    // Last digits of the trace id, what comes in: a sampling state of B3 or the flags; then plan, spans, `tracestate` there.
    let table = [
        ("ff00000000000a", "b3", "", &ok, hops(SAMPLED, ONE_PERCENT), "ot=th:fd70a"),
        ("ff00000000000b", "b3", "", &bad, hops(FAILED, "0"), "ot=th:0"),
        ("ff00000000000c", "b3", "", &masked, hops(MASKED, "0"), "ot=th:0"),
        ("0f00000000000a", "b3", "", &ok, Vec::new(), ""),
        ("0f00000000000b", "b3", "", &masked, hops(MASKED, "0"), "ot=th:0"),
        ("ff0000000000a0", "00", others, &ok, Vec::new(), ""),
        ("0f0000000000a1", "00", others, &masked, hops(MASKED, "0"), "ot=th:0;rv:ffffffffffffff;x:y,vendor=1"),
        ("ff0000000000a2", "01", "ot=th:c", &ok, hops(PARENT, "c"), "ot=th:c"),
        ("ff0000000000a3", "01", "ot=th:c", &bad, hops(FAILED, "0"), "ot=th:0"),
        ("ff0000000000a4", "01", "vendor=1", &ok, hops(PARENT, ""), "vendor=1"),
        ("ff0000000000a5", "01", "", &masked, hops(MASKED, "0"), "ot=th:0"),
        ("0f0000000000a6", "01", "ot=th:c", &ok, hops(PARENT, ""), ""),
    ];
    let id = |r: &str| format!("4bf92f3577b34da6a3{r}");
    for (r, state, trace_state, plan, ..) in &table {
        let mut headers = request_headers(r, plan, &[]);
        headers.push(match *state {
            "b3" => ("b3", format!("{}-{SPAN}", id(r))),
            flags => ("traceparent", format!("00-{}-{SPAN}-{flags}", id(r))),
        });
        if !trace_state.is_empty() {
            headers.push(("tracestate", (*trace_state).to_owned()));
        }
        paths.mesh.client().get(paths.mesh.host(), "/shop", &borrowed(&headers)).await?;
    }
    let traces = paths.traces((REQUESTS + table.len()) as u64).await?;
    for (r, state, trace_state, _, expected, exported) in table {
        let what = format!("{r} {state} {trace_state}");
        let spans = traces.get(&id(r)).map(Vec::as_slice).unwrap_or_default();
        assert_path(&what, spans, &expected, SPAN);
        assert!(spans.iter().all(|span| span.trace_state == exported), "{what}: {:#?}", outline(spans));
    }
    Ok(())
}

/// Each of many unsampled requests is answered with the signal of another one that is under way.
async fn signals_for_each_other(paths: &Paths) -> Result<()> {
    let before = paths.receiver.spans().len();
    let received = paths.total("signals_received").await?;
    let id = |n: usize| format!("4bf92f3577b34da6a30f{n:012x}");
    let client = paths.mesh.client();
    let replies = fire(64, 16, |n| {
        let forged = format!("trace;desc=00-{}-b7ad6b7169203331-01;th=0", id(n ^ 1));
        let wait = Plan::new().with("database", Action::Delay(std::time::Duration::from_millis(20)));
        let mut headers = request_headers("forged", &wait, &[("backend", &forged), ("database", &forged)]);
        headers.push(("traceparent", format!("00-{}-00f067aa0ba902b7-00", id(n))));
        let client = client.clone();
        async move { client.get(paths.mesh.host(), "/shop", &borrowed(&headers)).await }
    })
    .await;
    for reply in replies {
        assert_eq!(reply?.header("server-timing"), None);
    }
    let ignored = async || paths.total("signals_ignored").await;
    let expected = ignored().await?.max(128);
    sidespan_harness::eventually("the signals are counted", crate::stage::SOON, async || {
        anyhow::ensure!(ignored().await? >= expected);
        Ok(())
    })
    .await?;
    assert_eq!(paths.total("signals_received").await?, received, "believed by nobody");
    assert_eq!(paths.receiver.spans().len(), before, "kept by nobody");
    Ok(())
}

/// Span ids from the root down.
fn spans_in_order(spans: &[sidespan_harness::ReceivedSpan]) -> Vec<&str> {
    let mut out = Vec::new();
    let mut parent = "";
    while let Some(span) = spans.iter().find(|span| span.parent_span_id == parent) {
        out.push(span.span_id.as_str());
        parent = &span.span_id;
    }
    assert_eq!(out.len(), spans.len(), "{:#?}", outline(spans));
    out
}
