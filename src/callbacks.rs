//! The callbacks of proxy-wasm ABI 0.2.1: what the host calls, and to which context each call belongs.
//!
//! Only those that the filter needs are there: Envoy calls each one that it finds, for each body chunk and trailer of each
//! request. They are written here and not taken from the SDK, whose dispatcher adds 47 kB to
//! the module and panics where Envoy is within its rights (`docs/design.md`). A callback for an unknown context
//! does nothing, and neither does a callback inside of another one.

#![allow(unsafe_code)]

use crate::root::Root;
use crate::stream::HttpStream;
use std::cell::RefCell;

/// `Action::Continue`: no stream is ever paused.
const CONTINUE: u32 = 0;

thread_local! {
    /// A module has one thread. In the native tests each thread is a module.
    static CONTEXTS: RefCell<Contexts> = const { RefCell::new(Contexts { roots: Vec::new(), streams: Vec::new() }) };
}

/// All contexts, sorted by id. Envoy counts ids up, so a new stream comes last, and short-lived streams are near the end, where
/// little moves when one is removed.
struct Contexts {
    roots: Vec<(u32, Box<Root>)>,
    streams: Vec<(u32, Box<HttpStream>)>,
}

#[cfg(target_family = "wasm")]
unsafe extern "C" {
    /// Initialises the C library.
    fn __wasm_call_ctors();
}

/// Called once, before any other function.
#[cfg(target_family = "wasm")]
#[unsafe(no_mangle)]
pub extern "C" fn _initialize() {
    unsafe { __wasm_call_ctors() };
    crate::start();
}

/// Its name tells the host the version of the ABI.
#[cfg_attr(target_family = "wasm", unsafe(no_mangle))]
pub extern "C" fn proxy_abi_version_0_2_1() {}

/// Memory for what the host returns; [`crate::abi`] takes it over.
#[cfg_attr(target_family = "wasm", unsafe(no_mangle))]
pub extern "C" fn proxy_on_memory_allocate(size: usize) -> *mut u8 {
    Box::into_raw(Box::<[u8]>::new_uninit_slice(size)).cast()
}

/// A root context if `root` is 0, else a stream of that root.
#[cfg_attr(target_family = "wasm", unsafe(no_mangle))]
pub extern "C" fn proxy_on_context_create(context: u32, root: u32) {
    with(|contexts| match root {
        0 => insert(&mut contexts.roots, context, Root::new()),
        root => {
            let stream = find(&mut contexts.roots, root)?.stream();
            insert(&mut contexts.streams, context, stream)
        }
    });
}

/// The VM has started. Called once, with the first root context.
#[cfg_attr(target_family = "wasm", unsafe(no_mangle))]
pub extern "C" fn proxy_on_vm_start(_: u32, _: usize) -> bool {
    crate::logging::set_level();
    true
}

/// Reads `pluginConfig`, which has `size` bytes; false refuses it.
#[cfg_attr(target_family = "wasm", unsafe(no_mangle))]
pub extern "C" fn proxy_on_configure(context: u32, size: usize) -> bool {
    root(context, |root| root.configure(size)).unwrap_or_default()
}

/// The timer.
#[cfg_attr(target_family = "wasm", unsafe(no_mangle))]
pub extern "C" fn proxy_on_tick(context: u32) {
    root(context, Root::tick);
}

/// The reply to an HTTP call of this filter. All of them are made by root contexts.
#[cfg_attr(target_family = "wasm", unsafe(no_mangle))]
pub extern "C" fn proxy_on_http_call_response(context: u32, token: u32, _: usize, _: usize, _: usize) {
    root(context, |root| root.replied(token));
}

/// Request headers have come.
#[cfg_attr(target_family = "wasm", unsafe(no_mangle))]
pub extern "C" fn proxy_on_request_headers(context: u32, _: usize, _: bool) -> u32 {
    stream(context, HttpStream::request_headers);
    CONTINUE
}

/// Response headers have come.
#[cfg_attr(target_family = "wasm", unsafe(no_mangle))]
pub extern "C" fn proxy_on_response_headers(context: u32, _: usize, end_of_stream: bool) -> u32 {
    stream(context, |stream| stream.response_headers(end_of_stream));
    CONTINUE
}

/// The request has ended.
#[cfg_attr(target_family = "wasm", unsafe(no_mangle))]
pub extern "C" fn proxy_on_log(context: u32) {
    stream(context, HttpStream::log);
}

/// True if the context may be deleted now; else [`crate::abi::done`] says when.
#[cfg_attr(target_family = "wasm", unsafe(no_mangle))]
pub extern "C" fn proxy_on_done(context: u32) -> bool {
    root(context, Root::done).unwrap_or(true)
}

/// The context is deleted.
#[cfg_attr(target_family = "wasm", unsafe(no_mangle))]
pub extern "C" fn proxy_on_delete(context: u32) {
    with(|contexts| {
        let Contexts { roots, streams } = contexts;
        remove(streams, context).is_some().then_some(()).or_else(|| remove(roots, context).map(|_| ()))
    });
}

// === contexts ===

fn with<T>(run: impl FnOnce(&mut Contexts) -> Option<T>) -> Option<T> {
    CONTEXTS.with(|contexts| run(&mut *contexts.try_borrow_mut().ok()?))
}

fn root<T>(context: u32, run: impl FnOnce(&mut Root) -> T) -> Option<T> {
    with(|contexts| find(&mut contexts.roots, context).map(run))
}

fn stream<T>(context: u32, run: impl FnOnce(&mut HttpStream) -> Option<T>) -> Option<T> {
    with(|contexts| find(&mut contexts.streams, context).and_then(run))
}

fn place<C>(contexts: &[(u32, Box<C>)], id: u32) -> Result<usize, usize> {
    contexts.binary_search_by_key(&id, |(known, _)| *known)
}

fn find<C>(contexts: &mut [(u32, Box<C>)], id: u32) -> Option<&mut C> {
    let at = place(contexts, id).ok()?;
    contexts.get_mut(at).map(|(_, context)| &mut **context)
}

fn insert<C>(contexts: &mut Vec<(u32, Box<C>)>, id: u32, context: C) -> Option<()> {
    // An id that is there already keeps its context.
    let at = place(contexts, id).err()?;
    contexts.insert(at, (id, Box::new(context)));
    Some(())
}

fn remove<C>(contexts: &mut Vec<(u32, Box<C>)>, id: u32) -> Option<Box<C>> {
    let at = place(contexts, id).ok()?;
    Some(contexts.remove(at).1)
}
