//! `sidespan explain`: one request a line in, what the filter would do with it out, by the filter's own code.

use crate::replay::{Plans, run_case};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use sidespan_core::config::node::{At, Node};
use sidespan_core::config::{Config, Direction, Report, parse};
use sidespan_core::sampling::response_flags::ResponseFlags;
use std::io::{self, BufRead, BufReader, Read, Write};

/// Header pairs in order, names in lower case, values as bytes.
pub type Headers = Vec<(Vec<u8>, Vec<u8>)>;

/// One line as it is written. Unknown keys beside these are passed over, so that a list of cases can carry notes.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line<'l> {
    #[serde(borrow, default)]
    config: Option<&'l RawValue>,
    #[serde(default)]
    direction: Value,
    #[serde(default)]
    node: Value,
    request: RequestLine,
    #[serde(default)]
    response: Option<ResponseLine>,
    #[serde(default)]
    marked: Option<bool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RequestLine {
    #[serde(default)]
    headers: Option<Vec<(String, String)>>,
    #[serde(default)]
    path: Option<String>,
    #[serde(default)]
    method: Option<String>,
    #[serde(default)]
    scheme: Option<String>,
    #[serde(default)]
    authority: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ResponseLine {
    #[serde(default)]
    status: Option<u16>,
    #[serde(default)]
    grpc_status: Option<u32>,
    #[serde(default)]
    flags: Option<Vec<String>>,
    #[serde(default)]
    headers: Option<Vec<(String, String)>>,
    #[serde(default)]
    trailers: Option<Vec<(String, String)>>,
    #[serde(default)]
    duration_ms: Option<f64>,
}

/// One request, as Envoy would show it to the filter.
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    /// Default: inbound.
    pub direction: Direction,
    /// What `xds.node` answers: an object with `metadata`, or null.
    pub node: Value,
    /// `:method`, `:path`, `:scheme`, `:authority` first, given or made up.
    pub request: Headers,
    /// `None`: it is assumed to have succeeded with 200.
    pub response: Option<Response>,
    /// Whether an error below left its mark for this trace.
    pub marked: bool,
}

/// How a request ended.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Response {
    /// `None`: no status at all (reset, timeout).
    pub status: Option<u16>,
    /// `grpc-status` from trailers or headers.
    pub grpc_status: Option<u32>,
    /// Bits of the attribute `response.flags`.
    pub flags: u64,
    /// Response headers, without `:status`.
    pub headers: Headers,
    /// Response trailers.
    pub trailers: Headers,
    /// Milliseconds, not negative; default 0.
    pub duration_ms: f64,
}

/// What the filter does with it; the line that is written.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Outcome {
    /// What came in; `None` when there is nothing valid to continue.
    pub extracted: Option<Extracted>,
    /// A decision without ids (`b3: 0`), for the trace that starts here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instruction: Option<String>,
    /// Trace headers as they go upstream: set or left.
    pub upstream_headers: Vec<(String, String)>,
    /// Trace headers that are taken away.
    pub removed_headers: Vec<String>,
    /// Headers added to the response.
    pub response_headers: Vec<(String, String)>,
    /// What is kept and why.
    pub decision: Decision,
    /// The span as OTLP/JSON; `None` if none is exported.
    pub span: Option<Value>,
}

/// The context that came in.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Extracted {
    /// The dialect, in the words of the configuration.
    pub format: String,
    /// 32 lower-case hex digits.
    pub trace_id: String,
    /// 16 lower-case hex digits; `None` where the format can name a trace without a span.
    pub span_id: Option<String>,
    /// `accept`, `deny`, `debug` or `defer`.
    pub sampled: String,
    /// The combined list; empty if there is none.
    pub tracestate: String,
}

/// The sampling decision.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Decision {
    /// At the request.
    pub head: bool,
    /// At the end.
    pub keep: bool,
    /// The stratum: `head`, `parent`, `error`, `slow`, `marked`, `cancelled`, `debug`, `drop` or `none`.
    pub reason: String,
    /// `th` of the exported span; `None` if the probability is unknown or nothing is exported.
    pub threshold: Option<String>,
}

/// A configuration, ready for many cases. The filter's own precomputed state belongs here too.
pub struct Compiled {
    /// As it was read.
    pub config: Config,
    /// What was made of it for the last node.
    pub plans: Plans,
}

/// Explains each line of `input`. Whether every line was good.
///
/// # Errors
/// Those of `input` and `out`.
pub fn run<R: Read>(input: BufReader<R>, out: &mut impl Write, pretty: bool) -> io::Result<bool> {
    run_with(input, out, pretty, run_case)
}

/// [`run`] with any filter.
///
/// # Errors
/// Those of `input` and `out`.
pub fn run_with<R: Read>(
    mut input: BufReader<R>,
    out: &mut impl Write,
    pretty: bool,
    mut filter: impl FnMut(&Case, &Compiled) -> Result<Outcome, String>,
) -> io::Result<bool> {
    let (mut text, mut number, mut good) = (Vec::new(), 0_u64, true);
    let mut compiler = Compiler::default();
    loop {
        // Whoever waits for an answer before asking again gets it; a pipe full of lines is written in blocks.
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
        let answer = case(&text, &mut compiler).and_then(|(case, compiled)| {
            let outcome = filter(&case, compiled)?;
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

/// The last configuration: lists of cases mostly share one.
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

// === impl Case ===

fn case<'c>(text: &[u8], compiler: &'c mut Compiler) -> Result<(Case, &'c Compiled), String> {
    let line: Line<'_> = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    let compiled = compiler.compile(line.config.map_or("", RawValue::get))?;
    let case = Case {
        direction: direction(&line.direction)?,
        node: line.node,
        request: line.request.into_headers(),
        response: line.response.map(ResponseLine::into_response).transpose()?,
        marked: line.marked.unwrap_or(false),
    };
    Ok((case, compiled))
}

fn direction(value: &Value) -> Result<Direction, String> {
    if value.is_null() {
        return Ok(Direction::Inbound);
    }
    let mut report = Report::default();
    let direction = Direction::read(At { value, path: "direction" }, &mut report);
    direction.ok_or_else(|| report.into_problems().iter().map(ToString::to_string).collect())
}

impl RequestLine {
    /// Pseudo-headers first, as Envoy has them. One that stands among the headers wins; `host` becomes `:authority`.
    fn into_headers(self) -> Headers {
        let mut given = lower(self.headers);
        let mut take = |name: &str| {
            let at = given.iter().position(|(known, _)| known == name.as_bytes());
            at.map(|at| given.remove(at).1)
        };
        let host = take("host");
        let method = take(":method").unwrap_or_else(|| self.method.unwrap_or_else(|| "GET".to_owned()).into_bytes());
        let path = take(":path").unwrap_or_else(|| self.path.unwrap_or_else(|| "/".to_owned()).into_bytes());
        let scheme = take(":scheme").unwrap_or_else(|| self.scheme.unwrap_or_else(|| "http".to_owned()).into_bytes());
        let authority = take(":authority").or(self.authority.map(String::into_bytes)).or(host);
        let authority = authority.unwrap_or_else(|| b"localhost".to_vec());
        let pseudo = [(":method", method), (":path", path), (":scheme", scheme), (":authority", authority)];
        pseudo.into_iter().map(|(name, value)| (name.as_bytes().to_vec(), value)).chain(given).collect()
    }
}

impl ResponseLine {
    fn into_response(self) -> Result<Response, String> {
        let duration_ms = self.duration_ms.unwrap_or(0.0);
        if !(0.0..=1e12).contains(&duration_ms) {
            return Err(format!("response.durationMs: {duration_ms} is no duration"));
        }
        Ok(Response {
            status: self.status.filter(|status| *status != 0),
            grpc_status: self.grpc_status,
            flags: self
                .flags
                .unwrap_or_default()
                .iter()
                .try_fold(0, |bits, name| Ok::<_, String>(bits | flag(name)?))?,
            headers: lower(self.headers),
            trailers: lower(self.trailers),
            duration_ms,
        })
    }
}

/// The bit of a response flag.
fn flag(name: &str) -> Result<u64, String> {
    let names = || ResponseFlags::all_names().collect::<Vec<_>>().join(", ");
    let flag = ResponseFlags::named(name);
    flag.map(|flag| flag.0).ok_or_else(|| format!("response.flags: unknown flag `{name}` (one of {})", names()))
}

fn lower(headers: Option<Vec<(String, String)>>) -> Headers {
    let headers = headers.unwrap_or_default().into_iter();
    headers.map(|(name, value)| (name.to_ascii_lowercase().into_bytes(), value.into_bytes())).collect()
}

// === impl pretty ===

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
            (8, "is no duration"),
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

    #[test]
    fn every_flag_has_the_bit_that_envoy_gives_it() {
        for (name, bit) in
            [("LH", 0), ("UH", 1), ("UF", 5), ("UC", 6), ("NR", 8), ("DC", 14), ("URX", 15), ("DPE", 18), ("UDO", 29)]
        {
            assert_eq!(flag(name), Ok(1 << bit), "{name}");
        }
    }
}
