//! Attributes by the semantic conventions: HTTP spans (stable) and RPC spans (release candidate 1.44), and their
//! predecessors (`http.method`, `rpc.grpc.status_code`) for `spans.semanticConventions: old | dup`.
//!
//! Where one name has two meanings (`rpc.method`), the stable one wins in `dup`. `error.type` is written in all three.

use crate::http::authority::{split_port, without_userinfo};
use crate::http::headers;
use crate::span::attributes::{Once, path, text};
use crate::span::build::{Call, Side};
use crate::span::limits::Collector;
use crate::span::name::known_method;
use crate::span::redact::{cut, safe_text};
use crate::span::status;
use crate::span::{Kind, Value};

/// Longest address that is recorded.
const MAX_ADDRESS: usize = 264;
/// Longest method or gRPC path that is recorded as the original.
const MAX_ORIGINAL: usize = 256;

/// Writes an attribute under the names of the conventions that are on.
struct Writer<'c> {
    all: &'c mut Collector,
    stable: bool,
    old: bool,
}

/// Adds all attributes that the conventions know and a proxy can.
pub fn add<'a>(all: &mut Collector, call: &Call<'a>, once: &mut Once<'a>) {
    let mut out = Writer { all, stable: call.recipe.stable, old: call.recipe.old };
    if call.outcome.grpc {
        rpc(&mut out, call);
    } else {
        http(&mut out, call);
        url(&mut out, call);
    }
    out.put("error.type", "error.type", call.verdict.error_type.clone().map(Value::String));
    let peer = once.text(match call.kind {
        Kind::Server => path::SOURCE_ADDRESS,
        Kind::Client => path::UPSTREAM_ADDRESS,
    });
    addresses(&mut out, call, peer.as_deref());
    protocol(&mut out, once.text(path::REQUEST_PROTOCOL));
    let agent = headers::first(&call.request, b"user-agent").filter(|agent| !agent.is_empty());
    out.put("user_agent.original", "http.user_agent", agent.map(|agent| call.text(agent)));
    out.put("http.request.body.size", "http.request_content_length", once.int(path::REQUEST_SIZE));
    out.put("http.response.body.size", "http.response_content_length", once.int(path::RESPONSE_SIZE));
    let resends = call.outcome.attempts.saturating_sub(1);
    if call.kind == Kind::Client && resends > 0 {
        out.put("http.request.resend_count", "http.resend_count", Some(i64::from(resends)));
    }
}

fn http(out: &mut Writer<'_>, call: &Call<'_>) {
    let method = call.draft.method();
    match known_method(method) {
        Some(method) => out.put("http.request.method", "http.method", Some(method)),
        None => {
            let original = safe_text(method, MAX_ORIGINAL);
            out.put("http.request.method", "", Some("_OTHER"));
            out.put("http.request.method_original", "http.method", Some(original).filter(|text| !text.is_empty()));
        }
    }
    out.put("http.response.status_code", "http.status_code", status::http_status(call.outcome).map(i64::from));
    match call.kind {
        Kind::Server => out.put("http.route", "http.route", call.target.route().map(str::to_owned)),
        Kind::Client => out.put("url.template", "", call.target.as_str().map(str::to_owned)),
    }
}

fn url(out: &mut Writer<'_>, call: &Call<'_>) {
    let (draft, redaction) = (call.draft, &call.recipe.redaction);
    let path = redaction.target(draft.path(), call.recipe.max_path);
    let query = draft.query().filter(|query| !query.is_empty());
    let query = query.map(|query| redaction.query(query, call.recipe.limits.value_bytes()));
    let target = match &query {
        Some(query) => format!("{path}?{query}"),
        None => path.clone(),
    };
    match call.kind {
        Kind::Server => {
            out.put("url.scheme", "http.scheme", Some(draft.scheme()));
            out.put("url.path", "", Some(path).filter(|path| !path.is_empty()));
            out.put("url.query", "", query);
            out.put("", "http.target", Some(target).filter(|target| !target.is_empty()));
        }
        Kind::Client => {
            let authority = safe_text(draft.authority(), MAX_ADDRESS);
            // `OPTIONS *` and CONNECT have no path.
            let target = if target.starts_with('/') { target } else { String::new() };
            let full = format!("{}://{authority}{target}", draft.scheme());
            out.put("url.full", "http.url", Some(full).filter(|_| !authority.is_empty()));
        }
    }
}

fn rpc(out: &mut Writer<'_>, call: &Call<'_>) {
    out.put("rpc.system.name", "rpc.system", Some("grpc"));
    match call.rpc_method {
        Some(full) => {
            let (service, method) = full.split_once('/').unwrap_or(("", full));
            // The same key has two meanings; the stable one is written last and stays.
            out.put("", "rpc.service", Some(service.to_owned()));
            out.put("", "rpc.method", Some(method.to_owned()));
            out.put("rpc.method", "", Some(full.to_owned()));
        }
        None => {
            let path = call.draft.path();
            out.put("rpc.method", "rpc.method", Some("_OTHER"));
            let original = safe_text(path.strip_prefix(b"/").unwrap_or(path), MAX_ORIGINAL);
            out.put("rpc.method_original", "", Some(original).filter(|text| !text.is_empty()));
        }
    }
    let code = status::grpc_code(call.outcome);
    out.put("rpc.status_code", "", code.map(|code| Value::String(status::grpc_code_name(code))));
    out.put("", "rpc.grpc.status_code", code.map(i64::from));
    // A status other than 200 is a proxy's, or no gRPC server's.
    let http = status::http_status(call.outcome).filter(|status| *status != 200);
    out.put("http.response.status_code", "http.status_code", http.map(i64::from));
    // The two that Envoy's native tracer records (`grpc.timeout`, `grpc.content_type`), as metadata is recorded.
    for (header, stable, old) in [
        ("grpc-timeout", "rpc.request.metadata.grpc-timeout", "rpc.grpc.request.metadata.grpc-timeout"),
        ("content-type", "rpc.request.metadata.content-type", "rpc.grpc.request.metadata.content-type"),
    ] {
        let value = call.header(Side::Request, header);
        out.put(stable, old, value.map(|value| Value::Strings(vec![value])));
    }
}

fn addresses(out: &mut Writer<'_>, call: &Call<'_>, peer: Option<&str>) {
    let (host, port) = server(call);
    let old = match call.kind {
        Kind::Server => ("net.host.name", "net.host.port"),
        Kind::Client => ("net.peer.name", "net.peer.port"),
    };
    if let Some(host) = host {
        out.put("server.address", old.0, Some(host));
        out.put("server.port", old.1, Some(i64::from(port)));
    }
    if call.kind == Kind::Server {
        out.put("client.address", "http.client_ip", client(call, peer));
    }
    if let Some((address, port)) = peer.map(split_port) {
        out.put("network.peer.address", "net.sock.peer.addr", Some(address.to_owned()));
        out.put("network.peer.port", "net.sock.peer.port", port.map(i64::from));
    }
}

/// Host and port that the client asked for: `x-forwarded-host` before `:authority` on the server's side; without a port
/// the one of the scheme.
fn server(call: &Call<'_>) -> (Option<String>, u16) {
    let forwarded = headers::first(&call.request, b"x-forwarded-host").filter(|_| call.kind == Kind::Server);
    let forwarded = forwarded.and_then(|list| list.split(|byte| *byte == b',').next()).map(headers::trim);
    let authority = forwarded.filter(|host| !host.is_empty()).unwrap_or_else(|| call.draft.authority());
    // Credentials never belong to an address.
    let authority = without_userinfo(authority);
    let authority = safe_text(authority, MAX_ADDRESS);
    let (host, port) = split_port(&authority);
    let port = port.unwrap_or(if call.draft.https { 443 } else { 80 });
    (Some(host.to_owned()).filter(|host| !host.is_empty()), port)
}

/// The first client: what Envoy's edge found (`x-envoy-external-address`), the left-most of `x-forwarded-for`, the peer.
fn client(call: &Call<'_>, peer: Option<&str>) -> Option<String> {
    let address = |name: &[u8]| {
        let list = headers::first(&call.request, name)?;
        let first = text(headers::trim(list.split(|byte| *byte == b',').next()?));
        let (host, _) = split_port(&first);
        let plain = host.bytes().all(|byte| byte.is_ascii_hexdigit() || matches!(byte, b'.' | b':'));
        (plain && (2..=45).contains(&host.len())).then(|| host.to_owned())
    };
    address(b"x-envoy-external-address")
        .or_else(|| address(b"x-forwarded-for"))
        .or_else(|| peer.map(|peer| split_port(peer).0.to_owned()))
}

/// `HTTP/1.1` → `http` and `1.1`.
fn protocol(out: &mut Writer<'_>, protocol: Option<String>) {
    let Some(mut protocol) = protocol else { return };
    cut(&mut protocol, 16);
    let (name, version) = protocol.split_once('/').unwrap_or((&protocol, ""));
    let name = if name.eq_ignore_ascii_case("http") { "http".into() } else { Value::from(name.to_ascii_lowercase()) };
    out.put("network.protocol.name", "", Some(name));
    let version = Some(version.to_owned()).filter(|version| !version.is_empty());
    out.put("network.protocol.version", "http.flavor", version);
}

// === impl Writer ===

impl Writer<'_> {
    /// An empty name: the conventions have none for it.
    fn put(&mut self, stable: &'static str, old: &'static str, value: Option<impl Into<Value>>) {
        let Some(value) = value else { return };
        let stable = Some(stable).filter(|key| self.stable && !key.is_empty());
        let old = Some(old).filter(|key| self.old && !key.is_empty() && stable != Some(key));
        match (stable, old) {
            (Some(stable), Some(old)) => {
                let value = value.into();
                self.all.set(stable, value.clone());
                self.all.set(old, value);
            }
            (Some(key), None) | (None, Some(key)) => self.all.set(key, value),
            (None, None) => {}
        }
    }
}

impl Call<'_> {
    /// The value of a header as safe text: the request's pseudo-headers as they came in, URLs without secrets.
    pub fn header(&self, side: Side, name: &str) -> Option<String> {
        let value = match (side, name) {
            (Side::Request, ":path") => Some(self.draft.target()).filter(|path| !path.is_empty()),
            (Side::Request, ":method") => Some(self.draft.method()).filter(|method| !method.is_empty()),
            (Side::Request, ":authority" | "host") => Some(self.draft.authority()).filter(|host| !host.is_empty()),
            _ => headers::first(self.headers(side), name.as_bytes()),
        };
        value.map(|value| self.header_text(name, value))
    }

    /// A header's value as safe text.
    pub fn header_text(&self, name: &str, value: &[u8]) -> String {
        match name {
            ":path" | "x-envoy-original-path" | "referer" | "location" | "content-location" => self.url(value),
            _ => self.text(value),
        }
    }

    /// A URL or path without secrets, as safe text.
    pub fn url(&self, bytes: &[u8]) -> String {
        self.recipe.redaction.target(bytes, self.recipe.limits.value_bytes())
    }

    /// Any bytes as safe text.
    pub fn text(&self, bytes: &[u8]) -> String {
        safe_text(bytes, self.recipe.limits.value_bytes())
    }
}
