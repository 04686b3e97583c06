//! A caller gives up: its route times out, or the client leaves. Each hop that is under way sees its own stream cut before an
//! answer, so the trace is whole from the gateway to the deepest one, the callee that caused it included.

use crate::paths::{Hop, Paths, all_exported, assert_path, borrowed, config, hops, is_head_sampled, request_headers};
use crate::stage::SOON;
use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use sidespan_harness::client::{Client, RawConnection, RawRequest};
use sidespan_harness::mesh::{Action, Plan, Service};
use sidespan_harness::{Result, eventually};
use std::collections::BTreeMap;
use std::time::Duration;

const TIMES: usize = 15;
/// Between two of them: fewer than the cap that holds without configuration.
const PAUSE: Duration = Duration::from_millis(200);
/// Longer than anybody waits for the database.
const NEVER: Duration = Duration::from_secs(60);

/// How the request ends.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    /// The sidecar of the frontend gives its call 300 ms.
    Timeout,
    /// The same, and the frontend answers 200 all the same.
    MaskedTimeout,
    /// The gateway gives its call 300 ms.
    GatewayTimeout,
    /// The client leaves when the database has the request.
    Leave,
    /// The same over HTTP/2.
    LeaveHttp2,
}

const ALL_CANCELLED: [&str; 6] = ["cancelled"; 6];

impl End {
    fn reasons(self) -> [&'static str; 6] {
        match self {
            Self::Timeout => ["error", "error", "error", "cancelled", "cancelled", "cancelled"],
            Self::MaskedTimeout => ["marked", "marked", "error", "cancelled", "cancelled", "cancelled"],
            Self::GatewayTimeout => ["error", "cancelled", "cancelled", "cancelled", "cancelled", "cancelled"],
            Self::Leave | Self::LeaveHttp2 => ALL_CANCELLED,
        }
    }

    fn http2(self) -> bool {
        self == Self::LeaveHttp2
    }

    async fn start(self, patch: Value) -> Result<Paths> {
        let frontend = move |service: Service| match self {
            Self::Timeout | Self::MaskedTimeout => service.times_out_after("0.3s"),
            _ => service.times_out_after("0s"),
        };
        // Without a limit of its own, so that the only cancellation is that from above.
        let backend = |service: Service| service.times_out_after("0s");
        Paths::with(&config(patch), frontend, backend, |mesh| {
            let mesh = if self.http2() { mesh.http2() } else { mesh };
            mesh.listeners(move |owner, listener| match owner {
                "istio-ingressgateway" => listener.manager(gateway_timeout(self == Self::GatewayTimeout)),
                _ => listener,
            })
        })
        .await
    }

    async fn send(self, paths: &Paths, traceparent: &str) -> Result<()> {
        let plan = Plan::new().with("database", Action::Delay(NEVER));
        let plan = if self == Self::MaskedTimeout { plan.with("frontend", Action::Mask) } else { plan };
        let mut headers = request_headers("cancelled", &plan, &[]);
        headers.push(("traceparent", traceparent.to_owned()));
        let (port, host) = (paths.mesh.entry(), paths.mesh.host());
        match self {
            Self::Timeout | Self::GatewayTimeout | Self::MaskedTimeout => {
                let reply = Client::http1(port).get(host, "/shop", &borrowed(&headers)).await?;
                let expected = match self {
                    Self::Timeout => 500,
                    Self::MaskedTimeout => 200,
                    _ => 504,
                };
                assert_eq!(reply.status, expected);
                assert_eq!(reply.header("server-timing"), None);
            }
            Self::Leave => {
                let request = RawRequest::get(host, "/shop");
                let request = headers.iter().fold(request, |request, (name, value)| request.header(name, value));
                let mut connection = RawConnection::connect(port).await?;
                connection.send(&request.to_bytes()).await?;
                has_come(paths, traceparent).await?;
            }
            Self::LeaveHttp2 => {
                let (client, headers) = (Client::http2(port), borrowed(&headers));
                tokio::select! {
                    reply = client.get(host, "/shop", &headers) => { reply?; }
                    came = has_come(paths, traceparent) => came?,
                }
            }
        }
        Ok(())
    }
}

/// The gateway has one route.
fn gateway_timeout(short: bool) -> Value {
    let route = json!({
        "name": "default",
        "match": {"prefix": "/"},
        "route": {
            "cluster": "outbound|80||frontend.shop.svc.cluster.local",
            "timeout": if short { "0.3s" } else { "0s" },
        },
    });
    json!({"route_config": {"virtual_hosts": [{"name": "any", "domains": ["*"], "routes": [route]}]}})
}

async fn has_come(paths: &Paths, traceparent: &str) -> Result<()> {
    eventually("the request at the database", SOON, async || {
        let arrivals = paths.mesh.arrivals("database")?;
        let same = |sent: &str| sent.get(3..35) == traceparent.get(3..35);
        ensure!(arrivals.iter().any(|request| request.header("traceparent").is_some_and(same)), "not there");
        Ok(())
    })
    .await
}

/// Unsampled traces whose R is spread; sends them one after the other, and answers the spans of each.
async fn run(end: End, patch: Value) -> Result<(Paths, BTreeMap<String, Vec<sidespan_harness::ReceivedSpan>>)> {
    let paths = end.start(patch).await?;
    let trace = |n: usize| format!("4bf92f3577b34da6a3{:014x}", n as u64 * 0x0f_0000_0000_0000 + 1);
    for n in 0..TIMES {
        assert!(!is_head_sampled(&trace(n)), "{n}");
        end.send(&paths, &format!("00-{}-{SPAN}-00", trace(n))).await?;
        tokio::time::sleep(PAUSE).await;
    }
    let traces = paths.traces(TIMES as u64).await?;
    let of = |n: usize| (trace(n), traces.get(&trace(n)).cloned().unwrap_or_default());
    Ok((paths, (0..TIMES).map(of).collect()))
}

const SPAN: &str = "00f067aa0ba902b7";

/// How many of the traces have exactly these spans.
fn whole(traces: &BTreeMap<String, Vec<sidespan_harness::ReceivedSpan>>, expected: &[Hop]) -> usize {
    let is_whole = |spans: &&Vec<sidespan_harness::ReceivedSpan>| {
        spans.len() == expected.len()
            && expected.iter().all(|hop| {
                spans.iter().any(|span| {
                    (span.service(), span.kind, span.text("sidespan.sampling.reason"))
                        == (hop.service, hop.kind, Some(hop.reason))
                })
            })
    };
    traces.values().filter(is_whole).count()
}

async fn prove(end: End, patch: Value, reasons: [&'static str; 6]) -> Result<()> {
    let (mut paths, traces) = run(end, patch).await?;
    let expected: Vec<Hop> = hops(reasons, "0").into_iter().filter(|hop| !hop.reason.is_empty()).collect();
    println!("{end:?}: {} of {TIMES} as expected {reasons:?}", whole(&traces, &expected));
    for (trace, spans) in &traces {
        assert_path(&format!("{end:?} {trace}"), spans, &expected, SPAN);
    }
    paths.mesh.assert_no_trap();
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_route_that_times_out_keeps_the_callee_that_caused_it() -> Result<()> {
    for end in [End::Timeout, End::MaskedTimeout, End::GatewayTimeout] {
        prove(end, json!({}), end.reasons()).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_leaves_keeps_the_trace_from_the_gateway_to_the_deepest_hop() -> Result<()> {
    for end in [End::Leave, End::LeaveHttp2] {
        prove(end, json!({}), end.reasons()).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_percentage_of_zero_switches_the_stratum_off() -> Result<()> {
    let off = json!({"sampling": {"cancelled": {"percentage": 0}}});
    prove(End::Leave, off.clone(), [""; 6]).await?;
    prove(End::Timeout, off, ["error", "error", "error", "", "", ""]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_a_client_that_leaves_is_an_error_that_goes_before() -> Result<()> {
    let errors = json!({"sampling": {"errors": {"clientDisconnect": true}}});
    for end in [End::Leave, End::LeaveHttp2, End::Timeout, End::GatewayTimeout] {
        prove(end, errors.clone(), ["error"; 6]).await?;
    }
    Ok(())
}

/// The stratum has a percentage and a cap of its own: the same traces at each hop, each with the threshold of its stratum.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_percentage_keeps_the_same_traces_at_every_hop() -> Result<()> {
    let half = json!({"sampling": {"cancelled": {"percentage": 50, "maxPerSecond": 0}}});
    let (mut paths, traces) = run(End::Leave, half).await?;
    let expected = hops(ALL_CANCELLED, "8");
    let mut kept = 0;
    for (trace, spans) in &traces {
        let r = trace.get(18..).context("14 digits")?;
        let included = r >= "80000000000000";
        assert_path(trace, spans, if included { &expected } else { &[] }, SPAN);
        kept += usize::from(included);
    }
    assert!(kept > 3 && kept < TIMES - 3, "{kept}");
    paths.mesh.assert_no_trap();
    let envoys: Vec<_> = paths.mesh.envoys().map(|(name, envoy)| (name, envoy, TIMES as u64)).collect();
    all_exported(&envoys, &paths.receiver).await
}
