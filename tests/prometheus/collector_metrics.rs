//! What an OpenTelemetry Collector tells Prometheus about itself and, with the `spanmetrics` connector, about spans. Written by hand:
//! the collector of these tests has neither.

use sidespan_harness::upstream::{self, Request};
use sidespan_harness::{Result, Upstream};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Serves them on every path. All counters grow with each scrape.
pub async fn serve() -> Result<Upstream> {
    let scrapes = AtomicUsize::new(0);
    Upstream::start(move |_: Request<_>| {
        let number = scrapes.fetch_add(1, Ordering::Relaxed) + 1;
        async move {
            let answer = Ok(upstream::Response::new(upstream::full(text(number))));
            upstream::header(answer, "content-type", "text/plain; version=0.0.4")
        }
    })
    .await
}

fn text(number: usize) -> String {
    const SPAN: &str =
        r#"service_name="backend",span_name="GET /",span_kind="SPAN_KIND_SERVER",status_code="STATUS_CODE_ERROR""#;
    let lines = [
        format!("otelcol_process_uptime_seconds_total {number}"),
        format!("otelcol_receiver_refused_spans_total{{receiver=\"otlp\"}} {}", number * 10),
        format!("traces_span_metrics_calls_total{{{SPAN}}} {}", number * 5),
        format!("traces_span_metrics_duration_milliseconds_bucket{{{SPAN},le=\"10\"}} {}", number * 3),
        format!("traces_span_metrics_duration_milliseconds_bucket{{{SPAN},le=\"+Inf\"}} {}", number * 5),
    ];
    lines.join("\n") + "\n"
}
