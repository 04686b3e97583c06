//! `resource` and `customTags`: keys, and names of what a tag is read from.

use crate::config::names::header_name_fault;
use crate::config::objects::{CustomTag, Literal};
use crate::config::report::{Report, member};
use std::collections::BTreeMap;

pub(super) fn check_resource(resource: &BTreeMap<String, Literal>, report: &mut Report) {
    for key in resource.keys().filter(|key| key.trim().is_empty()) {
        report.add(&member("resource", key), "an empty key", "give the attribute a name");
    }
}

pub(super) fn check_tags(tags: &BTreeMap<String, CustomTag>, report: &mut Report) {
    for (key, tag) in tags {
        let path = member("customTags", key);
        if key.trim().is_empty() {
            report.add(&path, "an empty key", "give the tag a name");
        }
        check_tag(&path, tag, report);
    }
}

fn check_tag(path: &str, tag: &CustomTag, report: &mut Report) {
    match tag {
        CustomTag::Literal(_) | CustomTag::Formatter(_) => {}
        CustomTag::Environment(tag) => check_variable(&format!("{path}.environment"), &tag.name, report),
        CustomTag::Header(tag) => check_header(path, "header", &tag.name, report),
        CustomTag::ResponseHeader(tag) => check_header(path, "responseHeader", &tag.name, report),
        CustomTag::ResponseTrailer(tag) => check_header(path, "responseTrailer", &tag.name, report),
        CustomTag::Property(tag) => {
            if !is_property_path(&tag.path) {
                let hint =
                    "give the dotted path of an Envoy attribute, such as upstream.address; a dot in a segment is `\\.`";
                report.add(&format!("{path}.property.path"), "is not an attribute path", hint);
            }
        }
    }
}

/// `path` is that of `environment`, whose `name` this is.
pub(super) fn check_variable(path: &str, name: &str, report: &mut Report) {
    if name.is_empty() || name.contains(['=', '\0']) {
        report.add(&format!("{path}.name"), "is not the name of a variable", "such as CLUSTER_NAME");
    }
}

fn check_header(path: &str, kind: &str, name: &str, report: &mut Report) {
    let pseudo = if kind == "header" {
        "use `formatter`, which reads it: %REQ(:PATH)%, %REQ(:METHOD)%, %REQ(:AUTHORITY)%"
    } else {
        "use `formatter`: %RESPONSE_CODE% is the status"
    };
    if let Some((problem, hint)) = header_name_fault(name, pseudo) {
        report.add(&format!("{path}.{kind}.name"), &problem, hint);
    }
}

/// Segments between dots, none of them empty; `\.` is a dot in a segment.
fn is_property_path(path: &str) -> bool {
    let segments = path.replace("\\.", "_");
    !segments.contains(['\\', '\0']) && segments.split('.').all(|segment| !segment.trim().is_empty())
}
