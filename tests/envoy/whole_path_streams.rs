//! An error below a stream that never gets response headers, or that has them and still sends its body: the span of the stream is
//! kept all the same, because it ends after the error.

use crate::paths::{HOPS, Paths, borrowed, config, is_head_sampled, outline, request_headers, trace_of};
use crate::stage::SOON;
use anyhow::ensure;
use serde_json::{Value, json};
use sidespan_harness::client::{RawConnection, RawRequest, fire};
use sidespan_harness::mesh::{Action, Plan};
use sidespan_harness::{ReceivedSpan, Result, eventually};

const TIMES: usize = 30;
const SPAN: &str = "00f067aa0ba902b7";
/// Cancellations are kept for their own sake; here they must not be, or nobody sees what the marks do.
fn uncancelled() -> Value {
    json!({"sampling": {"cancelled": {"percentage": 0}}})
}

fn trace(n: usize) -> String {
    format!("4bf92f3577b34da6a3{:014x}", n as u64 * 0x07_0000_0000_0000 + 1)
}

/// Which of the six hops of each trace are there.
fn present(spans: &[ReceivedSpan]) -> [bool; 6] {
    HOPS.map(|(service, kind)| spans.iter().any(|span| (span.service(), span.kind) == (service, kind)))
}

/// The database fails, the backend never answers, and the client leaves once the backend knows of the failure.
async fn reset_before_headers(settings: Value) -> Result<Vec<Vec<ReceivedSpan>>> {
    let mut paths = Paths::start(&config(settings), |mesh| mesh).await?;
    let plan = Plan::new().with("database", Action::Status(503)).with("backend", Action::Hang);
    for n in 0..TIMES {
        let mut headers = request_headers("hang", &plan, &[]);
        headers.push(("traceparent", format!("00-{}-{SPAN}-00", trace(n))));
        let request = headers
            .iter()
            .fold(RawRequest::get(paths.mesh.host(), "/shop"), |request, (name, value)| request.header(name, value));
        let mut connection = RawConnection::connect(paths.mesh.entry()).await?;
        connection.send(&request.to_bytes()).await?;
        // What the backend's application has heard, its outbound listener has marked.
        eventually("the failure at the backend", SOON, async || {
            ensure!(paths.mesh.exchanges("backend")?.len() > n, "not there");
            Ok(())
        })
        .await?;
    }
    let traces = paths.traces(TIMES as u64).await?;
    paths.mesh.assert_no_trap();
    Ok((0..TIMES).map(|n| traces.get(&trace(n)).cloned().unwrap_or_default()).collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_reset_before_its_response_is_kept_for_the_error_below_it() -> Result<()> {
    let traces = reset_before_headers(json!({})).await?;
    let kept = traces.iter().filter(|spans| present(spans)[3]).count();
    println!("{kept} of {TIMES} inbound spans of streams reset before their response");
    for spans in &traces {
        assert!(present(spans)[3..].iter().all(|there| *there), "{:#?}", outline(spans));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_where_cancellations_are_not_kept() -> Result<()> {
    for spans in reset_before_headers(uncancelled()).await? {
        let found = present(&spans);
        assert_eq!(found, [false, false, false, true, true, true], "{:#?}", outline(&spans));
        let inbound = spans.iter().find(|span| (span.service(), span.kind) == HOPS[3]).expect("it is there");
        assert_eq!(inbound.text("sidespan.sampling.reason"), Some("marked"));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_still_sends_its_body_is_kept_for_the_error_below_it() -> Result<()> {
    let mut paths = Paths::start(&config(json!({})), |mesh| mesh).await?;
    let client = paths.mesh.client();
    let plan = |case: usize| {
        let plan = Plan::new().with("backend", Action::Early);
        if case.is_multiple_of(3) { plan } else { plan.with("database", Action::Status(503)) }
    };
    let replies = fire(TIMES, 4, |case| {
        let (client, host) = (client.clone(), paths.mesh.host());
        let headers = request_headers(&case.to_string(), &plan(case), &[]);
        async move { client.get(host, "/shop", &borrowed(&headers)).await }
    });
    for reply in replies.await {
        let reply = reply?;
        assert_eq!((reply.status.as_u16(), reply.complete), (200, true));
    }
    let traces = paths.traces(TIMES as u64).await?;
    paths.mesh.assert_no_trap();
    let (mut kept, mut failing, mut wrong) = (0, 0, Vec::new());
    for (case, exchange) in paths.cases()? {
        let trace = trace_of(&exchange)?;
        if is_head_sampled(trace) {
            continue;
        }
        let spans = traces.get(trace).map(Vec::as_slice).unwrap_or_default();
        let found = present(spans);
        if case.parse::<usize>()?.is_multiple_of(3) {
            assert_eq!(found, [false; 6], "nothing failed: {:#?}", outline(spans));
            continue;
        }
        failing += 1;
        kept += usize::from(found[3]);
        // The headers had left before the error: those above cannot hear of it any more.
        if found != [false, false, false, true, true, true] {
            wrong.push(outline(spans));
        }
    }
    println!("{kept} of {failing} inbound spans of streams that still sent their body");
    assert!(wrong.is_empty(), "{} of {failing}: {:#?}", wrong.len(), wrong.first());
    Ok(())
}
