//! The harness against a real Envoy, without any wasm module.

use serde_json::json;
use sidespan_harness::bootstrap::{
    Bootstrap, Cluster, Direction, Listener, Node, Route, Tracer, fault_abort, lua, rbac_deny,
};
use sidespan_harness::client::{Client, RawConnection, RawRequest, WebSocket, fire};
use sidespan_harness::upstream::{self, Abort, Upstream};
use sidespan_harness::{Envoy, Result, envoy_binary, eventually};
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(10);

async fn start(bootstrap: &Bootstrap) -> Result<Envoy> {
    Envoy::start(&envoy_binary()?, bootstrap).await
}

fn inbound_to(port: u16) -> Bootstrap {
    let listener =
        Listener::inbound("app").header_limits(96, 500).access_log("inbound.log", "%RESPONSE_CODE% %RESPONSE_FLAGS%");
    Bootstrap::new(Node::sidecar("backend", "shop")).listener(listener).cluster(Cluster::new("app", port))
}

#[tokio::test]
async fn a_request_goes_through_and_the_process_ends_gracefully() -> Result<()> {
    let app = Upstream::ok().await?;
    let mut envoy = start(&inbound_to(app.port())).await?;
    let reply = Client::http1(envoy.port("inbound")?).get("backend", "/a?b=c", &[("x-tenant", "a")]).await?;
    assert_eq!((reply.status.as_u16(), reply.text().as_str(), reply.complete), (200, "ok", true));
    let seen = &app.requests()[0];
    assert_eq!((seen.path.as_str(), seen.host.as_str(), seen.header("x-tenant")), ("/a?b=c", "backend", Some("a")));
    assert_eq!(envoy.access_log("inbound.log", 1, SOON).await?, ["200 -"]);
    assert_eq!(envoy.stats().await?.get("cluster.app.upstream_rq_200"), Some(&1));
    envoy.assert_no_trap();
    let (status, log) = envoy.quit().await?;
    assert!(status.success(), "{status}");
    assert!(log.contains("exiting"), "{log}");
    Ok(())
}

#[tokio::test]
async fn dropping_it_kills_the_process_and_removes_its_files() -> Result<()> {
    let envoy = start(&inbound_to(1)).await?;
    let (id, directory) = (envoy.id(), envoy.directory().to_owned());
    assert!(Path::new(&format!("/proc/{id}")).exists() || !cfg!(target_os = "linux"));
    drop(envoy);
    assert!(!Path::new(&format!("/proc/{id}")).exists());
    assert!(!directory.exists());
    Ok(())
}

#[tokio::test]
async fn a_panic_kills_the_process() -> Result<()> {
    let (sender, id) = tokio::sync::oneshot::channel();
    let task = tokio::spawn(async move {
        let envoy = start(&inbound_to(1)).await.expect("starts");
        sender.send(envoy.id()).expect("received");
        panic!("on purpose");
    });
    let id = id.await?;
    assert!(task.await.is_err());
    assert!(!Path::new(&format!("/proc/{id}")).exists());
    Ok(())
}

#[tokio::test]
#[ignore = "the next test starts it in a process of its own, to kill that"]
async fn waits_to_be_killed() -> Result<()> {
    let envoy = start(&inbound_to(1)).await?;
    println!("\nenvoy {}", envoy.id());
    tokio::time::sleep(Duration::from_secs(20)).await;
    Ok(())
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_test_run_that_is_killed_leaves_no_envoy_behind() -> Result<()> {
    // What a killed run leaves in the directory for temporary files goes with this one.
    let temporary = tempfile::tempdir()?;
    let mut run = Command::new(std::env::current_exe()?)
        .env("TMPDIR", temporary.path())
        .args(["--exact", "waits_to_be_killed", "--ignored", "--nocapture"])
        .stdout(Stdio::piped())
        .spawn()?;
    let output = BufReader::new(run.stdout.take().expect("piped"));
    let id = output
        .lines()
        .map_while(std::result::Result::ok)
        .find_map(|line| line.strip_prefix("envoy ").map(str::to_owned));
    let stat = format!("/proc/{}/stat", id.expect("started"));
    run.kill()?;
    run.wait()?;
    eventually("the process ends", SOON, async || {
        // Whoever inherits it need not have reaped it yet.
        let state = std::fs::read_to_string(&stat).unwrap_or_default();
        anyhow::ensure!(state.is_empty() || state.contains(") Z "), "{state}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn sigterm_ends_it_gracefully() -> Result<()> {
    let (status, log) = start(&inbound_to(1)).await?.terminate().await?;
    assert!(status.success(), "{status}");
    assert!(log.contains("caught ENVOY_SIGTERM"), "{log}");
    Ok(())
}

#[tokio::test]
async fn a_bad_bootstrap_is_an_error_with_the_reason_from_the_log() -> Result<()> {
    let bootstrap = inbound_to(1).with(json!({"no_such_field": 1}));
    let error = start(&bootstrap).await.err().expect("refused");
    assert!(format!("{error:#}").contains("no_such_field"), "{error:#}");
    Ok(())
}

#[tokio::test]
async fn several_run_side_by_side_on_ports_of_their_own() -> Result<()> {
    let app = Upstream::ok().await?;
    let bootstrap = inbound_to(app.port()).listener(Listener::outbound("app"));
    let (one, two) = tokio::try_join!(start(&bootstrap), start(&bootstrap))?;
    let mut ports = vec![one.admin_port(), two.admin_port()];
    for envoy in [&one, &two] {
        ports.extend([envoy.port("inbound")?, envoy.port("outbound")?]);
    }
    ports.sort_unstable();
    ports.dedup();
    assert_eq!(ports.len(), 6);
    assert!(one.port("nowhere").is_err());
    Ok(())
}

#[tokio::test]
async fn any_bytes_can_be_sent_and_are_seen_upstream() -> Result<()> {
    let app = Upstream::ok().await?;
    let envoy = start(&inbound_to(app.port())).await?;
    let mut connection = RawConnection::connect(envoy.port("inbound")?).await?;
    let mut request = RawRequest::get("backend", "/").header("X-Bytes", b"a\xffb").header("x-empty", "");
    request = request.header("TraceParent", "one").header("traceparent", "two").header("x-large", "l".repeat(60_000));
    for number in 0..200 {
        request = request.header(format!("x-many-{number}"), "v");
    }
    assert_eq!(connection.exchange(&request).await?.status, 200);
    assert_eq!(connection.exchange(&RawRequest::get("backend", "/next")).await?.status, 200);
    let seen = app.take();
    assert_eq!(seen[0].values("x-bytes"), [b"a\xffb"]);
    assert_eq!(seen[0].values("x-empty"), [b""]);
    assert_eq!(seen[0].values("traceparent"), [b"one", b"two"]);
    assert_eq!(seen[0].values("x-large")[0].len(), 60_000);
    assert_eq!(seen[0].headers.iter().filter(|(name, _)| name.starts_with("x-many-")).count(), 200);
    assert_eq!(seen[1].path, "/next");
    Ok(())
}

#[tokio::test]
async fn every_behaviour_of_an_upstream_shows_in_the_access_log() -> Result<()> {
    let app = Upstream::start(async |request: http::Request<bytes::Bytes>| match request.uri().path() {
        "/status" => upstream::status(503, "sorry").await,
        "/close" => upstream::close().await,
        "/reset" => upstream::reset().await,
        "/cut" => upstream::break_mid_body(Abort::Close).await,
        "/cut-hard" => upstream::break_mid_body(Abort::Reset).await,
        "/chunked" => upstream::chunked(3, Duration::from_millis(5)).await,
        "/slow" => upstream::delayed(Duration::from_millis(50), upstream::status(200, "late")).await,
        "/echo" => upstream::echo_headers(request).await,
        _ => upstream::never().await,
    })
    .await?;
    let mut envoy = start(&Bootstrap::new(Node::plain("a", "b")).cluster(Cluster::new("app", app.port())).listener(
        Listener::new("edge", Direction::Unspecified)
            .route(Route::cluster("/never", "app").timeout("0.1s"))
            .route(Route::direct_response("/direct", 418, "teapot"))
            .route(Route::redirect("/old", "/new"))
            .route(Route::cluster("/gone", "nowhere"))
            .route(Route::cluster("/rewritten", "app").prefix_rewrite("/echo").host_rewrite("other").request_header("x-added", "1", true))
            .route(Route::cluster("/retried", "app").prefix_rewrite("/close").retry("reset", 2))
            .route(Route::cluster("/", "app"))
            .filter(rbac_deny("x-deny"))
            .filter(fault_abort("x-abort", 599))
            .filter(lua("function envoy_on_request(handle) handle:headers():add('x-lua', '1') end"))
            .access_log("edge.log", "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %RESPONSE_CODE% %RESPONSE_FLAGS% %UPSTREAM_REQUEST_ATTEMPT_COUNT%"),
    ))
    .await?;
    let client = Client::http1(envoy.port("edge")?);
    type Row<'a> = (&'a str, &'a [(&'a str, &'a str)], u16, bool, &'a str);
    let table: &[Row] = &[
        ("/status", &[], 503, true, "-"),
        ("/close", &[], 503, true, "UC"),
        ("/reset", &[], 503, true, "UC"),
        ("/cut", &[], 200, false, "UPE"),
        ("/cut-hard", &[], 200, false, "UPE"),
        ("/chunked", &[], 200, true, "-"),
        ("/slow", &[], 200, true, "-"),
        ("/never", &[], 504, true, "UT"),
        ("/direct", &[], 418, true, "-"),
        ("/old", &[], 301, true, "-"),
        ("/gone", &[], 503, true, "NC"),
        ("/retried", &[], 503, true, "URX,UC"),
        ("/denied", &[("x-deny", "1")], 403, true, "-"),
        ("/aborted", &[("x-abort", "1")], 599, true, "FI"),
    ];
    let mut expected = Vec::new();
    for (path, headers, status, complete, flags) in table {
        let reply = client.get("any", path, headers).await?;
        assert_eq!((reply.status.as_u16(), reply.complete), (*status, *complete), "{path}");
        expected.push(format!("{path} {status} {flags}"));
    }
    let lines = envoy.access_log("edge.log", table.len(), SOON).await?;
    let without_attempts: Vec<_> = lines.iter().map(|line| line.rsplit_once(' ').expect("attempts").0).collect();
    assert_eq!(without_attempts, expected);
    assert!(lines.iter().any(|line| line.starts_with("/retried") && line.ends_with(" 3")), "{lines:?}");
    let echo = client.get("any", "/rewritten", &[]).await?.text();
    for line in ["host: other", "x-added: 1", "x-lua: 1"] {
        assert!(echo.lines().any(|found| found == line), "{line} in {echo}");
    }
    envoy.assert_no_trap();
    Ok(())
}

#[tokio::test]
async fn grpc_statuses_come_from_trailers_and_from_headers() -> Result<()> {
    let app = Upstream::start(async |request: http::Request<bytes::Bytes>| match request.uri().path() {
        "/a.B/Ok" => upstream::grpc(0, "").await,
        "/a.B/Fail" => upstream::grpc(13, "größer").await,
        "/a.B/Stream" => upstream::grpc_stream(3, Duration::from_millis(1), 0, "").await,
        _ => upstream::grpc_trailers_only(12, "unknown").await,
    })
    .await?;
    let bootstrap = Bootstrap::new(Node::sidecar("a", "b")).cluster(Cluster::new("app", app.port()).http2());
    let envoy = start(&bootstrap.listener(Listener::outbound("app"))).await?;
    let client = Client::http2(envoy.port("outbound")?);
    let table =
        [("/a.B/Ok", 0, "", 1), ("/a.B/Fail", 13, "größer", 1), ("/a.B/Stream", 0, "", 3), ("/x", 12, "unknown", 0)];
    for (path, status, message, messages) in table {
        let reply = client.grpc("svc", path, &[b"hi"], &[("x-a", "b")]).await?;
        assert_eq!(reply.status, Some(status), "{path}: {reply:?}");
        assert_eq!((reply.message.unwrap_or_default().as_str(), reply.messages.len()), (message, messages), "{path}");
    }
    assert_eq!(app.requests()[0].version, "HTTP/2.0");
    Ok(())
}

#[tokio::test]
async fn websockets_pass_and_are_logged_when_they_close() -> Result<()> {
    let app = Upstream::start(upstream::websocket_echo).await?;
    let listener = Listener::new("outbound", Direction::Outbound).route(Route::cluster("/", "app").websocket());
    let listener = listener.access_log("ws.log", "%RESPONSE_CODE%");
    let envoy =
        start(&Bootstrap::new(Node::sidecar("a", "b")).listener(listener).cluster(Cluster::new("app", app.port())))
            .await?;
    let mut socket = WebSocket::connect(envoy.port("outbound")?, "chat", "/ws", &[("x-a", "b")]).await?;
    assert_eq!(socket.exchange("hello").await?, "hello");
    assert_eq!(envoy.file("ws.log"), "");
    socket.close().await?;
    assert_eq!(envoy.access_log("ws.log", 1, SOON).await?, ["101"]);
    Ok(())
}

#[tokio::test]
async fn a_client_that_goes_away_is_logged_as_such() -> Result<()> {
    let app = Upstream::start(|_| upstream::never()).await?;
    let envoy = start(&inbound_to(app.port())).await?;
    let mut connection = RawConnection::connect(envoy.port("inbound")?).await?;
    connection.send(&RawRequest::get("backend", "/").to_bytes()).await?;
    app.wait_for(1, SOON).await?;
    connection.abort();
    assert_eq!(envoy.access_log("inbound.log", 1, SOON).await?, ["0 DC"]);
    Ok(())
}

#[tokio::test]
async fn an_upstream_that_refuses_comes_back_on_the_same_port() -> Result<()> {
    let app = Upstream::ok().await?;
    let envoy = start(&inbound_to(app.port())).await?;
    let client = Client::http1(envoy.port("inbound")?);
    app.refuse().await?;
    assert_eq!(client.get("backend", "/", &[]).await?.status, 503);
    app.resume().await?;
    eventually("it answers again", SOON, async || {
        let status = client.get("backend", "/", &[]).await?.status;
        anyhow::ensure!(status == 200, "{status}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_thousand_requests_on_kept_connections() -> Result<()> {
    let app = Upstream::ok().await?;
    let envoy = start(&inbound_to(app.port())).await?;
    for client in [Client::http1(envoy.port("inbound")?), Client::http2(envoy.port("inbound")?)] {
        let statuses = fire(1000, 16, |n| {
            let client = client.clone();
            async move { client.get("backend", &format!("/{n}"), &[]).await.map(|reply| reply.status.as_u16()) }
        })
        .await;
        assert!(statuses.iter().all(|status| matches!(status, Ok(200))), "{statuses:?}");
    }
    let stats = envoy.stats().await?;
    assert_eq!(stats.get("cluster.app.upstream_rq_200"), Some(&2000));
    assert!(stats["http.inbound.downstream_cx_total"] <= 17 + 1, "connections are kept");
    Ok(())
}

#[tokio::test]
async fn native_tracers_are_accepted() -> Result<()> {
    let app = Upstream::ok().await?;
    let open_telemetry = Tracer::OpenTelemetry { cluster: "collector".to_owned(), service: "a".to_owned() };
    let bootstrap = Bootstrap::new(Node::sidecar("a", "b"))
        .runtime("tracing.opentelemetry.min_flush_spans", 1)
        .cluster(Cluster::new("app", app.port()))
        .cluster(Cluster::new("collector", app.port()))
        .listener(Listener::inbound("app").named("otlp").tracer(&open_telemetry, 100.0))
        .listener(
            Listener::inbound("app").named("zipkin").tracer(&Tracer::Zipkin { cluster: "collector".to_owned() }, 100.0),
        )
        .listener(Listener::inbound("app").named("null").tracer(&Tracer::Null, 1.0));
    let envoy = start(&bootstrap).await?;
    assert_eq!(Client::http1(envoy.port("otlp")?).get("a", "/", &[]).await?.status, 200);
    let seen = app.wait_for(2, SOON).await?;
    assert!(seen[0].header("traceparent").is_some() && seen[1].path == "/v1/traces", "{seen:?}");
    Ok(())
}
