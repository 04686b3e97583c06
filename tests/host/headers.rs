//! A header map as Envoy keeps it: names in lower case, values any bytes, order of insertion, names may repeat.

use std::fmt;

/// Name and value pairs.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct HeaderMap(Vec<(Vec<u8>, Vec<u8>)>);

// === impl HeaderMap ===

impl HeaderMap {
    /// With one more header, of any bytes.
    pub fn with(mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Self {
        self.add(name.as_ref(), value.as_ref());
        self
    }

    /// Without any header of this name.
    pub fn without(mut self, name: &str) -> Self {
        self.remove(name.as_bytes());
        self
    }

    /// `HeaderMapImpl::addCopy`.
    pub fn add(&mut self, name: &[u8], value: &[u8]) {
        self.0.push((name.to_ascii_lowercase(), value.to_vec()));
    }

    /// `HeaderMapImpl::setCopy`: removes every value, then adds one at the end.
    pub fn set(&mut self, name: &[u8], value: &[u8]) {
        self.remove(name);
        self.add(name, value);
    }

    /// Removes every value.
    pub fn remove(&mut self, name: &[u8]) {
        let name = name.to_ascii_lowercase();
        self.0.retain(|(key, _)| *key != name);
    }

    /// The first value, as `Context::getHeaderMapValue` answers.
    pub fn first(&self, name: impl AsRef<[u8]>) -> Option<&[u8]> {
        let name = name.as_ref().to_ascii_lowercase();
        self.0.iter().find(|(key, _)| *key == name).map(|(_, value)| value.as_slice())
    }

    /// The only value as text; `None` where there is none.
    ///
    /// # Panics
    /// If there are several, or it is not UTF-8.
    pub fn text(&self, name: &str) -> Option<String> {
        let all = self.all(name);
        assert!(all.len() <= 1, "{name} appears {} times in {self:?}", all.len());
        all.into_iter().next().map(|value| String::from_utf8(value).expect("UTF-8"))
    }

    /// All values of a name, in order.
    pub fn all(&self, name: &str) -> Vec<Vec<u8>> {
        self.0.iter().filter(|(key, _)| key == name.as_bytes()).map(|(_, value)| value.clone()).collect()
    }

    /// How many pairs.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Names and values in order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.0.iter().map(|(name, value)| (name.as_slice(), value.as_slice()))
    }

    /// proxy-wasm's pairs: count, then lengths, then names and values each with a NUL behind. Nothing at all when empty.
    pub fn to_pairs(&self) -> Vec<u8> {
        if self.0.is_empty() {
            return Vec::new();
        }
        let number = |length: usize| u32::try_from(length).expect("short").to_le_bytes();
        let mut out = number(self.0.len()).to_vec();
        for (name, value) in &self.0 {
            out.extend(number(name.len()));
            out.extend(number(value.len()));
        }
        for part in self.0.iter().flat_map(|(name, value)| [name, value]) {
            out.extend(part);
            out.push(0);
        }
        out
    }

    /// The inverse; `None` for what is not a serialised map.
    pub fn from_pairs(bytes: &[u8]) -> Option<Self> {
        if bytes.is_empty() {
            return Some(Self::default());
        }
        let number = |at: usize| {
            let four = bytes.get(at..at + 4)?.try_into().ok()?;
            usize::try_from(u32::from_le_bytes(four)).ok()
        };
        let count = number(0)?;
        let mut at = 4 + count * 8;
        let mut part = |length: usize| {
            let found = bytes.get(at..at + length)?.to_vec();
            at += length + 1;
            Some(found)
        };
        let mut map = Self::default();
        for index in 0..count {
            let name = part(number(4 + index * 8)?)?;
            let value = part(number(8 + index * 8)?)?;
            map.0.push((name, value));
        }
        Some(map)
    }
}

impl<const N: usize> From<&[(&str, &str); N]> for HeaderMap {
    fn from(pairs: &[(&str, &str); N]) -> Self {
        Self::from(pairs.as_slice())
    }
}

impl From<&[(&str, &str)]> for HeaderMap {
    fn from(pairs: &[(&str, &str)]) -> Self {
        pairs.iter().fold(Self::default(), |map, (name, value)| map.with(name, value))
    }
}

impl From<&HeaderMap> for HeaderMap {
    fn from(map: &HeaderMap) -> Self {
        map.clone()
    }
}

impl fmt::Debug for HeaderMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pairs =
            self.0.iter().map(|(name, value)| (String::from_utf8_lossy(name), value.escape_ascii().to_string()));
        f.debug_map().entries(pairs).finish()
    }
}

#[test]
fn pairs_round_trip_with_any_bytes_and_repeated_names() {
    let map = HeaderMap::from(&[(":method", "GET"), ("Empty", ""), ("a", "1"), ("a", "2")]).with("x", b"\xff\0");
    assert_eq!(HeaderMap::from_pairs(&map.to_pairs()), Some(map.clone()));
    assert_eq!(HeaderMap::from_pairs(b"\x01\0\0\0\xff"), None);
    assert_eq!((map.first("empty"), map.all("a")), (Some(&b""[..]), vec![b"1".to_vec(), b"2".to_vec()]));
}

#[test]
fn set_leaves_one_value_at_the_end() {
    let mut map = HeaderMap::from(&[("a", "1"), ("b", "2"), ("a", "3")]);
    map.set(b"A", b"4");
    assert_eq!(map, HeaderMap::from(&[("b", "2"), ("a", "4")]));
}
