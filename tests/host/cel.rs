//! CEL as far as the filter speaks it: a list of attributes, of attributes that may be absent, and of questions whether
//! something is there. As in Envoy, an absent attribute leaves no list at all.

/// Evaluates `[a.b, has(c.d) ? c.d : '', has(e.f), 'g' in h.i]` to the pairs serialisation, the items as names; `None` if an
/// attribute is absent. `property` answers for NUL-joined paths, `exists` also for objects on the way to one.
pub fn evaluate(
    expression: &str,
    property: impl Fn(&[u8]) -> Option<Vec<u8>>,
    exists: impl Fn(&[u8]) -> bool,
) -> Option<Vec<u8>> {
    let inner = expression.strip_prefix('[')?.strip_suffix(']')?;
    let item = |text: &str| match (has(text), text.split_once(" ? "), text.split_once(" in ")) {
        (_, Some((condition, rest)), _) => {
            let (value, otherwise) = rest.split_once(" : ")?;
            assert_eq!(otherwise, "''", "{text}");
            let there = exists(&path(has(condition)?));
            Some(if there { property(&path(value))? } else { Vec::new() })
        }
        (_, None, Some((key, map))) => {
            Some(vec![u8::from(exists(&[&*path(map), b"\0", key.trim_matches('\'').as_bytes()].concat()))])
        }
        (Some(attribute), ..) => Some(vec![u8::from(exists(&path(attribute)))]),
        (None, ..) => property(&path(text)),
    };
    let items = inner.split(", ").map(item).collect::<Option<Vec<_>>>()?;
    Some(pairs(&items))
}

/// The argument of `has(…)`.
fn has(text: &str) -> Option<&str> {
    text.strip_prefix("has(")?.strip_suffix(')')
}

fn path(dotted: &str) -> Vec<u8> {
    dotted.replace('.', "\0").into_bytes()
}

fn pairs(items: &[Vec<u8>]) -> Vec<u8> {
    let length = |bytes: usize| u32::try_from(bytes).expect("short").to_le_bytes();
    let mut out = length(items.len()).to_vec();
    items.iter().for_each(|item| out.extend([length(item.len()), length(0)].concat()));
    items.iter().for_each(|item| out.extend([&item[..], &[0, 0]].concat()));
    out
}

#[test]
fn a_list_is_there_if_all_its_attributes_are() {
    let property = |path: &[u8]| (path == b"a\0b").then(|| b"x".to_vec());
    let exists = |path: &[u8]| path == b"a\0b" || path == b"a";
    let table = [
        ("[a.b]", Some(pairs(&[b"x".to_vec()]))),
        ("[a.b, has(a.b) ? a.b : '', has(c.d) ? c.d : '']", Some(pairs(&[b"x".to_vec(), b"x".to_vec(), vec![]]))),
        ("[has(a), 'b' in a, 'c' in a]", Some(pairs(&[vec![1], vec![1], vec![0]]))),
        ("[a.b, c.d]", None),
        ("a.b", None),
    ];
    for (expression, expected) in table {
        assert_eq!(evaluate(expression, property, exists), expected, "{expression}");
    }
}
