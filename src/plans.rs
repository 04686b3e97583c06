//! Root contexts of one VM with the same configuration share its plan, and with it the caps.
//!
//! Up to Envoy 1.39 the listeners of each direction have a root context of their own, in the same VM of a worker.

use sidespan_core::stream::Plan;
use std::cell::RefCell;
use std::sync::{Arc, Weak};

thread_local! {
    /// The last configuration of this VM that was accepted: its text, and its plan while it is in force.
    static LAST: RefCell<(Vec<u8>, Weak<Plan>)> = const { RefCell::new((Vec::new(), Weak::new())) };
}

/// The plan that is in force for the same text.
pub(crate) fn find(json: &[u8]) -> Option<Arc<Plan>> {
    LAST.with(|last| {
        let last = last.try_borrow().ok()?;
        last.1.upgrade().filter(|_| last.0 == json)
    })
}

/// Remembers an accepted configuration.
pub(crate) fn remember(json: Vec<u8>, plan: &Arc<Plan>) {
    LAST.with(|last| {
        if let Ok(mut last) = last.try_borrow_mut() {
            *last = (json, Arc::downgrade(plan));
        }
    });
}
