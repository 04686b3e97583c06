//! Loops in a graph of imports.

use crate::imports::Import;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// One shortest loop for each group of files that import each other, directly or through others. Each import of a loop begins in the
/// file where the one before it ends.
pub fn find(imports: &[Import]) -> Vec<Vec<Import>> {
    let mut by_file: BTreeMap<&str, Vec<&Import>> = BTreeMap::new();
    for import in imports {
        by_file.entry(&import.from).or_default().push(import);
    }
    let (mut loops, mut explained) = (Vec::new(), BTreeSet::new());
    for file in by_file.keys() {
        if explained.contains(*file) {
            continue;
        }
        if let Some(found) = shortest_loop(file, &by_file) {
            // All files that this one reaches and that reach it belong to the same group.
            let group = reachable(file, &by_file).into_iter().filter(|other| reachable(other, &by_file).contains(file));
            explained.extend(group);
            loops.push(found);
        }
    }
    loops
}

/// A breadth-first search from a file back to itself.
fn shortest_loop(start: &str, by_file: &BTreeMap<&str, Vec<&Import>>) -> Option<Vec<Import>> {
    let (mut queue, mut seen) = (VecDeque::from([(start, Vec::new())]), BTreeSet::new());
    while let Some((file, path)) = queue.pop_front() {
        for import in by_file.get(file).into_iter().flatten() {
            let mut path: Vec<Import> = path.clone();
            path.push(Import::clone(import));
            if import.to == start {
                return Some(path);
            }
            if seen.insert(import.to.as_str()) {
                queue.push_back((&import.to, path));
            }
        }
    }
    None
}

fn reachable<'a>(start: &str, by_file: &BTreeMap<&'a str, Vec<&'a Import>>) -> BTreeSet<&'a str> {
    let (mut open, mut seen) = (vec![start.to_owned()], BTreeSet::new());
    while let Some(file) = open.pop() {
        for import in by_file.get(file.as_str()).into_iter().flatten() {
            if seen.insert(import.to.as_str()) {
                open.push(import.to.clone());
            }
        }
    }
    seen
}

#[test]
fn one_loop_is_found_for_each_group_of_files() {
    let table: &[(&[(&str, &str)], &[&str], &str)] = &[
        (&[("a", "b"), ("b", "c"), ("a", "c")], &[], "no loop"),
        (&[("a", "b"), ("b", "a")], &["a b"], "two files"),
        (&[("a", "b"), ("b", "c"), ("c", "d"), ("d", "a")], &["a b c d"], "four files"),
        (&[("a", "b"), ("b", "c"), ("c", "b")], &["b c"], "a file that leads to a loop is not part of it"),
        (&[("a", "b"), ("b", "a"), ("b", "c"), ("c", "b")], &["a b"], "two loops in one group"),
        (&[("a", "b"), ("b", "a"), ("c", "d"), ("d", "c"), ("b", "c")], &["a b", "c d"], "two groups"),
    ];
    for (edges, expected, why) in table {
        let import = |(from, to): &(&str, &str)| Import { from: (*from).to_owned(), line: 1, to: (*to).to_owned() };
        let loops = find(&edges.iter().map(import).collect::<Vec<_>>());
        let names = |path: &Vec<Import>| path.iter().map(|import| import.from.as_str()).collect::<Vec<_>>().join(" ");
        assert_eq!(loops.iter().map(names).collect::<Vec<_>>(), *expected, "{why}");
    }
}
