//! Rates by namespace and by service: the plugin of `deploy/overlays/production` as it is, for traces that start at a workload.

use crate::world::World;
use sidespan_harness::client::fire;
use sidespan_harness::span::Kind;
use sidespan_harness::{ReceivedSpan, Result};

const CALLS: usize = 400;

pub async fn namespaces_and_services_have_the_rates_of_the_production_overlay(world: &mut World) -> Result<()> {
    let overlay = world.manifest("deploy/overlays/production").await?;
    world.install(overlay.into_iter().filter(|object| object["kind"] == "WasmPlugin").collect()).await?;
    let before = world.mesh().metrics().await?;
    let table = [("payment", 1.0), ("logger", 0.01), ("frontend", 0.5), ("backend", 0.3)];
    for (workload, _) in table {
        let (client, host) = (&world.mesh().outbound(workload)?, &world.mesh().service("database")?);
        let replies = fire(CALLS, 8, |number| async move { client.get(host, &format!("/rates/{number}"), &[]).await });
        for reply in replies.await {
            assert_eq!(reply?.status, 200, "{workload}");
        }
    }
    world.balanced(&before).await?;
    let spans = world.receiver.spans();
    for (workload, rate) in table {
        // A busy machine may make slow requests, which are kept for that.
        let head = |span: &&ReceivedSpan| span.text("sidespan.sampling.reason") == Some("head");
        let of_workload = spans.iter().filter(|span| span.service() == workload && span.kind == Kind::Client);
        let count = of_workload.filter(head).count() as f64;
        let (expected, calls) = (rate * CALLS as f64, CALLS as f64);
        // Five standard deviations: wrong once in two million runs.
        let slack = 5.0 * (calls * rate * (1.0 - rate)).sqrt();
        println!("{workload}: {count} of {CALLS} calls kept at {rate}");
        assert!((count - expected).abs() <= slack, "{workload}: {count} kept, expected {expected} ± {slack:.0}");
    }
    // A called service keeps the decision of its caller: each kept call has both of its spans.
    let clients = spans.iter().filter(|span| span.kind == Kind::Client).count();
    let servers = spans.iter().filter(|span| span.service() == "database").count();
    assert_eq!(clients, servers);
    Ok(())
}
