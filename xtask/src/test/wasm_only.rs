//! The tests that only the wasm filter can pass, each with the reason: what a virtual machine has and a dynamic module has not.

const LIST: &str = include_str!("../../../tests/envoy/wasm_only.tsv");

/// Names of tests, as `cargo test` prints them, and why the dynamic module does not run them.
pub(super) fn tests() -> impl Iterator<Item = (&'static str, &'static str)> {
    LIST.lines().filter_map(|line| line.split_once('\t'))
}

#[cfg(test)]
mod tests {
    use sidespan_harness::provide::workspace_root;

    #[test]
    fn every_name_in_the_list_is_that_of_a_test() {
        let folder = workspace_root().join("tests/envoy");
        for (test, reason) in super::tests() {
            let (module, name) = test.split_once("::").expect("module::test");
            let source = std::fs::read_to_string(folder.join(module).with_extension("rs")).expect(module);
            assert!(source.contains(&format!("async fn {name}()")) && !reason.is_empty(), "{test}");
        }
    }
}
