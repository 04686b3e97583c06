//! Metrics that a server of this process tells Prometheus.

use sidespan_harness::client::Client;
use sidespan_harness::upstream::{self, Request, Response};
use sidespan_harness::{Result, Upstream};
use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What an OpenTelemetry Collector tells about itself and, with the `spanmetrics` connector, about spans. Written by hand: the
/// collector of the other tests has neither. All counters grow with each scrape.
pub async fn of_collector() -> Result<Upstream> {
    let scrapes = AtomicUsize::new(0);
    serve(move || {
        let number = scrapes.fetch_add(1, Ordering::Relaxed) + 1;
        async move { Ok(text(number)) }
    })
    .await
}

/// Those of the Envoy behind an admin port, under the names that the dynamic module has in Envoy.
pub async fn of_dynamic_module(admin_port: u16) -> Result<Upstream> {
    let admin = Client::http1(admin_port);
    serve(move || {
        let admin = admin.clone();
        async move {
            let text = admin.get("admin", "/stats/prometheus", &[]).await?.text();
            Ok(text.replace("sidespan_", "envoy_dynamicmodulescustom_sidespan_"))
        }
    })
    .await
}

async fn serve<F: Future<Output = Result<String>> + Send + 'static>(
    text: impl Fn() -> F + Send + Sync + 'static,
) -> Result<Upstream> {
    Upstream::start(move |_: Request<_>| {
        let text = text();
        async move {
            let body = text.await.unwrap_or_else(|error| format!("{error:#}"));
            let answer = Ok(Response::new(upstream::full(body)));
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
