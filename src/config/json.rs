//! JSON text (RFC 8259) into a tree, in one pass.
//!
//! The tree is serde_json's, its reader is not: with serde's generics around it, it weighs 20 kB more in the module than this
//! file. What is accepted is the same, and so are the words for what is wrong; the tests compare the two. Text comes from
//! operators and receivers: nesting has a bound, and nothing is allocated that the text does not hold.

use super::check::member;
use serde_json::{Map, Value};
use std::fmt;

/// Objects and lists in one another, at most.
const MAX_DEPTH: usize = 127;
/// Above this a double is not exact.
const MAX_EXACT: f64 = 9_007_199_254_740_992.0;

/// Why a text is not JSON, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Misread {
    problem: &'static str,
    line: usize,
    column: usize,
}

/// What is wrong at the current place.
type Fault = &'static str;

struct Reader<'t, 'r> {
    text: &'t str,
    at: usize,
    depth: usize,
    twice: &'r mut dyn FnMut(&str),
}

/// The digits of a number, and where its point is.
#[derive(Default)]
struct Decimal {
    significand: u64,
    exponent: i32,
    /// It has more digits than fit.
    long: bool,
}

/// The tree of `text`. `twice` is told the path of each key that its object has already had; the last value counts. A whole
/// number written as `4317.0` becomes a whole number.
///
/// # Errors
/// The first thing that is not JSON, or that is nested too deeply.
pub fn parse(text: &str, twice: &mut dyn FnMut(&str)) -> Result<Value, Misread> {
    let mut reader = Reader { text, at: 0, depth: 0, twice };
    let tree = reader.value("").and_then(|tree| match reader.peek() {
        None => Ok(tree),
        Some(_) => Err("trailing characters"),
    });
    tree.map_err(|problem| reader.misread(problem))
}

// === impl Misread ===

impl fmt::Display for Misread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at line {} column {}", self.problem, self.line, self.column)
    }
}

// === impl Reader: values ===

impl Reader<'_, '_> {
    fn value(&mut self, path: &str) -> Result<Value, Fault> {
        match self.peek().ok_or("EOF while parsing a value")? {
            b'{' => self.nested(|reader| reader.object(path)),
            b'[' => self.nested(|reader| reader.list(path)),
            b'"' => self.string().map(Value::String),
            b'-' | b'0'..=b'9' => self.number(),
            b'n' => self.word("null", Value::Null),
            b't' => self.word("true", Value::Bool(true)),
            b'f' => self.word("false", Value::Bool(false)),
            _ => Err("expected value"),
        }
    }

    fn nested(&mut self, read: impl FnOnce(&mut Self) -> Result<Value, Fault>) -> Result<Value, Fault> {
        if self.depth >= MAX_DEPTH {
            return Err("recursion limit exceeded");
        }
        self.depth = self.depth.saturating_add(1);
        self.step();
        let value = read(self);
        self.depth = self.depth.saturating_sub(1);
        value
    }

    fn object(&mut self, path: &str) -> Result<Value, Fault> {
        let mut out = Map::new();
        if self.eat(b'}') {
            return Ok(Value::Object(out));
        }
        loop {
            let key = match self.peek().ok_or("EOF while parsing an object")? {
                b'"' => self.string()?,
                b'}' => return Err("trailing comma"),
                _ => return Err("key must be a string"),
            };
            let path = member(path, &key);
            if out.contains_key(&key) {
                (self.twice)(&path);
            }
            self.expect(b':', "expected `:`", "EOF while parsing an object")?;
            let value = self.value(&path)?;
            out.insert(key, value);
            if self.eat(b'}') {
                return Ok(Value::Object(out));
            }
            self.expect(b',', "expected `,` or `}`", "EOF while parsing an object")?;
        }
    }

    fn list(&mut self, path: &str) -> Result<Value, Fault> {
        let mut out = Vec::new();
        if self.eat(b']') {
            return Ok(Value::Array(out));
        }
        loop {
            if self.peek() == Some(b']') {
                return Err("trailing comma");
            }
            out.push(self.value(&format!("{path}[{}]", out.len()))?);
            if self.eat(b']') {
                return Ok(Value::Array(out));
            }
            self.expect(b',', "expected `,` or `]`", "EOF while parsing a list")?;
        }
    }

    fn word(&mut self, word: &str, value: Value) -> Result<Value, Fault> {
        if !self.rest().starts_with(word) {
            return Err("expected value");
        }
        self.at = self.at.saturating_add(word.len());
        Ok(value)
    }
}

// === impl Reader: strings ===

impl Reader<'_, '_> {
    fn string(&mut self) -> Result<String, Fault> {
        self.step();
        let mut out = String::new();
        loop {
            let plain = self.rest().bytes().take_while(|byte| !matches!(byte, b'"' | b'\\' | 0..=0x1f)).count();
            out.push_str(self.rest().get(..plain).unwrap_or_default());
            self.at = self.at.saturating_add(plain);
            match self.next().ok_or("EOF while parsing a string")? {
                b'"' => return Ok(out),
                b'\\' => out.push(self.escaped()?),
                _ => return Err("control character (\\u0000-\\u001F) found while parsing a string"),
            }
        }
    }

    fn escaped(&mut self) -> Result<char, Fault> {
        Ok(match self.next().ok_or("EOF while parsing a string")? {
            letter @ (b'"' | b'\\' | b'/') => letter.into(),
            b'b' => '\x08',
            b'f' => '\x0c',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => return self.unicode(),
            _ => return Err("invalid escape"),
        })
    }

    /// What stands behind `\u`: a character of four hex digits, or a pair of surrogates.
    fn unicode(&mut self) -> Result<char, Fault> {
        let first = self.hex()?;
        let code = match first {
            0xd800..0xdc00 if self.rest().starts_with("\\u") => {
                self.at = self.at.saturating_add(2);
                let second = self.hex()?.wrapping_sub(0xdc00);
                if second > 0x3ff { first } else { (((first & 0x3ff) << 10) | second).wrapping_add(0x10000) }
            }
            code => code,
        };
        char::from_u32(code).ok_or("lone surrogate in hex escape")
    }

    fn hex(&mut self) -> Result<u32, Fault> {
        let digits = self.rest().get(..4).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let number = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok()).ok_or("invalid escape")?;
        self.at = self.at.saturating_add(4);
        Ok(number)
    }
}

// === impl Reader: numbers ===

impl Reader<'_, '_> {
    fn number(&mut self) -> Result<Value, Fault> {
        let negative = self.take(b'-');
        let mut decimal = Decimal::default();
        let zero = self.take(b'0');
        if zero && self.here().is_some_and(|byte| byte.is_ascii_digit()) || !zero && !self.digits(&mut decimal, 0) {
            return Err("invalid number");
        }
        let point = self.take(b'.');
        if point && !self.digits(&mut decimal, -1) {
            return Err("invalid number");
        }
        let power = self.take(b'e') || self.take(b'E');
        if power {
            let down = !self.take(b'+') && self.take(b'-');
            let mut exponent = Decimal::default();
            if !self.digits(&mut exponent, 0) {
                return Err("invalid number");
            }
            let places = i32::try_from(exponent.significand).ok().filter(|_| !exponent.long).unwrap_or(i32::MAX);
            decimal.exponent = decimal.exponent.saturating_add(if down { places.saturating_neg() } else { places });
        }
        let whole = !point && !power && !decimal.long;
        match (whole, i64::try_from(decimal.significand)) {
            (true, Ok(number)) => Ok(Value::from(if negative { number.wrapping_neg() } else { number })),
            (true, Err(_)) if !negative => Ok(Value::from(decimal.significand)),
            _ => decimal.double(negative),
        }
    }

    /// Appends digits to a number; `place` is what each of them moves the point by. Whether there are any.
    fn digits(&mut self, decimal: &mut Decimal, place: i32) -> bool {
        let start = self.at;
        while let Some(byte @ b'0'..=b'9') = self.here() {
            let digit = u64::from(byte.wrapping_sub(b'0'));
            match decimal.significand.checked_mul(10).and_then(|number| number.checked_add(digit)) {
                Some(number) if !decimal.long => {
                    decimal.significand = number;
                    decimal.exponent = decimal.exponent.saturating_add(place);
                }
                _ => {
                    decimal.long = true;
                    decimal.exponent = decimal.exponent.saturating_add(place).saturating_add(1);
                }
            }
            self.step();
        }
        self.at > start
    }
}

impl Decimal {
    /// Exact for up to 15 digits and 22 places, as every sensible number has; else within a few units of the last place.
    fn double(&self, negative: bool) -> Result<Value, Fault> {
        const POWERS: [f64; 9] = [1e1, 1e2, 1e4, 1e8, 1e16, 1e32, 1e64, 1e128, 1e256];
        let places = self.exponent.unsigned_abs().min(511);
        let powers = || POWERS.iter().enumerate().filter(|(bit, _)| (places >> bit) & 1 == 1).map(|(_, power)| power);
        let mut number = self.significand as f64;
        match (places <= 22, self.exponent < 0) {
            (true, false) => number *= powers().product::<f64>(),
            (true, true) => number /= powers().product::<f64>(),
            (false, false) => powers().for_each(|power| number *= power),
            (false, true) => powers().for_each(|power| number /= power),
        }
        if !number.is_finite() {
            return Err("number out of range");
        }
        let number = if negative { -number } else { number };
        let whole = number.fract() == 0.0 && number.abs() < MAX_EXACT;
        Ok(if whole { Value::from(number as i64) } else { Value::from(number) })
    }
}

// === impl Reader: bytes ===

impl Reader<'_, '_> {
    fn rest(&self) -> &str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn here(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn step(&mut self) {
        self.at = self.at.saturating_add(1);
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.here()?;
        self.step();
        Some(byte)
    }

    /// The next byte that is not white space, which is skipped.
    fn peek(&mut self) -> Option<u8> {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.here() {
            self.step();
        }
        self.here()
    }

    fn take(&mut self, byte: u8) -> bool {
        let found = self.here() == Some(byte);
        if found {
            self.step();
        }
        found
    }

    fn eat(&mut self, byte: u8) -> bool {
        self.peek();
        self.take(byte)
    }

    fn expect(&mut self, byte: u8, problem: Fault, end: Fault) -> Result<(), Fault> {
        match (self.eat(byte), self.here()) {
            (true, _) => Ok(()),
            (false, Some(_)) => Err(problem),
            (false, None) => Err(end),
        }
    }

    /// Lines count from 1, bytes in them too; the end is where the last byte is.
    fn misread(&self, problem: Fault) -> Misread {
        let end = self.at.saturating_add(1).min(self.text.len());
        let read = self.text.as_bytes().get(..end).unwrap_or_default();
        let line = read.iter().filter(|byte| **byte == b'\n').count().saturating_add(1);
        let column = read.rsplit(|byte| *byte == b'\n').next().map_or(0, <[u8]>::len);
        Misread { problem, line, column }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> Result<Value, String> {
        parse(text, &mut |_| {}).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        let deep = "[".repeat(128);
        let table: &[(&str, &str)] = &[
            ("", "EOF while parsing a value at line 1 column 0"),
            ("{", "EOF while parsing an object at line 1 column 1"),
            ("{\n \"a\": 1\n \"b\"", "expected `,` or `}` at line 3 column 2"),
            ("{\"a\" 1}", "expected `:` at line 1 column 6"),
            ("{\"a\": 1,}", "trailing comma at line 1 column 9"),
            ("{a: 1}", "key must be a string at line 1 column 2"),
            ("[1,]", "trailing comma at line 1 column 4"),
            ("[1 2]", "expected `,` or `]` at line 1 column 4"),
            ("[1", "EOF while parsing a list at line 1 column 2"),
            ("{} {}", "trailing characters at line 1 column 4"),
            ("nul", "expected value at line 1 column 1"),
            ("\"a", "EOF while parsing a string at line 1 column 2"),
            (&deep, "recursion limit exceeded at line 1 column 128"),
            ("1e999", "number out of range at line 1 column 5"),
        ];
        for (text, expected) in table {
            assert_eq!(read(text).unwrap_err(), *expected, "{text}");
        }
    }

    #[test]
    fn numbers_and_texts_mean_what_serde_json_says() {
        let texts = [
            "0",
            "-0",
            "7",
            "-7",
            "18446744073709551615",
            "-9223372036854775808",
            "0.1",
            "0.5",
            "12.75",
            "1e-7",
            "33.333",
            "0.30000000000000004",
            "99.999999",
            "123456.789e-3",
            "5e-1",
            "2.5E+1",
            "1e22",
            "1e-400",
            r#""a\u00e9\ud83d\ude00\n\/\"\\""#,
            r#""ä""#,
            r#"[true, false, null, {"a": {}, "b": []}]"#,
        ];
        for text in texts {
            let (ours, theirs) = (read(text).expect(text), serde_json::from_str::<Value>(text).expect(text));
            match theirs.as_f64() {
                Some(number) => assert_eq!(ours.as_f64(), Some(number), "{text}"),
                None => assert_eq!(ours, theirs, "{text}"),
            }
        }
        for text in
            ["01", "1.", ".5", "-", "+1", "1e", "0x1", r#""\x""#, r#""\ud800""#, r#""\ud800\u0041""#, "\"\n\"", "'a'"]
        {
            assert!(read(text).is_err() && serde_json::from_str::<Value>(text).is_err(), "{text}");
        }
        assert_eq!(read("4317.0"), Ok(Value::from(4317)));
        assert_eq!(read("1e2"), Ok(Value::from(100)));
    }

    #[test]
    fn a_key_given_twice_is_told_with_its_path() {
        let mut told = Vec::new();
        let text = r#"{"a": [{"b": 1, "b": 2}], "a": 3, "c": {"b": 1}}"#;
        let tree = parse(text, &mut |path| told.push(path.to_owned()));
        assert_eq!(told, ["a[0].b", "a"]);
        assert_eq!(tree, Ok(serde_json::json!({"a": 3, "c": {"b": 1}})), "the last one counts");
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            ".*".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 24, 5, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                proptest::collection::btree_map(".*", inner, 0..5).prop_map(|map| map.into_iter().collect::<Value>()),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_serde_json_writes_is_read(tree in any_json(), pretty: bool) {
            let text = if pretty { serde_json::to_string_pretty(&tree) } else { serde_json::to_string(&tree) };
            prop_assert_eq!(read(&text.expect("JSON")), Ok(tree));
        }

        #[test]
        fn doubles_are_read_to_the_last_places(number in -1e15..1e15_f64) {
            let text = serde_json::to_string(&number).expect("JSON");
            let read = read(&text).expect("a number").as_f64().expect("a number");
            prop_assert!((read - number).abs() <= number.abs() * 1e-15, "{text} is read as {read}");
        }

        #[test]
        fn nothing_else_is_json(text in r#"[\[\]{}:, \n"a\\ue0-9.+tf-]{0,12}"#) {
            prop_assert_eq!(read(&text).is_ok(), serde_json::from_str::<Value>(&text).is_ok(), "{}", text);
        }
    }
}
