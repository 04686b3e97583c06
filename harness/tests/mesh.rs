//! Services behind sidecar processes of their own, without any wasm module.

use sidespan_harness::mesh::{Action, Forwarding, Mesh, MeshBuilder, NativeTracing, PLAN, Plan, Service};
use sidespan_harness::span::{Kind, only};
use sidespan_harness::{ReceivedSpan, Receiver, Result, envoy_binary};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(10);
const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn three() -> MeshBuilder {
    Mesh::builder()
        .gateway("istio-ingressgateway", "frontend")
        .service(Service::new("frontend", "shop").calls("backend", "/api").calls("backend", "/again"))
        .service(Service::new("backend", "shop").calls("database", "/query").forwards(Forwarding::B3))
        .service(Service::new("database", "data"))
        .access_log("%RESPONSE_CODE% %RESPONSE_FLAGS% %UPSTREAM_REQUEST_ATTEMPT_COUNT%")
}

async fn status(mesh: &Mesh, plan: &Plan) -> Result<u16> {
    Ok(mesh.client().get(mesh.host(), "/", &[(PLAN, &plan.to_string())]).await?.status.as_u16())
}

#[tokio::test]
async fn a_request_passes_every_hop_and_applications_forward_what_they_know() -> Result<()> {
    let mut mesh = three().start(&envoy_binary()?).await?;
    let headers = [("traceparent", TRACEPARENT), ("b3", "0"), ("x-tenant", "a")];
    assert_eq!(mesh.client().get(mesh.host(), "/", &headers).await?.status, 200);
    let frontend = mesh.exchanges("frontend")?;
    assert_eq!(frontend[0].received.header("traceparent"), Some(TRACEPARENT));
    assert_eq!((frontend[0].calls.len(), frontend[0].calls[0].status), (2, Some(200)));
    let backend = mesh.exchanges("backend")?;
    assert_eq!(backend.iter().map(|e| e.received.path.as_str()).collect::<Vec<_>>(), ["/api", "/again"]);
    assert_eq!(backend[0].received.header("traceparent"), Some(TRACEPARENT));
    assert_eq!(backend[0].received.header("x-tenant"), None, "no trace header");
    let database = &mesh.exchanges("database")?[0];
    assert_eq!((database.received.header("traceparent"), database.received.header("b3")), (None, Some("0")));
    for (name, envoy) in mesh.envoys() {
        let file = if name == "gateway" { "gateway.log" } else { "inbound.log" };
        assert_eq!(envoy.access_log(file, 1, SOON).await?[0], "200 - 1", "{name}");
    }
    assert_eq!(mesh.envoys().count(), 4);
    mesh.assert_no_trap();
    mesh.quit().await
}

#[tokio::test]
async fn applications_fail_mask_and_delay_as_planned() -> Result<()> {
    let mesh = three().start(&envoy_binary()?).await?;
    let table = [
        (Plan::new(), 200),
        (Plan::new().with("database", Action::Status(503)), 500),
        (Plan::new().with("database", Action::Status(503)).with("backend", Action::Mask), 200),
        (Plan::new().with("database", Action::Reset), 500),
        (Plan::new().with("database", Action::Cut), 500),
        (Plan::new().with("frontend", Action::Close), 503),
        (Plan::new().with("frontend", Action::Delay(Duration::from_millis(50))), 200),
    ];
    for (plan, expected) in table {
        mesh.clear();
        let begin = std::time::Instant::now();
        assert_eq!(status(&mesh, &plan).await?, expected, "{plan}");
        let delayed = plan.actions("frontend").any(|action| matches!(action, Action::Delay(_)));
        assert!(!delayed || begin.elapsed() >= Duration::from_millis(50));
    }
    Ok(())
}

#[tokio::test]
async fn sidecars_retry_when_told_to() -> Result<()> {
    let mesh = Mesh::builder()
        .service(Service::new("frontend", "shop").calls("backend", "/").retries("5xx,reset", 2))
        .service(Service::new("backend", "shop"))
        .access_log("%RESPONSE_CODE% %UPSTREAM_REQUEST_ATTEMPT_COUNT%")
        .start(&envoy_binary()?)
        .await?;
    assert_eq!(status(&mesh, &Plan::new().with("backend", Action::Status(503))).await?, 500);
    assert_eq!(mesh.sidecar("frontend")?.access_log("outbound.log", 1, SOON).await?, ["503 3"]);
    assert_eq!(mesh.exchanges("backend")?.len(), 3);
    Ok(())
}

#[tokio::test]
async fn grpc_passes_every_hop_with_its_status() -> Result<()> {
    let mesh = three().http2().start(&envoy_binary()?).await?;
    let fail = Plan::new().with("database", Action::Grpc(13));
    for (plan, expected) in [(Plan::new(), 0), (fail.clone(), 13), (fail.with("frontend", Action::Mask), 0)] {
        let reply = mesh.client().grpc(mesh.host(), "/shop.Shop/Get", &[b"x"], &[(PLAN, &plan.to_string())]).await?;
        assert_eq!((reply.http.status.as_u16(), reply.status), (200, Some(expected)), "{plan}");
    }
    assert_eq!(mesh.exchanges("database")?[0].received.version, "HTTP/2.0");
    Ok(())
}

#[tokio::test]
async fn spans_of_several_processes_link_when_envoys_own_tracer_makes_them() -> Result<()> {
    for tracing in [NativeTracing::opentelemetry, NativeTracing::zipkin] {
        let receiver = Receiver::start().await?;
        let mesh = Mesh::builder()
            .gateway("istio-ingressgateway", "frontend")
            .service(Service::new("frontend", "shop").calls("backend", "/api"))
            .service(Service::new("backend", "shop"))
            .native_tracing(tracing(&receiver, 100.0).with_upstream_spans())
            .start(&envoy_binary()?)
            .await?;
        assert_eq!(mesh.client().get(mesh.host(), "/", &[]).await?.status, 200);
        let spans = sidespan_harness::eventually("two spans of each of four listeners", SOON, async || {
            let spans = receiver.spans_of_all_protocols();
            anyhow::ensure!(spans.len() == 8, "{spans:#?}");
            Ok(spans)
        })
        .await?;
        let mut path = vec![only(&spans, ReceivedSpan::is_root)?];
        while let Some(span) =
            path.last().and_then(|last| spans.iter().find(|span| span.parent_span_id == last.span_id))
        {
            path.push(span);
        }
        let services: Vec<_> = path.iter().map(|span| span.service()).collect();
        let gateway = "istio-ingressgateway.istio-system";
        let (frontend, backend) = ("frontend.shop", "backend.shop");
        assert_eq!(services, [gateway, gateway, frontend, frontend, frontend, frontend, backend, backend]);
        assert!(path.iter().all(|span| span.text("http.status_code") == Some("200") || span.kind == Kind::Client));
    }
    Ok(())
}

#[tokio::test]
async fn a_circle_and_an_unknown_service_are_errors() -> Result<()> {
    let circle =
        Mesh::builder().service(Service::new("a", "n").calls("b", "/")).service(Service::new("b", "n").calls("a", "/"));
    assert!(circle.start(&envoy_binary()?).await.is_err());
    let unknown = Mesh::builder().service(Service::new("a", "n").calls("b", "/"));
    assert!(unknown.start(&envoy_binary()?).await.is_err());
    Ok(())
}
