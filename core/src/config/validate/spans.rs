//! `spans`: names of headers, parameters and baggage keys, each once.

use crate::config::objects::Spans;
use crate::config::report::Report;
use crate::http::token;

pub(super) fn check(spans: &Spans, report: &mut Report) {
    let templates: Vec<String> = spans.path_templates.iter().map(|template| template.as_str().to_owned()).collect();
    let header = "a header's name, such as `x-tenant-id`";
    check_names("spans.pathTemplates", &templates, |_| true, "", report);
    check_names("spans.requestHeaders", &spans.request_headers, is_token, header, report);
    check_names("spans.responseHeaders", &spans.response_headers, is_token, header, report);
    let parameter = "a parameter's name alone, such as `token`";
    check_names("spans.redactQuery", &spans.redact_query, is_query_key, parameter, report);
    check_names("spans.baggage", &spans.baggage, is_token, "a baggage key, such as `tenant`", report);
}

fn is_token(name: &str) -> bool {
    token::is_token(name.as_bytes())
}

fn check_names(path: &str, list: &[String], valid: fn(&str) -> bool, hint: &str, report: &mut Report) {
    for (index, entry) in list.iter().enumerate() {
        let here = report.element(path, index);
        if !valid(entry) {
            report.add(&here, &format!("{entry:?} cannot be a name"), hint);
        } else if list.iter().take(index).any(|earlier| earlier == entry) {
            report.add(&here, "given twice", "keep one of them");
        }
    }
}

fn is_query_key(key: &str) -> bool {
    !key.is_empty() && !key.contains(['=', '&', '?', '#'])
}
