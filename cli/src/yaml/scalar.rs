//! Plain scalars as the YAML reader of Kubernetes resolves them.

use serde_json::{Number, Value};

/// A plain scalar as the YAML reader of Kubernetes resolves it (YAML 1.1: `yes` is true, `010` is 8).
pub(super) fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => Value::Bool(true),
        "false" | "False" | "FALSE" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => Value::Bool(false),
        _ => number(text).map_or_else(|| Value::from(text), Value::Number),
    }
}

fn number(text: &str) -> Option<Number> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if !unsigned.starts_with(|first: char| first.is_ascii_digit() || first == '.') {
        return None;
    }
    let digits = unsigned.replace('_', "");
    let (radix, digits) = match digits.get(..2) {
        Some("0x") => (16, &digits[2..]),
        Some("0o") => (8, &digits[2..]),
        Some("0b") => (2, &digits[2..]),
        Some(start) if start.starts_with('0') && digits.bytes().all(|byte| byte.is_ascii_digit()) => (8, &digits[1..]),
        _ => (10, digits.as_str()),
    };
    let negative = text.starts_with('-');
    if let Ok(whole) = i64::from_str_radix(digits, radix) {
        return Some(if negative { -whole } else { whole }.into());
    }
    let number: f64 = digits.parse().ok().filter(|_| radix == 10)?;
    Number::from_f64(if negative { -number } else { number })
}
