//! All attributes of a span in one host call: the expression that asks for them, and its answer.
//!
//! Each read of an attribute crosses into the host, and the host enters the VM once more to place the answer; a span needs
//! a dozen. Envoy also evaluates CEL expressions (foreign functions `expr_create` and `expr_evaluate`), and a list of
//! attributes is an expression: one crossing for all. Where Envoy was built without CEL, or an attribute of the list is
//! absent (then there is no list at all), every attribute is read by itself, as before.

use crate::pairs::decode_pairs;
use sidespan_core::http::headers::Header;
use sidespan_core::span::Kind;
use sidespan_core::span::attributes::path;
use std::ops::Range;

/// Attributes of every request that went upstream.
const PRESENT: [&[u8]; 12] = [
    path::REQUEST_TIME,
    path::REQUEST_DURATION,
    path::REQUEST_PROTOCOL,
    path::REQUEST_SIZE,
    path::RESPONSE_FLAGS,
    path::RESPONSE_SIZE,
    path::RESPONSE_CODE_DETAILS,
    path::UPSTREAM_ADDRESS,
    path::UPSTREAM_REQUEST_ATTEMPT_COUNT,
    path::CLUSTER_NAME,
    path::ROUTE_NAME,
    path::SOURCE_ADDRESS,
];

/// What is asked of a request that ends, whether a span comes of it or not.
const AT_END: [&[u8]; 2] = [path::RESPONSE_FLAGS, path::REQUEST_DURATION];

/// Attributes of Istio that most requests lack, and CEL expressions that tell whether they are there: absent ones are not read.
const SERVER_ABSENT: [Absence; 3] = [
    Absence { prefix: b"filter_state\0downstream_peer\0", test: "has(filter_state.downstream_peer)" },
    Absence { prefix: b"filter_state\0downstream_peer_obj\0", test: "has(filter_state.downstream_peer_obj)" },
    Absence { prefix: path::RBAC_METADATA, test: "'envoy.filters.http.rbac' in metadata.filter_metadata" },
];
const CLIENT_ABSENT: [Absence; 2] = [
    Absence { prefix: b"filter_state\0upstream_peer\0", test: "has(filter_state.upstream_peer)" },
    Absence { prefix: b"filter_state\0upstream_peer_obj\0", test: "has(filter_state.upstream_peer_obj)" },
];

/// A family of paths, and an expression that is true if any of them can be there.
struct Absence {
    prefix: &'static [u8],
    test: &'static str,
}

/// The answer to one expression.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct BatchRead {
    /// As it came; the values are ranges of it.
    answer: Vec<u8>,
    values: Vec<(&'static [u8], Range<usize>)>,
    absent: Vec<&'static [u8]>,
}

/// The expression for a span of this kind; `istio`: with what only Istio's proxies have.
pub(crate) fn expression(kind: Kind, istio: bool) -> String {
    let mut items: Vec<String> = PRESENT.iter().map(|path| dotted(path)).collect();
    let san = dotted(peer_san(kind));
    items.push(format!("has({san}) ? {san} : ''"));
    items.extend(absences(kind, istio).iter().map(|absence| absence.test.to_owned()));
    format!("[{}]", items.join(", "))
}

/// The expression for [`BatchRead::read_end`].
pub(crate) fn end_expression() -> String {
    format!("[{}]", AT_END.map(dotted).join(", "))
}

fn dotted(path: &[u8]) -> String {
    String::from_utf8_lossy(path).replace('\0', ".")
}

/// Absent without mTLS.
fn peer_san(kind: Kind) -> &'static [u8] {
    match kind {
        Kind::Server => path::CONNECTION_URI_SAN_PEER,
        Kind::Client => path::UPSTREAM_URI_SAN_PEER,
    }
}

fn absences(kind: Kind, istio: bool) -> &'static [Absence] {
    match (istio, kind) {
        (false, _) => &[],
        (true, Kind::Server) => &SERVER_ABSENT,
        (true, Kind::Client) => &CLIENT_ABSENT,
    }
}

/// Where the values of these paths are in the answer that `items` were read from. Lengths of names and values come first, then
/// the items one after the other, each with its NUL and that of no value.
fn ranges(
    paths: &[&'static [u8]],
    last: Option<&'static [u8]>,
    items: &[Header<'_>],
) -> Vec<(&'static [u8], Range<usize>)> {
    let mut values = Vec::with_capacity(items.len());
    let mut start = items.len().saturating_mul(8).saturating_add(4);
    for (path, item) in paths.iter().chain(&last).zip(items) {
        let end = start.saturating_add(item.name.len());
        values.push((*path, start..end));
        start = end.saturating_add(item.value.len()).saturating_add(2);
    }
    values
}

// === impl BatchRead ===

impl BatchRead {
    /// Reads the answer to [`expression`] with the same arguments: Envoy serialises a list as pairs, its items as names,
    /// each as the attribute alone would be. `None` if it is not such a list.
    pub(crate) fn read(kind: Kind, istio: bool, answer: Vec<u8>) -> Option<Self> {
        let items = decode_pairs(&answer);
        let absences = absences(kind, istio);
        let (_, rest) = items.split_at_checked(PRESENT.len())?;
        let (san, tests) = rest.split_first()?;
        if tests.len() != absences.len() {
            return None;
        }
        let mut values = ranges(&PRESENT, Some(peer_san(kind)), &items);
        let mut absent = Vec::with_capacity(absences.len().saturating_add(1));
        if san.name.is_empty() {
            values.pop();
            absent.push(peer_san(kind));
        }
        let missing = absences.iter().zip(tests).filter(|(_, test)| test.name == [0]);
        absent.extend(missing.map(|(absence, _)| absence.prefix));
        Some(Self { answer, values, absent })
    }

    /// Reads the answer to [`end_expression`].
    pub(crate) fn read_end(answer: Vec<u8>) -> Option<Self> {
        let items = decode_pairs(&answer);
        let values = (items.len() == AT_END.len()).then(|| ranges(&AT_END, None, &items))?;
        Some(Self { answer, values, absent: Vec::new() })
    }

    /// `None`: not known, ask the host. `Some(None)`: known to be absent.
    pub(crate) fn get(&self, path: &[u8]) -> Option<Option<&[u8]>> {
        let range = self.values.iter().find(|(known, _)| *known == path).map(|(_, range)| range.clone());
        let value = range.and_then(|range| self.answer.get(range)).map(Some);
        value.or_else(|| self.absent.iter().any(|prefix| path.starts_with(prefix)).then_some(None))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pairs::encode_pairs;

    fn answer(items: &[&[u8]]) -> Vec<u8> {
        encode_pairs(&items.iter().map(|item| Header::new(*item, "")).collect::<Vec<_>>())
    }

    #[test]
    fn an_expression_lists_attributes_by_their_dotted_names() {
        let text = expression(Kind::Client, false);
        assert!(text.starts_with("[request.time, request.duration, "), "{text}");
        let san = "upstream.uri_san_peer_certificate";
        assert!(text.ends_with(&format!(", source.address, has({san}) ? {san} : '']")), "{text}");
        assert!(expression(Kind::Server, true).ends_with(", 'envoy.filters.http.rbac' in metadata.filter_metadata]"));
    }

    #[test]
    fn an_answer_tells_what_is_there_what_is_not_and_what_must_be_asked() {
        let mut items: Vec<&[u8]> = vec![b"xyz"; PRESENT.len()];
        items[0] = b"12345678";
        items.extend([&b""[..], &[0], &[1], &[0]]);
        let found = BatchRead::read(Kind::Server, true, answer(&items)).expect("as many items as were asked for");
        let table: &[(&[u8], Option<Option<&[u8]>>)] = &[
            (path::REQUEST_TIME, Some(Some(b"12345678"))),
            (path::SOURCE_ADDRESS, Some(Some(b"xyz"))),
            (path::CONNECTION_URI_SAN_PEER, Some(None)),
            (path::DOWNSTREAM_PEER_WORKLOAD, Some(None)),
            (b"filter_state\0downstream_peer_obj\0workload", None),
            (path::RBAC_METADATA, Some(None)),
            (path::CONNECTION_ID, None),
        ];
        for (path, expected) in table {
            assert_eq!(found.get(path), *expected, "{}", dotted(path));
        }
    }

    #[test]
    fn the_end_of_a_request_is_two_attributes() {
        assert_eq!(end_expression(), "[response.flags, request.duration]");
        let found = BatchRead::read_end(answer(&[b"12345678", b"87654321"])).expect("two items");
        assert_eq!(found.get(path::RESPONSE_FLAGS), Some(Some(&b"12345678"[..])));
        assert_eq!(found.get(path::REQUEST_DURATION), Some(Some(&b"87654321"[..])));
        assert_eq!(found.get(path::REQUEST_TIME), None);
        for length in [0, 1, 3] {
            assert_eq!(BatchRead::read_end(answer(&vec![&b"x"[..]; length])), None, "{length}");
        }
    }

    #[test]
    fn an_answer_of_another_length_is_none() {
        for length in (0..40).filter(|length| *length != PRESENT.len() + 1) {
            assert_eq!(BatchRead::read(Kind::Server, false, answer(&vec![&b"x"[..]; length])), None, "{length}");
        }
        assert_eq!(BatchRead::read(Kind::Server, false, b"rubbish".to_vec()), None);
    }
}
