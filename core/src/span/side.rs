//! The header maps of one request.

/// A header map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Request headers.
    Request,
    /// Response headers.
    Response,
    /// Response trailers.
    Trailer,
}
