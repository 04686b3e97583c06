//! What counts as an error, what counts as slow.

/// What is known of a request when it ends (or so far).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// HTTP status sent or received; `None` when there was no response.
    pub http_status: Option<u16>,
    /// gRPC status from trailers, or from headers when trailers-only; `None` for plain HTTP and where none arrived.
    pub grpc_status: Option<u32>,
    /// The request is gRPC (`content-type: application/grpc…`).
    pub grpc: bool,
    /// Envoy's response flags.
    pub flags: ResponseFlags,
    /// Nanoseconds from first to last byte, so far.
    pub duration_ns: u64,
    /// Upstream attempts (retries and hedges included); 0 if no upstream was tried or it was not read.
    pub attempts: u32,
}

/// Envoy's `response.flags`: one bit each (`CoreResponseFlag` in `envoy/stream_info/stream_info.h`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ResponseFlags(pub u64);
