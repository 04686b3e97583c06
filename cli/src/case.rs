//! The input of `sidespan explain`: one request with its response and configuration, as a line of JSON.

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use sidespan_core::config::node::{At, Node};
use sidespan_core::config::{Direction, Report};
use sidespan_core::sampling::response_flags::ResponseFlags;

/// Header pairs in order, names in lower case, values as bytes.
pub(crate) type Headers = Vec<(Vec<u8>, Vec<u8>)>;

/// One request and its response, as Envoy would show them to the filter.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Case {
    /// The direction of the listener; inbound by default.
    pub direction: Direction,
    /// The value of `xds.node`: an object with `metadata`, or null.
    pub node: Value,
    /// Request headers; `:method`, `:path`, `:scheme` and `:authority` are the first, given or by default.
    pub request: Headers,
    /// `None`: a response with status 200 is assumed.
    pub response: Option<Response>,
    /// Whether an error on a later hop left a mark for this trace.
    pub marked: bool,
    /// The headers that Envoy's own tracer sent upstream, with `nativeTracer: adopt`. `None`: it sent none.
    pub native: Option<Headers>,
}

/// The response, or how a request ended without one.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Response {
    /// `None`: there was no status (reset, timeout).
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

/// One line of input. Unknown keys are ignored, so that a list of cases can contain notes.
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
    #[serde(default)]
    native: Option<NativeLine>,
}

/// What Envoy's own tracer did.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NativeLine {
    headers: Vec<(String, String)>,
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

// === impl Case ===

impl Case {
    /// Reads one line of input. Returns the case and the text of its configuration, which is empty if there is none.
    ///
    /// # Errors
    /// If the line is not JSON of this form; the message names the field.
    pub(crate) fn read(text: &[u8]) -> Result<(Self, &str), String> {
        let line: Line<'_> = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        let case = Self {
            direction: direction(&line.direction)?,
            node: line.node,
            request: line.request.into_headers(),
            response: line.response.map(ResponseLine::into_response).transpose()?,
            marked: line.marked.unwrap_or(false),
            native: line.native.map(|native| lower(Some(native.headers))),
        };
        Ok((case, line.config.map_or("", RawValue::get)))
    }
}

// === impl RequestLine, ResponseLine ===

impl RequestLine {
    /// The headers, pseudo-headers first, as Envoy has them. A pseudo-header in `headers` overrides the field; `host` becomes
    /// `:authority`.
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
            return Err(format!("response.durationMs: {duration_ms} is not a duration from 0 to 1e12"));
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

/// The direction by its name in the configuration; inbound if there is none.
fn direction(value: &Value) -> Result<Direction, String> {
    if value.is_null() {
        return Ok(Direction::Inbound);
    }
    let mut report = Report::default();
    let direction = Direction::read(At { value, path: "direction" }, &mut report);
    direction.ok_or_else(|| report.into_problems().iter().map(ToString::to_string).collect())
}

/// The bit of a response flag, by its short name in access logs.
fn flag(name: &str) -> Result<u64, String> {
    let names = || ResponseFlags::all_names().collect::<Vec<_>>().join(", ");
    let flag = ResponseFlags::named(name);
    flag.map(|flag| flag.0).ok_or_else(|| format!("response.flags: unknown flag `{name}` (one of {})", names()))
}

fn lower(headers: Option<Vec<(String, String)>>) -> Headers {
    let headers = headers.unwrap_or_default().into_iter();
    headers.map(|(name, value)| (name.to_ascii_lowercase().into_bytes(), value.into_bytes())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flag_has_the_bit_that_envoy_gives_it() {
        for (name, bit) in
            [("LH", 0), ("UH", 1), ("UF", 5), ("UC", 6), ("NR", 8), ("DC", 14), ("URX", 15), ("DPE", 18), ("UDO", 29)]
        {
            assert_eq!(flag(name), Ok(1 << bit), "{name}");
        }
    }
}
