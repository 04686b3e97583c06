//! The report of the benchmark, in Markdown.

use super::cost::Costs;
use super::latency::Latencies;
use super::memory::{Memory, QUEUE_BYTES};
use super::summary::{Ratio, Summary, ratio};
use super::tail_sampling::Measurement;
use super::variant::{BASE, MINIMAL, MINIMAL_SAMPLED, NO_OP, NO_OP_MODULE, dynamic_module, native, sidespan};
use crate::wasm::LIMIT;
use std::fmt::Write as _;

/// The results. Those of parts that were not run are empty.
#[derive(Default)]
pub(super) struct Report {
    /// Processors and operating system.
    pub machine: String,
    /// CPU time, by scenario.
    pub costs: Vec<Costs>,
    /// Latency, by load: `half load` and a low one.
    pub latencies: Vec<(&'static str, Latencies)>,
    /// Memory of a worker.
    pub memory: Option<Memory>,
    /// Modules and their sizes in bytes.
    pub sizes: Vec<(&'static str, u64)>,
    /// Host calls and their costs in nanoseconds.
    pub host_calls: Vec<(String, f64)>,
    /// CPU time of meshes with their collectors.
    pub tail_sampling: Vec<Measurement>,
}

const MIB: f64 = 1024.0 * 1024.0;

// === impl Report ===

impl Report {
    /// All results.
    pub(super) fn markdown(&self) -> String {
        let mut out = format!("{}\n", self.machine);
        let parts = [self.goals(), self.floor(), self.tail_sampling(), self.scenarios(), self.latency(), self.memory()];
        let parts = parts.into_iter().chain([self.size(), self.host_calls()]);
        parts.filter(|part| !part.is_empty()).for_each(|part| out.push_str(&format!("\n{part}")));
        out
    }

    /// The goals of the project and whether they are reached, as far as they were measured.
    fn goals(&self) -> String {
        let mut rows = Vec::new();
        if let Some(costs) = self.costs.first() {
            let goals = [
                (sidespan(100.0), native(100.0), 0.60),
                (sidespan(10.0), native(10.0), 1.00),
                (sidespan(1.0), native(1.0), 1.25),
                (sidespan(0.0), NO_OP.to_owned(), 1.50),
                (dynamic_module(100.0), native(100.0), 0.50),
                (dynamic_module(1.0), native(100.0), 0.20),
            ];
            for (of, to, most) in goals {
                let Some(ratio) = costs.ratio(&of, &to) else { continue };
                let reached = ratio.value <= most;
                rows.push((format!("CPU added: {of} ÷ {to}"), format!("{most:.2}"), ratio.to_string(), reached));
            }
            let of = dynamic_module(0.0);
            if let Some(more) = costs.difference(&of, NO_OP_MODULE) {
                let what = format!("CPU added, µs: {of} − {NO_OP_MODULE}");
                rows.push((what, "4.0".to_owned(), with_quartiles(&more), more.median <= 4.0));
            }
        }
        for (load, latencies) in &self.latencies {
            for of in [sidespan(1.0), dynamic_module(1.0)] {
                let (Some(ours), Some(native)) = (latencies.row(&of), latencies.row(&native(1.0))) else { continue };
                let (ours, native) = (ours.added_p99.median, native.added_p99.median);
                let what = format!("p99 added at {load}, µs: {of}");
                rows.push((what, format!("native: {native:.0}"), format!("{ours:.0}"), ours <= native));
            }
        }
        for (of, to, both) in self.tiers().filter(|(of, to, _)| of.name.contains("module") && to.name.contains("512")) {
            let what = format!("CPU added, proxies and collector: {} ÷ tail sampling, {}", of.name, to.name);
            rows.push((what, "0.50".to_owned(), both.to_string(), both.value <= 0.50));
        }
        if let Some((_, size)) = self.sizes.first() {
            rows.push((
                "wasm module, bytes".to_owned(),
                LIMIT.to_string(),
                size.to_string(),
                usize::try_from(*size).is_ok_and(|size| size <= LIMIT),
            ));
        }
        if let Some(memory) = &self.memory {
            let (empty, full) = (memory.empty - memory.no_op, memory.empty - memory.no_op + memory.growth);
            let bound = QUEUE_BYTES + MIB;
            rows.push(("worker over no-op, queue empty, MiB".to_owned(), "1.0".to_owned(), mib(empty), empty <= MIB));
            rows.push(("worker over no-op, queue full, MiB".to_owned(), mib(bound), mib(full), full <= bound));
        }
        if rows.is_empty() {
            return String::new();
        }
        let mut out = "| goal | at most | measured | reached |\n|---|---|---|---|\n".to_owned();
        for (what, most, measured, reached) in rows {
            let _ = writeln!(out, "| {what} | {most} | {measured} | {} |", if reached { "yes" } else { "**no**" });
        }
        out
    }

    /// The lower bound for any filter, as the same ratios as the goals.
    fn floor(&self) -> String {
        let Some(costs) = self.costs.first() else { return String::new() };
        let pairs = [
            (MINIMAL_SAMPLED, native(100.0)),
            (MINIMAL, native(10.0)),
            (MINIMAL, native(1.0)),
            (MINIMAL, NO_OP.to_owned()),
        ];
        let row = |(of, to): (&str, String)| Some(format!("| {of} ÷ {to} | {} |\n", costs.ratio(of, &to)?));
        let rows: String = pairs.into_iter().filter_map(row).collect();
        let head = "| the minimum for any filter | CPU added |\n|---|---|\n";
        if rows.is_empty() { rows } else { format!("{head}{rows}") }
    }

    fn scenarios(&self) -> String {
        self.costs.iter().map(scenario).collect::<Vec<_>>().join("\n")
    }

    fn latency(&self) -> String {
        self.latencies.iter().map(|(load, latencies)| latency(load, latencies)).collect::<Vec<_>>().join("\n")
    }

    fn tail_sampling(&self) -> String {
        if self.tail_sampling.is_empty() {
            return String::new();
        }
        let mut out = "Every error and 1 % of the rest, for requests through a gateway and three services (six spans), of which 1 % fail: µs \
             of all proxies and of the collector, per request\n\n\
             | | proxies, added (quartiles) | collector | both | spans kept per request | collector, MiB |\n|---|---|---|---|---|---|\n"
            .to_owned();
        for measurement in &self.tail_sampling {
            let (name, collector, kept, resident) =
                (measurement.name, measurement.collector, measurement.spans, mib(measurement.resident));
            let proxies = Summary::of(&measurement.added);
            let (both, proxies) = (proxies.median + collector, with_quartiles(&proxies));
            let _ = writeln!(out, "| {name} | {proxies} | {collector:.1} | {both:.1} | {kept:.3} | {resident} |");
        }
        out.push_str("\n| CPU added | proxies and collector |\n|---|---|\n");
        for (of, to, both) in self.tiers() {
            let _ = writeln!(out, "| {} ÷ {} | {both} |", of.name, to.name);
        }
        out
    }

    /// Each approach with the filter, compared with each approach that samples in the collector: CPU time of both.
    fn tiers(&self) -> impl Iterator<Item = (&Measurement, &Measurement, Ratio)> {
        let ours = self.tail_sampling.iter().filter(|measurement| measurement.ours);
        let pairs = ours.flat_map(|ours| {
            let others = self.tail_sampling.iter().filter(|other| !other.ours && other.spans > 0.0);
            others.map(move |other| (ours, other))
        });
        pairs.map(|(of, to)| (of, to, ratio((&of.added, of.collector), (&to.added, to.collector))))
    }

    fn memory(&self) -> String {
        let Some(memory) = &self.memory else { return String::new() };
        format!(
            "Memory of a worker, MiB over one without a filter: no-op {}, sidespan with an empty queue {}; \
             full queue {} more.\n",
            mib(memory.no_op),
            mib(memory.empty),
            mib(memory.growth)
        )
    }

    fn size(&self) -> String {
        let sizes: Vec<_> = self.sizes.iter().map(|(name, size)| format!("{name} {size}")).collect();
        if sizes.is_empty() { String::new() } else { format!("Modules, bytes: {}.\n", sizes.join(", ")) }
    }

    fn host_calls(&self) -> String {
        if self.host_calls.is_empty() {
            return String::new();
        }
        let mut out = "| callback: host call | ns |\n|---|---|\n".to_owned();
        for (call, nanoseconds) in &self.host_calls {
            let _ = writeln!(out, "| `{call}` | {nanoseconds:.0} |");
        }
        out
    }
}

fn latency(load: &str, latencies: &Latencies) -> String {
    let mut out = format!(
        "Latency at {:.0} requests a second ({load}), µs:\n\n\
         | | p50 | p90 | p99 | p99.9 | p50 added (quartiles) | p99 added (quartiles) |\n|---|---|---|---|---|---|---|\n",
        latencies.rate
    );
    for row in &latencies.rows {
        let [p50, p90, p99, p999] = row.percentiles.map(|value| format!("{value:.0}"));
        let (added50, added99) = (with_quartiles(&row.added_p50), with_quartiles(&row.added_p99));
        let _ = writeln!(out, "| {} | {p50} | {p90} | {p99} | {p999} | {added50} | {added99} |", row.name);
    }
    out
}

fn scenario(costs: &Costs) -> String {
    let mut out = format!(
        "{}: µs of the proxy per request, median (quartiles)\n\n\
         | | added | ÷ native, same rate | spans per request |\n|---|---|---|---|\n",
        costs.scenario.title()
    );
    for row in &costs.rows {
        let ratio = rate(&row.name).and_then(|rate| costs.ratio(&row.name, &native(rate)));
        let ratio = ratio.map_or_else(String::new, |ratio| ratio.to_string());
        let cost = match row.name.as_str() {
            BASE => format!("base: {}", with_quartiles(&row.total)),
            _ => with_quartiles(&row.added),
        };
        let _ = writeln!(out, "| {} | {cost} | {ratio} | {:.3} |", row.name, row.spans);
    }
    out
}

/// The sampling percentage in the name of a variant, if the native tracer is measured at the same percentage.
fn rate(name: &str) -> Option<f64> {
    let percentage = name.strip_suffix(" %").or_else(|| name.strip_suffix(" %, every option"))?;
    let rate = percentage.rsplit(' ').next()?.parse().ok()?;
    (!name.starts_with("native OpenTelemetry") && rate > 0.0).then_some(rate)
}

fn with_quartiles(summary: &Summary) -> String {
    format!("{:.1} ({:.1} to {:.1})", summary.median, summary.low, summary.high)
}

fn mib(bytes: f64) -> String {
    format!("{:.1}", bytes / MIB)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variant_is_compared_with_the_native_tracer_at_its_own_rate() {
        let table = [
            ("sidespan 100 %", Some(100.0)),
            ("sidespan 1 %", Some(1.0)),
            ("sidespan module 1 %", Some(1.0)),
            ("sidespan 100 %, every option", Some(100.0)),
            ("native Zipkin 100 %", Some(100.0)),
            ("native OpenTelemetry 100 %", None),
            ("sidespan 0 %", None),
            ("sidespan 0 %, no error bias", None),
            ("no tracing", None),
            ("no-op wasm, stripped", None),
        ];
        for (name, expected) in table {
            assert_eq!(rate(name), expected, "{name}");
        }
    }
}
