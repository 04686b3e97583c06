//! Gateways are callees too: one that is called from within the mesh answers its caller, so that the caller's span is kept; one that
//! is called from outside never does.

use crate::paths::{
    FAILED, Hop, MASKED, Paths, all_exported, assert_path, borrowed, config, hops, is_head_sampled, outline,
    request_headers, timings, trace_of,
};
use crate::stage::filter;
use serde_json::{Value, json};
use sidespan_harness::bootstrap::{
    Authority, Bootstrap, Cluster, Direction, Identity, Listener, Node, Route, VirtualHost,
};
use sidespan_harness::client::{Client, fire};
use sidespan_harness::mesh::{Action, Plan};
use sidespan_harness::span::Kind;
use sidespan_harness::upstream::status;
use sidespan_harness::{Envoy, Receiver, Result, Upstream, envoy_binary};
use std::collections::BTreeSet;
use std::sync::Mutex;

const TIMES: usize = 40;
const SPAN: &str = "00f067aa0ba902b7";
/// The certificate that a gateway of the mesh shows.
const GATEWAY: &str = "spiffe://cluster.local/ns/istio-system/sa/gateway";
const SIDECAR: &str = "spiffe://cluster.local/ns/shop/sa/backend";
const FRONTEND: &str = "outbound|80||frontend.shop.svc.cluster.local";

/// A gateway of the mesh, to one cluster.
fn gateway(
    name: &str,
    cluster: Cluster,
    route: Route,
    settings: &Value,
    change: impl FnOnce(Listener) -> Listener,
) -> Result<Bootstrap> {
    let listener = Listener::new("gateway", Direction::Outbound).virtual_host(VirtualHost::any([route]));
    let listener = change(listener.manager(json!({"use_remote_address": true})).filter(filter(settings)?));
    Ok(Bootstrap::new(Node::gateway(name, "istio-system")).listener(listener).cluster(cluster))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_behind_another_gateway_keeps_the_span_of_the_first() -> Result<()> {
    let authority = Authority::new()?;
    let identity = authority.issue(GATEWAY)?;
    let settings = config(json!({}));
    let inner = (filter(&settings)?.named("test.inner"), identity.clone());
    let mut paths = Paths::with(
        &settings,
        |frontend| frontend,
        |backend| backend,
        |mesh| {
            mesh.bootstraps(move |owner, bootstrap| match owner {
                // For callers within the mesh; clients outside use the other listener.
                "istio-ingressgateway" => bootstrap.listener(
                    Listener::new("mesh", Direction::Outbound)
                        .virtual_host(VirtualHost::any([Route::cluster("/", FRONTEND)]))
                        .filter(inner.0.clone())
                        .tls(&inner.1),
                ),
                _ => bootstrap,
            })
        },
    )
    .await?;
    let to = paths.mesh.gateway().map(|envoy| envoy.port("mesh")).expect("a gateway")?;
    let cluster = Cluster::new("inner", to).tls(&identity);
    let bootstrap = gateway("edge", cluster, Route::cluster("/", "inner"), &settings, |listener| listener)?;
    let bootstrap = bootstrap.cluster(Cluster::new("collector", paths.receiver.port()));
    let mut edge = Envoy::start(&envoy_binary()?, &bootstrap).await?;

    let client = Client::http1(edge.port("gateway")?);
    let plan = |case: usize| match case % 3 {
        0 => Plan::new(),
        1 => Plan::new().with("database", Action::Status(503)),
        _ => Plan::new().with("database", Action::Status(503)).with("backend", Action::Mask),
    };
    let replies = fire(TIMES, 4, |case| {
        let (client, host) = (client.clone(), paths.mesh.host());
        let headers = request_headers(&case.to_string(), &plan(case), &[]);
        async move { client.get(host, "/shop", &borrowed(&headers)).await }
    });
    for reply in replies.await {
        let reply = reply?;
        assert!([200, 500].contains(&reply.status.as_u16()), "{}: {}", reply.status, reply.text());
        assert_eq!(reply.header("server-timing"), None, "the client outside sees no signal");
    }
    all_exported(&[("edge", &edge, TIMES as u64)], &paths.receiver).await?;
    let traces = paths.traces(TIMES as u64).await?;
    let cases = paths.cases()?;
    let (mut whole, mut failing, mut wrong) = (0, 0, Vec::new());
    for (case, exchange) in &cases {
        let trace = trace_of(exchange)?;
        if is_head_sampled(trace) {
            continue;
        }
        let spans = traces.get(trace).map(Vec::as_slice).unwrap_or_default();
        let reasons = match case.parse::<usize>()? % 3 {
            0 => {
                assert!(spans.is_empty(), "{:#?}", outline(spans));
                continue;
            }
            1 => FAILED,
            _ => MASKED,
        };
        failing += 1;
        let first = Hop { service: "edge", kind: Kind::Server, reason: reasons[0], th: "0" };
        let expected: Vec<Hop> = [first].into_iter().chain(hops(reasons, "0")).collect();
        match spans.iter().any(|span| span.service() == "edge") {
            true => {
                assert_path(&format!("case {case}"), spans, &expected, "");
                whole += 1;
            }
            false => wrong.push((case.clone(), outline(spans))),
        }
    }
    println!("{whole} of {failing} paths whole with two gateways");
    edge.assert_no_trap();
    paths.mesh.assert_no_trap();
    assert!(wrong.is_empty(), "{} of {failing} lack the first gateway: {:#?}", wrong.len(), wrong.first());
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retry_at_an_egress_gateway_keeps_those_who_called_it() -> Result<()> {
    // A server outside the mesh, which fails each request once.
    let seen = Mutex::new(BTreeSet::new());
    let outside = Upstream::start(move |request| {
        let id = request.headers().get("x-case").map(|id| id.as_bytes().to_vec()).unwrap_or_default();
        let first = seen.lock().expect("no panic").insert(id);
        async move { if first { status(503, "not yet").await } else { status(200, "fine").await } }
    })
    .await?;
    let authority = Authority::new()?;
    let (identity, caller) = (authority.issue(GATEWAY)?, authority.issue(SIDECAR)?);
    let settings = config(json!({}));
    let receiver = Receiver::start().await?;
    let route = Route::cluster("/", "outside").retry("5xx", 1);
    let bootstrap = gateway("egress", Cluster::new("outside", outside.port()), route, &settings, |listener| {
        listener.tls(&identity)
    })?;
    let bootstrap = bootstrap.cluster(Cluster::new("collector", receiver.port()));
    let mut egress = Envoy::start(&envoy_binary()?, &bootstrap).await?;
    // The sidecar that calls it, with an application in front of which we stand ourselves.
    let cluster = Cluster::new("egress", egress.port("gateway")?).tls(&caller);
    let sidecar = Bootstrap::new(Node::sidecar("backend", "shop"))
        .listener(Listener::outbound("egress").filter(filter(&settings)?))
        .cluster(cluster)
        .cluster(Cluster::new("collector", receiver.port()));
    let mut sidecar = Envoy::start(&envoy_binary()?, &sidecar).await?;
    let client = Client::http1(sidecar.port("outbound")?);
    let trace = |n: usize| format!("4bf92f3577b34da6a3{:014x}", n as u64 * 0x05_0000_0000_0000 + 1);
    let replies = fire(TIMES, 4, |n| {
        let (client, parent, case) = (client.clone(), format!("00-{}-{SPAN}-00", trace(n)), n.to_string());
        async move {
            client.get("api.example.com", "/", &[("traceparent", parent.as_str()), ("x-case", case.as_str())]).await
        }
    });
    for reply in replies.await {
        let reply = reply?;
        assert_eq!((reply.status.as_u16(), reply.header("server-timing")), (200, None), "no application sees a signal");
    }
    all_exported(&[("egress", &egress, TIMES as u64), ("backend", &sidecar, TIMES as u64)], &receiver).await?;
    let spans = receiver.spans();
    let of = |n: usize| spans.iter().filter(|span| span.trace_id == trace(n)).cloned().collect::<Vec<_>>();
    let whole = (0..TIMES).filter(|n| of(*n).len() == 2).count();
    println!("{whole} of {TIMES} retries whole");
    let hop = |service, kind| Hop { service, kind, reason: "marked", th: "0" };
    for n in 0..TIMES {
        let expected = [hop("backend", Kind::Client), hop("egress", Kind::Server)];
        assert_path(&format!("case {n}"), &of(n), &expected, SPAN);
    }
    egress.assert_no_trap();
    sidecar.assert_no_trap();
    Ok(())
}

/// Who asks: nobody known (without TLS), or the holder of a certificate.
type Caller = Option<&'static str>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_answers_a_caller_of_its_trust_domain_and_nobody_outside() -> Result<()> {
    const OTHERS: &str = "spiffe://other.example/ns/shop/sa/backend";
    let table: [(&str, Caller, bool); 9] = [
        ("", None, false),
        ("", Some(OTHERS), false),
        ("", Some(SIDECAR), true),
        ("auto", None, false),
        ("auto", Some(OTHERS), false),
        ("auto", Some(SIDECAR), true),
        ("always", None, true),
        ("never", Some(SIDECAR), false),
        ("never", None, false),
    ];
    let authority = Authority::new()?;
    let identity = authority.issue(GATEWAY)?;
    let mut wrong = Vec::new();
    for word in ["", "auto", "always", "never"] {
        let answer = if word.is_empty() { json!({}) } else { json!({"propagation": {"answerCallers": word}}) };
        let mut inside = Inside::start(&config(answer), &authority, &identity).await?;
        for (_, caller, expected) in table.into_iter().filter(|(of, ..)| *of == word) {
            let heard = inside.ask(caller).await?;
            println!("answerCallers {word:?}, caller {caller:?}: {heard:?}");
            if heard.len() != usize::from(expected) {
                wrong.push((word, caller, heard));
            }
        }
        inside.gateway.assert_no_trap();
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    Ok(())
}

/// A gateway to an application that always fails; callers with certificates go through an Envoy without the filter.
struct Inside {
    gateway: Envoy,
    callers: Vec<(&'static str, Envoy)>,
    _app: Upstream,
    _receiver: Receiver,
}

impl Inside {
    async fn start(settings: &Value, authority: &Authority, identity: &Identity) -> Result<Self> {
        let (app, receiver) = (Upstream::start(|_| status(503, "no")).await?, Receiver::start().await?);
        let plain = Listener::new("plain", Direction::Outbound).route(Route::cluster("/", "app"));
        let bootstrap =
            gateway("gateway", Cluster::new("app", app.port()), Route::cluster("/", "app"), settings, |listener| {
                listener.tls(identity)
            })?
            .listener(plain.filter(filter(settings)?.named("test.plain")))
            .cluster(Cluster::new("collector", receiver.port()));
        let gateway = Envoy::start(&envoy_binary()?, &bootstrap).await?;
        let mut callers = Vec::new();
        for uri in [SIDECAR, "spiffe://other.example/ns/shop/sa/backend"] {
            let cluster = Cluster::new("gateway", gateway.port("gateway")?).tls(&authority.issue(uri)?);
            let caller = Bootstrap::new(Node::plain("caller", "caller"))
                .listener(Listener::outbound("gateway"))
                .cluster(cluster);
            callers.push((uri, Envoy::start(&envoy_binary()?, &caller).await?));
        }
        Ok(Self { gateway, callers, _app: app, _receiver: receiver })
    }

    /// What the caller hears in `server-timing`.
    async fn ask(&self, caller: Caller) -> Result<Vec<String>> {
        let envoy = caller.and_then(|uri| self.callers.iter().find(|(known, _)| *known == uri));
        let port = match envoy {
            Some((_, envoy)) => envoy.port("outbound")?,
            None => self.gateway.port("plain")?,
        };
        let parent = format!("00-4bf92f3577b34da6a3ce929d0e0e4736-{SPAN}-00");
        let reply = Client::http1(port).get("backend", "/", &[("traceparent", parent.as_str())]).await?;
        assert_eq!((reply.status.as_u16(), reply.text().as_str()), (503, "no"), "the application answers: {caller:?}");
        Ok(timings(reply.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()))))
    }
}
