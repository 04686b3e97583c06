//! Text into a JSON value, with the problems that serde_json does not report.
//!
//! A key given twice is a problem (serde_json would let the last one win). A whole number written as `4317.0` becomes a
//! whole number: Istio carries `pluginConfig` as a protobuf `Struct`, whose only number is a double. Nesting deeper than
//! 128 is an error of serde_json, not an overflow.

use super::report::{Report, member};
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use std::fmt;

/// Above this a double is not exact.
const MAX_EXACT: f64 = 9_007_199_254_740_992.0;

/// The value of `json`; nothing at all, and `null`, is an empty object. `None` if it is not JSON: then the reason is in `report`.
pub(super) fn read(json: &[u8], report: &mut Report) -> Option<Value> {
    let text = match std::str::from_utf8(json) {
        Ok(text) => text.trim_ascii(),
        Err(error) => {
            report.add("", &format!("not UTF-8 after byte {}", error.valid_up_to()), "give JSON in UTF-8");
            return None;
        }
    };
    if text.is_empty() {
        return Some(Value::Object(Map::new()));
    }
    let mut reader = serde_json::Deserializer::from_str(text);
    let element = Element { report, path: String::new() }.deserialize(&mut reader);
    match element.and_then(|value| reader.end().map(|()| value)) {
        Ok(Value::Null) => Some(Value::Object(Map::new())),
        Ok(value) => Some(value),
        Err(error) => {
            report.add("", &format!("not JSON: {error}"), "");
            None
        }
    }
}

/// One value and its path.
struct Element<'r> {
    report: &'r mut Report,
    path: String,
}

impl<'de> DeserializeSeed<'de> for Element<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Element<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, truth: bool) -> Result<Value, E> {
        Ok(Value::Bool(truth))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Value, E> {
        Ok(Value::from(number))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Value, E> {
        Ok(Value::from(number))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Value, E> {
        let whole = number.fract() == 0.0 && number.abs() < MAX_EXACT;
        Ok(if whole { Value::from(number as i64) } else { Value::from(number) })
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Value, E> {
        Ok(Value::from(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut out = Vec::new();
        loop {
            let path = format!("{}[{}]", self.path, out.len());
            match list.next_element_seed(Element { report: &mut *self.report, path })? {
                Some(value) => out.push(value),
                None => return Ok(Value::Array(out)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Value, A::Error> {
        let mut out = Map::new();
        while let Some(key) = object.next_key::<String>()? {
            let path = member(&self.path, &key);
            if out.contains_key(&key) {
                self.report.add(&path, "given twice", "keep one of them");
            }
            let value = object.next_value_seed(Element { report: &mut *self.report, path })?;
            out.insert(key, value);
        }
        Ok(Value::Object(out))
    }
}
