//! The thresholds that the caps of a path apply, and the member of `tracestate` that tells them to callees.
//!
//! ```text
//! tracestate: sidespan=e:<T>;s:<T>;c:<T>       e errors, s slow, c cancelled; T as in `ot=th`: 1 to 14 lower-case hex digits
//! ```
//! Only thresholds above zero are written, so an ordinary request carries no member. It is a key of our own, because the
//! sub-keys of `ot` are OpenTelemetry's, and W3C Trace Context ("Mutating the tracestate Field") lets a vendor change only
//! its own key. Each hop applies the largest threshold of its path: that of its callers, and its own.

use crate::propagation::TraceState;
use crate::sampling::threshold::Threshold;

/// The key in `tracestate`.
pub const KEY: &str = "sidespan";

/// The largest threshold that is believed: a probability of 2^-24, which is also the smallest that a cap comes to.
const MOST: u64 = (1 << 56) - (1 << 32);

/// What a cap counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Errors, and what is marked for them.
    Errors,
    /// Slow requests.
    Slow,
    /// Requests whose caller left before an answer.
    Cancelled,
}

/// A threshold for each class; zero where no cap binds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathCap {
    errors: Threshold,
    slow: Threshold,
    cancelled: Threshold,
}

// === impl Class ===

impl Class {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Errors, Self::Slow, Self::Cancelled];

    fn sub_key(self) -> u8 {
        match self {
            Self::Errors => b'e',
            Self::Slow => b's',
            Self::Cancelled => b'c',
        }
    }
}

// === impl PathCap ===

impl PathCap {
    /// No cap binds.
    pub const NONE: Self = Self { errors: Threshold::ALWAYS, slow: Threshold::ALWAYS, cancelled: Threshold::ALWAYS };

    /// The threshold of a class.
    pub fn get(&self, class: Class) -> Threshold {
        match class {
            Class::Errors => self.errors,
            Class::Slow => self.slow,
            Class::Cancelled => self.cancelled,
        }
    }

    /// What applies to a stratum of a class. A cancelled request is an error of the caller that gave up, so the cap of errors
    /// applies to it too, at every hop.
    pub fn of(&self, class: Class) -> Threshold {
        match class {
            Class::Cancelled => self.cancelled.max(self.errors),
            Class::Errors | Class::Slow => self.get(class),
        }
    }

    /// The same with no cap on this class.
    pub fn without(mut self, class: Class) -> Self {
        *self.place(class) = Threshold::ALWAYS;
        self
    }

    /// Raises the threshold of a class to `threshold`, if that is larger. Thresholds above 1 − 2^-24 count as that.
    pub fn raise(&mut self, class: Class, threshold: Threshold) {
        let place = self.place(class);
        *place = (*place).max(threshold.min(Threshold::new(MOST).unwrap_or(threshold)));
    }

    fn place(&mut self, class: Class) -> &mut Threshold {
        match class {
            Class::Errors => &mut self.errors,
            Class::Slow => &mut self.slow,
            Class::Cancelled => &mut self.cancelled,
        }
    }

    /// What the callers told; [`PathCap::NONE`] if there is no member. `None` if it is malformed, which counts as absent.
    /// Sub-keys that are not known are ignored.
    pub fn read(trace_state: &TraceState) -> Option<Self> {
        let Some(value) = trace_state.get(KEY) else { return Some(Self::NONE) };
        let mut cap = Self::NONE;
        for member in value.split(|byte| *byte == b';') {
            let (name, text) = member.split_first()?;
            let text = text.strip_prefix(b":")?;
            if let Some(class) = Class::ALL.into_iter().find(|class| class.sub_key() == *name) {
                cap.raise(class, Threshold::parse(text)?);
            }
        }
        Some(cap)
    }

    /// Makes the member say this, if it does not say it already. Without a binding cap there is no member.
    pub fn write(&self, trace_state: &mut TraceState) {
        if Self::read(trace_state) == Some(*self) {
            return;
        }
        let mut value = Vec::new();
        for class in Class::ALL.into_iter().filter(|class| self.get(*class) > Threshold::ALWAYS) {
            if !value.is_empty() {
                value.push(b';');
            }
            value.extend([class.sub_key(), b':']);
            value.extend(self.get(class).text().as_bytes());
        }
        match value.is_empty() {
            true => trace_state.remove(KEY),
            false => trace_state.set(KEY, &value),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn th(text: &str) -> Threshold {
        Threshold::parse(text.as_bytes()).expect("valid")
    }

    fn state(text: &str) -> TraceState {
        TraceState::parse([text.as_bytes()])
    }

    #[test]
    fn the_member_of_callers_is_read_or_counts_as_absent() {
        let table = [
            ("", Some(("0", "0", "0")), "no member"),
            ("a=1", Some(("0", "0", "0")), "members of others"),
            ("sidespan=e:8", Some(("8", "0", "0")), "one class"),
            ("a=1,sidespan=c:f;e:8;s:01", Some(("8", "01", "f")), "all classes, in any order"),
            ("sidespan=e:8;e:4", Some(("8", "0", "0")), "the largest counts"),
            ("sidespan=e:ffffffffffffff", Some(("ffffff", "0", "0")), "at most 1 − 2^-24"),
            ("sidespan=e:8;x:zz", Some(("8", "0", "0")), "a sub-key of a later version, with any value"),
            ("sidespan=e:", None, "no digits"),
            ("sidespan=e:G", None, "not hexadecimal"),
            ("sidespan=e:123456789abcdef", None, "15 digits"),
            ("sidespan=e8", None, "no colon"),
            ("sidespan=;", None, "an empty sub-key"),
        ];
        for (text, expected, why) in table {
            let found = PathCap::read(&state(text)).map(|cap| Class::ALL.map(|class| cap.get(class)));
            assert_eq!(found, expected.map(|(e, s, c)| [th(e), th(s), th(c)]), "{text}: {why}");
        }
    }

    #[test]
    fn the_member_is_written_only_if_it_says_something_else() {
        let table = [
            ("a=1", ["0", "0", "0"], "a=1", "nothing binds"),
            ("a=1", ["8", "0", "0"], "sidespan=e:8,a=1", "a new member is the first"),
            ("a=1,sidespan=e:80", ["8", "0", "0"], "a=1,sidespan=e:80", "what says the same stays byte for byte"),
            ("a=1,sidespan=e:8;x:1", ["8", "0", "f"], "sidespan=e:8;c:f,a=1", "a change moves it to the front"),
            ("a=1,sidespan=e:8", ["0", "0", "0"], "a=1", "nothing binds any more"),
            ("sidespan=broken", ["0", "0", "0"], "", "what is malformed goes"),
        ];
        for (before, thresholds, after, why) in table {
            let mut cap = PathCap::NONE;
            for (class, threshold) in Class::ALL.into_iter().zip(thresholds) {
                cap.raise(class, th(threshold));
            }
            let mut trace_state = state(before);
            cap.write(&mut trace_state);
            assert_eq!(trace_state.as_str(), after, "{why}");
        }
    }
}
