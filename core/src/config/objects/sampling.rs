//! `sampling`: what is kept.

use crate::config::pattern::{PathPattern, StringPattern};
use crate::config::units::{Duration, Percentage, StatusPattern};
use crate::{choice, object};
use std::collections::BTreeMap;

object! {
    /// What is kept.
    pub struct Sampling {
        /// Share of traces that start here and are kept whatever happens, in percent. Istio's default: 1.
        "randomSamplingPercentage" => random_sampling_percentage: Percentage = Percentage::ISTIO_DEFAULT;
        /// Whether a parent's decision is respected.
        "parent" => parent: Parent = Parent::Respect;
        /// First match wins.
        "rules" => rules: Vec<Rule> = Vec::new();
        /// Failing requests.
        "errors" => errors: Errors = Errors::default();
        /// Slow requests. Absent: none is kept for its duration.
        "slow" => slow: Option<Slow> = None;
        /// Requests whose caller left before an answer.
        "cancelled" => cancelled: Cancelled = Cancelled::default();
    }
}

choice! {
    /// Whether a parent's sampling decision is respected.
    pub enum Parent {
        /// It is.
        "respect" => Respect,
        /// The own rate applies; consistent, because the randomness is the trace's.
        "ignore" => Ignore,
    }
}

object! {
    /// One sampling rule.
    pub struct Rule schema {"anyOf": [
        {"required": ["randomSamplingPercentage"]}, {"required": ["drop"], "properties": {"drop": {"const": true}}},
        {"required": ["parent"]}, {"required": ["errors"]}, {"required": ["slow"]}, {"required": ["cancelled"]},
        {"required": ["keepSignals"], "properties": {"keepSignals": {"const": false}}}
    ]} {
        /// For logs and metrics.
        "name" => name: String = String::new();
        /// All given conditions must hold; an empty match takes everything.
        "match" => matches: Match = Match::default();
        /// The rate of matching requests.
        "randomSamplingPercentage" => random_sampling_percentage: Option<Percentage> = None;
        /// No span at all, also not for an error.
        "drop" => drop: bool = false;
        /// Overrides `sampling.parent`.
        "parent" => parent: Option<Parent> = None;
        /// Overrides `sampling.errors`, as a whole.
        "errors" => errors: Option<Errors> = None;
        /// Overrides `sampling.slow`, as a whole.
        "slow" => slow: Option<Slow> = None;
        /// Overrides `sampling.cancelled`, as a whole.
        "cancelled" => cancelled: Option<Cancelled> = None;
        /// Whether the keep signals of callees are believed. `false` is for hosts outside the mesh.
        "keepSignals" => keep_signals: bool = true;
    }
}

object! {
    /// Conditions of a rule. A list holds if any of its entries does.
    pub struct Match {
        /// `inbound`, `outbound`, `gateway`.
        "direction" => direction: Vec<Direction> = Vec::new();
        /// The workload's Kubernetes namespace.
        "namespace" => namespace: Vec<StringPattern> = Vec::new();
        /// The workload's name.
        "workload" => workload: Vec<StringPattern> = Vec::new();
        /// Labels of the workload; all must match.
        "labels" => labels: BTreeMap<String, StringPattern> = BTreeMap::new();
        /// `:authority`, without the port.
        "host" => host: Vec<StringPattern> = Vec::new();
        /// HTTP method, upper case.
        "method" => method: Vec<String> = Vec::new(), schema {"items": {"pattern": "^[A-Z_-]+$"}};
        /// Path without the query: exact, `prefix*`, `*suffix`, `/a/{segment}/b`.
        "path" => path: Vec<PathPattern> = Vec::new();
        /// Request headers; all must match.
        "headers" => headers: BTreeMap<String, StringPattern> = BTreeMap::new(),
            schema {"propertyNames": {"pattern": "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$"}};
    }
}

choice! {
    /// Which side of the workload a listener serves.
    pub enum Direction {
        /// To the workload.
        "inbound" => Inbound,
        /// From the workload.
        "outbound" => Outbound,
        /// Through a gateway or waypoint.
        "gateway" => Gateway,
    }
}

object! {
    /// What counts as an error, and how many are kept.
    pub struct Errors {
        /// Share of errors kept, in percent.
        "percentage" => percentage: Percentage = Percentage::all();
        /// Statuses that are errors: numbers, or classes such as `5xx`. No status at all always is one.
        "httpStatus" => http_status: Vec<StatusPattern> = vec![StatusPattern::Class(5)];
        /// gRPC status codes that are errors.
        "grpcStatus" => grpc_status: Vec<u8> = vec![2, 4, 12, 13, 14, 15], schema {"items": {"minimum": 1, "maximum": 16}};
        /// Traces kept late a second and worker, on average in an error storm; all hops of a path keep the same ones. `0`: no cap.
        "maxPerSecond" => max_per_second: u32 = 50;
        /// Keep every span from the root to the error.
        "wholePath" => whole_path: bool = true;
        /// Whether the client going away before the response counts as an error.
        "clientDisconnect" => client_disconnect: bool = false;
    }
}

object! {
    /// What counts as slow, and how many are kept.
    pub struct Slow {
        /// At least this long.
        "threshold" => threshold: Duration;
        /// Share of slow requests kept, in percent.
        "percentage" => percentage: Percentage = Percentage::all();
        /// Traces kept late a second and worker, on average. `0`: no cap.
        "maxPerSecond" => max_per_second: u32 = 10;
    }
}

object! {
    /// Requests that nobody answered before their caller left (it timed out, or a client went away), and how many are kept.
    pub struct Cancelled {
        /// Share of cancelled requests kept, in percent.
        "percentage" => percentage: Percentage = Percentage::all();
        /// Traces kept late a second and worker, on average. `0`: no cap.
        "maxPerSecond" => max_per_second: u32 = 10;
    }
}
