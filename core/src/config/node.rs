//! JSON into the types of the configuration: every problem is reported, in one pass.
//!
//! [`object!`](crate::object), [`choice!`](crate::choice) and [`one_of!`](crate::one_of) declare the types; the functions
//! here read any of them through tables and `dyn`. Code that serde derives for the same types adds about 70 kB to the module.
//! What does not fit is reported and keeps its default; `null` for a member means that it is absent.

use super::describe::Described;
use super::hints::{list_of, misfit, unknown};
use super::report::{Report, member};
use serde_json::Value;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;

/// A JSON value and its path in the document.
#[derive(Clone, Copy, Debug)]
pub struct At<'t> {
    /// The value.
    pub value: &'t Value,
    /// `sampling.rules[2].match`; empty for the whole.
    pub path: &'t str,
}

/// A type that can be read from JSON.
pub trait Node: Described + Sized {
    /// The value, as far as it fits. `None` if nothing of it can be used; the reason is then in `report`.
    fn read(at: At<'_>, report: &mut Report) -> Option<Self>;

    /// What a range is compared with, for types that have an order.
    fn amount(&self) -> Option<Amount> {
        None
    }
}

/// A value that has an order.
#[derive(Clone, Copy, Debug)]
pub struct Amount {
    /// In the smallest unit: 1, bytes, nanoseconds.
    pub value: u64,
    /// Prints such a value as a configuration has it.
    pub print: fn(u64) -> String,
}

/// A place that a member is read into.
pub trait Slot {
    /// Reads into this place. False, and nothing is changed, if the value cannot be used.
    fn put(&mut self, at: At<'_>, report: &mut Report) -> bool;

    /// [`Node::amount`].
    fn amount(&self) -> Option<Amount>;
}

/// What the reader knows about a member of an object.
#[derive(Debug)]
pub struct Field {
    /// The key.
    pub key: &'static str,
    /// Whether it must be there.
    pub required: bool,
    /// Smallest and largest value.
    pub range: Option<&'static RangeInclusive<u64>>,
}

/// The members of an object and their places.
#[derive(Default)]
pub struct Slots<'s>(Vec<(&'static Field, &'s mut dyn Slot)>);

/// A type with named members; [`object!`](crate::object) implements it.
pub trait Object {
    /// Adds all members.
    fn slots<'s>(&'s mut self, slots: &mut Slots<'s>);

    /// Whether members that are not known are passed over.
    fn is_open(&self) -> bool {
        false
    }
}

// === impl Slot ===

impl<T: Node> Slot for T {
    fn put(&mut self, at: At<'_>, report: &mut Report) -> bool {
        match T::read(at, report) {
            Some(value) => {
                *self = value;
                true
            }
            None => false,
        }
    }

    fn amount(&self) -> Option<Amount> {
        Node::amount(self)
    }
}

// === objects ===

impl<'s> Slots<'s> {
    /// One more member.
    #[inline(never)]
    pub fn add(&mut self, field: &'static Field, slot: &'s mut dyn Slot) {
        self.0.push((field, slot));
    }
}

/// Reads the members of an object. False if this is no object, or without a member that must be there.
pub fn read_object(object: &mut dyn Object, at: At<'_>, report: &mut Report) -> bool {
    let Value::Object(members) = at.value else {
        at.misfit::<()>("an object", report);
        return false;
    };
    let is_open = object.is_open();
    let mut slots = Slots::default();
    object.slots(&mut slots);
    let required = slots.0.iter().filter(|(field, _)| field.required);
    let mut missing: Vec<&str> = required.map(|(field, _)| field.key).collect();
    for (key, value) in members {
        let path = member(at.path, key);
        let at = At { value, path: &path };
        match slots.0.iter_mut().find(|(field, _)| field.key == key) {
            Some(_) if value.is_null() => {}
            Some((field, slot)) => {
                if at.put(field, *slot, report) {
                    missing.retain(|name| name != key);
                }
            }
            None if is_open => {}
            None => {
                let names: Vec<&str> = slots.0.iter().map(|(field, _)| field.key).collect();
                report.add_pair(at.path, unknown("field", key, &names));
            }
        }
    }
    if !missing.is_empty() {
        let names = list_of(&missing);
        let verb = if missing.len() == 1 { "is" } else { "are" };
        report.absent(at.path, &format!("{names} {verb} missing"), &format!("give {names}"));
    }
    missing.is_empty()
}

/// The index of the one of `words` that stands here.
pub fn read_word(words: &[&str], at: At<'_>, report: &mut Report) -> Option<usize> {
    let found = words.iter().position(|word| at.value.as_str() == Some(*word));
    if found.is_none() {
        let pair = match at.value {
            Value::String(text) => unknown("value", text, words),
            value => (misfit(value, "").0, format!("one of {}", list_of(words))),
        };
        report.add_pair(at.path, pair);
    }
    found
}

/// The one member of an object that has exactly one: its index in `kinds`, its value and its path.
pub fn read_kind<'t>(kinds: &[&str], at: At<'t>, report: &mut Report) -> Option<(usize, &'t Value, String)> {
    let Value::Object(members) = at.value else { return at.misfit("an object", report) };
    let mut given = members.iter().filter(|(_, value)| !value.is_null());
    let (first, second) = (given.next(), given.next());
    let (Some((key, value)), None) = (first, second) else {
        let problem = if second.is_some() { "has several members" } else { "is empty" };
        report.add(at.path, problem, &format!("give exactly one of {}", list_of(kinds)));
        return None;
    };
    let path = member(at.path, key);
    match kinds.iter().position(|kind| kind == key) {
        Some(kind) => Some((kind, value, path)),
        None => {
            report.add_pair(&path, unknown("field", key, kinds));
            None
        }
    }
}

// === impl At ===

impl At<'_> {
    /// Reports that something else is expected here.
    #[cold]
    pub fn misfit<T>(self, expected: &str, report: &mut Report) -> Option<T> {
        report.add_pair(self.path, misfit(self.value, expected));
        None
    }

    /// The text, if `fault` finds none in it; it says what is expected instead.
    pub fn text(self, fault: fn(&str) -> Option<&'static str>, report: &mut Report) -> Option<String> {
        let Value::String(text) = self.value else { return self.misfit("text", report) };
        match fault(text) {
            Some(expected) => self.misfit(expected, report),
            None => Some(text.clone()),
        }
    }

    /// A whole number from 0 to `most`.
    fn whole(self, most: u64, report: &mut Report) -> Option<u64> {
        let number = self.value.as_u64().filter(|number| *number <= most);
        number.or_else(|| {
            let (from, to) = report.range.map_or((0, most), |range| (*range.start(), *range.end()));
            self.misfit(&format!("a whole number from {from} to {to}"), report)
        })
    }

    fn elements(self, report: &mut Report, push: &mut dyn FnMut(At<'_>, &mut Report) -> bool) -> Option<()> {
        let Value::Array(list) = self.value else { return self.misfit("a list", report) };
        for (index, value) in list.iter().enumerate() {
            let path = format!("{}[{index}]", self.path);
            if !push(At { value, path: &path }, report) {
                report.left_out(self.path, index);
            }
        }
        Some(())
    }

    /// Calls `insert` with each member that is not null.
    pub(super) fn members(self, report: &mut Report, insert: &mut dyn FnMut(&str, At<'_>, &mut Report)) -> Option<()> {
        let Value::Object(members) = self.value else { return self.misfit("an object", report) };
        for (key, value) in members.iter().filter(|(_, value)| !value.is_null()) {
            let path = member(self.path, key);
            insert(key, At { value, path: &path }, report);
        }
        Some(())
    }

    /// Reads a member and compares it with its range, which it may leave: then it stays, so that it is not also missing.
    fn put(self, field: &Field, slot: &mut dyn Slot, report: &mut Report) -> bool {
        report.range = field.range;
        let fits = slot.put(self, report);
        report.range = None;
        if let (true, Some(range), Some(amount)) = (fits, field.range, slot.amount())
            && !range.contains(&amount.value)
        {
            report.add_range(self.path, [amount.value, *range.start(), *range.end()].map(amount.print));
        }
        fits
    }
}

// === impl Node: types of Rust ===

impl<T: Node> Node for Option<T> {
    fn read(at: At<'_>, report: &mut Report) -> Option<Self> {
        T::read(at, report).map(Some)
    }

    fn amount(&self) -> Option<Amount> {
        Node::amount(self.as_ref()?)
    }
}

impl<T: Node> Node for Vec<T> {
    fn read(at: At<'_>, report: &mut Report) -> Option<Self> {
        let mut out = Self::new();
        at.elements(report, &mut |at, report| {
            let element = T::read(at, report);
            let fits = element.is_some();
            out.extend(element);
            fits
        })?;
        Some(out)
    }
}

impl<T: Node> Node for BTreeMap<String, T> {
    fn read(at: At<'_>, report: &mut Report) -> Option<Self> {
        let mut out = Self::new();
        at.members(report, &mut |key, at, report| {
            if let Some(value) = T::read(at, report) {
                out.insert(key.to_owned(), value);
            }
        })?;
        Some(out)
    }
}

impl Node for String {
    fn read(at: At<'_>, report: &mut Report) -> Option<Self> {
        at.text(|_| None, report)
    }
}

impl Node for bool {
    fn read(at: At<'_>, report: &mut Report) -> Option<Self> {
        at.value.as_bool().or_else(|| at.misfit("true or false", report))
    }
}

macro_rules! whole_number {
    ($($type:ty)*) => {$(
        impl Node for $type {
            fn read(at: At<'_>, report: &mut Report) -> Option<Self> {
                at.whole(Self::MAX.into(), report).and_then(|number| Self::try_from(number).ok())
            }

            fn amount(&self) -> Option<Amount> {
                Some(Amount { value: (*self).into(), print: |value| value.to_string() })
            }
        }
    )*};
}

whole_number!(u8 u16 u32);
