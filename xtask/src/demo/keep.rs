//! `cargo xtask demo --keep`: the mesh runs until it is interrupted.

use super::demo_mesh::DemoMesh;
use super::interrupt::Interrupt;
use super::styled_text::StyledText;
use anyhow::Result;
use std::time::Duration;

/// Time between two rounds that forget what was recorded, so that memory stays bounded.
const FORGET_INTERVAL: Duration = Duration::from_secs(2);

/// Prints what runs, its ports, and how to end it; then waits for an interrupt.
pub(super) fn keep(demo: &DemoMesh, interrupt: &mut Interrupt) -> Result<()> {
    let mut out = StyledText::for_stdout();
    out.title("Running until Ctrl-C", "");
    out.line(&format!("{:10} http://127.0.0.1:{}   (header host: {})", "entry", demo.mesh.entry(), demo.mesh.host()));
    for (name, envoy) in demo.mesh.envoys() {
        out.line(&format!("{name:10} http://127.0.0.1:{}   (Envoy's admin interface)", envoy.admin_port()));
    }
    print!("{}", out.take());
    sidespan_harness::run(async {
        tokio::select! {
            () = interrupt.wait() => Ok(()),
            never = forget(demo) => never,
        }
    })
}

async fn forget(demo: &DemoMesh) -> Result<()> {
    loop {
        demo.receiver.clear();
        demo.mesh.clear();
        tokio::time::sleep(FORGET_INTERVAL).await;
    }
}
