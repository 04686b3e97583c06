//! `sidespan explain`: reads one request per line and writes what the filter would do with it, computed by the code of the filter.

use crate::case::Case;
use crate::outcome::{Decision, Extracted, Native, Outcome};
use crate::replay::{Compiled, Plans, run_case};
use serde::Serialize;
use sidespan_core::config::parse;
use std::io::{self, BufRead, BufReader, Read, Write};

/// Explains each line of `input`. Returns whether every line was valid.
///
/// # Errors
/// Those of `input` and `out`.
pub fn run<R: Read>(input: BufReader<R>, out: &mut impl Write, pretty: bool) -> io::Result<bool> {
    run_with(input, out, pretty, run_case)
}

/// Does the same with another function in place of the filter.
///
/// # Errors
/// Those of `input` and `out`.
fn run_with<R: Read>(
    mut input: BufReader<R>,
    out: &mut impl Write,
    pretty: bool,
    mut filter: impl FnMut(&Case, &Compiled) -> Result<Outcome, String>,
) -> io::Result<bool> {
    let (mut text, mut number, mut good) = (Vec::new(), 0_u64, true);
    let mut compiler = Compiler::default();
    loop {
        // Flushes if no more input is buffered, so that an interactive caller gets each answer before its next request.
        if input.buffer().is_empty() {
            out.flush()?;
        }
        text.clear();
        if input.read_until(b'\n', &mut text)? == 0 {
            return Ok(good);
        }
        number += 1;
        if text.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let answer = Case::read(&text).and_then(|(case, config)| {
            let outcome = filter(&case, compiler.compile(config)?)?;
            Ok((case, outcome))
        });
        good &= answer.is_ok();
        match answer {
            Ok((case, outcome)) if pretty => write_pretty(number, &case, &outcome, out)?,
            Ok((_, outcome)) => write_line(&outcome, out)?,
            Err(error) if pretty => writeln!(out, "line {number}: {error}\n")?,
            Err(error) => write_line(&serde_json::json!({"error": error, "line": number}), out)?,
        }
    }
}

fn write_line(value: &impl Serialize, out: &mut impl Write) -> io::Result<()> {
    serde_json::to_writer(&mut *out, value)?;
    out.write_all(b"\n")
}

// === impl Compiler ===

/// Compiles configurations and caches the last one, because most lists of cases use only one.
#[derive(Default)]
struct Compiler {
    last: Option<(String, Result<Compiled, String>)>,
}

impl Compiler {
    fn compile(&mut self, text: &str) -> Result<&Compiled, String> {
        if self.last.as_ref().is_none_or(|(known, _)| known != text) {
            self.last = Some((text.to_owned(), compile(text)));
        }
        match &self.last {
            Some((_, Ok(compiled))) => Ok(compiled),
            Some((_, Err(error))) => Err(error.clone()),
            None => Err("no configuration".to_owned()),
        }
    }
}

fn compile(text: &str) -> Result<Compiled, String> {
    let config = parse(text.as_bytes()).map_err(|problems| {
        let problems: Vec<String> = problems.iter().map(|problem| format!("config: {problem}")).collect();
        problems.join("; ")
    })?;
    Ok(Compiled { config, plans: Plans::default() })
}

// === the readable form ===

fn write_pretty(number: u64, case: &Case, outcome: &Outcome, out: &mut impl Write) -> io::Result<()> {
    let header = |name: &str| {
        let found = case.request.iter().find(|(known, _)| known == name.as_bytes());
        found.map_or_else(String::new, |(_, value)| String::from_utf8_lossy(value).into_owned())
    };
    let direction = format!("{:?}", case.direction).to_ascii_lowercase();
    writeln!(out, "line {number}: {direction} {} {}", header(":method"), header(":path"))?;
    match &outcome.extracted {
        None => writeln!(out, "  extracted  nothing valid: a new trace")?,
        Some(Extracted { format, trace_id, span_id, sampled, tracestate }) => {
            writeln!(out, "  extracted  {format} {trace_id} {} {sampled}", span_id.as_deref().unwrap_or("-"))?;
            if !tracestate.is_empty() {
                writeln!(out, "             tracestate: {tracestate}")?;
            }
        }
    }
    for (label, headers) in [("upstream ", &outcome.upstream_headers), ("response ", &outcome.response_headers)] {
        for (name, value) in headers {
            writeln!(out, "  {label}  {name}: {value}")?;
        }
    }
    for name in &outcome.removed_headers {
        writeln!(out, "  removed    {name}")?;
    }
    match outcome.native {
        Some(Native::Adopted) => writeln!(out, "  native     not sampled: the span has its ids")?,
        Some(Native::Exports) => writeln!(out, "  native     sampled: Envoy's own tracer exports the span")?,
        Some(Native::Absent) => writeln!(out, "  native     nothing sent: the span has ids of its own")?,
        None => {}
    }
    let Decision { head, keep, reason, threshold } = &outcome.decision;
    let kept = if *keep { "kept" } else { "not kept" };
    let threshold = threshold.as_deref().map_or_else(String::new, |threshold| format!(", th:{threshold}"));
    writeln!(out, "  decision   {kept} ({reason}), head {}{threshold}", if *head { "yes" } else { "no" })?;
    if let Some(span) = &outcome.span {
        let text = serde_json::to_string_pretty(span)?;
        writeln!(out, "  span       {}", text.replace('\n', "\n             "))?;
    }
    writeln!(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::{Headers, Response};
    use serde_json::Value;
    use sidespan_core::config::Direction;
    use std::cell::Cell;

    fn outcome() -> Outcome {
        Outcome {
            extracted: Some(Extracted {
                format: "b3".to_owned(),
                trace_id: "4bf92f3577b34da6a3ce929d0e0e4736".to_owned(),
                span_id: Some("00f067aa0ba902b7".to_owned()),
                sampled: "accept".to_owned(),
                tracestate: String::new(),
            }),
            upstream_headers: vec![("b3".to_owned(), "1".to_owned())],
            instruction: None,
            native: None,
            removed_headers: vec!["x-b3-parentspanid".to_owned()],
            response_headers: Vec::new(),
            decision: Decision { head: false, keep: true, reason: "error".to_owned(), threshold: Some("0".to_owned()) },
            span: None,
        }
    }

    /// The cases that the filter is given, and what is written.
    fn explain(lines: &str, pretty: bool) -> (Vec<Case>, String, bool) {
        let (mut cases, mut out) = (Vec::new(), Vec::new());
        let good = run_with(BufReader::new(lines.as_bytes()), &mut out, pretty, |case, _| {
            cases.push(case.clone());
            Ok(outcome())
        });
        (cases, String::from_utf8(out).expect("text"), good.expect("no I/O"))
    }

    fn headers(pairs: &[(&str, &str)]) -> Headers {
        pairs.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec())).collect()
    }

    #[test]
    fn a_request_alone_is_enough() {
        let (cases, out, good) = explain("{\"request\": {}}\n", false);
        let expected = Case {
            direction: Direction::Inbound,
            node: Value::Null,
            request: headers(&[(":method", "GET"), (":path", "/"), (":scheme", "http"), (":authority", "localhost")]),
            response: None,
            marked: false,
            native: None,
        };
        assert_eq!(cases, [expected]);
        assert!(good);
        let expected = concat!(
            r#"{"extracted":{"format":"b3","traceId":"4bf92f3577b34da6a3ce929d0e0e4736","spanId":"00f067aa0ba902b7","#,
            r#""sampled":"accept","tracestate":""},"upstreamHeaders":[["b3","1"]],"removedHeaders":["x-b3-parentspanid"],"#,
            r#""responseHeaders":[],"decision":{"head":false,"keep":true,"reason":"error","threshold":"0"},"span":null}"#,
            "\n"
        );
        assert_eq!(out, expected);
    }

    #[test]
    fn the_documented_line_is_read_as_it_is_meant() {
        let line = r#"{"config": {"sampling": {"randomSamplingPercentage": 5}}, "direction": "gateway",
            "node": {"metadata": {"NAMESPACE": "payment"}}, "note": "kept for people",
            "request": {"headers": [["TraceParent", "00-\u0001é"], ["Host", "a.b"], [":path", "/won"], ["x", "1"], ["X", "2"]],
                        "path": "/lost", "method": "POST"},
            "response": {"status": 503, "grpcStatus": null, "flags": ["UF", "URX"], "headers": [["Server-Timing", "a"]],
                         "durationMs": 12.5}, "marked": true}"#;
        let (cases, _, _) = explain(&line.replace('\n', " "), false);
        let [case] = &cases[..] else { panic!("{cases:?}") };
        assert_eq!(case.direction, Direction::Gateway);
        assert_eq!(case.node["metadata"]["NAMESPACE"], "payment");
        let request = [
            (":method", "POST"),
            (":path", "/won"),
            (":scheme", "http"),
            (":authority", "a.b"),
            ("traceparent", "00-\u{1}é"),
            ("x", "1"),
            ("x", "2"),
        ];
        assert_eq!(case.request, headers(&request));
        let response = Response {
            status: Some(503),
            flags: (1 << 5) | (1 << 15),
            headers: headers(&[("server-timing", "a")]),
            duration_ms: 12.5,
            ..Response::default()
        };
        assert_eq!(case.response, Some(response));
        assert!(case.marked);
    }

    #[test]
    fn a_bad_line_is_answered_in_its_place_and_the_rest_goes_on() {
        let lines = "{\"request\": {}}\n\nnot json\n{}\n{\"request\": {\"pth\": \"/\"}}\n\
            {\"request\": {}, \"config\": {\"smpling\": {}}}\n{\"request\": {}, \"response\": {\"flags\": [\"ZZ\"]}}\n\
            {\"request\": {}, \"response\": {\"durationMs\": -1}}\n{\"request\": {}}";
        let (cases, out, good) = explain(lines, false);
        assert_eq!((cases.len(), good), (2, false));
        let answers: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        let errors: Vec<(u64, &str)> =
            answers.iter().filter_map(|answer| Some((answer["line"].as_u64()?, answer["error"].as_str()?))).collect();
        let expected = [
            (3, "expected ident"),
            (4, "missing field `request`"),
            (5, "unknown field `pth`"),
            (6, "config: smpling: unknown field `smpling` (did you mean `sampling`?)"),
            (7, "unknown flag `ZZ`"),
            (8, "is not a duration"),
        ];
        assert_eq!(answers.len(), expected.len() + 2);
        for ((line, error), (expected_line, part)) in errors.iter().zip(expected) {
            assert_eq!(*line, expected_line);
            assert!(error.contains(part), "{error}");
        }
        assert!(
            answers[0]["decision"]["keep"].as_bool().is_some() && answers[7]["decision"]["keep"].as_bool().is_some()
        );
    }

    #[test]
    fn a_configuration_is_compiled_once_for_lines_that_share_it() {
        let line = "{\"request\": {}, \"config\": {\"sampling\": {\"randomSamplingPercentage\": 7}}}\n";
        let (seen, mut out) = (Cell::new(None), Vec::new());
        let lines = line.repeat(3);
        run_with(BufReader::new(lines.as_bytes()), &mut out, false, |_, compiled| {
            assert_eq!(compiled.config.sampling.random_sampling_percentage.percent(), 7.0);
            let same = std::ptr::from_ref(compiled);
            assert!(seen.get().is_none_or(|known| known == same));
            seen.set(Some(same));
            Ok(outcome())
        })
        .expect("no I/O");
        let mut compiler = Compiler::default();
        let first = compiler.compile("{}").map(|_| ()).and_then(|()| compiler.compile("{").map(|_| ()));
        assert!(first.is_err() && compiler.compile("{}").is_ok());
    }

    #[test]
    fn the_readable_form_says_the_same() {
        let (_, out, _) = explain("{\"request\": {\"path\": \"/a\"}}\nx\n", true);
        let expected = "line 1: inbound GET /a\n  extracted  b3 4bf92f3577b34da6a3ce929d0e0e4736 00f067aa0ba902b7 accept\n  \
            upstream   b3: 1\n  removed    x-b3-parentspanid\n  decision   kept (error), head no, th:0\n\nline 2: ";
        assert!(out.starts_with(expected), "{out}");
    }
}
