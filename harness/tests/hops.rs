//! Whole paths over the spans of several exporters, and what is said about others.

use sidespan_harness::ReceivedSpan;
use sidespan_harness::receiver::ZipkinSpan;
use sidespan_harness::span::hops;

/// `id parent service name`, separated by commas.
fn spans(text: &str) -> Vec<ReceivedSpan> {
    let span = |line: &str| {
        let [id, parent, service, name] = line.trim().splitn(4, ' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let parent = if parent == "-" { serde_json::Value::Null } else { parent.into() };
        let span = serde_json::json!({
            "traceId": "1", "id": id, "parentId": parent, "name": name, "localEndpoint": {"serviceName": service},
        });
        serde_json::from_value::<ZipkinSpan>(span).unwrap_or_else(|error| panic!("{error}: {line}")).to_received()
    };
    text.split(',').map(span).collect()
}

#[test]
fn a_path_is_whole_or_the_error_says_what_is_wrong() {
    // Spans, attempts at the last hop, the ids of each hop or a part of the error; the services are `a` and `b`.
    let table = [
        ("1 - a in, 2 1 b in", 1, Ok("1 2")),
        ("2 1 b in, 1 - a in", 1, Ok("1 2")),
        ("1 - a in, 2 1 a router x egress, 3 2 b in", 1, Ok("1+2 3")),
        ("1 - a in, 2 1 b in, 3 1 b in", 2, Ok("1 2+3")),
        ("1 - a in, 2 1 b in, 3 1 b in", 1, Err("1 of b below \"1\"")),
        ("1 - a in, 2 1 b in, 3 9 b in", 1, Err("1 spans too many")),
        ("1 - a in, 2 - a in, 3 1 b in", 1, Err("1 of a below \"\"")),
        ("1 - a in, 2 9 b in", 1, Err("1 of b below \"1\"")),
        ("1 - a in, 2 1 c in", 1, Err("1 of b below \"1\"")),
    ];
    for (text, attempts, expected) in table {
        let spans = spans(text);
        let found = hops(&spans, &["a", "b"], attempts);
        let shown = found.map(|path| {
            let ids =
                |hop: Vec<&ReceivedSpan>| hop.iter().map(|span| span.span_id.as_str()).collect::<Vec<_>>().join("+");
            path.into_iter().map(ids).collect::<Vec<_>>().join(" ")
        });
        match (shown, expected) {
            (Ok(shown), Ok(expected)) => assert_eq!(shown, expected, "{text}"),
            (Err(error), Err(expected)) => assert!(error.to_string().contains(expected), "{text}: {error}"),
            (shown, _) => panic!("{text}: {shown:?}"),
        }
    }
}
