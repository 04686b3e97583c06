//! Parents and children: sidecars, applications that forward what they know, and a gateway in front.

use crate::stage::{SOON, config, filter};
use anyhow::Context as _;
use serde_json::json;
use sidespan_harness::bootstrap::{Cluster, Direction, Listener, Route};
use sidespan_harness::client::Client;
use sidespan_harness::mesh::{Exchange, Forwarding, Mesh, Service};
use sidespan_harness::span::{Kind, only};
use sidespan_harness::{ReceivedSpan, Receiver, Result, envoy_binary};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";
const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const B3: &str = "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1";

/// A mesh and the receiver of its spans.
struct Traced {
    mesh: Mesh,
    receiver: Receiver,
}

// === impl Traced ===

impl Traced {
    /// Sends one request to a listener (`<service>` or `gateway/<listener>`) and returns its `n` spans.
    async fn get(&self, entry: &str, headers: &[(&str, &str)], n: usize) -> Result<Vec<ReceivedSpan>> {
        let port = match entry.split_once('/') {
            Some((_, listener)) => self.mesh.gateway().context("no gateway")?.port(listener)?,
            None => self.mesh.sidecar(entry)?.port("inbound")?,
        };
        self.mesh.clear();
        self.receiver.clear();
        let reply = Client::http1(port).get(self.mesh.host(), "/", headers).await?;
        assert_eq!(reply.status, 200, "{entry}");
        let spans = self.receiver.wait_for(n, SOON).await?;
        assert_eq!(spans.len(), n, "{spans:#?}");
        spans.iter().for_each(|span| assert!(span.problems.is_empty(), "{span:#?}"));
        Ok(spans)
    }

    /// What the application of a service received, and called.
    fn exchange(&self, service: &str) -> Result<Exchange> {
        let last = self.mesh.exchanges(service)?.pop();
        last.with_context(|| format!("{service} was not called"))
    }
}

fn find<'s>(spans: &'s [ReceivedSpan], service: &str, kind: Kind) -> Result<&'s ReceivedSpan> {
    only(spans, |span| span.service().split('.').next() == Some(service) && span.kind == kind)
}

/// The spans of the given services in the order of the request: each is the child of the one before, all of one trace.
fn chain<'s>(spans: &'s [ReceivedSpan], hops: &[(&str, Kind)]) -> Result<Vec<&'s ReceivedSpan>> {
    let chain = hops.iter().map(|(service, kind)| find(spans, service, *kind)).collect::<Result<Vec<_>>>()?;
    for pair in chain.windows(2) {
        assert_eq!(pair[1].trace_id, pair[0].trace_id, "one trace: {chain:#?}");
        assert_eq!(pair[1].parent_span_id, pair[0].span_id, "parent and child: {chain:#?}");
        assert!(pair[1].start_ns >= pair[0].start_ns && pair[1].end_ns <= pair[0].end_ns, "within: {pair:#?}");
    }
    Ok(chain)
}

fn came_from(span: &ReceivedSpan) -> (&str, &str) {
    (&span.trace_id, &span.parent_span_id)
}

const GATEWAY: (&str, Kind) = ("istio-ingressgateway", Kind::Server);
const SHOP: &[(&str, Kind)] = &[
    ("frontend", Kind::Server),
    ("frontend", Kind::Client),
    ("backend", Kind::Server),
    ("backend", Kind::Client),
    ("database", Kind::Server),
];

#[tokio::test]
async fn spans_link_across_sidecars_and_a_gateway_continues_restarts_or_ignores() -> Result<()> {
    let receiver = Receiver::start().await?;
    let sidecars = filter(&config(json!({})))?;
    let gateway = |trust: &str| filter(&config(json!({"propagation": {"trust": trust}})));
    let (first, others) = (gateway("continue")?, [("restart", gateway("restart")?), ("ignore", gateway("ignore")?)]);
    let mesh = Mesh::builder()
        .gateway("istio-ingressgateway", "frontend")
        .service(Service::new("frontend", "shop").calls("backend", "/api"))
        .service(Service::new("backend", "shop").calls("database", "/q").forwards(Forwarding::W3c))
        .service(Service::new("database", "data"))
        .cluster(Cluster::new("collector", receiver.port()))
        .listeners(move |owner, listener| {
            listener.filter(if owner == "istio-ingressgateway" { first.clone() } else { sidecars.clone() })
        })
        .bootstraps(move |owner, bootstrap| {
            if owner != "istio-ingressgateway" {
                return bootstrap;
            }
            let route = Route::cluster("/", "outbound|80||frontend.shop.svc.cluster.local");
            others.iter().fold(bootstrap, |bootstrap, (name, filter)| {
                let listener = Listener::new(name, Direction::Outbound).route(route.clone());
                bootstrap.listener(listener.filter(filter.clone().named(&format!("test.{name}"))))
            })
        })
        .start(&envoy_binary()?)
        .await?;
    let mut traced = Traced { mesh, receiver };
    continued(&traced).await?;
    started(&traced).await?;
    at_the_gateway(&traced).await?;
    traced.mesh.assert_no_trap();
    Ok(())
}

/// W3C or B3 in: the trace of the caller goes through all hops, and what an application is told is its own sidecar's span.
async fn continued(traced: &Traced) -> Result<()> {
    for (name, value) in [("traceparent", PARENT), ("b3", B3)] {
        let spans = traced.get("frontend", &[(name, value), ("baggage", "a=1")], 5).await?;
        let hops = chain(&spans, SHOP)?;
        assert_eq!(came_from(hops[0]), (TRACE, SPAN), "{name}");
        for (service, span) in [("frontend", hops[0]), ("backend", hops[2]), ("database", hops[4])] {
            let received = traced.exchange(service)?.received;
            let parent = format!("00-{TRACE}-{}-01", span.span_id);
            assert_eq!(received.header("traceparent"), Some(parent.as_str()), "{service} after {name}: {received:?}");
            assert_eq!(received.header("baggage"), Some("a=1"));
            // The second application forwards W3C only, so B3 ends there.
            let b3 = received.header("b3").and_then(|b3| b3.get(33..49));
            let expected = (name == "b3" && service != "database").then_some(span.span_id.as_str());
            assert_eq!(b3, expected, "{service} after {name}: {received:?}");
        }
    }
    Ok(())
}

/// Without a caller's context the first sidecar starts a trace, and each span says with which probability it was kept.
async fn started(traced: &Traced) -> Result<()> {
    let spans = traced.get("frontend", &[], 5).await?;
    let hops = chain(&spans, SHOP)?;
    assert!(hops[0].is_root());
    assert!(spans.iter().all(|span| span.trace_state == "ot=th:0"), "{spans:#?}");
    Ok(())
}

async fn at_the_gateway(traced: &Traced) -> Result<()> {
    let headers = [("traceparent", PARENT), ("tracestate", "vendor=1"), ("baggage", "a=1")];
    for trust in ["gateway", "restart", "ignore"] {
        let spans = traced.get(&format!("gateway/{trust}"), &headers, 6).await?;
        let gateway = chain(&spans, &[&[GATEWAY], SHOP].concat())?[0];
        let received = traced.exchange("database")?.received;
        let links: Vec<_> = gateway.links.iter().map(|link| (link.trace_id.as_str(), link.span_id.as_str())).collect();
        let (origin, state, expected): (_, _, &[(&str, &str)]) = match trust {
            "gateway" => ((TRACE, SPAN), "vendor=1", &[]),
            "restart" => ((gateway.trace_id.as_str(), ""), "ot=th:0", &[(TRACE, SPAN)]),
            _ => ((gateway.trace_id.as_str(), ""), "ot=th:0", &[]),
        };
        assert_eq!((came_from(gateway), links), (origin, expected.to_vec()), "{trust}");
        assert_eq!(gateway.trace_id == TRACE, trust == "gateway", "{trust}");
        assert_eq!(received.header("tracestate"), Some(state), "{trust}: a new trace has a state of its own");
        if trust == "restart" {
            assert_eq!(gateway.links[0].attributes.get("reason"), Some(&json!("restarted")));
        }
    }
    Ok(())
}

#[tokio::test]
async fn applications_that_speak_b3_only_or_nothing_at_all() -> Result<()> {
    let receiver = Receiver::start().await?;
    let plain = filter(&config(json!({})))?;
    let both = filter(&config(json!({"propagation": {"inject": ["tracecontext", "b3", "b3multi"]}})))?;
    let mesh = Mesh::builder()
        .service(Service::new("frontend", "shop").calls("backend", "/api").forwards(Forwarding::B3))
        .service(Service::new("backend", "shop").calls("database", "/q").forwards(Forwarding::B3))
        .service(Service::new("silent", "shop").calls("database", "/q").forwards(Forwarding::Nothing))
        .service(Service::new("database", "data"))
        .cluster(Cluster::new("collector", receiver.port()))
        .listeners(move |owner, listener| {
            listener.filter(if owner == "backend" { both.clone() } else { plain.clone() })
        })
        .start(&envoy_binary()?)
        .await?;
    let mut traced = Traced { mesh, receiver };
    // What speaks B3 is answered in B3.
    let spans = traced.get("frontend", &[("b3", B3)], 5).await?;
    assert_eq!(came_from(chain(&spans, SHOP)?[0]), (TRACE, SPAN));
    // Who injects B3 reaches an application that understands nothing else, also where a trace starts.
    for headers in [&[][..], &[("traceparent", PARENT)]] {
        let spans = traced.get("backend", headers, 3).await?;
        let hops = chain(&spans, &SHOP[2..])?;
        assert_eq!(hops[0].is_root(), headers.is_empty());
        let sent = traced.exchange("backend")?.calls.pop().context("it called nobody")?.sent;
        assert!(sent.len() >= 4 && sent.iter().all(|(name, _)| name.contains("b3")), "it spoke B3 only: {sent:?}");
    }
    // An application that forwards nothing ends the trace; its own sidecar starts another.
    let spans = traced.get("silent", &[("traceparent", PARENT)], 3).await?;
    assert_eq!(came_from(find(&spans, "silent", Kind::Server)?), (TRACE, SPAN));
    let hops = chain(&spans, &[("silent", Kind::Client), ("database", Kind::Server)])?;
    assert!(hops[0].is_root() && hops[0].trace_id != TRACE, "{hops:#?}");
    traced.mesh.assert_no_trap();
    Ok(())
}
