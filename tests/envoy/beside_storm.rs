//! An error storm beside Envoy's own tracer. No request header is written, so hops agree on a cap through responses only:
//! callers learn how much was kept below them, but nobody learns how much is kept above.

use crate::beside_mesh::adopt;
use crate::storm::{biased, capped, rage, settled, start, survivors};
use serde_json::json;
use sidespan_harness::mesh::{Forwarding, NativeTracing};
use sidespan_harness::{ReceivedSpan, Receiver, Result};
use std::collections::BTreeMap;
use std::time::Instant;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn most_of_what_survives_a_storm_is_whole_and_counts_stay_true() -> Result<()> {
    let native = Receiver::start().await?;
    let tracing = NativeTracing::opentelemetry(&native, 0.0);
    let settings = capped(adopt, json!({}));
    let mut paths = start(&settings, Forwarding::All, |mesh| mesh.native_tracing(tracing)).await?;
    let (begin, sent) = (Instant::now(), rage(&paths, 10).await);
    let seconds = begin.elapsed().as_secs_f64();
    settled(&paths, sent).await?;
    let mut traces = BTreeMap::<String, Vec<ReceivedSpan>>::new();
    for span in paths.receiver.spans() {
        traces.entry(span.trace_id.clone()).or_default().push(span);
    }
    println!("{sent} failing paths in {seconds:.1} s");
    let (whole, all) = survivors(&traces);
    let share = whole as f64 / all.max(1) as f64;
    println!("beside a native tracer {:.1} % of the survivors are whole", share * 100.0);
    // What is kept at the top was kept below, because responses say so. What is kept below only is a fragment without its callers.
    traces.retain(|_, spans| spans.iter().any(ReceivedSpan::is_root));
    let (whole_from_root, with_root) = survivors(&traces);
    println!("of those with a root {whole_from_root} of {with_root} are whole");
    let biased = biased(&paths.receiver.spans(), sent, seconds);
    paths.mesh.assert_no_trap();
    assert!(with_root as f64 >= 2.0 * seconds, "the cap leaves room for more than {with_root}");
    assert!(whole_from_root as f64 >= 0.9 * with_root as f64, "{whole_from_root} of {with_root} with a root are whole");
    assert!(share >= 0.35, "{whole} of {all} surviving traces are whole");
    assert!(biased.is_empty(), "{biased:#?}");
    Ok(())
}
