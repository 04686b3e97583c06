//! The report of the demo as text: example traces, headers, the sampling account, the verdict.

use super::access_log::{EntriesByTrace, LogEntry, path_to_failure};
use super::account::{Account, Share, SpanBalance, Weighted, sampled_at_first};
use super::styled_text::{Style, StyledText, thousands};
use super::traffic::{B3_CLIENT_TRACE, Traffic};
use super::{header_path, trace_tree};
use sidespan_harness::ReceivedSpan;

/// A trace that is shown as an example.
pub(super) struct ExampleTrace<'a> {
    title: String,
    trace_id: &'a str,
}

/// At most one example trace of each kind.
pub(super) fn examples<'a>(traces: &'a EntriesByTrace, spans: &[ReceivedSpan], head: &str) -> Vec<ExampleTrace<'a>> {
    let complete = |entries: &[LogEntry], expected: usize| {
        let trace = entries.first().and_then(|first| first.context.as_ref()).map(|context| context.trace_id.as_str());
        spans.iter().filter(|span| Some(span.trace_id.as_str()) == trace).count() >= expected
    };
    let find = |wanted: &dyn Fn(&[LogEntry]) -> bool| {
        let mut found = traces.iter().filter(|(trace_id, entries)| *trace_id != B3_CLIENT_TRACE && wanted(entries));
        found.next().map(|(trace_id, _)| trace_id.as_str())
    };
    let failed = |entries: &[LogEntry]| entries.iter().any(LogEntry::failed);
    let answered = |entries: &[LogEntry]| entries.first().is_some_and(|first| !first.failed());
    let late = |entries: &[LogEntry]| {
        let path = path_to_failure(entries).len();
        !sampled_at_first(entries) && complete(entries, path) && path == 6
    };
    let healthy = find(&|entries| sampled_at_first(entries) && !failed(entries) && complete(entries, 6));
    let visible = find(&|entries| failed(entries) && !answered(entries) && late(entries));
    let masked = find(&|entries| failed(entries) && answered(entries) && late(entries));
    let b3_client = traces.get_key_value(B3_CLIENT_TRACE).map(|(trace_id, _)| trace_id.as_str());
    [
        (format!("a healthy request, kept by the head rate of {head}"), healthy),
        ("a failed request: not sampled at the start, but exported with all its spans".to_owned(), visible),
        ("a failure that the client never saw: the backend answered 200".to_owned(), masked),
        (
            "a client with B3 headers, applications that forward only the headers they know: one trace".to_owned(),
            b3_client,
        ),
    ]
    .into_iter()
    .filter_map(|(title, trace_id)| Some(ExampleTrace { title, trace_id: trace_id? }))
    .collect()
}

/// Writes the example traces as trees.
pub(super) fn write_traces(out: &mut StyledText, examples: &[ExampleTrace<'_>], spans: &[ReceivedSpan]) {
    for (n, example) in examples.iter().enumerate() {
        let spans: Vec<&ReceivedSpan> = spans.iter().filter(|span| span.trace_id == example.trace_id).collect();
        out.title(&format!("{}. {}", n + 1, capital(&example.title)), "");
        out.dim_line(&format!("trace {}", example.trace_id));
        trace_tree::write(out, &spans);
    }
    out.line("");
    for line in LEGEND {
        out.dim_line(line);
    }
}

const LEGEND: &[&str] = &[
    "kept by    head: the head rate; parent: its caller was sampled; error: it failed; marked: something",
    "           below it failed and said so in its response, while every caller's span was still open",
    "counts as  how many requests it stands for, 1 / the probability it was kept with (th, W3C tracestate);",
    "           ? where an application with B3 only did not hand the tracestate on",
];

/// Writes the headers of the trace of the B3 client.
pub(super) fn write_headers(out: &mut StyledText, senders: &[header_path::Sender]) {
    out.title("Its headers, hop by hop: each line was received by the next one", "");
    out.dim_line(&format!("{} stands for {B3_CLIENT_TRACE}", header_path::short(B3_CLIENT_TRACE)));
    header_path::write(out, senders, B3_CLIENT_TRACE);
}

/// Writes the sampling account.
pub(super) fn write_account(out: &mut StyledText, account: &Account, traffic: &Traffic, head: &str) {
    out.title("The sampling account", "");
    let seconds = traffic.time.as_secs_f64();
    let rate = account.requests as f64 / seconds;
    let row =
        |out: &mut StyledText, what: &str, value: &str, note: &str| out.line(&format!("{what:33}{value:>9}   {note}"));
    let number = |value: usize| thousands(value as u64);
    row(
        out,
        "requests",
        &number(account.requests),
        &format!("in {seconds:.1} s, {rate:.0} a second; {} at all listeners", number(account.entries)),
    );
    let Share { of, all } = account.failing;
    let share = 100.0 * all as f64 / account.requests.max(1) as f64;
    let seen = all - account.masked;
    let note = format!("{share:.1} %; {seen} answered 5xx, {} masked with 200", account.masked);
    row(out, "failing requests", &number(all), &note);
    let note = format!("by the head rate of {head} alone it would have been {} of {all}", account.head_only);
    row(
        out,
        "  with every span root to error",
        &format!("{of} of {all}"),
        &format!("{:.0} %; {note}", account.failing.percent()),
    );
    let Share { of, all } = account.healthy;
    let note = format!("{:.1} % of {}", account.healthy.percent(), number(all));
    row(out, "healthy requests with spans", &number(of), &note);
    let reasons: Vec<String> =
        account.reasons.iter().map(|(reason, count)| format!("{reason} {}", thousands(*count as u64))).collect();
    let share = 100.0 * account.spans as f64 / account.entries.max(1) as f64;
    row(
        out,
        "spans exported",
        &number(account.spans),
        &format!("{share:.1} % of all; kept by: {}", reasons.join(", ")),
    );
    let per_call = account.spans as f64 / account.calls.max(1) as f64;
    let per_request = account.calls as f64 / account.requests.max(1) as f64;
    row(
        out,
        "export calls",
        &number(account.calls),
        &format!("{per_request:.3} a request, {per_call:.0} spans a call, from 4 Envoys"),
    );
    let per_span = account.bytes as f64 / account.spans.max(1) as f64;
    row(out, "bytes exported", &number(account.bytes), &format!("{per_span:.0} a span"));
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
    out.title("Counted from spans by their weight, against the access logs", "");
    out.dim_line(
        "an exported span counts as 1 / the probability it was kept with, so keeping all errors biases nothing",
    );
    out.dim_line(&format!("{:33}{:>9}   {:>9}   {:>16}   {:>9}", "", "spans", "counted", "standard error", "truth"));
    for Weighted { what, truth, estimate } in weighted {
        let error = match (estimate.unknown, estimate.error) {
            (0, 0.0) => "exact".to_owned(),
            (0, error) => format!("± {error:.0}"),
            (_, _) => "at least".to_owned(),
        };
        let unknown = if estimate.unknown == 0 { String::new() } else { format!("   {} without th", estimate.unknown) };
        let counted = thousands(estimate.sum.round() as u64);
        out.line(&format!(
            "{what:33}{:>9}   {counted:>9}   {error:>16}   {:>9}{unknown}",
            thousands(estimate.spans as u64),
            thousands(*truth as u64)
        ));
    }
}

/// Writes that all checks passed, or every problem. `guaranteed`: whether whole paths were checked.
pub(super) fn write_verdict(out: &mut StyledText, problems: &[String], guaranteed: bool) {
    if problems.is_empty() {
        let what = match guaranteed {
            true => {
                "every failing request has its whole path, the metrics balance, every span decodes, no Envoy trapped"
            }
            false => {
                "the metrics balance, every span decodes, no Envoy trapped (this configuration does not guarantee whole paths)"
            }
        };
        let good = out.styled(Style::Green, "checked");
        return out.line(&format!("\n{good}  {what}"));
    }
    out.line("");
    for problem in problems {
        let bad = out.styled(Style::Red, "FAILED");
        out.line(&format!("{bad}   {problem}"));
    }
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::access_log;
    use crate::demo::test_data::{entries_of, spans_of};

    #[test]
    fn one_trace_of_each_kind_is_shown_and_only_whole_ones() {
        let traces = [
            entries_of("healthy", &[200; 6], true),
            entries_of("unsampled", &[200; 6], false),
            entries_of("visible", &[500, 500, 500, 500, 503, 503], false),
            entries_of("lucky", &[500, 500, 500, 500, 503, 503], true),
            entries_of("masked", &[200, 200, 200, 200, 503, 503], false),
            entries_of(B3_CLIENT_TRACE, &[200; 6], true),
        ];
        let spans: Vec<ReceivedSpan> = traces.iter().flat_map(|entries| spans_of(entries, "")).collect();
        let map = access_log::by_trace(&traces.concat());
        let shown = |spans: &[ReceivedSpan]| {
            examples(&map, spans, "5 %").iter().map(|example| example.trace_id.to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(shown(&spans), ["healthy", "visible", "masked", B3_CLIENT_TRACE]);
        let missing: Vec<_> = spans.into_iter().filter(|span| !span.span_id.starts_with("masked5")).collect();
        assert_eq!(shown(&missing), ["healthy", "visible", B3_CLIENT_TRACE]);
    }

    #[test]
    fn the_verdict_names_every_problem() {
        let mut out = StyledText::plain();
        write_verdict(&mut out, &["one".to_owned(), "two".to_owned()], true);
        assert_eq!(out.take(), "\nFAILED   one\nFAILED   two\n");
        write_verdict(&mut out, &[], true);
        assert!(out.take().contains("checked"));
    }
}
