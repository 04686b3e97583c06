//! The cost of single host calls, measured by making each of them a hundred times in one callback.

use super::modules::Modules;
use super::scenario::Scenario;
use super::variant::Variant;
use super::{cost, variant};
use anyhow::Result;
use indicatif::ProgressBar;
use std::path::Path;

/// Calls in one request.
const TIMES: u32 = 100;

/// The callback and the call, as `benches/probe` reads them.
const CALLS: &[(&str, &str)] = &[
    ("request", "time"),
    ("request", "pairs"),
    ("request", "header traceparent"),
    ("request", "header user-agent"),
    ("request", "replace traceparent"),
    ("request", "property xds.listener_direction"),
    ("request", "shared-read absent"),
    ("request", "shared-write io.sidespan.probe"),
    ("response", "pairs"),
    ("response", "header :status"),
    ("response", "header server-timing"),
    ("response", "property upstream.request_attempt_count"),
    ("response", "shared-read io.sidespan.absent"),
    ("log", "property response.flags"),
    ("log", "property response.code"),
    ("log", "property request.time"),
    ("log", "property request.duration"),
    ("log", "property request.protocol"),
    ("log", "property response.code_details"),
    ("log", "property upstream.address"),
    ("log", "property source.address"),
    ("log", "property xds.cluster_name"),
    ("log", "property xds.route_name"),
    ("log", "property connection.uri_san_peer_certificate"),
    ("log", "property filter_state.downstream_peer.WORKLOAD_NAME"),
    ("log", "property metadata.filter_metadata.envoy.filters.http.rbac"),
    ("log", "header user-agent"),
    ("log", "pairs"),
    ("log", "expression response.flags"),
    ("log", "expression [string(response.code), string(response.flags), response.code_details, upstream.address]"),
];

/// Each call with its cost in nanoseconds, in the order of the table.
pub(super) async fn measure(
    envoy: &Path,
    modules: &Modules,
    rounds: usize,
    bar: &ProgressBar,
) -> Result<Vec<(String, f64)>> {
    let mut variants = vec![Variant::probe(variant::BASE, &modules.no_op_stripped, "log 0 time")];
    for (callback, call) in CALLS {
        let calls = format!("{callback} {TIMES} {call}");
        variants.push(Variant::probe(&format!("{callback}: {call}"), &modules.no_op_stripped, &calls));
    }
    let costs = cost::measure(envoy, Scenario::MAIN, &variants, rounds, bar).await?;
    let host_calls = costs.rows.into_iter().skip(1).map(|row| (row.name, row.added.median * 1e3 / f64::from(TIMES)));
    Ok(host_calls.collect())
}

/// Number of bursts, for the progress bar.
pub(super) fn bursts(rounds: usize) -> usize {
    (CALLS.len() + 1) * (rounds + cost::WARM_UP_ROUNDS)
}
