//! Headers and baggage members that the operator named, as attributes. No others are copied: `authorization`, cookies and API
//! keys appear only if they are named.

use super::exchange::Exchange;
use super::limits::BoundedAttributes;
use super::model::Value;
use super::settings::CapturedHeader;
use crate::http::headers;
use crate::propagation::baggage;

/// Most values of one header that are copied.
const MAX_VALUES: usize = 16;

/// Adds `http.request.header.<name>` and `http.response.header.<name>`, each a list, as the conventions want it.
pub(super) fn add_headers(all: &mut BoundedAttributes, exchange: &Exchange<'_>) {
    for CapturedHeader { side, header, keys } in &exchange.settings.captured {
        let values = headers::values(exchange.headers(*side), header.as_bytes()).take(MAX_VALUES);
        let values: Vec<_> = values.map(|value| exchange.header_text(header, value)).collect();
        if values.is_empty() {
            continue;
        }
        for key in keys {
            all.set(key.clone(), Value::Strings(values.clone()));
        }
    }
}

/// Adds the allow-listed members of the `baggage` header.
pub(super) fn add_baggage(all: &mut BoundedAttributes, exchange: &Exchange<'_>) {
    let wanted = &exchange.settings.baggage;
    for (key, value) in baggage::get_all(headers::values(&exchange.request, b"baggage"), wanted) {
        all.set(format!("baggage.{key}"), exchange.text(value.as_bytes()));
    }
}
