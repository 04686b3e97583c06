//! The demo's result as one HTML page, `target/demo/index.html`, which needs no other file and no network.
//!
//! The page is a template that is filled with the observations. The template engine escapes every value, because names, paths and
//! headers come from requests. A Content-Security-Policy forbids network requests and scripts other than the page's own.

mod account_chart;
mod mesh_picture;
mod waterfall;

use super::account::{Account, Observations};
use super::examples::ExampleTrace;
use super::header_path::Exchanges;
use super::styled_text::thousands;
use super::traffic::Traffic;
use account_chart::AccountChart;
use anyhow::{Context as _, Result};
use mesh_picture::MeshPicture;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, Value, context};
use serde::Serialize;
use sidespan_harness::provide;
use std::fs;
use std::hash::{BuildHasher as _, RandomState};
use std::path::PathBuf;
use waterfall::Waterfall;

const FILES: &[(&str, &str)] = &[
    ("template.html", include_str!("template.html")),
    ("mesh.html", include_str!("mesh.html")),
    ("trace.html", include_str!("trace.html")),
    ("account.html", include_str!("account.html")),
    ("style.css", include_str!("style.css")),
    ("mesh.css", include_str!("mesh.css")),
    ("trace.css", include_str!("trace.css")),
    ("headers.css", include_str!("headers.css")),
    ("account.css", include_str!("account.css")),
    ("narrow.css", include_str!("narrow.css")),
    ("script.js", include_str!("script.js")),
];

/// Everything that the page shows.
#[derive(Serialize)]
pub(super) struct Page {
    /// Length of the traffic in seconds.
    seconds: f64,
    /// Rate of head sampling in percent.
    head: String,
    mesh: MeshPicture,
    traces: Vec<Waterfall>,
    account: AccountChart,
    /// Checks that failed, one sentence each.
    problems: Vec<String>,
    /// What was checked.
    checked: &'static str,
    /// `pluginConfig` as JSON.
    config: String,
    version: &'static str,
}

/// What a page is made from.
pub(super) struct Facts<'a> {
    /// What was observed.
    pub observations: &'a Observations,
    /// What the clients saw.
    pub traffic: &'a Traffic,
    /// Requests as the applications recorded them.
    pub exchanges: &'a Exchanges,
    /// What was compared.
    pub account: &'a Account,
    /// Traces to show.
    pub examples: &'a [ExampleTrace<'a>],
    /// Rate of head sampling in percent.
    pub head: f64,
    /// What was checked.
    pub checked: &'static str,
    /// `pluginConfig`.
    pub config: &'a serde_json::Value,
}

// === impl Page ===

impl Page {
    /// Computes what the page shows.
    pub(super) fn of(facts: &Facts<'_>) -> Self {
        let seconds = facts.traffic.time.as_secs_f64();
        Self {
            seconds,
            head: facts.head.to_string(),
            mesh: MeshPicture::of(facts.observations, facts.traffic, facts.exchanges),
            traces: facts.examples.iter().map(|example| Waterfall::of(example, facts.exchanges)).collect(),
            account: AccountChart::of(facts.account),
            problems: facts.account.problems.clone(),
            checked: facts.checked,
            config: format!("{:#}", facts.config),
            version: env!("CARGO_PKG_VERSION"),
        }
    }

    /// Writes `target/demo/index.html` and returns its path.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub(super) fn write(&self) -> Result<PathBuf> {
        let folder = provide::target_dir().join("demo");
        let path = folder.join("index.html");
        let written = fs::create_dir_all(&folder).map_err(anyhow::Error::from).and_then(|()| {
            let html = self.html()?;
            Ok(fs::write(&path, html)?)
        });
        written.with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }

    /// The page as HTML.
    fn html(&self) -> Result<String> {
        let mut environment = Environment::new();
        environment.set_auto_escape_callback(|name| match name.ends_with(".html") {
            true => AutoEscape::Html,
            false => AutoEscape::None,
        });
        environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
        environment.add_filter("thousands", thousands);
        environment.add_filter("milliseconds", |value: f64| format!("{value:.1} ms"));
        for (name, text) in FILES {
            environment.add_template(name, text)?;
        }
        // A script runs only with this number, which no request can know.
        let nonce = format!("{:016x}", RandomState::new().hash_one(std::process::id()));
        let values = context! { nonce, page => Value::from(Serde(self)) };
        Ok(environment.get_template("template.html")?.render(values)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::guarantees::Guarantees;
    use crate::demo::test_data::{entries_of, spans_of};
    use crate::demo::{access_log, examples};
    use sidespan_harness::ReceivedSpan;
    use std::collections::BTreeMap;
    use std::time::Duration;

    /// The page of one failing trace, after `change` of its spans.
    fn html(change: impl Fn(&mut ReceivedSpan)) -> String {
        let entries = entries_of("a", &[500, 500, 500, 500, 503, 503], false);
        let mut spans = spans_of(&entries, "ot=th:0");
        spans.iter_mut().for_each(change);
        let metrics = BTreeMap::new();
        let observations = Observations { requests: 1, entries, spans, calls: 1, bytes: 1000, metrics };
        let guarantees = Guarantees { whole_path: true, exact_errors: true, unique_contexts: true };
        let account = Account::of(&observations, &guarantees);
        let traces = access_log::by_trace(&observations.entries);
        let facts = Facts {
            observations: &observations,
            traffic: &Traffic { failed: 1, time: Duration::from_secs(1), ..Traffic::default() },
            exchanges: &Exchanges::default(),
            account: &account,
            examples: &examples::choose(&traces, &observations.spans, 5.0),
            head: 5.0,
            checked: "",
            config: &serde_json::json!({}),
        };
        Page::of(&facts).html().expect("the template matches the data")
    }

    #[test]
    fn a_span_is_a_row_with_its_tags() {
        let html = html(|span| drop(span.attributes.insert("tenant".to_owned(), "acme".into())));
        assert_eq!(html.matches("<article").count(), 1);
        assert_eq!(html.matches("<details class=\"span").count(), 6);
        assert_eq!(html.matches("<td>acme</td>").count(), 6);
    }

    #[test]
    fn values_from_requests_cannot_add_markup() {
        let hostile = "</script><script>alert(1)</script>\"'><img src=x onerror=alert(1)>";
        let (plain, attacked) = (
            html(|_| ()),
            html(|span| {
                span.name = hostile.to_owned();
                span.trace_state = format!("{hostile}=1");
                span.status_message = hostile.to_owned();
                span.attributes.insert(hostile.to_owned(), hostile.into());
                span.resource.insert("service.name".to_owned(), hostile.into());
            }),
        );
        assert!(attacked.contains("&lt;img src=x"), "the values are there, escaped");
        for markup in ["<script", "</script", "<img", "onerror=alert(1)>"] {
            assert_eq!(attacked.matches(markup).count(), plain.matches(markup).count(), "{markup}");
        }
    }
}
