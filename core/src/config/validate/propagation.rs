//! `propagation`: each format once, and a response header that is free.

use crate::config::names::{OWN_HEADERS, header_name_fault};
use crate::config::objects::Propagation;
use crate::config::report::Report;

pub(super) fn check(propagation: &Propagation, report: &mut Report) {
    for (path, list) in [("propagation.extract", &propagation.extract), ("propagation.inject", &propagation.inject)] {
        for (index, dialect) in list.iter().enumerate() {
            if list.iter().take(index).any(|earlier| earlier == dialect) {
                let here = report.element(path, index);
                report.add(&here, "given twice", "keep the first: order decides");
            }
        }
    }
    if let Some(name) = &propagation.trace_id_response_header {
        let path = "propagation.traceIdResponseHeader";
        if let Some((problem, hint)) = header_name_fault(name) {
            report.add(path, &problem, hint);
        }
        if OWN_HEADERS.contains(&name.to_ascii_lowercase().as_str()) {
            report.add(path, "already has a meaning in responses", "choose another, such as x-trace-id");
        }
    }
}
