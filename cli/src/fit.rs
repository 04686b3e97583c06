//! A tree into any type that serde knows, with every misfit named.
//!
//! serde stops at the first error. So the offending node is taken out and the rest is tried again, until the rest fits.

use serde::de::value::{MapAccessDeserializer, MapDeserializer, SeqDeserializer};
use serde::de::{self, DeserializeOwned, Deserializer, Expected, IntoDeserializer, Unexpected, Visitor};
use serde::forward_to_deserialize_any;
use serde_json::Value;
use serde_path_to_error::{Path, Segment};
use sidespan_core::config::words::{list_of, unknown};
use sidespan_core::config::{Report, member};
use std::fmt;

/// Rounds at most; some problems take several (an entry that loses its only member goes too).
const MAX_ROUNDS: usize = 256;

/// One step into a tree.
#[derive(Debug)]
enum Step {
    Key(String),
    Index(usize),
}

/// The value of type `T` in `tree`, as far as it fits; what does not fit is left out and stands in `report`. `null` for
/// a member means that it is absent. `None` if nothing is left.
pub fn fit<T: DeserializeOwned>(mut tree: Value, report: &mut Report) -> Option<T> {
    for _ in 0..MAX_ROUNDS {
        let error = match serde_path_to_error::deserialize(Reader(&tree)) {
            Ok(fitting) => return Some(fitting),
            Err(error) => error,
        };
        let mut steps = steps(error.path());
        let fault = error.into_inner();
        let silent = !fault.is_unknown() && is_null_member(&tree, &steps);
        let path = original_path(&steps, report);
        if !silent {
            fault.report(&path, report);
        }
        remove(&mut tree, &mut steps)?;
        if let Some((Step::Index(index), parents)) = steps.split_last() {
            let list = original_path(parents, report);
            let original = report.original_index(&list, *index);
            report.lose(&list, original);
        }
    }
    report.add("", "too many problems to name them all", "repair these, then check again");
    None
}

fn steps(path: &Path) -> Vec<Step> {
    path.iter()
        .filter_map(|segment| match segment {
            Segment::Seq { index } => Some(Step::Index(*index)),
            Segment::Map { key } => Some(Step::Key(key.clone())),
            Segment::Enum { variant } => Some(Step::Key(variant.clone())),
            Segment::Unknown => None,
        })
        .collect()
}

/// The path in the document: elements that were left out before are counted again.
fn original_path(steps: &[Step], report: &Report) -> String {
    steps.iter().fold(String::new(), |path, step| match step {
        Step::Key(key) => member(&path, key),
        Step::Index(index) => report.element(&path, *index),
    })
}

fn is_null_member(tree: &Value, steps: &[Step]) -> bool {
    let node = steps.iter().try_fold(tree, |node, step| match step {
        Step::Key(key) => node.get(key),
        Step::Index(index) => node.get(index),
    });
    matches!((steps.last(), node), (Some(Step::Key(_)), Some(Value::Null)))
}

/// Takes out the node at `steps`, or the nearest one above it that exists; `steps` then leads to what was taken.
/// `None` if that would be the whole tree.
fn remove(tree: &mut Value, steps: &mut Vec<Step>) -> Option<()> {
    loop {
        let (last, parents) = steps.split_last()?;
        let parent = parents.iter().try_fold(&mut *tree, |node, step| match step {
            Step::Key(key) => node.get_mut(key),
            Step::Index(index) => node.get_mut(index),
        });
        let removed = match (parent, last) {
            (Some(Value::Object(object)), Step::Key(key)) => object.remove(key).is_some(),
            (Some(Value::Array(list)), Step::Index(index)) if *index < list.len() => {
                list.remove(*index);
                true
            }
            _ => false,
        };
        if removed {
            return Some(());
        }
        steps.pop();
    }
}

/// A misfit of one node.
#[derive(Debug)]
struct Fault {
    kind: Kind,
    problem: String,
    hint: String,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    /// A member that no one knows.
    Unknown,
    /// Something must be here and is not.
    Absent,
    /// A wrong type or value.
    Wrong,
}

// === impl Fault ===

impl Fault {
    fn new(kind: Kind, problem: String, hint: String) -> Self {
        Self { kind, problem, hint }
    }

    /// The same fault where one of `names` is expected.
    fn or_names(self, names: &[&str]) -> Self {
        Self { hint: format!("one of {}", list_of(names)), ..self }
    }

    fn is_unknown(&self) -> bool {
        self.kind == Kind::Unknown
    }

    fn report(self, path: &str, report: &mut Report) {
        match self.kind {
            Kind::Absent => report.absent(path, &self.problem, &self.hint),
            Kind::Unknown | Kind::Wrong => report.add_pair(path, (self.problem, self.hint)),
        }
    }
}

impl de::Error for Fault {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(Kind::Wrong, message.to_string(), String::new())
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let is_scalar = matches!(
            found,
            Unexpected::Bool(_) | Unexpected::Unsigned(_) | Unexpected::Signed(_) | Unexpected::Float(_)
        );
        let hint = match expected.to_string().as_str() {
            "a string" if is_scalar => "give text: put it in quotes".to_owned(),
            expected => format!("give {}", plain(expected)),
        };
        Self::new(Kind::Wrong, format!("wrong value: {}", name(found)), hint)
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_type(found, expected)
    }

    fn unknown_variant(variant: &str, names: &'static [&'static str]) -> Self {
        let (problem, hint) = unknown("value", variant, names);
        Self::new(Kind::Wrong, problem, hint)
    }

    fn unknown_field(field: &str, names: &'static [&'static str]) -> Self {
        let (problem, hint) = unknown("field", field, names);
        Self::new(Kind::Unknown, problem, hint)
    }

    fn missing_field(field: &'static str) -> Self {
        Self::new(Kind::Absent, format!("`{field}` is missing"), format!("give `{field}`"))
    }
}

impl std::error::Error for Fault {}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problem)
    }
}

/// What was found, without the words of Rust.
fn name(found: Unexpected<'_>) -> String {
    match found {
        Unexpected::Unit => "null".to_owned(),
        Unexpected::Seq => "a list".to_owned(),
        Unexpected::Map => "an object".to_owned(),
        Unexpected::Str(text) => format!("{text:?}"),
        Unexpected::Bool(truth) => truth.to_string(),
        Unexpected::Unsigned(number) => number.to_string(),
        Unexpected::Signed(number) => number.to_string(),
        Unexpected::Float(number) => number.to_string(),
        other => other.to_string(),
    }
}

/// What was expected, without the words of Rust.
fn plain(expected: &str) -> &str {
    match expected {
        "u16" => "a whole number from 0 to 65535",
        "i32" => "a whole number",
        "a boolean" => "true or false",
        "a string" => "text",
        "a sequence" => "a list",
        "a map" => "an object",
        struct_name if struct_name.starts_with("struct ") => "an object",
        other => other,
    }
}

/// A tree as serde reads it. Unlike serde_json's own, it never takes a list for an object, and its errors are [`Fault`]s.
struct Reader<'de>(&'de Value);

impl<'de> IntoDeserializer<'de, Fault> for Reader<'de> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> Deserializer<'de> for Reader<'de> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.0 {
            Value::Null => visitor.visit_unit(),
            Value::Bool(truth) => visitor.visit_bool(*truth),
            Value::String(text) => visitor.visit_borrowed_str(text),
            Value::Number(number) => match (number.as_u64(), number.as_i64(), number.as_f64()) {
                (Some(number), ..) => visitor.visit_u64(number),
                (_, Some(number), _) => visitor.visit_i64(number),
                (.., number) => visitor.visit_f64(number.unwrap_or(f64::NAN)),
            },
            Value::Array(list) => visitor.visit_seq(SeqDeserializer::new(list.iter().map(Reader))),
            Value::Object(object) => {
                visitor.visit_map(MapDeserializer::new(object.iter().map(|(key, value)| (key.as_str(), Reader(value)))))
            }
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        if self.0.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_newtype_struct(self)
    }

    // serde's derived structs would also take a list of their fields' values, which nobody means.
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        if self.0.is_array() {
            Err(de::Error::invalid_type(Unexpected::Seq, &visitor))
        } else {
            self.deserialize_any(visitor)
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        names: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        match self.0 {
            Value::String(text) => visitor.visit_enum(text.as_str().into_deserializer()),
            Value::Object(object) if object.len() == 1 => {
                let entries = object.iter().map(|(key, value)| (key.as_str(), Reader(value)));
                visitor.visit_enum(MapAccessDeserializer::new(MapDeserializer::new(entries)))
            }
            _ => self.deserialize_any(visitor).map_err(|fault| fault.or_names(names)),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map identifier ignored_any
    }
}
