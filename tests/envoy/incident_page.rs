//! The tables of docs/operations.md, read as an operator reads them: from the top, the first row whose evidence is there.

use sidespan_harness::{Envoy, Result};
use std::collections::BTreeMap;

/// What an operator sees of a proxy: metrics by their names in Prometheus, and the log as Istio's default level shows it.
pub struct Proxy {
    metrics: BTreeMap<String, u64>,
    log: String,
}

/// Cells of a row.
pub type Row = Vec<String>;

// === impl Proxy ===

impl Proxy {
    pub async fn look(envoy: &Envoy) -> Result<Self> {
        let stats = envoy.stats().await?.into_iter();
        let metrics = stats.filter_map(|(name, value)| Some((name.strip_prefix("wasmcustom.")?.to_owned(), value)));
        let shown = ["][warning][", "][error][", "][critical]["];
        let log = envoy.log();
        let lines = log.lines().filter(|line| shown.iter().any(|level| line.contains(level)));
        Ok(Self { metrics: metrics.collect(), log: lines.collect::<Vec<_>>().join("\n") })
    }

    /// The lines of the log.
    pub fn log(&self) -> &str {
        &self.log
    }

    /// Follows the page from "Spans are missing" to the row that it ends at.
    pub fn follow_page(&self) -> Option<Row> {
        let page =
            std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operations.md")).expect("the page");
        let row = table(&page, "### Spans are missing").into_iter().find(|row| self.shows(&row[0]))?;
        // A link to another table of the page: the cause is found there.
        let onward =
            [("(#the-collector)", "### The collector"), ("(#where-did-the-span-go)", "## Where did the span go")];
        match onward.iter().find(|(link, _)| row[2].contains(link)) {
            Some((_, heading)) => table(&page, heading).into_iter().find(|row| self.has_counter_and_line(row)),
            None => Some(row),
        }
    }

    /// Evidence: clauses joined by "and".
    fn shows(&self, evidence: &str) -> bool {
        evidence.split(" and ").all(|clause| {
            let (before, rest) = clause.split_once('`').unwrap_or_else(|| panic!("no metric: {clause}"));
            let (metric, after) = rest.split_once('`').unwrap_or_else(|| panic!("no metric: {clause}"));
            match (before, after) {
                ("", " rises" | " is above 0") => self.sum(metric) > 0,
                ("", " does not rise") => self.sum(metric) == 0,
                ("no ", "") => self.matching(metric).next().is_none(),
                _ => panic!("the test cannot read this evidence: {clause}"),
            }
        })
    }

    /// A row of the other two tables: the counter; in that of the collector also the line.
    fn has_counter_and_line(&self, row: &Row) -> bool {
        let metric = row[0].trim_matches('`');
        let line = &row[1];
        let is_about_calls = metric.starts_with("sidespan_calls_");
        self.sum(metric) > 0 && (!is_about_calls || self.log.contains(&format!(": {line}")))
    }

    fn sum(&self, pattern: &str) -> u64 {
        self.matching(pattern).map(|(_, value)| value).sum()
    }

    /// `*` stands for anything.
    fn matching(&self, pattern: &str) -> impl Iterator<Item = (&String, &u64)> {
        let (start, end) = pattern.split_once('*').unwrap_or((pattern, ""));
        let exact = !pattern.contains('*');
        self.metrics.iter().filter(move |(name, _)| match exact {
            true => *name == start,
            false => name.starts_with(start) && name.ends_with(end),
        })
    }
}

/// The rows of the first table below a heading, without its head.
fn table(page: &str, heading: &str) -> Vec<Row> {
    let section = page.split(&format!("\n{heading}\n")).nth(1).unwrap_or_else(|| panic!("no heading {heading}"));
    let lines = section.lines().skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|'));
    let rows = lines.skip(2).map(|line| {
        // A bar within a cell is written as `\|`.
        let cells = line.replace("\\|", "\u{0}");
        cells.trim_matches('|').split('|').map(|cell| cell.trim().replace('\u{0}', "|")).collect()
    });
    rows.collect()
}

#[test]
fn evidence_is_read_as_the_page_writes_it() {
    let proxy = |metrics: &[(&str, u64)], log: &str| Proxy {
        metrics: metrics.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect(),
        log: log.to_owned(),
    };
    let seen = proxy(
        &[("sidespan_a_total", 2), ("sidespan_calls_x_total", 1), ("sidespan_c", 0)],
        "exporter, cluster \"c\": down",
    );
    for (evidence, expected) in [
        ("`sidespan_a_total` rises", true),
        ("`sidespan_*_total` rises and `sidespan_b_total` does not rise", true),
        ("`sidespan_a_total` rises and `sidespan_a_total` does not rise", false),
        ("`sidespan_c` is above 0", false),
        ("no `sidespan_b_*`", true),
        ("no `sidespan_a_*`", false),
    ] {
        assert_eq!(seen.shows(evidence), expected, "{evidence}");
    }
    let row = |counter: &str, line: &str| vec![counter.to_owned(), line.to_owned()];
    assert!(seen.has_counter_and_line(&row("`sidespan_calls_x_total`", "down")));
    assert!(!seen.has_counter_and_line(&row("`sidespan_calls_x_total`", "up")), "another line");
    assert!(!seen.has_counter_and_line(&row("`sidespan_calls_y_total`", "down")), "another counter");
    let page = "# P\n\n### T\ntext\n\n| a | b |\n|---|---|\n| `x` | y \\| z |\n\n| c |\n";
    assert_eq!(table(page, "### T"), [row("`x`", "y | z")]);
}
