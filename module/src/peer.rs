//! Istio's peer objects in the filter state, in their form of text: `namespace=shop,workload=reviews-v1,…`.

/// The value of a field, empty ones left out.
pub(crate) fn field<'a>(state: &'a [u8], field: &[u8]) -> Option<&'a [u8]> {
    let field: &[u8] = match field {
        b"NAMESPACE" => b"namespace",
        b"WORKLOAD_NAME" => b"workload",
        other => other,
    };
    let pairs = state.split(|byte| *byte == b',');
    let value = pairs.filter_map(|pair| pair.strip_prefix(field)?.strip_prefix(b"=")).next()?;
    (!value.is_empty()).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::field;

    #[test]
    fn a_field_is_found_by_the_name_that_wasm_filters_use_and_by_its_own() {
        let state = b"type=deployment,workload=reviews-v1,name=,namespace=shop";
        for (asked, expected) in [
            ("WORKLOAD_NAME", Some("reviews-v1")),
            ("workload", Some("reviews-v1")),
            ("NAMESPACE", Some("shop")),
            ("name", None),
            ("space", None),
        ] {
            assert_eq!(field(state, asked.as_bytes()), expected.map(str::as_bytes), "{asked}");
        }
    }
}
