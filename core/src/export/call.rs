//! An export call, as the host is asked to make it.

use std::sync::Arc;

/// An export call to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportCall {
    /// To be given to [`super::Exporter::dispatched`].
    pub id: u64,
    /// The Envoy cluster.
    pub cluster: Arc<str>,
    /// Pseudo-headers first.
    pub headers: Vec<(String, String)>,
    /// The request body.
    pub body: Vec<u8>,
    /// Never zero.
    pub timeout_ms: u32,
}

/// Why a call was not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DispatchError {
    /// `BadArgument`: Envoy has no such cluster (or found a header missing).
    UnknownCluster,
    /// `InternalFailure`: no endpoint, or an immediate failure; no callback will come.
    NoHealthyHost,
    /// Any other status of the host.
    Other(u32),
}

/// A gRPC message: compressed or not, length, message (gRPC over HTTP/2, "Length-Prefixed-Message").
pub(super) fn grpc_frame(message: &[u8], compressed: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(message.len().saturating_add(5));
    out.push(u8::from(compressed));
    out.extend_from_slice(&(message.len() as u32).to_be_bytes());
    out.extend_from_slice(message);
    out
}
