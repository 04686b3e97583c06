//! The documentation is as true as the code: metrics, log lines, links.

// The lints of the package guard what runs in a proxy; a test may panic.
#![allow(clippy::arithmetic_side_effects, clippy::expect_used, clippy::panic, clippy::string_slice)]

use sidespan_core::export::{Counter, Gauge, Histogram};
use sidespan_core::otlp::Failure;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Files below a folder of the project that end in one of `ends`.
fn files(folder: &str, ends: &[&str]) -> Vec<PathBuf> {
    let (mut found, mut folders) = (Vec::new(), vec![root().join(folder)]);
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(&folder).expect("a folder").map(|entry| entry.expect("an entry").path()) {
            match path.extension().and_then(|end| end.to_str()) {
                _ if path.is_dir() => folders.push(path),
                Some(end) if ends.contains(&end) => found.push(path),
                _ => {}
            }
        }
    }
    found.sort();
    found
}

/// Every page of the project.
fn pages() -> Vec<PathBuf> {
    let top = ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"].map(|name| root().join(name));
    top.into_iter()
        .chain(files("docs", &["md"]))
        .chain(files("examples", &["md"]))
        .chain(files("deploy", &["md"]))
        .collect()
}

fn metrics() -> BTreeSet<&'static str> {
    let counters = Counter::ALL.iter().map(|counter| counter.name());
    let gauges = Gauge::ALL.iter().map(|gauge| gauge.name());
    counters.chain(gauges).chain(Histogram::ALL.iter().map(|histogram| histogram.name())).collect()
}

/// Words that begin with `sidespan_` and have another part: `sidespan_calls_*_total` gives `sidespan_calls_`.
fn metric_words(text: &str) -> BTreeSet<&str> {
    let part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = text.match_indices("sidespan_").filter(|(at, _)| !text[..*at].ends_with(part)).map(|(at, _)| {
        let rest = &text[at..];
        &rest[..rest.find(|c| !part(c)).unwrap_or(rest.len())]
    });
    words.collect()
}

#[test]
fn the_page_for_operators_names_every_metric() {
    let page = read("docs/operations.md");
    let table = page.split("## Every metric").nth(1).expect("the table");
    let named = metric_words(table);
    let missing: Vec<_> = metrics().into_iter().filter(|name| !named.contains(name)).collect();
    assert!(missing.is_empty(), "not in docs/operations.md, \"Every metric\": {missing:?}");
}

#[test]
fn every_metric_is_measured_somewhere() {
    let sources = files("core/src", &["rs"]).into_iter().chain(files("module/src", &["rs"]));
    let sources = sources.filter(|path| !path.ends_with("stats.rs"));
    let code: String = sources.map(|path| fs::read_to_string(path).expect("readable")).collect();
    let named = |name: &String| {
        let ends = |rest: &str| !rest.starts_with(|c: char| c.is_ascii_alphanumeric());
        code.match_indices(name).any(|(at, _)| ends(&code[at + name.len()..]))
    };
    let counters = Counter::ALL.iter().map(|counter| format!("Counter::{counter:?}"));
    let gauges = Gauge::ALL.iter().map(|gauge| format!("Gauge::{gauge:?}"));
    let histograms = Histogram::ALL.iter().map(|histogram| format!("Histogram::{histogram:?}"));
    let idle: Vec<_> = counters.chain(gauges).chain(histograms).filter(|name| !named(name)).collect();
    assert!(idle.is_empty(), "nobody counts {idle:?}");
}

#[test]
fn every_metric_that_is_written_about_exists() {
    let known = metrics();
    let exists = |word: &str| {
        // A histogram has three series in Prometheus; `sidespan_dropped_*` is a family.
        let name = ["_bucket", "_sum", "_count"].iter().find_map(|end| word.strip_suffix(end)).unwrap_or(word);
        known.contains(word)
            || known.contains(name)
            || known.iter().any(|known| word.ends_with('_') && known.starts_with(word))
    };
    for path in pages().into_iter().chain(files("examples", &["json", "yaml"])).chain(files("deploy", &["yaml"])) {
        let text = fs::read_to_string(&path).expect("readable");
        let wrong: Vec<_> =
            metric_words(&text).into_iter().filter(|word| !exists(word) && *word != "sidespan_cli").collect();
        assert!(wrong.is_empty(), "{}: no such metric: {wrong:?}", path.display());
    }
}

#[test]
fn every_trouble_with_a_collector_has_its_line_in_the_page_for_operators() {
    let page = read("docs/operations.md");
    let all = [
        Failure::UnknownCluster,
        Failure::NoHealthyHost,
        Failure::Refused,
        Failure::Timeout,
        Failure::Reset,
        Failure::Throttled,
        Failure::Unavailable,
        Failure::TooLarge,
        Failure::Protocol,
        Failure::Refusal,
        Failure::Dispatch,
    ];
    for failure in all {
        assert!(page.contains(failure.hint()), "{failure:?}: {}", failure.hint());
    }
}

#[test]
fn every_link_inside_the_project_leads_somewhere() {
    let mut broken = Vec::new();
    for page in pages() {
        let text = fs::read_to_string(&page).expect("readable");
        for link in links(&text).filter(|link| !link.contains("://") && !link.starts_with("mailto:")) {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { page.clone() } else { page.parent().expect("a folder").join(file) };
            let found = match target.extension().is_some_and(|end| end == "md") && !anchor.is_empty() {
                true => fs::read_to_string(&target).is_ok_and(|text| anchors(&text).any(|known| known == anchor)),
                false => target.exists(),
            };
            if !found {
                broken.push(format!("{}: {link}", page.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

/// Targets of `[text](target)`, outside code.
fn links(text: &str) -> impl Iterator<Item = &str> {
    let prose = text.split("\n```").step_by(2);
    prose.flat_map(|part| part.match_indices("](").filter_map(|(at, _)| part[at + 2..].split(')').next()))
}

/// The anchors of headings, as GitHub makes them.
fn anchors(text: &str) -> impl Iterator<Item = String> {
    let headings = text.split("\n```").step_by(2).flat_map(str::lines).filter(|line| line.starts_with('#'));
    headings.map(|line| {
        let kept = line.trim_start_matches('#').trim().chars().filter_map(|c| match c {
            ' ' => Some('-'),
            '-' | '_' => Some(c),
            c if c.is_alphanumeric() => Some(c.to_ascii_lowercase()),
            _ => None,
        });
        kept.collect()
    })
}

#[test]
fn links_and_anchors_are_found_as_they_are_written() {
    let text = "# A page\n[a](b.md#c-d) `x`\n```\n[no](link)\n```\n## C & d: `failStrategy`\n[e](#f)";
    assert_eq!(links(text).collect::<Vec<_>>(), ["b.md#c-d", "#f"]);
    assert_eq!(anchors(text).collect::<Vec<_>>(), ["a-page", "c--d-failstrategy"]);
    assert_eq!(metric_words("a `sidespan_a_total`, not.sidespan_b but my_sidespan_c").len(), 2);
}
