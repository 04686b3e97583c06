//! What a type says about itself in the JSON Schema: with the feature `schema` only, never in the module.

#[cfg(feature = "schema")]
pub(super) use self::with_schema::merge;
#[cfg(feature = "schema")]
pub use self::with_schema::{Definitions, Described, Member, choice, object, one_of};
#[cfg(feature = "schema")]
pub use serde_json::{Value, json};

/// Nothing to say: the module carries no documentation.
#[cfg(not(feature = "schema"))]
pub trait Described {}

#[cfg(not(feature = "schema"))]
impl<T> Described for T {}

/// Keeps its items with the feature `schema` of this crate, whichever crate the macro is used in.
#[cfg(feature = "schema")]
#[doc(hidden)]
#[macro_export]
macro_rules! described {
    ($($item:tt)*) => { $($item)* };
}

#[cfg(not(feature = "schema"))]
#[doc(hidden)]
#[macro_export]
macro_rules! described {
    ($($item:tt)*) => {};
}

#[cfg(feature = "schema")]
mod with_schema {
    use serde_json::{Map, Value, json};

    /// A type with a JSON Schema (draft 2020-12).
    pub trait Described {
        /// The schema, or a reference to it once it stands in `definitions`.
        fn schema(definitions: &mut Definitions) -> Value;

        /// This value as a configuration has it; `null` if that is not worth saying.
        fn shown(&self) -> Value {
            Value::Null
        }
    }

    /// `$defs`: the named schemas.
    #[derive(Debug, Default)]
    pub struct Definitions(pub Map<String, Value>);

    /// One member of an object.
    #[derive(Debug)]
    pub struct Member {
        /// The key.
        pub key: &'static str,
        /// Text of the documentation.
        pub doc: &'static str,
        /// Whether it must be there.
        pub required: bool,
        /// Smallest and largest value.
        pub range: Option<&'static std::ops::RangeInclusive<u64>>,
        /// The schema of its type.
        pub schema: Value,
        /// What the schema says beyond that of its type.
        pub more: Value,
        /// The default; `null` for none.
        pub default: Value,
    }

    impl Definitions {
        /// A reference to the schema `name`, which `make` gives once.
        pub fn refer(&mut self, name: &str, make: impl FnOnce(&mut Self) -> Value) -> Value {
            if !self.0.contains_key(name) {
                // A place first: a type may contain itself.
                self.0.insert(name.to_owned(), Value::Null);
                let schema = make(self);
                self.0.insert(name.to_owned(), schema);
            }
            json!({"$ref": format!("#/$defs/{name}")})
        }
    }

    impl Member {
        fn property(self) -> Value {
            let Self { mut schema, doc, range, more, default, .. } = self;
            merge(&mut schema, json!({"description": text(doc)}));
            let whole = schema.get("type").is_some_and(|kind| kind.to_string().contains("integer"));
            if let Some(range) = range.filter(|_| whole) {
                merge(&mut schema, json!({"minimum": range.start(), "maximum": range.end()}));
            }
            if !default.is_null() {
                merge(&mut schema, json!({"default": default}));
            }
            merge(&mut schema, more);
            schema
        }
    }

    /// The schema of an object; an `open` one may have more members.
    pub fn object(doc: &str, members: Vec<Member>, open: bool, more: Value) -> Value {
        let mut schema = json!({"description": text(doc), "type": "object", "properties": {}});
        let required: Vec<&str> = members.iter().filter(|member| member.required).map(|member| member.key).collect();
        if !required.is_empty() {
            merge(&mut schema, json!({"required": required}));
        }
        if !open {
            merge(&mut schema, json!({"additionalProperties": false}));
        }
        for member in members {
            merge(&mut schema, json!({"properties": {member.key: member.property()}}));
        }
        merge(&mut schema, more);
        schema
    }

    /// The schema of a word; each one with its documentation.
    pub fn choice(doc: &str, words: &[(&str, &str)]) -> Value {
        let word = |(word, doc): &(&str, &str)| json!({"const": word, "description": text(doc), "type": "string"});
        json!({"description": text(doc), "oneOf": words.iter().map(word).collect::<Vec<_>>()})
    }

    /// The schema of an object with exactly one member; each kind with its documentation and schema.
    pub fn one_of(doc: &str, kinds: Vec<(&str, &str, Value)>) -> Value {
        let kind = |(key, doc, schema): (&str, &str, Value)| {
            json!({"additionalProperties": false, "description": text(doc), "properties": {key: schema},
                   "required": [key], "type": "object"})
        };
        json!({"description": text(doc), "oneOf": kinds.into_iter().map(kind).collect::<Vec<_>>()})
    }

    /// Lines of documentation as one text.
    fn text(doc: &str) -> String {
        doc.lines().map(str::trim).collect::<Vec<_>>().join(" ").trim().to_owned()
    }

    /// Adds the members of `more`, also further down.
    pub(in crate::config) fn merge(into: &mut Value, more: Value) {
        match (into, more) {
            (Value::Object(into), Value::Object(more)) => {
                for (key, value) in more {
                    merge(into.entry(key).or_insert(Value::Null), value);
                }
            }
            (_, Value::Null) => {}
            (into, more) => *into = more,
        }
    }
}
