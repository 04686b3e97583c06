//! The report of the demo as text, on one screen: one trace, the sampling account, the verdict. The page shows the rest.

use super::account::{Account, Share, SpanBalance, Weighted};
use super::adjusted_count::Certainty;
use super::examples::ExampleTrace;
use super::styled_text::{Style, StyledText, thousands};
use super::trace_tree;
use super::traffic::Traffic;
use std::path::{Path, PathBuf};

/// Files that the demo wrote.
pub(crate) struct Files {
    /// The page.
    pub page: PathBuf,
    /// All spans as OTLP/JSON.
    pub traces: PathBuf,
}

const LEGEND: &[&str] = &[
    "kept by: error, it failed; marked, a request further down failed; head, selected at random; parent,",
    "its caller was sampled. stands for: so many requests, 1 / the probability with which it was kept.",
];

/// Writes one trace as a tree: the first one whose every span has a probability, else the first.
pub(super) fn write_trace(out: &mut StyledText, examples: &[ExampleTrace<'_>]) {
    let known = examples.iter().find(|example| example.has_probabilities());
    let Some(example) = known.or(examples.first()) else { return };
    out.title(example.title, &format!("trace {}", example.trace_id));
    trace_tree::write(out, &example.spans);
    LEGEND.iter().for_each(|line| out.dim_line(line));
}

/// Writes the sampling account. `head` is the rate of head sampling in percent.
pub(super) fn write_account(out: &mut StyledText, account: &Account, traffic: &Traffic, head: f64) {
    out.title("The sampling account", "");
    let seconds = traffic.time.as_secs_f64();
    let rate = account.requests as f64 / seconds;
    let row =
        |out: &mut StyledText, what: &str, value: &str, note: &str| out.line(&format!("{what:33}{value:>9}   {note}"));
    let number = |value: usize| thousands(value as u64);
    let note = format!("in {seconds:.1} s, {rate:.0} a second; {} at all listeners", number(account.entries));
    row(out, "requests", &number(account.requests), &note);
    let Share { of, all } = account.failing;
    let share = 100.0 * all as f64 / account.requests.max(1) as f64;
    let seen = all - account.masked;
    let note = format!("{share:.1} %; {seen} answered 5xx, {} masked with 200", account.masked);
    row(out, "failing requests", &number(all), &note);
    let percent = account.failing.percent().map_or_else(|| "none failed".to_owned(), |share| format!("{share:.0} %"));
    let note = format!("{percent}; head sampling at {head} % alone: {} of {all}", account.head_only);
    row(out, "  with every span root to error", &format!("{of} of {all}"), &note);
    let Share { of, all } = account.healthy;
    let note = format!("{:.1} % of {}", account.healthy.percent().unwrap_or_default(), number(all));
    row(out, "healthy requests with spans", &number(of), &note);
    let reasons: Vec<String> =
        account.reasons.iter().map(|(reason, count)| format!("{reason} {}", thousands(*count as u64))).collect();
    let share = 100.0 * account.spans as f64 / account.entries.max(1) as f64;
    let note = format!("{share:.1} % of all: {}", reasons.join(", "));
    row(out, "spans exported", &number(account.spans), &note);
    write_balance(out, account.balance);
    write_weighted(out, &account.weighted);
}

fn write_balance(out: &mut StyledText, balance: SpanBalance) {
    let SpanBalance { kept, exported, dropped, queued, capped } = balance;
    let balanced = kept == exported + dropped + queued;
    let verdict = if balanced { out.styled(Style::Green, "=") } else { out.styled(Style::Red, "≠") };
    let [kept, exported, dropped, queued] = [kept, exported, dropped, queued].map(thousands);
    let cap = if capped > 0 { format!("; over the cap {}", thousands(capped)) } else { String::new() };
    let sum = format!("{verdict} exported {exported} + dropped {dropped} + queued {queued}{cap}");
    out.line(&format!("{:33}{kept:>9}   {sum}", "Envoy's metrics: spans kept"));
}

fn write_weighted(out: &mut StyledText, weighted: &[Weighted]) {
    out.title("Estimated from the exported spans, beside the true counts of the access logs", "");
    out.dim_line(&format!("{:33}{:>9}   {:>9}   {:>9}   how certain", "", "truth", "spans", "estimate"));
    for Weighted { what, truth, estimate } in weighted {
        let (sum, words) = match estimate.certainty() {
            Certainty::NoSpans => ("–".to_owned(), "no spans, so no estimate".to_owned()),
            Certainty::Partial => {
                (thousands(estimate.sum.round() as u64), format!("at least; {} without probability", estimate.unknown))
            }
            Certainty::Counted => (thousands(estimate.sum.round() as u64), "each kept with probability 1".to_owned()),
            Certainty::Sampled { low, high } => {
                (thousands(estimate.sum.round() as u64), format!("95 %: about {low:.0} to {high:.0}"))
            }
        };
        let [truth, spans] = [*truth, estimate.spans].map(|count| thousands(count as u64));
        out.line(&format!("{what:33}{truth:>9}   {spans:>9}   {sum:>9}   {words}"));
    }
}

/// Writes what was checked, or every problem.
pub(super) fn write_verdict(out: &mut StyledText, problems: &[String], checked: &str) {
    out.line("");
    if problems.is_empty() {
        let good = out.styled(Style::Green, "checked");
        return out.line(&format!("{good}  {checked}"));
    }
    for problem in problems {
        let bad = out.styled(Style::Red, "FAILED");
        out.line(&format!("{bad}   {problem}"));
    }
}

/// What is checked. `guaranteed`: whether the configuration guarantees whole paths.
pub(super) fn checked(guaranteed: bool) -> &'static str {
    match guaranteed {
        true => "every failing request has its whole path, the metrics balance, no Envoy trapped",
        false => "the metrics balance, no Envoy trapped (whole paths are not guaranteed by this configuration)",
    }
}

/// Writes where the files are.
pub(super) fn write_files(out: &mut StyledText, files: &Files) {
    let here = std::env::current_dir().unwrap_or_default();
    let short = |path: &Path| path.strip_prefix(&here).unwrap_or(path).display().to_string();
    let page = out.styled(Style::Bold, &short(&files.page));
    out.line(&format!("page     {page}   (open it in a browser: the mesh, traces, tags, headers, charts)"));
    out.line(&format!("spans    {}   (OTLP/JSON; Jaeger UI: Search, Upload)", short(&files.traces)));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::adjusted_count::Estimate;

    #[test]
    fn the_verdict_names_every_problem() {
        let mut out = StyledText::plain();
        write_verdict(&mut out, &["one".to_owned(), "two".to_owned()], checked(true));
        assert_eq!(out.take(), "\nFAILED   one\nFAILED   two\n");
        write_verdict(&mut out, &[], checked(true));
        assert!(out.take().contains("checked"));
    }

    #[test]
    fn an_estimate_from_no_spans_is_no_estimate() {
        let mut out = StyledText::plain();
        write_weighted(&mut out, &[Weighted { what: "requests", truth: 50, estimate: Estimate::default() }]);
        let text = out.take();
        assert!(text.contains("no spans, so no estimate") && !text.contains("exact"), "{text}");
    }
}
