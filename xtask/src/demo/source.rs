//! A running mesh that can be asked what happened in it, whoever configures its proxies.

use super::access_log::LogEntry;
use anyhow::Result;
use sidespan_harness::Receiver;
use sidespan_harness::mesh::Exchange;
use std::collections::BTreeMap;

/// What an account is made from.
pub(crate) trait Source {
    /// Sums of the filter's counters and gauges over all Envoys, by name.
    async fn metrics(&self) -> Result<BTreeMap<String, u64>>;

    /// The entries of all access logs so far.
    fn entries(&self) -> Result<Vec<LogEntry>>;

    /// Where spans arrive.
    fn receiver(&self) -> &Receiver;

    /// The requests that the application of a service has answered so far.
    fn exchanges(&self, service: &str) -> Result<Vec<Exchange>>;

    /// Log lines of VMs that trapped.
    fn traps(&self) -> Vec<String>;
}
