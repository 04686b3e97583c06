//! `propagation`: each format once, and a response header that is free.

use crate::config::names::header_name_fault;
use crate::config::objects::Propagation;
use crate::config::report::Report;
use crate::config::reserved::{self, Target};

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
        let hint = "choose another name, such as x-trace-id";
        if let Some((problem, hint)) = header_name_fault(name, hint) {
            report.add(path, &problem, hint);
        } else if let Some(problem) = reserved::fault(name, Target::Responses) {
            report.add(path, problem, hint);
        }
    }
}
