//! The queries of the dashboard.

use crate::example;
use serde_json::Value;
use sidespan_harness::{Prometheus, Result};

/// One query of one panel.
#[derive(Clone, Debug)]
pub struct Query {
    pub panel: String,
    pub legend: String,
    pub expression: String,
    /// The panel says something of its own where there is no data.
    pub has_text_for_no_data: bool,
}

/// All queries, as Grafana sends them with every namespace selected.
pub fn queries() -> Vec<Query> {
    let text = std::fs::read_to_string(example("sidespan.json")).expect("the dashboard");
    let dashboard: Value = serde_json::from_str(&text).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    panels.iter().flat_map(of_panel).collect()
}

fn of_panel(panel: &Value) -> Vec<Query> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let no_value = text(&panel["fieldConfig"]["defaults"]["noValue"]);
    let targets = panel["targets"].as_array().into_iter().flatten();
    let query = |target: &Value| Query {
        panel: text(&panel["title"]),
        legend: text(&target["legendFormat"]),
        expression: text(&target["expr"]).replace("$namespace", ".*").replace("$__rate_interval", "30s"),
        has_text_for_no_data: !no_value.is_empty() && no_value != "0",
    };
    targets.map(query).collect()
}

/// What is wrong with the answers: refused, empty, or not a number.
pub async fn complaints(prometheus: &Prometheus, queries: &[Query]) -> Result<Vec<String>> {
    let mut complaints = Vec::new();
    for query in queries {
        let what = match prometheus.query(&query.expression).await {
            Err(error) => format!("{error:#}"),
            Ok(samples) if samples.is_empty() => "no data".to_owned(),
            Ok(samples) if samples.iter().any(|(_, value)| value.is_nan()) => "not a number".to_owned(),
            Ok(_) => continue,
        };
        complaints.push(format!("{}, {}: {what}: {}", query.panel, query.legend, query.expression));
    }
    Ok(complaints)
}

/// The value of a panel with one query and one series.
pub async fn value(prometheus: &Prometheus, panel: &str) -> Result<f64> {
    let query = queries().into_iter().find(|query| query.panel == panel).expect("a panel of this title");
    let samples = prometheus.query(&query.expression).await?;
    assert_eq!(samples.len(), 1, "{panel}: {samples:?}");
    Ok(samples[0].1)
}
