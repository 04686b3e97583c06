//! Attributes of the semantic conventions: HTTP and RPC spans of release 1.45.0, in which both are stable, and their predecessors
//! of release 1.20.0 (`http.method`, `rpc.grpc.status_code`) for `spans.semanticConventions: old | dup`.
//!
//! Where one name has two meanings (`rpc.method`), the stable one wins in `dup`. The old release has no `error.type`.

use super::attributes::{Once, path, text};
use super::exchange::Exchange;
use super::limits::BoundedAttributes;
use super::model::{Kind, Value};
use super::name::known_method;
use super::redact::{cut, safe_text};
use super::side::Side;
use super::status;
use crate::http::authority::{split_port, without_userinfo};
use crate::http::headers;

/// Longest address that is recorded.
const MAX_ADDRESS: usize = 264;
/// Longest method or gRPC path that is recorded as the original.
const MAX_ORIGINAL: usize = 256;

/// Adds attributes under the names of the conventions that are switched on.
struct Writer<'c> {
    all: &'c mut BoundedAttributes,
    stable: bool,
    old: bool,
}

/// Adds all attributes that the conventions define and that a proxy can know.
pub(super) fn add<'a>(all: &mut BoundedAttributes, exchange: &Exchange<'a>, once: &mut Once<'a>) {
    let mut out = Writer { all, stable: exchange.settings.stable, old: exchange.settings.old };
    if exchange.outcome.grpc {
        rpc(&mut out, exchange);
    } else {
        http(&mut out, exchange);
        url(&mut out, exchange);
    }
    out.put("error.type", "", exchange.status.error_type.clone().map(Value::String));
    let peer = once.text(match exchange.kind {
        Kind::Server => path::SOURCE_ADDRESS,
        Kind::Client => path::UPSTREAM_ADDRESS,
    });
    addresses(&mut out, exchange, peer.as_deref());
    protocol(&mut out, once.text(path::REQUEST_PROTOCOL));
    let agent = headers::first(&exchange.request, b"user-agent").filter(|agent| !agent.is_empty());
    out.put("user_agent.original", "user_agent.original", agent.map(|agent| exchange.text(agent)));
    out.put("http.request.body.size", "http.request_content_length", once.int(path::REQUEST_SIZE));
    out.put("http.response.body.size", "http.response_content_length", once.int(path::RESPONSE_SIZE));
    let resends = exchange.outcome.attempts.saturating_sub(1);
    if exchange.kind == Kind::Client && resends > 0 {
        out.put("http.request.resend_count", "http.resend_count", Some(i64::from(resends)));
    }
}

fn http(out: &mut Writer<'_>, exchange: &Exchange<'_>) {
    let method = exchange.original.method();
    match known_method(method) {
        Some(method) => out.put("http.request.method", "http.method", Some(method)),
        None => {
            let original = safe_text(method, MAX_ORIGINAL);
            out.put("http.request.method", "", Some("_OTHER"));
            out.put("http.request.method_original", "http.method", Some(original).filter(|text| !text.is_empty()));
        }
    }
    out.put("http.response.status_code", "http.status_code", status::http_status(exchange.outcome).map(i64::from));
    match exchange.kind {
        Kind::Server => out.put("http.route", "http.route", exchange.target.route().map(str::to_owned)),
        Kind::Client => out.put("url.template", "", exchange.target.as_str().map(str::to_owned)),
    }
}

fn url(out: &mut Writer<'_>, exchange: &Exchange<'_>) {
    let (original, redaction) = (exchange.original, &exchange.settings.redaction);
    let path = redaction.target(original.path(), exchange.settings.max_path);
    let query = original.query().filter(|query| !query.is_empty());
    let query = query.map(|query| redaction.query(query, exchange.settings.limits.value_bytes()));
    let target = match &query {
        Some(query) => format!("{path}?{query}"),
        None => path.clone(),
    };
    match exchange.kind {
        Kind::Server => {
            out.put("url.scheme", "http.scheme", Some(original.scheme()));
            out.put("url.path", "", Some(path).filter(|path| !path.is_empty()));
            out.put("url.query", "", query);
            out.put("", "http.target", Some(target).filter(|target| !target.is_empty()));
        }
        Kind::Client => {
            let authority = safe_text(original.authority(), MAX_ADDRESS);
            // `OPTIONS *` and CONNECT have no path.
            let target = if target.starts_with('/') { target } else { String::new() };
            let full = format!("{}://{authority}{target}", original.scheme());
            out.put("url.full", "http.url", Some(full).filter(|_| !authority.is_empty()));
        }
    }
}

fn rpc(out: &mut Writer<'_>, exchange: &Exchange<'_>) {
    out.put("rpc.system.name", "rpc.system", Some("grpc"));
    match exchange.rpc_method {
        Some(full) => {
            let (service, method) = full.split_once('/').unwrap_or(("", full));
            // The same key has two meanings; the stable one is written last and stays.
            out.put("", "rpc.service", Some(service.to_owned()));
            out.put("", "rpc.method", Some(method.to_owned()));
            out.put("rpc.method", "", Some(full.to_owned()));
        }
        None => {
            let path = exchange.original.path();
            out.put("rpc.method", "rpc.method", Some("_OTHER"));
            let original = safe_text(path.strip_prefix(b"/").unwrap_or(path), MAX_ORIGINAL);
            out.put("rpc.method_original", "", Some(original).filter(|text| !text.is_empty()));
        }
    }
    let code = status::grpc_code(exchange.outcome);
    out.put("rpc.status_code", "", code.map(|code| Value::String(status::grpc_code_name(code))));
    out.put("", "rpc.grpc.status_code", code.map(i64::from));
    // A status other than 200 comes from a proxy, or from a server that does not speak gRPC.
    let http = status::http_status(exchange.outcome).filter(|status| *status != 200);
    out.put("http.response.status_code", "http.status_code", http.map(i64::from));
    // Envoy's native tracer records these two (`grpc.timeout`, `grpc.content_type`). In the keys of the old release `_` is for `-`.
    for (header, stable, old) in [
        ("grpc-timeout", "rpc.request.header.grpc-timeout", "rpc.grpc.request.metadata.grpc_timeout"),
        ("content-type", "rpc.request.header.content-type", "rpc.grpc.request.metadata.content_type"),
    ] {
        let value = exchange.header(Side::Request, header);
        out.put(stable, old, value.map(|value| Value::Strings(vec![value])));
    }
}

fn addresses(out: &mut Writer<'_>, exchange: &Exchange<'_>, peer: Option<&str>) {
    let (host, port) = server(exchange);
    let old = match exchange.kind {
        Kind::Server => ("net.host.name", "net.host.port"),
        Kind::Client => ("net.peer.name", "net.peer.port"),
    };
    if let Some(host) = host {
        out.put("server.address", old.0, Some(host));
        out.put("server.port", old.1, Some(i64::from(port)));
    }
    if exchange.kind == Kind::Server {
        out.put("client.address", "http.client_ip", client(exchange, peer));
    }
    if let Some((address, port)) = peer.map(split_port) {
        out.put("network.peer.address", "net.sock.peer.addr", Some(address.to_owned()));
        out.put("network.peer.port", "net.sock.peer.port", port.map(i64::from));
    }
}

/// Host and port that the client asked for: for a server `x-forwarded-host` before `:authority`. Where there is no port it is
/// the default port of the scheme.
fn server(exchange: &Exchange<'_>) -> (Option<String>, u16) {
    let forwarded = headers::first(&exchange.request, b"x-forwarded-host").filter(|_| exchange.kind == Kind::Server);
    let forwarded = forwarded.and_then(|list| list.split(|byte| *byte == b',').next()).map(headers::trim);
    let authority = forwarded.filter(|host| !host.is_empty()).unwrap_or_else(|| exchange.original.authority());
    // An address must not contain credentials.
    let authority = without_userinfo(authority);
    let authority = safe_text(authority, MAX_ADDRESS);
    let (host, port) = split_port(&authority);
    let port = port.unwrap_or(if exchange.original.https { 443 } else { 80 });
    (Some(host.to_owned()).filter(|host| !host.is_empty()), port)
}

/// The first client: what Envoy's edge found (`x-envoy-external-address`), the left-most of `x-forwarded-for`, the peer.
fn client(exchange: &Exchange<'_>, peer: Option<&str>) -> Option<String> {
    let address = |name: &[u8]| {
        let list = headers::first(&exchange.request, name)?;
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
    out.put("network.protocol.name", "net.protocol.name", Some(name));
    let version = Some(version.to_owned()).filter(|version| !version.is_empty());
    out.put("network.protocol.version", "net.protocol.version", version);
}

// === impl Writer ===

impl Writer<'_> {
    /// Adds a value under its stable and its old name. An empty name means that the conventions have none.
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
