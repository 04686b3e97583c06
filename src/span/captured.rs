//! What the operator allowed to be copied from requests and responses: headers and baggage, by name. Nothing else is:
//! `authorization`, cookies and API keys appear only if they are named.

use crate::propagation::headers::{self, Header};
use crate::span::Value;
use crate::span::build::Call;
use crate::span::limits::Collector;
use crate::span::recipe::Captured;
use crate::span::redact::percent_decode;

/// Baggage beyond this is not read (W3C Baggage, "Limits": at least 64 members and 8192 bytes must be carried).
const MAX_BAGGAGE_BYTES: usize = 8192;
const MAX_BAGGAGE_MEMBERS: usize = 64;
/// Values of one header.
const MAX_VALUES: usize = 16;

/// Adds `http.request.header.<name>` and `http.response.header.<name>`, each a list, as the conventions want it.
pub fn add_headers(all: &mut Collector, call: &Call<'_>) {
    for Captured { side, header, keys } in &call.recipe.captured {
        let values = headers::values(call.headers(*side), header.as_bytes()).take(MAX_VALUES);
        let values: Vec<_> = values.map(|value| call.header_text(header, value)).collect();
        if values.is_empty() {
            continue;
        }
        for key in keys {
            all.set(key.clone(), Value::Strings(values.clone()));
        }
    }
}

/// Adds the allow-listed members of the `baggage` header.
pub fn add_baggage(all: &mut Collector, call: &Call<'_>) {
    for (wanted, key) in &call.recipe.baggage {
        if let Some(value) = baggage_attributes(&call.request, wanted) {
            all.set(key.clone(), call.text(&value));
        }
    }
}

/// The decoded value of one baggage key; of a repeated key the last. Hook: `propagation::baggage` may take its place.
fn baggage_attributes(request: &[Header<'_>], wanted: &str) -> Option<Vec<u8>> {
    let mut room = MAX_BAGGAGE_BYTES;
    let mut found = None;
    let members = headers::values(request, b"baggage")
        .take_while(|value| {
            let fits = value.len() <= room;
            room = room.saturating_sub(value.len());
            fits
        })
        .flat_map(|value| value.split(|byte| *byte == b','))
        .take(MAX_BAGGAGE_MEMBERS);
    for member in members {
        let member = member.split(|byte| *byte == b';').next().unwrap_or_default();
        let mut parts = member.splitn(2, |byte| *byte == b'=');
        let key = headers::trim(parts.next().unwrap_or_default());
        if let Some(value) = parts.next().filter(|_| key == wanted.as_bytes()) {
            found = Some(percent_decode(headers::trim(value)));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_baggage_key_is_found_and_decoded() {
        let long = format!("big={}", "x".repeat(8000));
        let table: &[(&[&str], Option<&str>, &str)] = &[
            (&["tenant=acme"], Some("acme"), "alone"),
            (&["a=1, tenant = ac%20me ;p=1, b=2"], Some("ac me"), "among others, spaced, with a property, encoded"),
            (&["a=1", "tenant=x=y"], Some("x=y"), "a second header, a value with ="),
            (&["tenant=1,tenant=2"], Some("2"), "the last of several"),
            (&["tenants=1,Tenant=2"], None, "another key: names are case-sensitive"),
            (&["tenant"], None, "no value"),
            (&[&long, &long, "tenant=1"], None, "beyond the limit"),
            (&[], None, "none"),
        ];
        for (values, expected, why) in table {
            let request: Vec<_> = values.iter().map(|value| Header::new("baggage", *value)).collect();
            assert_eq!(baggage_attributes(&request, "tenant").as_deref(), expected.map(str::as_bytes), "{why}");
        }
    }
}
