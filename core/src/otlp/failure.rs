//! What can go wrong with an export call, and what an operator should look at then.

/// The reasons why a call fails. Each has a counter of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Envoy has no cluster of this name: not configured, not visible from here, or not arrived yet.
    UnknownCluster,
    /// The cluster has no endpoint that could be called.
    NoHealthyHost,
    /// No connection to the endpoint, or lost before it answered.
    Refused,
    /// No answer in time.
    Timeout,
    /// The stream was reset, or an answer never came.
    Reset,
    /// The receiver asks for less (429, `RESOURCE_EXHAUSTED`).
    Throttled,
    /// The receiver cannot now (502, 503, 504, `UNAVAILABLE` and the like).
    Unavailable,
    /// The request is too large.
    TooLarge,
    /// Something answers that does not speak the configured protocol.
    Protocol,
    /// The receiver will never take this.
    Refusal,
    /// The host would not make the call.
    Dispatch,
}

// === impl Failure ===

impl Failure {
    /// What an operator should check, to be shown after the name of the cluster.
    pub fn hint(self) -> &'static str {
        match self {
            Self::UnknownCluster => {
                "Envoy has no such cluster: check service, port and name, exportTo, and the egress hosts of a Sidecar resource"
            }
            Self::NoHealthyHost => "no endpoint to call: check that it runs, and that its service is not headless",
            Self::Refused => "cannot connect: check that it runs, its port, and mTLS",
            Self::Timeout => "no answer in time: check its load, or raise exporter timeout",
            Self::Reset => "the stream was reset: check its protocol (gRPC needs a port named grpc-*) and its log",
            Self::Throttled => "asks for less: give it more replicas, or lower the sampling rate",
            Self::Unavailable => "cannot take spans now: check its health and memory limiter",
            Self::TooLarge => "too large: lower batch.maxSpans, or raise the receiver's limit",
            Self::Protocol => {
                "speaks another protocol: 4317 is OTLP/gRPC (protocol grpc), 4318 is OTLP/HTTP (protocol http/protobuf)"
            }
            Self::Refusal => "refuses what is sent: check path, protocol, headers and credentials",
            Self::Dispatch => "Envoy would not make the call: check the configured headers",
        }
    }
}
