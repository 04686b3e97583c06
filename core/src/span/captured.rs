//! What the operator allowed to be copied from requests and responses: headers and baggage, by name. Nothing else is:
//! `authorization`, cookies and API keys appear only if they are named.

use crate::http::headers;
use crate::propagation::baggage;
use crate::span::Value;
use crate::span::build::Call;
use crate::span::limits::Collector;
use crate::span::recipe::Captured;

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
    let wanted = &call.recipe.baggage;
    for (key, value) in baggage::get_all(headers::values(&call.request, b"baggage"), wanted) {
        all.set(format!("baggage.{key}"), call.text(value.as_bytes()));
    }
}
