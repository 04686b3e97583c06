//! What the demo says about what happened.

use super::account::{Account, Books, Share, Weighted, sampled_at_first};
use super::hop::{Journeys, Passage, path_to_failure};
use super::paper::{Ink, Paper, thousands};
use super::traffic::{GUEST_TRACE, Traffic};
use super::{tree, wire};
use sidespan_harness::ReceivedSpan;

/// A trace that is worth a look.
pub struct Pick<'a> {
    title: String,
    trace_id: &'a str,
}

/// At most one trace of each kind, if there was one.
pub fn picks<'a>(journeys: &'a Journeys, spans: &[ReceivedSpan], head: &str) -> Vec<Pick<'a>> {
    let complete = |journey: &[Passage], expected: usize| {
        let trace = journey.first().and_then(|first| first.context.as_ref()).map(|context| context.trace_id.as_str());
        spans.iter().filter(|span| Some(span.trace_id.as_str()) == trace).count() >= expected
    };
    let find = |wanted: &dyn Fn(&[Passage]) -> bool| {
        let mut found = journeys.iter().filter(|(trace_id, journey)| *trace_id != GUEST_TRACE && wanted(journey));
        found.next().map(|(trace_id, _)| trace_id.as_str())
    };
    let failed = |journey: &[Passage]| journey.iter().any(Passage::failed);
    let answered = |journey: &[Passage]| journey.first().is_some_and(|first| !first.failed());
    let late = |journey: &[Passage]| {
        let path = path_to_failure(journey).len();
        !sampled_at_first(journey) && complete(journey, path) && path == 6
    };
    let healthy = find(&|journey| sampled_at_first(journey) && !failed(journey) && complete(journey, 6));
    let visible = find(&|journey| failed(journey) && !answered(journey) && late(journey));
    let masked = find(&|journey| failed(journey) && answered(journey) && late(journey));
    let guest = journeys.get_key_value(GUEST_TRACE).map(|(trace_id, _)| trace_id.as_str());
    [
        (format!("a healthy request, kept by the head rate of {head}"), healthy),
        ("a failed request: not sampled at the start, and yet all there".to_owned(), visible),
        ("a failure that the client never saw: the backend answered 200".to_owned(), masked),
        ("a client with B3 headers, a frontend with W3C only, a backend with B3 only: one trace".to_owned(), guest),
    ]
    .into_iter()
    .filter_map(|(title, trace_id)| Some(Pick { title, trace_id: trace_id? }))
    .collect()
}

/// The picked traces as trees.
pub fn write_traces(paper: &mut Paper, picks: &[Pick<'_>], spans: &[ReceivedSpan]) {
    for (n, pick) in picks.iter().enumerate() {
        let spans: Vec<&ReceivedSpan> = spans.iter().filter(|span| span.trace_id == pick.trace_id).collect();
        paper.title(&format!("{}. {}", n + 1, capital(&pick.title)), "");
        paper.note(&format!("trace {}", pick.trace_id));
        tree::write(paper, &spans);
    }
    paper.line("");
    for line in LEGEND {
        paper.note(line);
    }
}

const LEGEND: &[&str] = &[
    "kept by    head: the head rate; parent: its caller was sampled; error: it failed; marked: something",
    "           below it failed and said so in its response, while every caller's span was still open",
    "counts as  how many requests it stands for, 1 / the probability it was kept with (th, W3C tracestate);",
    "           ? where an application with B3 only did not hand the tracestate on",
];

/// The headers of one trace.
pub fn write_headers(paper: &mut Paper, places: &[wire::Place]) {
    paper.title("Its headers, hop by hop: what leaves one line enters the next", "");
    paper.note(&format!("{} stands for {GUEST_TRACE}", wire::short(GUEST_TRACE)));
    wire::write(paper, places, GUEST_TRACE);
}

/// The account.
pub fn write_account(paper: &mut Paper, account: &Account, traffic: &Traffic, head: &str) {
    paper.title("The sampling account", "");
    let seconds = traffic.time.as_secs_f64();
    let rate = account.requests as f64 / seconds;
    let row =
        |paper: &mut Paper, what: &str, value: &str, note: &str| paper.line(&format!("{what:33}{value:>9}   {note}"));
    let number = |value: usize| thousands(value as u64);
    row(
        paper,
        "requests",
        &number(account.requests),
        &format!("in {seconds:.1} s, {rate:.0} a second; {} listener passages", number(account.passages)),
    );
    let Share { of, all } = account.failing;
    let share = 100.0 * all as f64 / account.requests.max(1) as f64;
    let seen = all - account.masked;
    let note = format!("{share:.1} %; {seen} answered 5xx, {} masked with 200", account.masked);
    row(paper, "failing requests", &number(all), &note);
    let note = format!("by the head rate of {head} alone it would have been {} of {all}", account.head_only);
    row(
        paper,
        "  with every span root to error",
        &format!("{of} of {all}"),
        &format!("{:.0} %; {note}", account.failing.percent()),
    );
    let Share { of, all } = account.healthy;
    let note = format!("{:.1} % of {}", account.healthy.percent(), number(all));
    row(paper, "healthy requests with spans", &number(of), &note);
    let reasons: Vec<String> =
        account.reasons.iter().map(|(reason, count)| format!("{reason} {}", thousands(*count as u64))).collect();
    let share = 100.0 * account.spans as f64 / account.passages.max(1) as f64;
    row(
        paper,
        "spans exported",
        &number(account.spans),
        &format!("{share:.1} % of all; kept by: {}", reasons.join(", ")),
    );
    let per_call = account.spans as f64 / account.calls.max(1) as f64;
    let per_request = account.calls as f64 / account.requests.max(1) as f64;
    row(
        paper,
        "export calls",
        &number(account.calls),
        &format!("{per_request:.3} a request, {per_call:.0} spans a call, from 4 Envoys"),
    );
    let per_span = account.bytes as f64 / account.spans.max(1) as f64;
    row(paper, "bytes exported", &number(account.bytes), &format!("{per_span:.0} a span"));
    write_books(paper, account.books);
    write_weighted(paper, &account.weighted);
}

fn write_books(paper: &mut Paper, books: Books) {
    let Books { kept, exported, dropped, queued, capped } = books;
    let balanced = kept == exported + dropped + queued;
    let verdict = if balanced { paper.ink(Ink::Green, "=") } else { paper.ink(Ink::Red, "≠") };
    let [kept, exported, dropped, queued] = [kept, exported, dropped, queued].map(thousands);
    let cap = if capped > 0 { format!("; over the cap {}", thousands(capped)) } else { String::new() };
    let books = format!("{verdict} exported {exported} + dropped {dropped} + queued {queued}{cap}");
    paper.line(&format!("{:33}{kept:>9}   {books}", "Envoy's metrics: spans kept"));
}

fn write_weighted(paper: &mut Paper, weighted: &[Weighted]) {
    paper.title("Counted from spans by their weight, against the access logs", "");
    paper.note("an exported span counts as 1 / the probability it was kept with, so keeping all errors biases nothing");
    paper.note(&format!("{:33}{:>9}   {:>9}   {:>16}   {:>9}", "", "spans", "counted", "standard error", "truth"));
    for Weighted { what, truth, estimate } in weighted {
        let error = match (estimate.unknown, estimate.error) {
            (0, 0.0) => "exact".to_owned(),
            (0, error) => format!("± {error:.0}"),
            (_, _) => "at least".to_owned(),
        };
        let unknown = if estimate.unknown == 0 { String::new() } else { format!("   {} without th", estimate.unknown) };
        let counted = thousands(estimate.sum.round() as u64);
        paper.line(&format!(
            "{what:33}{:>9}   {counted:>9}   {error:>16}   {:>9}{unknown}",
            thousands(estimate.spans as u64),
            thousands(*truth as u64)
        ));
    }
}

/// Whether all is well, and if not, what is not.
pub fn write_verdict(paper: &mut Paper, problems: &[String], promised: bool) {
    if problems.is_empty() {
        let what = match promised {
            true => "every failing request has its whole path, the books balance, every span decodes, no Envoy trapped",
            false => {
                "the books balance, every span decodes, no Envoy trapped (this configuration promises no whole paths)"
            }
        };
        let good = paper.ink(Ink::Green, "checked");
        return paper.line(&format!("\n{good}  {what}"));
    }
    paper.line("");
    for problem in problems {
        let bad = paper.ink(Ink::Red, "FAILED");
        paper.line(&format!("{bad}   {problem}"));
    }
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::hop;
    use crate::demo::samples::{journey, spans_of};

    #[test]
    fn one_trace_of_each_kind_is_shown_and_only_whole_ones() {
        let journeys = [
            journey("healthy", &[200; 6], true),
            journey("unsampled", &[200; 6], false),
            journey("visible", &[500, 500, 500, 500, 503, 503], false),
            journey("lucky", &[500, 500, 500, 500, 503, 503], true),
            journey("masked", &[200, 200, 200, 200, 503, 503], false),
            journey(GUEST_TRACE, &[200; 6], true),
        ];
        let spans: Vec<ReceivedSpan> = journeys.iter().flat_map(|journey| spans_of(journey, "")).collect();
        let map = hop::journeys(&journeys.concat());
        let shown = |spans: &[ReceivedSpan]| {
            picks(&map, spans, "5 %").iter().map(|pick| pick.trace_id.to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(shown(&spans), ["healthy", "visible", "masked", GUEST_TRACE]);
        let missing: Vec<_> = spans.into_iter().filter(|span| !span.span_id.starts_with("masked5")).collect();
        assert_eq!(shown(&missing), ["healthy", "visible", GUEST_TRACE]);
    }

    #[test]
    fn the_verdict_names_every_problem() {
        let mut paper = Paper::plain();
        write_verdict(&mut paper, &["one".to_owned(), "two".to_owned()], true);
        assert_eq!(paper.take(), "\nFAILED   one\nFAILED   two\n");
        write_verdict(&mut paper, &[], true);
        assert!(paper.take().contains("checked"));
    }
}
