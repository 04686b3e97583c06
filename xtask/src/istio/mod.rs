//! `cargo xtask istio`: the demo's mesh under a real Istio control plane, without a cluster.

mod stage;

use crate::demo::interrupt::Interrupt;
use crate::demo::styled_text::StyledText;
use crate::demo::{self, Volume};
use crate::go::Display;
use crate::steps::Steps;
use crate::{envoy, image, shell};
use anyhow::{Result, ensure};
use sidespan_harness::provide::{self, IstioPrograms, Shell};
use stage::Stage;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// What it can be told.
#[derive(clap::Args)]
#[command(after_help = "It needs Go, for Kubernetes' API server and Istio, which are built once.

Examples:
  cargo xtask istio                              wasmplugin.yaml under a real Istio, traffic, traces and the sampling account
  cargo xtask istio --envoy 1.36.4               the same with another Envoy
  cargo xtask istio --keep                       left running, with a KUBECONFIG to play with
  cargo xtask istio --manifest deploy/overlays/production
                                                 the plugins and Telemetries that `kubectl kustomize` makes of a folder")]
pub(crate) struct Arguments {
    #[command(flatten)]
    volume: Volume,
    /// The manifest or the folder with a kustomization to apply, instead of wasmplugin.yaml; image and digest are put in
    #[arg(long, value_name = "PATH")]
    manifest: Option<PathBuf>,
    /// Envoy to run, such as 1.36.4 (see `cargo xtask envoy --help`)
    #[arg(long = "envoy", value_name = "V")]
    envoy_version: Option<String>,
    /// Leave everything running until Ctrl-C
    #[arg(long)]
    keep: bool,
}

/// Runs it.
///
/// # Errors
/// If anything cannot be had or started, or if what the configuration promises did not come true.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    arguments.volume.check()?;
    let manifest = arguments.manifest();
    ensure!(manifest.exists(), "there is no {}", manifest.display());
    let mut steps = Steps::new(6);
    let module = steps.step("build the filter", || shell::filter(Shell::Wasm))?;
    let envoy = steps.step("provide an Envoy", || envoy::provide(arguments.envoy_version.as_deref()))?;
    let programs = steps.step("provide Kubernetes' API server, Istio and a registry", provide)?;
    let mut interrupt = Interrupt::listen()?;
    let digest = image::write(&module, &layout())?;
    let control = steps.step("start the control plane", || {
        interrupt.run_unless_interrupted(stage::start_control_plane(&programs, &layout(), &digest, &manifest))
    })?;
    let stage = steps
        .step("start a gateway and three services, a pilot-agent with its Envoy for each, mTLS STRICT", || {
            interrupt.run_unless_interrupted(Stage::start(control, &envoy))
        })?;
    let (traffic, observations, incomplete) = steps.step(&arguments.volume.headline(), || {
        interrupt.run_unless_interrupted(demo::send(&arguments.volume, &stage.mesh.client(), stage.mesh.host(), &stage))
    })?;
    let config = sidespan_harness::run(stage.plugin_config())?;
    let (outcome, _) = demo::show(&stage, &config, &traffic, &observations, incomplete)?;
    show_peers(&stage::principals(&observations.spans));
    if arguments.keep {
        keep(&stage, &mut interrupt)?;
    }
    sidespan_harness::run(stage.stop())?;
    outcome
}

// === impl Arguments ===

impl Arguments {
    /// The manifest, or the folder with a kustomization.
    fn manifest(&self) -> PathBuf {
        self.manifest.clone().unwrap_or_else(|| provide::workspace_root().join("wasmplugin.yaml"))
    }
}

/// Provides the programs and says what takes time.
///
/// # Errors
/// If there is no Go, or it does not compile.
pub(crate) fn provide() -> Result<IstioPrograms> {
    let display = Display::new("Kubernetes' API server, Istio and a registry", "nine minutes", provide::ISTIO_PACKAGES);
    display.finish(provide::istio_programs(|progress| display.show(progress)))
}

fn layout() -> PathBuf {
    provide::target_dir().join("image")
}

fn show_peers(peers: &BTreeSet<(&str, &str, &str)>) {
    let mut out = StyledText::for_stdout();
    out.title("Peers in the spans, by the certificates that istiod's authority signed", "");
    for (service, attribute, principal) in peers {
        out.line(&format!("{service:22}{attribute:29}{principal}"));
    }
    print!("{}", out.take());
}

/// Waits for the end, and says what to do meanwhile.
fn keep(stage: &Stage, interrupt: &mut Interrupt) -> Result<()> {
    let mut out = StyledText::for_stdout();
    out.title("Everything keeps running until Ctrl-C", "");
    let kubectl = stage.control.kubectl();
    let folder = kubectl.program().parent().unwrap_or(Path::new("")).display();
    out.line(&format!("export KUBECONFIG={} PATH={folder}:$PATH", kubectl.kubeconfig().display()));
    out.line("kubectl get wasmplugins,telemetries,peerauthentications,serviceentries -A");
    out.line("kubectl edit wasmplugin -n istio-system sidespan");
    out.line(&format!("istiod's log and the API server's: {}", stage.control.directory().display()));
    for (name, agent) in stage.mesh.agents() {
        let admin = format!("http://127.0.0.1:{}", agent.admin_port());
        out.line(&format!("{name:20} {admin}/stats?filter=sidespan   logs in {}", agent.directory().display()));
    }
    let (host, entry, plan) = (stage.mesh.host(), stage.mesh.entry(), sidespan_harness::mesh::PLAN);
    out.line(&format!("\ncurl -i -H 'host: {host}' http://{entry}/checkout/1"));
    out.line(&format!("  -H '{plan}: database=503'                  the database fails, the client sees 500"));
    out.line(&format!("  -H '{plan}: database=503; backend=mask'    the backend hides it"));
    out.line("New spans are shown here as they arrive.");
    print!("{}", out.take());
    sidespan_harness::run(async {
        drop(stage.receiver.take());
        tokio::select! {
            () = interrupt.wait() => Ok(()),
            ended = demo::show_arrivals(&stage.receiver, || stage.mesh.clear()) => ended,
        }
    })
}
