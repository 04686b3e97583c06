//! The wire of gRPC over HTTP/2: message frames, status and message in headers or trailers.
//!
//! gRPC over HTTP2, "Length-Prefixed-Message", "Status" and "Status-Message".

use anyhow::{Result, bail, ensure};
use bytes::{BufMut as _, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue};

/// One message of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Whether the compressed flag is set; `grpc-encoding` says how.
    pub compressed: bool,
    /// As it was on the wire.
    pub payload: Bytes,
}

/// A message, uncompressed, with its five-byte prefix.
pub fn frame(payload: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(payload.len() + 5);
    out.put_u8(0);
    // A test's message is far below 4 GiB; what is not, is cut off by the peer's decoder.
    out.put_u32(u32::try_from(payload.len()).unwrap_or(u32::MAX));
    out.put_slice(payload);
    out.freeze()
}

/// All messages of a body.
///
/// # Errors
/// If a prefix is cut short, its flag is neither 0 nor 1, or the length reaches beyond the body.
pub fn unframe(mut body: Bytes) -> Result<Vec<Message>> {
    let mut messages = Vec::new();
    while !body.is_empty() {
        ensure!(body.len() >= 5, "gRPC prefix cut short: {} bytes", body.len());
        let prefix = body.split_to(5);
        let compressed = match prefix[0] {
            0 => false,
            1 => true,
            flag => bail!("gRPC compressed flag is {flag}"),
        };
        let length = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]) as usize;
        ensure!(body.len() >= length, "gRPC message of {length} bytes, but only {} follow", body.len());
        messages.push(Message { compressed, payload: body.split_to(length) });
    }
    Ok(messages)
}

/// `grpc-status` and `grpc-message`, for trailers or for the headers of a trailers-only answer.
pub fn status_headers(code: u32, message: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("grpc-status", HeaderValue::from(code));
    if !message.is_empty()
        && let Ok(value) = HeaderValue::from_str(&percent_encode(message))
    {
        headers.insert("grpc-message", value);
    }
    headers
}

/// `grpc-status` of headers or trailers, if it is there and a number.
pub fn status(headers: &HeaderMap) -> Option<u32> {
    headers.get("grpc-status")?.to_str().ok()?.parse().ok()
}

/// `grpc-message` of headers or trailers, decoded.
pub fn message(headers: &HeaderMap) -> Option<String> {
    Some(percent_decode(headers.get("grpc-message")?.as_bytes()))
}

fn percent_encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' '..=b'~' if byte != b'%' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// An escape that is not one stays as it is.
fn percent_decode(text: &[u8]) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, tail @ ..] = rest {
        let mut byte = [0];
        let escape = (*first == b'%').then(|| tail.get(..2)).flatten();
        match escape.map(|digits| hex::decode_to_slice(digits, &mut byte)) {
            Some(Ok(())) => {
                out.push(byte[0]);
                rest = &tail[2..];
            }
            _ => {
                out.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_framed_is_unframed_and_a_broken_frame_is_refused() {
        let two = [frame(b"one"), frame(b"")].concat();
        let messages = unframe(Bytes::from(two)).expect("valid");
        assert_eq!(messages.iter().map(|m| m.payload.as_ref()).collect::<Vec<_>>(), [b"one".as_ref(), b""]);
        for broken in [&b"\0\0\0"[..], b"\0\0\0\0\x02a", b"\x02\0\0\0\0"] {
            assert!(unframe(Bytes::copy_from_slice(broken)).is_err(), "{broken:?}");
        }
    }

    #[test]
    fn status_messages_survive_any_text() {
        for text in ["plain", "100 % größer\n", "%zz", "a%2"] {
            let headers = status_headers(14, text);
            assert_eq!(status(&headers), Some(14));
            assert_eq!(message(&headers).as_deref(), Some(text));
        }
        assert_eq!(percent_decode(b"%zz%2"), "%zz%2");
    }
}
