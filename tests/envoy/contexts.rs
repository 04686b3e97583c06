//! Which trace a span belongs to: the opt-in dialects both ways, links between traces, and what the client is told.

use crate::stage::{SOON, Stage, config, filter};
use serde_json::{Value, json};
use sidespan_harness::bootstrap::{Listener, Node};
use sidespan_harness::span::Kind;
use sidespan_harness::{ReceivedSpan, Result, Upstream};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";
const OTHER: &str = "b3b3b3b3b3b3b3b3b3b3b3b3b3b3b3b3";

/// A request with these headers through a listener: its span, and a header as the upstream got it.
async fn through(
    stage: &Stage,
    listener: &str,
    headers: &[(&str, &str)],
    sent: &str,
) -> Result<(ReceivedSpan, Option<String>)> {
    stage.receiver.clear();
    stage.app.take();
    stage.client(listener)?.get("backend", "/", headers).await?;
    let span = stage.spans(1).await?.remove(0);
    Ok((span, stage.app.take()[0].header(sent).map(str::to_owned)))
}

async fn start(configs: &[(&str, Value)]) -> Result<Stage> {
    let listener = |(name, patch): &(&str, Value)| {
        Ok(Listener::inbound("app").named(name).filter(filter(&config(patch.clone()))?))
    };
    let listeners = configs.iter().map(listener).collect::<Result<Vec<_>>>()?;
    Stage::bare(Node::sidecar("backend", "shop"), Upstream::ok().await?, |bootstrap| {
        listeners.into_iter().fold(bootstrap, |bootstrap, listener| bootstrap.listener(listener))
    })
    .await
}

#[tokio::test]
async fn an_opt_in_dialect_is_continued_and_rewritten_only_if_it_is_asked_for() -> Result<()> {
    let all = ["tracecontext", "b3", "jaeger", "datadog", "xray", "gcp", "ottrace"];
    let mut stage = start(&[
        ("asked", json!({"propagation": {"extract": all}})),
        ("default", json!({})),
        ("writes", json!({"propagation": {"inject": all}})),
    ])
    .await?;
    let number = |hex: &str| u64::from_str_radix(hex, 16).expect("hexadecimal");
    let (low, parent) = (number(&TRACE[16..]).to_string(), number(PARENT).to_string());
    let short = format!("{:0>32}", &TRACE[16..]);
    // The headers that come in, the trace they mean, the header that goes out as `{span}` (hexadecimal) or `{number}`.
    let table: [(&[(&str, String)], &str, &str, String); 5] = [
        (
            &[("uber-trace-id", format!("{TRACE}:{PARENT}:0:1"))],
            TRACE,
            "uber-trace-id",
            format!("{TRACE}:{{span}}:0:1"),
        ),
        (
            &[
                ("x-datadog-trace-id", low.clone()),
                ("x-datadog-parent-id", parent.clone()),
                ("x-datadog-sampling-priority", "1".to_owned()),
                ("x-datadog-tags", format!("_dd.p.tid={}", &TRACE[..16])),
            ],
            TRACE,
            "x-datadog-parent-id",
            "{number}".to_owned(),
        ),
        (
            &[("x-amzn-trace-id", format!("Root=1-{}-{};Parent={PARENT};Sampled=1", &TRACE[..8], &TRACE[8..]))],
            TRACE,
            "x-amzn-trace-id",
            format!("Root=1-{}-{};Parent={{span}};Sampled=1", &TRACE[..8], &TRACE[8..]),
        ),
        (
            &[("x-cloud-trace-context", format!("{TRACE}/{parent};o=1"))],
            TRACE,
            "x-cloud-trace-context",
            format!("{TRACE}/{{number}};o=1"),
        ),
        (
            &[
                ("ot-tracer-traceid", TRACE[16..].to_owned()),
                ("ot-tracer-spanid", PARENT.to_owned()),
                ("ot-tracer-sampled", "true".to_owned()),
            ],
            &short,
            "ot-tracer-spanid",
            "{span}".to_owned(),
        ),
    ];
    for (headers, trace_id, name, expected) in table {
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let filled = |span: &ReceivedSpan| {
            expected.replace("{span}", &span.span_id).replace("{number}", &number(&span.span_id).to_string())
        };
        let (span, sent) = through(&stage, "asked", &headers, name).await?;
        assert_eq!((span.trace_id.as_str(), span.parent_span_id.as_str()), (trace_id, PARENT), "{name}");
        assert_eq!(sent, Some(filled(&span)), "{name}");

        let (span, sent) = through(&stage, "default", &headers, name).await?;
        assert!(span.trace_id != trace_id && span.is_root(), "{name} was not asked for");
        assert_eq!(sent.as_deref(), headers.iter().find(|(other, _)| *other == name).map(|(_, value)| *value));

        let traceparent = format!("00-{trace_id}-{PARENT}-01");
        let (span, sent) = through(&stage, "writes", &[("traceparent", &traceparent)], name).await?;
        assert_eq!((span.trace_id.as_str(), sent), (trace_id, Some(filled(&span))), "{name} is written");
    }
    stage.envoy.assert_no_trap();
    Ok(())
}

#[tokio::test]
async fn another_trace_is_linked_and_the_client_is_told_the_trace_id() -> Result<()> {
    let told = json!({"propagation": {"traceIdResponseHeader": "x-trace-id"}});
    let restart = json!({"propagation": {"trust": "restart"}});
    let stage = start(&[("told", told), ("restart", restart), ("default", json!({}))]).await?;
    let (traceparent, b3) = (format!("00-{TRACE}-{PARENT}-01"), format!("{OTHER}-{PARENT}-1"));

    let conflict = [("traceparent", traceparent.as_str()), ("b3", b3.as_str())];
    let (span, sent) = through(&stage, "default", &conflict, "b3").await?;
    assert_eq!((span.trace_id.as_str(), span.kind), (TRACE, Kind::Server), "W3C comes first");
    assert_eq!(sent, Some(format!("{TRACE}-{}-1", span.span_id)), "no two headers disagree");
    let [link] = span.links.as_slice() else { panic!("{:?}", span.links) };
    assert_eq!((link.trace_id.as_str(), link.span_id.as_str()), (OTHER, PARENT));
    assert_eq!(link.attributes.get("reason"), Some(&json!("conflict")));

    let (span, _) = through(&stage, "restart", &conflict[..1], "b3").await?;
    assert!(span.is_root() && span.trace_id != TRACE);
    let [link] = span.links.as_slice() else { panic!("{:?}", span.links) };
    assert_eq!((link.trace_id.as_str(), link.attributes.get("reason")), (TRACE, Some(&json!("restarted"))));

    for (listener, expected) in [("told", Some(TRACE)), ("default", None)] {
        let reply = stage.client(listener)?.get("backend", "/", &conflict[..1]).await?;
        assert_eq!(reply.header("x-trace-id"), expected, "{listener}");
    }
    Ok(())
}

#[tokio::test]
async fn an_access_log_shows_the_ids_of_the_span() -> Result<()> {
    let listener = Listener::inbound("app").filter(filter(&config(json!({})))?);
    let listener = listener.access_log("access.log", "%REQ(:PATH)% %REQ(TRACEPARENT)%");
    let node = Node::sidecar("backend", "shop");
    let stage = Stage::bare(node, Upstream::ok().await?, |bootstrap| bootstrap.listener(listener)).await?;
    stage.client("inbound")?.get("backend", "/a", &[]).await?;
    let span = stage.spans(1).await?.remove(0);
    let lines = stage.envoy.access_log("access.log", 1, SOON).await?;
    assert_eq!(lines, [format!("/a 00-{}-{}-03", span.trace_id, span.span_id)]);
    Ok(())
}
