//! Prunes the module: only exports that the filter needs remain, and only imports that Envoy has are allowed.
//!
//! Envoy calls each callback it finds, for each body chunk and trailer of each request, so an export without use costs time.
//! An import that Envoy does not have is worse: the module does not load, and every request is answered with 500.
//!
//! The names of functions make up an eighth of a module and are of use only for reading a backtrace: they go into a second file.

use anyhow::{Context, Result, bail};
use std::collections::BTreeSet;
use walrus::{Module, ModuleConfig};

/// The exports that the filter needs; the build fails if one is missing.
const NEEDED: &[&str] = &[
    "memory",
    "_initialize",
    "proxy_abi_version_0_2_1",
    "proxy_on_memory_allocate",
    "proxy_on_vm_start",
    "proxy_on_configure",
    "proxy_on_context_create",
    "proxy_on_request_headers",
    "proxy_on_response_headers",
    "proxy_on_log",
    "proxy_on_done",
    "proxy_on_delete",
    "proxy_on_tick",
    "proxy_on_http_call_response",
];

/// Largest size of the module in bytes, without the names of functions. (400,000 before `nativeTracer: adopt`, 12,700 bytes, and values of
/// headers from environment variables, 2,800.)
pub(crate) const LIMIT: usize = 416_000;

/// Host functions that every Envoy from 1.36 on offers to a module of ABI 0.2.1, without the prefix `proxy_`
/// (proxy-wasm-cpp-host, `include/proxy-wasm/exports.h`).
const PROXY_FUNCTIONS: &[&str] = &[
    "add_header_map_value",
    "call_foreign_function",
    "close_stream",
    "continue_stream",
    "define_metric",
    "dequeue_shared_queue",
    "done",
    "enqueue_shared_queue",
    "get_buffer_bytes",
    "get_buffer_status",
    "get_current_time_nanoseconds",
    "get_header_map_pairs",
    "get_header_map_size",
    "get_header_map_value",
    "get_log_level",
    "get_metric",
    "get_property",
    "get_shared_data",
    "get_status",
    "grpc_call",
    "grpc_cancel",
    "grpc_close",
    "grpc_send",
    "grpc_stream",
    "http_call",
    "increment_metric",
    "log",
    "record_metric",
    "register_shared_queue",
    "remove_header_map_value",
    "replace_header_map_value",
    "resolve_shared_queue",
    "send_local_response",
    "set_buffer_bytes",
    "set_effective_context",
    "set_header_map_pairs",
    "set_property",
    "set_shared_data",
    "set_tick_period_milliseconds",
];

/// WASI functions that the standard library may import. Envoy has a few more, which no filter needs.
const WASI_FUNCTIONS: &[&str] =
    &["clock_time_get", "environ_get", "environ_sizes_get", "fd_write", "proc_exit", "random_get"];

/// A module that is ready to load.
pub(crate) struct Pruned {
    /// The module, without the names of its functions.
    pub bytes: Vec<u8>,
    /// The same code with their names.
    pub named: Vec<u8>,
    /// The names of the exports that were removed, sorted.
    pub removed: BTreeSet<String>,
    /// The imports, as `module.name`, sorted.
    pub imports: BTreeSet<String>,
}

/// Removes exports that the filter does not need, then every function, global and import that became unreachable.
///
/// # Errors
/// If the module is malformed, lacks an export of the filter, or imports what Envoy may lack.
pub(crate) fn prune(bytes: &[u8]) -> Result<Pruned> {
    let mut config = ModuleConfig::new();
    let mut module = config.generate_name_section(true).parse(bytes).context("this is no WebAssembly module")?;
    let removed = remove_exports(&mut module)?;
    walrus::passes::gc::run(&mut module);
    let imports = imports(&module);
    check_imports(&imports)?;
    let named = module.emit_wasm();
    let bytes = without_names(&named).context("the module was not written as it should be")?;
    Ok(Pruned { bytes, named, removed, imports })
}

/// The same module without the section `name`. Indices of functions and offsets of code do not change.
fn without_names(module: &[u8]) -> Option<Vec<u8>> {
    let (header, mut rest) = module.split_at_checked(8)?;
    let mut out = header.to_vec();
    while let [kind, tail @ ..] = rest {
        let (size, body) = leb128(tail)?;
        let (body, next) = body.split_at_checked(size)?;
        // A custom section begins with the length of its name, and the name.
        if *kind != 0 || !body.starts_with(b"\x04name") {
            out.extend_from_slice(rest.get(..rest.len() - next.len())?);
        }
        rest = next;
    }
    Some(out)
}

fn leb128(mut bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (mut number, mut shift) = (0, 0);
    loop {
        let (byte, rest) = bytes.split_first()?;
        number |= usize::from(byte & 0x7f).checked_shl(shift)?;
        (bytes, shift) = (rest, shift + 7);
        if byte & 0x80 == 0 {
            return Some((number, bytes));
        }
    }
}

/// Checks the size against [`LIMIT`].
///
/// # Errors
/// If the module is larger; the message names the size, the limit, and what to look at.
pub(crate) fn check_size(size: usize) -> Result<()> {
    if size <= LIMIT {
        return Ok(());
    }
    bail!(
        "the module has {size} bytes; {LIMIT} are the limit, because every proxy of a mesh fetches, compiles and keeps it.\n\
         Usual reasons: a dependency, floats printed or parsed by the standard library, sorting, one more generic container, a \
         function with many callers that should be `#[inline(never)]`. twiggy on \
         target/sidespan.names.wasm shows where the bytes are."
    )
}

fn remove_exports(module: &mut Module) -> Result<BTreeSet<String>> {
    let exports: BTreeSet<_> = module.exports.iter().map(|export| export.name.clone()).collect();
    let missing: Vec<_> = NEEDED.iter().filter(|name| !exports.contains(**name)).copied().collect();
    if !missing.is_empty() {
        bail!("the module lacks what Envoy calls: {}. Is `src/callbacks.rs` part of the crate?", missing.join(", "));
    }
    let removed: BTreeSet<_> = exports.into_iter().filter(|name| !NEEDED.contains(&name.as_str())).collect();
    for name in &removed {
        module.exports.remove(name)?;
    }
    Ok(removed)
}

fn imports(module: &Module) -> BTreeSet<String> {
    module.imports.iter().map(|import| format!("{}.{}", import.module, import.name)).collect()
}

fn check_imports(imports: &BTreeSet<String>) -> Result<()> {
    let unknown: Vec<_> = imports.iter().filter(|import| !is_allowed(import)).map(String::as_str).collect();
    if unknown.is_empty() {
        return Ok(());
    }
    bail!(
        "the module imports what Envoy may not have: {}.\n\
         Envoy would refuse to load it and answer every request with 500. Something new in the code asks the system for \
         more than environment, log, time and randomness: look for files, threads, sockets or sleeping in what was added, \
         also in dependencies. (A proxy_ function that is new in Envoy must exist in every version from 1.36 on before it \
         may be added to the list in xtask/src/wasm.rs.)",
        unknown.join(", ")
    )
}

fn is_allowed(import: &str) -> bool {
    match import.split_once('.') {
        Some(("env", name)) => name.strip_prefix("proxy_").is_some_and(|name| PROXY_FUNCTIONS.contains(&name)),
        Some(("wasi_snapshot_preview1", name)) => WASI_FUNCTIONS.contains(&name),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use walrus::{FunctionBuilder, FunctionId, ValType};

    /// A module with the needed exports and a few more, each a function that calls one import of its own.
    fn module(exports: &[(&str, &str)]) -> Vec<u8> {
        let mut module = Module::default();
        let memory = module.memories.add_local(false, false, 1, None, None);
        module.exports.add("memory", memory);
        let idle = function(&mut module, None);
        for name in NEEDED.iter().filter(|name| **name != "memory") {
            module.exports.add(name, idle);
        }
        for (export, import) in exports {
            let (space, name) = import.split_once('.').unwrap();
            let kind = module.types.add(&[], &[]);
            let (callee, _) = module.add_import_func(space, name, kind);
            let caller = function(&mut module, Some(callee));
            if module.exports.iter().any(|known| known.name == *export) {
                module.exports.remove(export).unwrap();
            }
            module.exports.add(export, caller);
        }
        module.emit_wasm()
    }

    fn function(module: &mut Module, callee: Option<FunctionId>) -> FunctionId {
        let mut builder = FunctionBuilder::new(&mut module.types, &[] as &[ValType], &[]);
        if let Some(callee) = callee {
            builder.func_body().call(callee);
        }
        builder.finish(vec![], &mut module.funcs)
    }

    fn names(set: &BTreeSet<String>) -> Vec<&str> {
        set.iter().map(String::as_str).collect()
    }

    fn error(bytes: &[u8]) -> String {
        format!("{:#}", prune(bytes).err().expect("an error"))
    }

    #[test]
    fn unneeded_exports_go_and_take_along_what_only_they_used() {
        let bytes = module(&[
            ("proxy_on_request_body", "env.proxy_get_buffer_bytes"),
            ("proxy_on_log", "env.proxy_get_property"),
            ("proxy_on_grpc_receive", "env.proxy_grpc_call"),
            ("proxy_on_queue_ready", "wasi_snapshot_preview1.path_open"),
        ]);
        let pruned = prune(&bytes).unwrap();
        assert_eq!(names(&pruned.removed), ["proxy_on_grpc_receive", "proxy_on_queue_ready", "proxy_on_request_body"]);
        assert_eq!(names(&pruned.imports), ["env.proxy_get_property"]);
        assert!(pruned.bytes.len() < bytes.len());
        let again = prune(&pruned.bytes).unwrap();
        assert_eq!((again.bytes, again.removed.len()), (pruned.bytes, 0), "pruning twice changes nothing");
    }

    #[test]
    fn an_import_that_envoy_may_lack_fails_the_build() {
        let table = [
            ("wasi_snapshot_preview1.random_get", true),
            ("wasi_snapshot_preview1.path_open", false),
            ("env.proxy_http_call", true),
            ("env.proxy_from_the_future", false),
            ("env.malloc", false),
            ("wasi_unstable.random_get", false),
        ];
        for (import, allowed) in table {
            let bytes = module(&[("proxy_on_log", import)]);
            match allowed {
                true => assert!(prune(&bytes).is_ok(), "{import}"),
                false => assert!(error(&bytes).contains(import), "{import}"),
            }
        }
    }

    #[test]
    fn names_go_into_the_other_file_and_nothing_else_differs() {
        let mut module = Module::from_buffer(&module(&[])).unwrap();
        module.funcs.iter_mut().for_each(|function| function.name = Some("a_long_name_of_a_function".to_owned()));
        let pruned = prune(&module.emit_wasm()).unwrap();
        let holds = |bytes: &[u8]| bytes.windows(25).any(|part| part == b"a_long_name_of_a_function");
        assert!(holds(&pruned.named) && !holds(&pruned.bytes));
        assert_eq!(without_names(&pruned.named).unwrap(), pruned.bytes);
        assert_eq!(without_names(&pruned.bytes).unwrap(), pruned.bytes);
        let exports = |bytes: &[u8]| Module::from_buffer(bytes).unwrap().exports.iter().count();
        assert_eq!(exports(&pruned.bytes), exports(&pruned.named));
    }

    #[test]
    fn sections_with_long_lengths_are_copied_and_damage_is_noticed() {
        let header = b"\0asm\x01\0\0\0";
        let custom = |name: &str, size: usize| {
            let body = [&[u8::try_from(name.len()).unwrap()], name.as_bytes(), &vec![7; size]].concat();
            let length = [body.len() as u8 & 0x7f | 0x80, (body.len() >> 7) as u8];
            [&[0], &length[..], &body].concat()
        };
        let (other, names) = (custom("names", 300), custom("name", 200));
        assert_eq!(without_names(&[header, &names[..], &other].concat()), Some([header, &other[..]].concat()));
        assert_eq!(without_names(&[header, &other[..300]].concat()), None);
        assert_eq!(without_names(&header[..7]), None);
    }

    #[test]
    fn a_module_above_the_limit_fails_the_build() {
        assert!(check_size(LIMIT).is_ok());
        let message = check_size(LIMIT + 1).unwrap_err().to_string();
        let expected = [format!("{} bytes", LIMIT + 1), format!("{LIMIT} are the limit")];
        assert!(expected.iter().all(|text| message.contains(text)), "{message}");
    }

    #[test]
    fn a_module_without_the_filter_is_named_as_such() {
        assert!(error(&Module::default().emit_wasm()).contains("proxy_on_request_headers"));
        assert!(error(b"not wasm").contains("no WebAssembly module"));
    }
}
