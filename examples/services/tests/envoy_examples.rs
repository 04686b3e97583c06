//! `examples/compose`, `examples/envoy` and `examples/collector` as their files say: real programs, without containers.
//!
//! What no registry of packages has is left out: Jaeger (a receiver stands in for it) and Grafana. Everything else of the
//! composition runs with the commands, environment and files of `compose.yaml`; [`sidespan_harness::composition`] says what is
//! replaced in them.

use anyhow::{Context as _, ensure};
use serde_json::Value;
use sidespan_harness::client::{Client, Reply};
use sidespan_harness::composition::{Composition, Running};
use sidespan_harness::provide::{ExamplePrograms, collector_binary, example_programs, workspace_root};
use sidespan_harness::{ReceivedSpan, Receiver, Result, envoy_binary, eventually, run};
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(60);

fn example(path: &str) -> PathBuf {
    workspace_root().join("examples").join(path)
}

fn programs() -> Result<ExamplePrograms> {
    example_programs(|_| {})
}

/// With the loader of Docker Compose itself, so against the compose specification.
fn composition() -> Result<Composition> {
    Composition::read(&programs()?.compose, &example("compose/compose.yaml"))
}

mod collector {
    use super::*;

    #[test]
    fn the_composition_keeps_a_masked_failure_whole() -> Result<()> {
        run(async {
            let composition = composition()?;
            let jaeger = Receiver::start().await?;
            let stand_in = SocketAddr::from((Ipv4Addr::LOCALHOST, jaeger.port()));
            let mut services = composition.run(&[("jaeger:4318", stand_in)])?;
            start(&mut services).await?;

            let frontend = Client::http1_at(services.address("frontend", 15006)?);
            let good = get(&frontend, "/checkout/4711", &[]).await?;
            ensure!(good.text().contains("\"stock\":0"), "{}", good.text());
            let failed = get(&frontend, "/checkout/13", &[]).await?;
            ensure!(failed.status == 502, "{} {}", failed.status, failed.text());
            let b3 = "80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-0";
            let masked = get(&frontend, "/checkout/13?fallback=true", &[("b3", b3)]).await?;
            ensure!(masked.status == 200 && masked.text().contains("null"), "{} {}", masked.status, masked.text());

            // Jaeger has them from the collector, which has them from the sidecars.
            let spans = jaeger.wait_until(SOON, |spans| of_trace(spans, b3).len() == 3).await?;
            let path: Vec<_> = of_trace(&spans, b3);
            let of = |service: &str, kind: &str| {
                let found = path.iter().find(|span| span.service() == service && format!("{:?}", span.kind) == kind);
                found.copied().with_context(|| format!("no {kind} span of {service} in {path:#?}"))
            };
            let (server, client, callee) =
                (of("frontend", "Server")?, of("frontend", "Client")?, of("backend", "Server")?);
            ensure!(client.parent_span_id == server.span_id, "the call is below the request");
            ensure!(callee.parent_span_id == client.span_id, "the callee is below the call");
            ensure!(server.name == "GET /checkout/{item}" && callee.name == "GET /api/stock/{item}");

            // What Prometheus scrapes.
            let targets = fs::read_to_string(example("compose/prometheus.yaml"))?;
            for (service, port, path, metric) in [
                ("frontend", 9901, "/stats/prometheus", "sidespan_spans_kept_total"),
                ("backend", 9901, "/stats/prometheus", "sidespan_spans_kept_total"),
                ("collector", 8888, "/metrics", "otelcol_receiver_accepted_spans"),
            ] {
                ensure!(targets.contains(&format!("\"{service}:{port}\"")), "{service}:{port} is no target");
                let client = Client::http1_at(services.address(service, port)?);
                let find = async || {
                    let reply = get(&client, path, &[]).await?;
                    ensure!(reply.text().contains(metric), "{service} has no {metric}");
                    Ok(())
                };
                eventually(metric, SOON, find).await?;
            }
            Ok(())
        })
    }

    async fn start(services: &mut Running<'_>) -> Result<()> {
        services.start("collector", &collector_binary(|_| {})?)?;
        services.start("frontend", Path::new(env!("CARGO_BIN_EXE_frontend")))?;
        services.start("backend", Path::new(env!("CARGO_BIN_EXE_backend")))?;
        for name in ["frontend", "backend"] {
            services.start(&format!("{name}-sidecar"), &envoy_binary()?)?;
        }
        services.listens("collector", 4318).await?;
        for name in ["frontend", "backend"] {
            services.listens(name, 8080).await?;
            services.listens(&format!("{name}-sidecar"), 15006).await?;
        }
        Ok(())
    }

    #[test]
    fn every_mounted_file_exists_and_grafana_finds_its_data_source_and_dashboard() -> Result<()> {
        let composition = composition()?;
        for (name, service) in &composition.services {
            for volume in &service.volumes {
                ensure!(volume.source.is_file(), "{name} mounts {}, which is no file", volume.source.display());
            }
        }
        let sources = fs::read_to_string(example("compose/grafana/datasources.yaml"))?;
        ensure!(sources.contains("type: prometheus") && sources.contains("url: http://prometheus:9090"), "{sources}");
        let dashboard: Value = serde_json::from_slice(&fs::read(example("dashboards/sidespan.json"))?)?;
        // The first data source of that type is chosen.
        let choice = dashboard.pointer("/templating/list/0").context("no choice of a data source")?;
        ensure!(choice["type"] == "datasource" && choice["query"] == "prometheus", "{choice}");
        Ok(())
    }

    #[test]
    fn the_collector_accepts_every_collector_configuration() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let manifest = fs::read_to_string(example("collector/collector.yaml"))?;
        let tier = folder.path().join("tier.yaml");
        fs::write(&tier, embedded(&manifest).context("no configuration in the manifest")?)?;
        let binary = collector_binary(|_| {})?;
        for file in [example("compose/collector.yaml"), example("envoy/collector.yaml"), tier] {
            let output = Command::new(&binary).arg("validate").arg("--config").arg(&file).output()?;
            ensure!(output.status.success(), "{}: {}", file.display(), String::from_utf8_lossy(&output.stderr));
        }
        Ok(())
    }

    #[test]
    fn func_e_runs_the_single_envoy() -> Result<()> {
        run(async {
            let collector = Receiver::start().await?;
            let folder = tempfile::tempdir()?;
            // The same file, but for addresses that nobody else on this machine has.
            let host = format!("127.{}.{}.77", std::process::id() % 200 + 20, std::process::id() / 200 % 250);
            let text = fs::read_to_string(example("envoy/envoy.yaml"))?;
            let text =
                text.replace("127.0.0.1, port_value: 4318", &format!("{}, port_value: {}", "LOCAL", collector.port()));
            let text = text.replace("127.0.0.1", &host).replace("LOCAL", "127.0.0.1");
            let file = folder.path().join("envoy.yaml");
            fs::write(&file, text)?;
            let log = fs::File::create(folder.path().join("log"))?;
            let mut command = Command::new(programs()?.func_e);
            command.args(["run", "-c"]).arg(&file).arg("--disable-hot-restart").current_dir(workspace_root());
            command.env("ENVOY_PATH", envoy_binary()?).env("FUNC_E_HOME", folder.path().join("func-e"));
            command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
            let mut process = sidespan_harness::process::Process::spawn(command)?;
            let envoy = Client::http1_at(format!("{host}:10000").parse()?);
            let asked = eventually("func-e runs Envoy", SOON, async || get(&envoy, "/api/users/42", &[]).await).await;
            let reply = asked.with_context(|| fs::read_to_string(folder.path().join("log")).unwrap_or_default())?;
            ensure!(reply.status == 200, "{}", reply.status);
            let spans = collector.wait_for(2, SOON).await?;
            ensure!(spans.iter().all(|span| span.name == "GET /api/users/{id}"), "{spans:#?}");
            process.terminate();
            ensure!(process.wait(SOON).await.is_some(), "func-e ends with its Envoy");
            Ok(())
        })
    }
}

async fn get(client: &Client, path: &str, headers: &[(&str, &str)]) -> Result<Reply> {
    client.get("frontend", path, headers).await
}

fn of_trace<'a>(spans: &'a [ReceivedSpan], b3: &str) -> Vec<&'a ReceivedSpan> {
    spans.iter().filter(|span| b3.starts_with(&span.trace_id)).collect()
}

/// The block below `config.yaml: |`, without its indentation.
fn embedded(manifest: &str) -> Option<String> {
    const INDENTATION: &str = "    ";
    let block = manifest.split_once("config.yaml: |\n")?.1.lines();
    let lines = block.take_while(|line| line.is_empty() || line.starts_with(INDENTATION));
    Some(lines.map(|line| line.strip_prefix(INDENTATION).unwrap_or_default().to_owned() + "\n").collect())
}
