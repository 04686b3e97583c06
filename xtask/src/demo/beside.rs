//! `cargo xtask demo --beside`: the filter beside Envoy's own tracer, which samples 1 %, and which of the two exported which span.

use super::access_log::{self, LogEntry, path_to_failure};
use super::account::{Observations, SpanBalance};
use super::demo_mesh::{DemoMesh, services};
use super::interrupt::Interrupt;
use super::source::Source as _;
use super::styled_text::{Style, StyledText, milliseconds, thousands, truncate};
use super::traffic::Traffic;
use super::{hop, trace_tree};
use crate::envoy;
use crate::steps::Steps;
use anyhow::{Result, ensure};
use sidespan_harness::bootstrap::{Cluster, Plugin};
use sidespan_harness::mesh::{Forwarding, Mesh, NativeTracing};
use sidespan_harness::{ReceivedSpan, Receiver, eventually};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

const CONFIG: &str = include_str!("beside.json");
/// Of the requests, what Envoy's own tracer samples.
const PERCENTAGE: f64 = 1.0;

/// The mesh with the receiver of the filter's spans, and the receiver of those of Envoy's own tracers.
struct BesideMesh {
    demo: DemoMesh,
    native: Receiver,
}

/// Traces and spans by their exporter.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    /// Traces in which something failed, and those of them whose client received a status below 500.
    failing: usize,
    masked: usize,
    /// Failing traces with every span from the root to the failure, by who exported them.
    whole: Exporters,
    /// Traces in which nothing failed, and those of them with spans, by who exported them.
    healthy: usize,
    healthy_kept: Exporters,
    /// Spans.
    spans: Exporters,
    /// What should not be, one sentence each.
    problems: Vec<String>,
}

/// Counts by exporter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Exporters {
    native: usize,
    filter: usize,
    both: usize,
}

/// What was sent, what was observed, and what has not arrived in time.
type Measured = (Traffic, Observations, Option<String>);

/// Runs the demo: `module` provides the filter, `send` sends what `headline` says and collects the observations.
///
/// # Errors
/// If something cannot be provided or started, or if a check fails.
pub(super) fn run(
    headline: &str,
    module: impl FnOnce() -> Result<PathBuf>,
    send: impl AsyncFn(&DemoMesh) -> Result<Measured>,
) -> Result<()> {
    let mut steps = Steps::new(4);
    let module = steps.step("build the filter", module)?;
    let envoy = steps.step("provide an Envoy", || envoy::provide(None))?;
    let mut interrupt = Interrupt::listen()?;
    let beside = steps.step("start a gateway and three services, each Envoy with its own tracer at 1 %", || {
        interrupt.run_unless_interrupted(BesideMesh::start(&envoy, &module))
    })?;
    let (requests, spans, mut tally) =
        steps.step(headline, || interrupt.run_unless_interrupted(beside.measure(&send)))?;
    tally.problems.extend(beside.demo.traps());
    let mut out = StyledText::for_stdout();
    write_example(&mut out, "A failed request that Envoy's own tracer did not sample", &spans, is_failed_and_ours);
    write_example(&mut out, "A request that it sampled", &spans, |trace| !trace.iter().any(|span| is_ours(span)));
    write_tally(&mut out, &tally, requests);
    print!("{}", out.take());
    sidespan_harness::run(beside.demo.mesh.quit())?;
    ensure!(tally.problems.is_empty(), "{} checks of the demo failed, see above", tally.problems.len());
    Ok(())
}

fn is_ours(span: &ReceivedSpan) -> bool {
    span.scope.name == "sidespan"
}

fn is_failed_and_ours(trace: &[&ReceivedSpan]) -> bool {
    trace.len() == hop::Hop::all().count() && trace.iter().all(|span| is_ours(span))
}

// === impl BesideMesh ===

impl BesideMesh {
    async fn start(envoy: &Path, module: &Path) -> Result<Self> {
        let (receiver, native) = (Receiver::start().await?, Receiver::start().await?);
        let filter = Plugin::new(module).root_id("sidespan").configuration(&serde_json::from_str(CONFIG)?);
        let mesh = services(Forwarding::All)
            .into_iter()
            .fold(Mesh::builder(), |mesh, service| mesh.service(service.forwards(Forwarding::All)))
            .gateway(hop::GATEWAY, "frontend")
            .filter(filter)
            .cluster(Cluster::new("collector", receiver.port()))
            .native_tracing(NativeTracing::opentelemetry(&native, PERCENTAGE))
            .access_log(&access_log::format())
            .start(envoy)
            .await?;
        Ok(Self { demo: DemoMesh { mesh, receiver }, native })
    }

    /// Sends the traffic; answers the number of requests, the spans of both exporters, and the tally.
    async fn measure(
        &self,
        send: &impl AsyncFn(&DemoMesh) -> Result<Measured>,
    ) -> Result<(usize, Vec<ReceivedSpan>, Tally)> {
        let (traffic, observations, incomplete) = send(&self.demo).await?;
        let mut spans = observations.spans;
        spans.extend(self.native_spans().await?);
        let mut tally = Tally::of(&observations.entries, &spans);
        tally.problems.extend(incomplete);
        tally.problems.extend(traffic.unanswered.first().map(|first| format!("a request got no answer: {first}")));
        let SpanBalance { kept, exported, dropped, queued, .. } = SpanBalance::of(&observations.metrics);
        if kept != exported + dropped + queued || exported != tally.spans.filter as u64 {
            tally.problems.push(format!("kept {kept}, exported {exported}, dropped {dropped}, queued {queued}"));
        }
        Ok((observations.requests, spans, tally))
    }

    /// All that Envoy's own tracers say they have sent.
    async fn native_spans(&self) -> Result<Vec<ReceivedSpan>> {
        eventually("the spans of Envoy's own tracers have arrived", Duration::from_secs(20), async || {
            let received = self.native.spans();
            let mut sent = 0;
            for (_, envoy) in self.demo.mesh.envoys() {
                sent += envoy.stats().await?.get("tracing.opentelemetry.spans_sent").copied().unwrap_or_default();
            }
            ensure!(received.len() as u64 == sent, "{} of {sent}", received.len());
            Ok(received)
        })
        .await
    }
}

// === impl Tally, Exporters ===

impl Tally {
    /// Compares what happened, by the access logs, with the spans of both exporters.
    fn of(entries: &[LogEntry], spans: &[ReceivedSpan]) -> Self {
        let mut tally = Self::default();
        let mut index = BTreeMap::<(String, String), Vec<&ReceivedSpan>>::new();
        for span in spans {
            index.entry((span.trace_id.clone(), span.span_id.clone())).or_default().push(span);
            tally.spans.add([span]);
        }
        for (trace, entries) in access_log::by_trace(entries) {
            let of = |entry: &LogEntry| {
                let context = entry.context.as_ref()?;
                index.get(&(context.trace_id.clone(), context.span_id.clone())).map(Vec::as_slice)
            };
            let found: Vec<&[&ReceivedSpan]> = entries.iter().filter_map(of).collect();
            if found.iter().any(|spans| spans.len() > 1) {
                tally.problems.push(format!("trace {trace}: a span was exported twice"));
            }
            if entries.iter().any(|entry| entry.sent.iter().any(|(_, value)| value.contains("ot="))) {
                tally.problems.push(format!("trace {trace}: the filter has written tracestate"));
            }
            let firsts = || found.iter().filter_map(|spans| spans.first().copied());
            if !entries.iter().any(LogEntry::failed) {
                tally.healthy += 1;
                tally.healthy_kept.add(firsts());
                continue;
            }
            tally.failing += 1;
            tally.masked += usize::from(entries.first().is_some_and(|first| !first.failed()));
            match path_to_failure(&entries).iter().find(|entry| of(entry).is_none()) {
                Some(gap) => tally.problems.push(format!("trace {trace}: no span of {}", gap.hop.label())),
                None => tally.whole.add(firsts()),
            }
        }
        if tally.healthy_kept.filter + tally.healthy_kept.both > 0 {
            tally.problems.push("the filter has exported spans of requests that did not fail".to_owned());
        }
        tally
    }
}

impl Exporters {
    /// Counts one more, if there are spans of it.
    fn add<'a>(&mut self, spans: impl IntoIterator<Item = &'a ReceivedSpan>) {
        let (ours, native): (Vec<_>, Vec<_>) = spans.into_iter().partition(|span| is_ours(span));
        match (ours.is_empty(), native.is_empty()) {
            (true, true) => {}
            (true, false) => self.native += 1,
            (false, true) => self.filter += 1,
            (false, false) => self.both += 1,
        }
    }

    fn sum(self) -> usize {
        self.native + self.filter + self.both
    }
}

// === output ===

fn write_example(out: &mut StyledText, title: &str, spans: &[ReceivedSpan], wanted: impl Fn(&[&ReceivedSpan]) -> bool) {
    let mut traces = BTreeMap::<&str, Vec<&ReceivedSpan>>::new();
    spans.iter().for_each(|span| traces.entry(&span.trace_id).or_default().push(span));
    let Some((trace, spans)) = traces.iter().find(|(_, spans)| wanted(spans)) else { return };
    out.title(title, "");
    out.dim_line(&format!("trace {trace}"));
    out.dim_line(&format!("{:38}{:10}{:24}{:>10}  {}", "service", "kind", "name", "time", "exported by"));
    for (depth, span) in trace_tree::ordered(spans) {
        let service = format!("{}{}", "  ".repeat(depth), span.service());
        let (kind, name) = (format!("{:?}", span.kind), truncate(&span.name, 23));
        let time = milliseconds(span.duration());
        let exporter = if is_ours(span) { "sidespan" } else { "Envoy's own tracer" };
        out.line(&format!("{service:38}{kind:10}{name:24}{time:>10}  {exporter}"));
    }
}

fn write_tally(out: &mut StyledText, tally: &Tally, requests: usize) {
    out.title("The account of both exporters", "");
    let mut row = |what: &str, value: usize, note: &str| {
        out.line(&format!("{what:33}{:>9}   {note}", thousands(value as u64)));
    };
    row("requests", requests, "");
    row("failing requests", tally.failing, &format!("{} of them masked with 200", tally.masked));
    let Exporters { native, filter, both } = tally.whole;
    row(
        "  with every span root to error",
        tally.whole.sum(),
        &format!("exported by sidespan {filter}, by Envoy's own tracer {native}, by both in part {both}"),
    );
    let kept = tally.healthy_kept.sum();
    let share = 100.0 * kept as f64 / tally.healthy.max(1) as f64;
    let note =
        format!("{share:.1} % of {}; exported by Envoy's own tracer {}", tally.healthy, tally.healthy_kept.native);
    row("healthy requests with spans", kept, &note);
    let Exporters { native, filter, .. } = tally.spans;
    row(
        "spans exported",
        native + filter,
        &format!("by sidespan {filter}, by Envoy's own tracer {native}, none twice"),
    );
    out.line("");
    for problem in &tally.problems {
        let bad = out.styled(Style::Red, "FAILED");
        out.line(&format!("{bad}   {problem}"));
    }
    if tally.problems.is_empty() {
        let good = out.styled(Style::Green, "checked");
        let what = "every failing request has its whole path, no span was exported twice, no trace header was written";
        out.line(&format!("{good}  {what}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::test_data::{entries_of, spans_of};

    fn exported(entries: &[LogEntry], scope: &str) -> Vec<ReceivedSpan> {
        let mut spans = spans_of(entries, "");
        spans.iter_mut().for_each(|span| scope.clone_into(&mut span.scope.name));
        spans
    }

    #[test]
    fn spans_count_for_their_exporter_and_what_is_missing_or_there_twice_is_a_problem() {
        let failed = [200, 200, 200, 200, 503, 503];
        let entries =
            [entries_of("a", &failed, false), entries_of("b", &failed, true), entries_of("c", &[200; 6], true)];
        let mut spans = exported(&entries[0], "sidespan");
        spans.extend(exported(&entries[1], "envoy"));
        spans.extend(exported(&entries[2], "envoy"));
        let tally = Tally::of(&entries.concat(), &spans);
        let whole = Exporters { native: 1, filter: 1, both: 0 };
        assert_eq!((tally.failing, tally.masked, tally.whole), (2, 2, whole));
        assert_eq!((tally.healthy, tally.healthy_kept.native), (1, 1));
        assert_eq!(tally.spans, Exporters { native: 12, filter: 6, both: 0 });
        assert_eq!(tally.problems, [""; 0]);

        let missing: Vec<_> = spans.iter().filter(|span| span.span_id != "a3").cloned().collect();
        assert_eq!(Tally::of(&entries.concat(), &missing).problems, ["trace a: no span of backend inbound"]);
        let twice: Vec<_> = spans.iter().chain(&spans[..1]).cloned().collect();
        assert_eq!(Tally::of(&entries.concat(), &twice).problems, ["trace a: a span was exported twice"]);
        let healthy: Vec<_> = exported(&entries[2], "sidespan");
        let problems = Tally::of(&entries[2], &healthy).problems;
        assert_eq!(problems, ["the filter has exported spans of requests that did not fail"]);
    }
}
