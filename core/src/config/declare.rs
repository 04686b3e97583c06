//! The declarations that give everything about a type of the configuration: fields, defaults, words, documentation,
//! reader and JSON Schema.

/// Declares a struct that is read from a JSON object.
///
/// ```
/// sidespan_core::object! {
///     /// When a batch leaves.
///     pub struct Batch {
///         /// Spans of one call.
///         "maxSpans" => max_spans: u32 = 512, in 1..=8192;
///     }
/// }
/// assert_eq!(Batch::default().max_spans, 512);
/// ```
/// A field without `= default` must be given. `in` is the range of its values, in the smallest unit of the type. `schema` is
/// what the JSON Schema says beyond the type. A first field `flat` is an object whose members stand in the same place.
/// `struct Name (open)` passes over members that it does not know.
#[macro_export]
macro_rules! object {
    ($(#[doc = $doc:literal])*
     $vis:vis struct $name:ident $(($open:ident))?
     $(flat $flat:ident: $flat_type:ty = $flat_default:expr,)? $(schema $schema:tt)? {
        $($(#[doc = $field_doc:literal])*
          $key:literal => $field:ident: $type:ty $(= $default:expr)? $(, in $range:expr)? $(, schema $more:tt)?;)*
    }) => {
        $(#[doc = $doc])*
        #[derive(Clone, Debug, PartialEq)]
        $vis struct $name {
            $(
                /// Its members stand among those of this object.
                pub $flat: $flat_type,
            )?
            $($(#[doc = $field_doc])* pub $field: $type,)*
        }

        /// The fields that are not given. One that must be given has the default of its type here.
        impl Default for $name {
            fn default() -> Self {
                Self {
                    $($flat: $flat_default,)?
                    $($field: $crate::object!(@default $($default)?),)*
                }
            }
        }

        impl $crate::config::node::Object for $name {
            fn slots<'s>(&'s mut self, slots: &mut $crate::config::node::Slots<'s>) {
                $(self.$flat.slots(slots);)?
                $({
                    const FIELD: &$crate::config::node::Field = &$crate::config::node::Field {
                        key: $key,
                        required: $crate::object!(@required $($default)?),
                        range: $crate::object!(@range $($range)?),
                    };
                    slots.add(FIELD, &mut self.$field);
                })*
            }

            $($crate::object!(@open $open);)?
        }

        impl $crate::config::node::Node for $name {
            fn read(at: $crate::config::node::At<'_>, report: &mut $crate::config::Report) -> Option<Self> {
                let mut out = Self::default();
                $crate::config::node::read_object(&mut out, at, report).then_some(out)
            }
        }

        $crate::described! {
            impl $name {
                fn described_members(
                    &self,
                    definitions: &mut $crate::config::describe::Definitions,
                ) -> Vec<$crate::config::describe::Member> {
                    let own = vec![$($crate::config::describe::Member {
                        key: $key,
                        doc: concat!($($field_doc, "\n"),*),
                        required: $crate::object!(@required $($default)?),
                        range: $crate::object!(@range $($range)?),
                        schema: <$type as $crate::config::describe::Described>::schema(definitions),
                        more: $crate::object!(@json $($more)?),
                        default: if $crate::object!(@required $($default)?) {
                            $crate::config::describe::Value::Null
                        } else {
                            $crate::config::describe::Described::shown(&self.$field)
                        },
                    }),*];
                    let mut members = Vec::new();
                    $(members.extend(self.$flat.described_members(definitions));)?
                    members.extend(own);
                    members
                }
            }

            impl $crate::config::describe::Described for $name {
                fn schema(
                    definitions: &mut $crate::config::describe::Definitions,
                ) -> $crate::config::describe::Value {
                    let (is_open, more) = ($crate::object!(@is_open $($open)?), $crate::object!(@json $($schema)?));
                    definitions.refer(stringify!($name), |definitions| {
                        let members = Self::default().described_members(definitions);
                        $crate::config::describe::object(concat!($($doc, "\n"),*), members, is_open, more)
                    })
                }
            }
        }
    };

    (@default) => { Default::default() };
    (@default $default:expr) => { $default };
    (@required) => { true };
    (@required $default:expr) => { false };
    (@range) => { None };
    (@range $range:expr) => {{
        const RANGE: &std::ops::RangeInclusive<u64> = &($range);
        Some(RANGE)
    }};
    (@json) => { $crate::config::describe::Value::Null };
    (@json $more:tt) => { $crate::config::describe::json!($more) };
    (@is_open) => { false };
    (@is_open open) => { true };
    (@open open) => {
        fn is_open(&self) -> bool {
            true
        }
    };
}

/// Declares an enum that is read from a word. The first word is the default.
#[macro_export]
macro_rules! choice {
    ($(#[doc = $doc:literal])*
     $vis:vis enum $name:ident { $($(#[doc = $word_doc:literal])* $word:literal => $variant:ident,)* }) => {
        $(#[doc = $doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        $vis enum $name {
            $($(#[doc = $word_doc])* $variant,)*
        }

        impl $name {
            const ALL: &[Self] = &[$(Self::$variant),*];
            const WORDS: &[&str] = &[$($word),*];
        }

        impl Default for $name {
            fn default() -> Self {
                $crate::choice!(@first $name $($variant)*)
            }
        }

        impl $crate::config::node::Node for $name {
            fn read(at: $crate::config::node::At<'_>, report: &mut $crate::config::Report) -> Option<Self> {
                let word = $crate::config::node::read_word(Self::WORDS, at, report)?;
                Self::ALL.get(word).copied()
            }
        }

        $crate::described! {
            impl $crate::config::describe::Described for $name {
                fn schema(
                    definitions: &mut $crate::config::describe::Definitions,
                ) -> $crate::config::describe::Value {
                    let words = &[$(($word, concat!($($word_doc, "\n"),*))),*];
                    definitions.refer(stringify!($name), |_| {
                        $crate::config::describe::choice(concat!($($doc, "\n"),*), words)
                    })
                }

                fn shown(&self) -> $crate::config::describe::Value {
                    let word = Self::ALL.iter().zip(Self::WORDS).find(|(value, _)| *value == self);
                    word.map_or($crate::config::describe::Value::Null, |(_, word)| (*word).into())
                }
            }
        }
    };
    (@first $name:ident $first:ident $($other:ident)*) => { $name::$first };
}

/// Declares an enum that is read from an object with exactly one member, whose key says which variant it is.
#[macro_export]
macro_rules! one_of {
    ($(#[doc = $doc:literal])*
     $vis:vis enum $name:ident {
        $($(#[doc = $kind_doc:literal])* $key:literal => $variant:ident($type:ty),)*
    }) => {
        $(#[doc = $doc])*
        #[derive(Clone, Debug, PartialEq)]
        $vis enum $name {
            $($(#[doc = $kind_doc])* $variant($type),)*
        }

        impl $crate::config::node::Node for $name {
            fn read(at: $crate::config::node::At<'_>, report: &mut $crate::config::Report) -> Option<Self> {
                let (kind, value, path) = $crate::config::node::read_kind(&[$($key),*], at, report)?;
                let at = $crate::config::node::At { value, path: &path };
                let mut kinds = 0..;
                $(if kinds.next() == Some(kind) {
                    return <$type as $crate::config::node::Node>::read(at, report).map(Self::$variant);
                })*
                None
            }
        }

        $crate::described! {
            impl $crate::config::describe::Described for $name {
                fn schema(
                    definitions: &mut $crate::config::describe::Definitions,
                ) -> $crate::config::describe::Value {
                    definitions.refer(stringify!($name), |definitions| {
                        let kinds = vec![$(
                            ($key, concat!($($kind_doc, "\n"),*), <$type as $crate::config::describe::Described>::schema(definitions)),
                        )*];
                        $crate::config::describe::one_of(concat!($($doc, "\n"),*), kinds)
                    })
                }
            }
        }
    };
}
