//! Whole spans as JSON, so that a test can say what it expects of every attribute at once.

use serde_json::{Map, Value, json};
use sidespan_harness::ReceivedSpan;
use sidespan_harness::span::{Kind, Status};

/// Everything of a span but its ids, times and resource. What differs from run to run is shown by its rule: `<uuid>` for
/// Envoy's request id, `<port>` for the client's port.
pub fn shape(span: &ReceivedSpan) -> Value {
    let mut attributes: Map<String, Value> = span.attributes.clone().into_iter().collect();
    for (key, value) in &mut attributes {
        let shown = match key.as_str() {
            "envoy.request_id" => value.as_str().filter(|text| is_uuid(text)).map(|_| "<uuid>"),
            "network.peer.port" | "net.sock.peer.port" if format!("{:?}", span.kind) == "Server" => {
                value.as_i64().filter(|port| (1024..65_536).contains(port)).map(|_| "<port>")
            }
            _ => None,
        };
        if let Some(shown) = shown {
            *value = json!(shown);
        }
    }
    json!({
        "name": span.name,
        "kind": format!("{:?}", span.kind),
        "status": status(span),
        "attributes": attributes,
        "dropped": span.dropped_attributes,
        "events": span.events.len(),
        "links": span.links.iter().map(|link| json!([link.trace_id, link.span_id, link.attributes])).collect::<Vec<_>>(),
        "problems": span.problems,
    })
}

/// Panics with every difference of every pair, each named.
pub fn assert_all_same<'a>(pairs: impl IntoIterator<Item = (&'a str, Value, Value)>) {
    let mut out = Vec::new();
    for (what, found, expected) in pairs {
        differences(what, &found, &expected, &mut out);
    }
    assert!(out.is_empty(), "{out:#?}");
}

/// Attributes that docs/attributes.md does not name with this type, for this kind.
pub fn undocumented(span: &ReceivedSpan) -> Vec<String> {
    let document = include_str!("../../docs/attributes.md");
    let kind = if span.kind == Kind::Server { "S" } else { "C" };
    let missing = span.attributes.iter().filter(|(key, value)| {
        let type_name = match value {
            Value::String(_) => "string",
            Value::Array(_) => "string[]",
            Value::Bool(_) => "bool",
            _ => "int",
        };
        !document.lines().any(|line| {
            let cells: Vec<_> = line.split(" | ").collect();
            matches!(cells.as_slice(), [name, found, kinds, ..]
                if *name == format!("| `{key}`") && *found == type_name && kinds.contains(kind))
        })
    });
    let missing = missing.map(|(key, value)| format!("docs/attributes.md: {key}={value} on a {:?} span", span.kind));
    let resource = span.resource.keys().filter(|key| !document.contains(&format!("`{key}`")));
    missing.chain(resource.map(|key| format!("docs/attributes.md: {key} of the resource"))).collect()
}

fn differences(at: &str, found: &Value, expected: &Value, out: &mut Vec<String>) {
    let (Value::Object(left), Value::Object(right)) = (found, expected) else {
        if found != expected {
            out.push(format!("{at}: {found}, not {expected}"));
        }
        return;
    };
    for (key, value) in left {
        match right.get(key) {
            Some(other) => differences(&format!("{at} / {key}"), value, other, out),
            None => out.push(format!("{at} / {key}: {value} is there, but should not be")),
        }
    }
    for (key, value) in right.iter().filter(|(key, _)| !left.contains_key(*key)) {
        out.push(format!("{at} / {key}: {value} is missing"));
    }
}

fn status(span: &ReceivedSpan) -> Value {
    match span.status {
        Status::Unset => json!("unset"),
        Status::Ok => json!("ok"),
        Status::Error => json!({"error": span.status_message}),
    }
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36 && text.split('-').map(str::len).eq([8, 4, 4, 4, 12])
}
