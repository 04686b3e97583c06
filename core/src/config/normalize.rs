//! Names as they are compared on the data path: headers and hosts in lower case, once, when the configuration is read.

use super::objects::{Config, CustomTag};
use std::collections::BTreeMap;

/// Brings a checked configuration into the form that the filter compares with.
pub(super) fn normalize(config: &mut Config) {
    if let Some(exporter) = &mut config.exporter {
        let otlp = exporter.otlp.iter_mut().map(|otlp| &mut otlp.receiver.headers);
        let zipkin = exporter.zipkin.iter_mut().map(|zipkin| &mut zipkin.receiver.headers);
        for headers in otlp.chain(zipkin) {
            lower_keys(&mut headers.text);
            headers.variables.iter_mut().for_each(|(name, _)| name.make_ascii_lowercase());
        }
    }
    for tag in config.custom_tags.values_mut() {
        if let CustomTag::Header(tag) | CustomTag::ResponseHeader(tag) | CustomTag::ResponseTrailer(tag) = tag {
            tag.name.make_ascii_lowercase();
        }
    }
    if let Some(name) = &mut config.propagation.trace_id_response_header {
        name.make_ascii_lowercase();
    }
    for rule in &mut config.sampling.rules {
        rule.matches.host.iter_mut().for_each(|host| host.make_ascii_lowercase());
        lower_keys(&mut rule.matches.headers);
    }
    let spans = &mut config.spans;
    spans.request_headers.iter_mut().chain(&mut spans.response_headers).for_each(|name| name.make_ascii_lowercase());
}

fn lower_keys<V>(map: &mut BTreeMap<String, V>) {
    // One by one: `collect` would sort first, and bring 10 kB of sorting into the module.
    for (key, value) in std::mem::take(map) {
        map.insert(key.to_ascii_lowercase(), value);
    }
}
