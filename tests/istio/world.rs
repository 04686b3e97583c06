//! What the tests share: control plane, registry with the image, mesh, receiver.

use anyhow::{Context as _, anyhow, ensure};
use serde_json::{Value, json};
use sidespan_harness::client::fire;
use sidespan_harness::istio::{COLLECTOR, ControlPlane, IstioMesh, Kubectl, MeshConfig};
use sidespan_harness::mesh::{PLAN, Plan, Service};
use sidespan_harness::provide::{self, GoProgress, Shell};
use sidespan_harness::{ReceivedSpan, Receiver, Result, envoy_binary, eventually, merge, oci};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;

/// The Telemetry that switches Envoy's own tracing off, for a mesh where sidespan is the only tracer.
pub const NATIVE_TRACING_OFF: &str = "deploy/components/native-tracing-off/telemetry.yaml";

/// Longer than anything here should take, on a busy machine.
pub const SOON: Duration = Duration::from_secs(30);

/// The names of the native tracers in the mesh configuration: OpenTelemetry's and Zipkin's.
pub const NATIVE: &str = "native";
pub const NATIVE_ZIPKIN: &str = "native-zipkin";

pub struct World {
    /// `None` only while another mesh is started.
    mesh: Option<IstioMesh>,
    pub control: ControlPlane,
    pub receiver: Receiver,
    /// Reference and digest of the image.
    pub image: String,
    pub digest: String,
    /// The layout of the image, to push again.
    pub layout: PathBuf,
    /// Resources of the last test that are to be deleted before the next one.
    applied: Vec<Value>,
    /// Counts what was put in force.
    step: u32,
    /// Lines about failed VMs that were there before the resources now in force; a refused update writes some.
    traps: usize,
    _folder: TempDir,
}

// === impl World ===

impl World {
    pub async fn start() -> Result<Self> {
        let programs = tokio::task::spawn_blocking(|| provide::istio_programs(show)).await??;
        let tracer = json!({
            "name": NATIVE, "opentelemetry": {"service": COLLECTOR, "port": 4318, "http": {"path": "/v1/traces", "timeout": "5s"}},
        });
        let zipkin =
            json!({"name": NATIVE_ZIPKIN, "zipkin": {"service": COLLECTOR, "port": 4318, "path": "/api/v2/spans"}});
        let extension_providers = vec![tracer, zipkin];
        let config = MeshConfig { access_log_format: "%RESPONSE_CODE%".to_owned(), extension_providers };
        let control = ControlPlane::start(&programs, &config, |_| {}).await?;
        for file in provide::prometheus_operator_crds()? {
            control.kubectl().run(&["apply", "--server-side", "-f", &file.to_string_lossy()], "").await?;
        }
        let folder = tempfile::tempdir()?;
        let layout = folder.path().join("image");
        let digest = oci::write_layout(&Shell::Wasm.file()?, &layout, "test")?;
        ensure!(control.registry.push(&layout, "sidespan:test")? == digest, "the registry has another digest");
        let image = format!("{}/sidespan:test", control.registry.host());
        let (receiver, applied) = (Receiver::start().await?, Vec::new());
        let (step, traps, _folder) = (0, 0, folder);
        let mut world = Self { mesh: None, control, receiver, image, digest, layout, applied, step, traps, _folder };
        // As in a cluster where the plugin was there first: proxies start with it.
        world.put_in_force(vec![world.shipped(json!({})).await?, world.shipped_telemetry().await?]).await?;
        world.start_mesh(&envoy_binary()?).await?;
        Ok(world)
    }

    /// Ends the mesh and starts it with another Envoy; the resources in force stay.
    pub async fn start_mesh(&mut self, envoy: &Path) -> Result<()> {
        if let Some(mesh) = self.mesh.take() {
            mesh.stop().await?;
        }
        let frontend = Service::new("frontend", "shop").calls("backend", "/api/stock/4711");
        let backend = Service::new("backend", "shop").calls("database", "/query/stock");
        let others = [("database", "data"), ("payment", "payment"), ("logger", "logging")];
        let mesh =
            others.into_iter().fold(IstioMesh::builder().service(frontend).service(backend), |mesh, (name, ns)| {
                mesh.service(Service::new(name, ns))
            });
        let mesh = mesh.variable("OTEL_RESOURCE_ATTRIBUTES", "team=checkout").variable("CLUSTER_NAME", "east");
        self.mesh = Some(mesh.gateway("frontend").start(&self.control, envoy, self.receiver.port()).await?);
        self.traps = 0;
        Ok(())
    }

    pub async fn end(self) -> Result<()> {
        match self.mesh {
            Some(mesh) => mesh.stop().await,
            None => Ok(()),
        }
    }

    /// What a test that failed may have left behind must not fail the next one.
    pub async fn check(&mut self) -> Result<()> {
        self.control.check()?;
        if !self.control.registry.is_running() {
            self.control.registry.restart().await?;
            self.control.registry.push(&self.layout, "sidespan:test")?;
        }
        Ok(())
    }

    pub fn mesh(&self) -> &IstioMesh {
        self.mesh.as_ref().expect("there is a mesh unless one could not be started")
    }

    pub fn kubectl(&self) -> &Kubectl {
        self.control.kubectl()
    }

    /// A manifest or a kustomization of this repository with image and digest put in, as the list of its objects.
    pub async fn manifest(&self, path: &str) -> Result<Vec<Value>> {
        let file = provide::workspace_root().join(path);
        let text = match file.is_dir() {
            true => self.kubectl().kustomize(&file).await?,
            false => std::fs::read_to_string(&file).with_context(|| path.to_owned())?,
        };
        let (pinned, _) = oci::pin(&text, Some(&self.image), &self.digest);
        let json = self.kubectl().run(&["create", "--dry-run=client", "-o", "json", "-f", "-"], &pinned).await?;
        // One object after the other, or a list.
        let mut objects = Vec::new();
        for value in serde_json::Deserializer::from_str(&json).into_iter::<Value>() {
            let value = value?;
            match value["items"].as_array() {
                Some(items) => objects.extend(items.iter().cloned()),
                None => objects.push(value),
            }
        }
        Ok(objects)
    }

    /// The plugin of `wasmplugin.yaml`, changed by `patch`.
    pub async fn shipped(&self, patch: Value) -> Result<Value> {
        let objects = self.manifest("wasmplugin.yaml").await?;
        let plugin = objects.into_iter().find(|object| object["kind"] == "WasmPlugin");
        let mut plugin = plugin.context("wasmplugin.yaml has a WasmPlugin")?;
        merge(&mut plugin, patch);
        Ok(plugin)
    }

    /// A Telemetry that has a native tracer sample a percentage of the requests.
    pub async fn native_telemetry(&self, provider: &str, percentage: u32) -> Result<Value> {
        let mut telemetry = self.shipped_telemetry().await?;
        telemetry["spec"] =
            json!({"tracing": [{"providers": [{"name": provider}], "randomSamplingPercentage": percentage}]});
        Ok(telemetry)
    }

    pub async fn shipped_telemetry(&self) -> Result<Value> {
        let mut objects = self.manifest(NATIVE_TRACING_OFF).await?;
        objects.pop().context(NATIVE_TRACING_OFF)
    }

    /// Applies these and deletes what the test before had in force beyond them.
    pub async fn put_in_force(&mut self, objects: Vec<Value>) -> Result<()> {
        let same = |one: &Value, other: &Value| {
            ["/kind", "/metadata/name", "/metadata/namespace"]
                .iter()
                .all(|path| one.pointer(path) == other.pointer(path))
        };
        let stale: Vec<Value> =
            self.applied.iter().filter(|old| !objects.iter().any(|new| same(old, new))).cloned().collect();
        self.applied.clone_from(&objects);
        for object in stale {
            self.kubectl().delete(&object.to_string()).await?;
        }
        self.kubectl().apply_all(objects).await
    }

    /// Puts extensions in force, with the shipped Telemetry, and waits until every proxy has them.
    pub async fn install(&mut self, extensions: Vec<Value>) -> Result<()> {
        let telemetry = self.shipped_telemetry().await?;
        self.install_with(telemetry, extensions).await
    }

    /// The same with another Telemetry.
    pub async fn install_with(&mut self, telemetry: Value, extensions: Vec<Value>) -> Result<()> {
        self.install_for(extensions.into_iter().chain([telemetry]).collect(), |_| true).await
    }

    /// Puts resources in force, and waits until the proxies of these workloads have the extensions among them.
    pub async fn install_for(&mut self, mut objects: Vec<Value>, workloads: impl Fn(&str) -> bool) -> Result<()> {
        self.step += 1;
        let marker = format!("step-{}-", self.step);
        for object in &mut objects {
            let config = match object["kind"].as_str() {
                Some("TrafficExtension") => &mut object["spec"]["wasm"]["pluginConfig"],
                Some("WasmPlugin") => &mut object["spec"]["pluginConfig"],
                _ => continue,
            };
            merge(config, json!({"resource": {"test.step": marker}}));
        }
        self.put_in_force(objects).await?;
        for (name, agent) in self.mesh().agents().filter(|(name, _)| workloads(name)) {
            agent.wait_for_extension(&marker).await.with_context(|| name.to_owned())?;
        }
        self.settle().await
    }

    /// Puts the `EnvoyFilter` of examples/module/istio.yaml in force, its `dynamic_module_config` changed by `patch`, and waits until
    /// every proxy has it and no plugin.
    pub async fn install_module(&mut self, patch: Value) -> Result<()> {
        let mut objects = self.manifest("examples/module/istio.yaml").await?;
        let filter = objects.iter_mut().find(|object| object["kind"] == "EnvoyFilter").context("an EnvoyFilter")?;
        let config = filter.pointer_mut("/spec/configPatches/0/patch/value/typed_config").context("a typed_config")?;
        self.step += 1;
        let marker = format!("step-{}-", self.step);
        config["filter_config"]["value"]["resource"]["test.step"] = json!(marker);
        let library = json!({"module": {"local": {"filename": Shell::Module.file()?}}});
        merge(&mut config["dynamic_module_config"], library);
        merge(&mut config["dynamic_module_config"], patch);
        self.put_in_force(objects).await?;
        for (name, agent) in self.mesh().agents() {
            agent.wait_for_no_extension().await.with_context(|| name.to_owned())?;
            eventually("the listeners have the module", SOON, async || {
                let listeners = agent.admin_get("/config_dump?resource=dynamic_listeners").await?;
                ensure!(listeners.contains(&marker), "{name}: {listeners}");
                Ok(())
            })
            .await?;
        }
        self.settle().await
    }

    /// Puts one plugin in force that no proxy can load, and waits until all have noticed.
    pub async fn install_unloadable(&mut self, plugin: Value) -> Result<()> {
        let telemetry = self.shipped_telemetry().await?;
        self.put_in_force(vec![plugin, telemetry]).await?;
        for (name, agent) in self.mesh().agents() {
            agent.wait_for_extension("extensions.filters.http.rbac").await.with_context(|| name.to_owned())?;
        }
        self.settle().await
    }

    /// Applies a plugin and waits for nothing.
    pub async fn apply(&mut self, plugin: Value) -> Result<()> {
        let telemetry = self.shipped_telemetry().await?;
        self.put_in_force(vec![plugin, telemetry]).await
    }

    /// Only the Telemetry stays.
    pub async fn uninstall(&mut self) -> Result<()> {
        let telemetry = self.shipped_telemetry().await?;
        self.uninstall_beside(telemetry).await
    }

    /// Only this Telemetry stays.
    pub async fn uninstall_beside(&mut self, telemetry: Value) -> Result<()> {
        self.put_in_force(vec![telemetry]).await?;
        for (name, agent) in self.mesh().agents() {
            agent.wait_for_no_extension().await.with_context(|| name.to_owned())?;
        }
        self.settle().await
    }

    /// Workers take a new filter a moment after the admin interface shows it; then everything that was is forgotten.
    async fn settle(&mut self) -> Result<()> {
        tokio::time::sleep(Duration::from_millis(1500)).await;
        self.receiver.clear();
        self.mesh().clear();
        self.traps = self.mesh().traps().len();
        Ok(())
    }

    /// No VM has trapped or failed to load since the resources now in force were put in force.
    pub fn assert_no_trap(&self) {
        let traps = self.mesh().traps();
        assert!(traps.len() <= self.traps, "{traps:#?}");
    }

    /// Sends `n` requests `/checkout/<n>` through the gateway; returns their statuses.
    pub async fn send(&self, n: usize, plan: impl Fn(usize) -> Plan) -> Result<Vec<u16>> {
        let (client, host, plan) = (&self.mesh().client(), self.mesh().host(), &plan);
        let replies = fire(n, 16, |number| async move {
            let plan = plan(number).to_string();
            let reply = client.get(host, &format!("/checkout/{number}"), &[(PLAN, plan.as_str())]).await?;
            Ok(reply.status.as_u16())
        });
        replies.await.into_iter().collect()
    }

    /// Sums of the filter's metrics, once everything that was kept has been exported or dropped, and has arrived.
    ///
    /// # Errors
    /// If the account does not balance within half a minute; the metrics are part of the error.
    pub async fn balanced(&self, before: &BTreeMap<String, u64>) -> Result<BTreeMap<String, u64>> {
        eventually("kept = exported + dropped, queued 0, exported = received", SOON, async || {
            tokio::time::sleep(Duration::from_millis(200)).await;
            let metrics = self.since(before).await?;
            let get = |name: &str| metrics.get(name).copied().unwrap_or_default();
            let dropped: u64 =
                metrics.iter().filter(|(name, _)| name.starts_with("sidespan_dropped_")).map(|(_, value)| value).sum();
            let (kept, exported) = (get("sidespan_spans_kept_total"), get("sidespan_spans_exported_total"));
            let received = self.receiver.spans().len() as u64;
            let fine =
                kept == exported + dropped && get("sidespan_queue_spans") == 0 && exported == received && kept > 0;
            if fine { Ok(metrics) } else { Err(anyhow!("{received} received; {metrics:#?}")) }
        })
        .await
    }

    /// What the counters have gained.
    pub async fn since(&self, before: &BTreeMap<String, u64>) -> Result<BTreeMap<String, u64>> {
        let mut metrics = self.mesh().metrics().await?;
        for (name, value) in metrics.iter_mut().filter(|(name, _)| name.ends_with("_total")) {
            *value -= before.get(name).copied().unwrap_or_default();
        }
        Ok(metrics)
    }

    /// Sends requests that nothing is to trace, and makes sure that nothing did: 200, no span, no header for the application.
    pub async fn assert_untraced(&self) -> Result<()> {
        let statuses = self.send(20, |_| Plan::new()).await?;
        assert_eq!(statuses, [200; 20]);
        tokio::time::sleep(Duration::from_secs(2)).await;
        let spans: Vec<_> = self.receiver.spans().iter().map(|span| span.name.clone()).collect();
        assert!(spans.is_empty(), "{spans:?}");
        for exchange in self.mesh().exchanges("database")? {
            let names = exchange.received.headers.iter().map(|(name, _)| name.as_str());
            let traced: Vec<_> = names.filter(|name| ["traceparent", "b3", "x-b3-traceid"].contains(name)).collect();
            assert!(traced.is_empty(), "{traced:?}");
        }
        assert_eq!(self.mesh().exchanges("database")?.len(), 20);
        Ok(())
    }
}

/// The spans of each trace.
pub fn traces(spans: &[ReceivedSpan]) -> BTreeMap<&str, Vec<&ReceivedSpan>> {
    let mut traces = BTreeMap::<&str, Vec<&ReceivedSpan>>::new();
    spans.iter().for_each(|span| traces.entry(&span.trace_id).or_default().push(span));
    traces
}

fn show(progress: GoProgress) {
    match progress {
        GoProgress::Waiting => eprintln!("waiting for another process that builds Istio"),
        GoProgress::Building => eprintln!("building Kubernetes' API server and Istio: minutes, once"),
        GoProgress::Compiled(_) => {}
    }
}
