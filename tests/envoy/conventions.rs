//! Every attribute of HTTP and RPC that is emitted, against a table of the release of the semantic conventions that is declared.

use crate::request::{How, send};
use crate::stage::{Stage, config, filter};
use serde_json::{Value, json};
use sidespan_harness::bootstrap::{Cluster, Direction, Listener, Node, Route};
use sidespan_harness::span::Kind;
use sidespan_harness::upstream::{grpc, grpc_trailers_only, header, status};
use sidespan_harness::{ReceivedSpan, Result, Upstream};
use std::collections::{BTreeMap, BTreeSet};

const STABLE: (&str, &str) = ("1.45.0", include_str!("../conventions/1.45.0.tsv"));
const OLD: (&str, &str) = ("1.20.0", include_str!("../conventions/1.20.0.tsv"));
/// What the conventions have names for.
const NAMESPACES: [&str; 9] =
    ["http.", "url.", "user_agent.", "error.", "server.", "client.", "network.", "net.", "rpc."];

struct Row {
    name: &'static str,
    type_name: &'static str,
    kinds: &'static str,
}

/// What a release says about an attribute's name.
fn table((_, text): (&str, &'static str)) -> Vec<Row> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let row = |line: &'static str| match line.split('\t').collect::<Vec<_>>()[..] {
        [name, type_name, kinds, _stability] => Row { name, type_name, kinds },
        _ => panic!("not a row: {line:?}"),
    };
    lines.map(row).collect()
}

impl Row {
    fn is(&self, key: &str) -> bool {
        let of = |prefix: &str| key.strip_prefix(prefix).filter(|rest| !rest.is_empty());
        match (self.name.strip_suffix("<key>"), self.name.strip_suffix("<key_>")) {
            (Some(prefix), _) => of(prefix).is_some(),
            // "with `-` characters replaced by `_`"
            (None, Some(prefix)) => of(prefix).is_some_and(|rest| !rest.contains('-')),
            (None, None) => key == self.name,
        }
    }
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "string",
        Value::Array(list) if list.iter().all(Value::is_string) => "string[]",
        Value::Number(number) if number.is_i64() => "int",
        Value::Bool(_) => "boolean",
        _ => "another type",
    }
}

/// Everything about a span that no table allows.
fn faults(span: &ReceivedSpan, tables: &[&[Row]]) -> Vec<String> {
    let kind = if span.kind == Kind::Server { "S" } else { "C" };
    let of_conventions = |key: &&String| NAMESPACES.iter().any(|prefix| key.starts_with(prefix));
    let allowed = |key: &str, value: &Value| {
        let mut rows = tables.iter().flat_map(|table| table.iter()).filter(|row| row.is(key));
        rows.any(|row| row.type_name == type_of(value) && row.kinds.contains(kind))
    };
    let wrong = span.attributes.keys().filter(of_conventions).filter(|key| !allowed(key, span.attribute(key)));
    wrong.map(|key| format!("{key} ({}) on a {:?} span", type_of(span.attribute(key)), span.kind)).collect()
}

async fn application() -> Result<Upstream> {
    Upstream::start(|request| async move {
        match request.uri().path() {
            "/shop.Cart/Get" => grpc(0, "").await,
            "/shop.Cart/Refuse" => grpc_trailers_only(7, "not yours").await,
            path if path.starts_with("/fail") => header(status(503, "no").await, "x-answer", "42"),
            _ => header(status(200, "fine").await, "x-answer", "42"),
        }
    })
    .await
}

async fn start(words: &[&str]) -> Result<Stage> {
    let app = application().await?;
    let http2 = Cluster::new("grpc", app.port()).http2();
    let mut listeners = Vec::new();
    for word in words {
        let settings = config(json!({"spans": {
            "semanticConventions": word,
            "requestHeaders": ["x-tenant-id"],
            "responseHeaders": ["x-answer"],
            "pathTemplates": ["/users/{id}"],
        }}));
        for (name, direction) in [("inbound", Direction::Inbound), ("outbound", Direction::Outbound)] {
            let name = format!("{name}-{word}");
            let routes = [Route::cluster("/shop.Cart/", "grpc"), Route::cluster("/", "app").retry("5xx", 1)];
            let listener = routes.into_iter().fold(Listener::new(&name, direction), Listener::route);
            listeners.push(listener.filter(filter(&settings)?.named(&format!("test.{name}"))));
        }
    }
    Stage::bare(Node::sidecar("backend", "shop"), app, |bootstrap| {
        listeners.into_iter().fold(bootstrap.cluster(http2), sidespan_harness::bootstrap::Bootstrap::listener)
    })
    .await
}

/// The spans of requests of every kind, by the word of the configuration.
async fn spans(stage: &Stage, word: &str) -> Result<Vec<ReceivedSpan>> {
    let requests = [
        How::GetWith(
            "/users/42?a=1",
            &[("x-tenant-id", b"acme"), ("user-agent", b"test/1"), ("x-forwarded-for", b"1.2.3.4")],
        ),
        How::Get("/fail"),
        How::Http2("/users/42"),
        How::Method("PURGE", "/users/42"),
        How::Grpc("/shop.Cart/Get"),
        How::Grpc("/shop.Cart/Refuse"),
        How::Grpc("/shop.Cart/no/method"),
    ];
    stage.receiver.clear();
    let mut sent = 0;
    for listener in ["inbound", "outbound"] {
        let port = stage.envoy.port(&format!("{listener}-{word}"))?;
        for how in requests {
            sent += 1;
            send(how, port, &stage.app, &format!("00-{sent:032x}-00f067aa0ba902b7-01")).await?;
        }
    }
    stage.spans(sent).await
}

#[tokio::test]
async fn every_attribute_is_one_of_the_release_that_is_declared() -> Result<()> {
    let mut stage = start(&["stable", "old", "dup"]).await?;
    let (stable, old) = (table(STABLE), table(OLD));
    let cases: [(&str, &str, &[&[Row]]); 3] =
        [("stable", STABLE.0, &[&stable]), ("old", OLD.0, &[&old]), ("dup", STABLE.0, &[&stable, &old])];
    let mut wrong = BTreeMap::<&str, BTreeSet<String>>::new();
    for (word, release, tables) in cases {
        let spans = spans(&stage, word).await?;
        let out = wrong.entry(word).or_default();
        for span in &spans {
            if span.scope.schema_url != format!("https://opentelemetry.io/schemas/{release}") {
                out.insert(format!("declares {}, not {release}", span.scope.schema_url));
            }
            out.extend(faults(span, tables));
        }
        // The table must have been tried: each attribute that these requests cannot be without.
        let seen = |key: &str| spans.iter().any(|span| span.attributes.contains_key(key));
        let required: &[&str] = match word {
            "stable" => &[
                "http.request.method",
                "http.request.method_original",
                "http.response.status_code",
                "http.route",
                "url.full",
                "url.template",
                "http.request.resend_count",
                "http.request.header.x-tenant-id",
                "rpc.system.name",
                "rpc.method",
                "rpc.method_original",
                "rpc.status_code",
                "client.address",
                "server.port",
                "network.peer.port",
                "error.type",
            ],
            "old" => &[
                "http.method",
                "http.status_code",
                "http.url",
                "http.target",
                "rpc.system",
                "rpc.service",
                "rpc.grpc.status_code",
                "net.host.name",
                "net.peer.name",
                "net.sock.peer.addr",
            ],
            _ => &[
                "http.method",
                "http.request.method",
                "rpc.system",
                "rpc.system.name",
                "rpc.grpc.status_code",
                "rpc.status_code",
            ],
        };
        out.extend(required.iter().filter(|key| !seen(key)).map(|key| format!("{key} is on no span")));
    }
    wrong.retain(|_, faults| !faults.is_empty());
    stage.envoy.assert_no_trap();
    assert!(wrong.is_empty(), "{wrong:#?}");
    Ok(())
}

/// gRPC of the stable conventions, whole: the fully qualified method, and the status by its name.
#[tokio::test]
async fn a_grpc_call_has_the_names_and_values_of_the_stable_conventions() -> Result<()> {
    let stage = start(&["stable"]).await?;
    let spans = spans(&stage, "stable").await?;
    let of =
        |method: &str| spans.iter().filter(move |span| span.text("rpc.method") == Some(method)).collect::<Vec<_>>();
    for (method, code) in [("shop.Cart/Get", "OK"), ("shop.Cart/Refuse", "PERMISSION_DENIED")] {
        let found = of(method);
        assert_eq!(found.len(), 2, "{method}: both listeners");
        for span in found {
            assert_eq!((span.text("rpc.system.name"), span.text("rpc.status_code")), (Some("grpc"), Some(code)));
            assert_eq!(span.attribute("rpc.method_original"), &Value::Null, "only where it differs");
        }
    }
    let other = of("_OTHER");
    assert!(other.iter().all(|span| span.text("rpc.method_original") == Some("shop.Cart/no/method")), "{other:#?}");
    assert_eq!(other.len(), 2);
    Ok(())
}
