//! Names of headers that a configuration must not take, because the filter, Envoy, a protocol or applications use them.

/// Where a header goes whose name the configuration gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// `propagation.traceIdResponseHeader`: into responses, where it replaces a header of the same name.
    Responses,
    /// `exporter.*.headers`: into export calls.
    Exports,
}

/// Names that are reserved for one reason.
struct Group {
    /// In lower case, with blanks between them; a `*` at the end stands for anything.
    names: &'static str,
    responses: bool,
    exports: bool,
    problem: &'static str,
}

/// `docs/configuration.md`, "Reserved header names", has the same names.
const GROUPS: [Group; 7] = [
    Group {
        names: "connection content-* expect host http2-settings keep-alive proxy-connection te trailer transfer-encoding upgrade",
        responses: true,
        exports: true,
        problem: "is reserved: HTTP itself needs it",
    },
    Group { names: "grpc-*", responses: true, exports: true, problem: "is reserved: gRPC needs it" },
    Group {
        names: "b3 baggage ot-baggage-* ot-tracer-* traceparent traceresponse tracestate uber-trace-id uberctx-* x-amzn-trace-id \
                x-b3-* x-cloud-trace-context x-datadog-*",
        responses: true,
        exports: true,
        problem: "is reserved: it carries a trace context",
    },
    Group { names: "user-agent", responses: false, exports: true, problem: "is reserved: the exporter writes it" },
    Group {
        names: "server-timing",
        responses: true,
        exports: false,
        problem: "is reserved: keep signals and the application's measurements are there",
    },
    Group {
        names: "accept-* access-control-* age allow alt-svc authentication-info cache-control clear-site-data cross-origin-* date etag \
                expires last-modified link location nel permissions-policy pragma proxy-authenticate referrer-policy refresh \
                report-to reporting-endpoints retry-after sec-* set-cookie set-cookie2 strict-transport-security \
                timing-allow-origin vary via warning www-authenticate x-content-type-options x-frame-options",
        responses: true,
        exports: false,
        problem: "is reserved: applications and their clients use it",
    },
    Group {
        names: "server x-envoy-* x-forwarded-* x-request-id",
        responses: true,
        exports: false,
        problem: "is reserved: Envoy uses it",
    },
];

/// What is wrong with a header of this name at `target`; `None` if the name is free. Case does not matter.
#[inline(never)]
pub(super) fn fault(name: &str, target: Target) -> Option<&'static str> {
    let name = name.to_ascii_lowercase();
    let is = |reserved: &str| match reserved.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == reserved,
    };
    let mut groups =
        GROUPS.iter().filter(|group| if target == Target::Exports { group.exports } else { group.responses });
    groups.find(|group| group.names.split(' ').any(is)).map(|group| group.problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_reserved_for_one_target_or_both() {
        let table = [
            ("Content-Type", true, true),
            ("content-", true, true),
            ("GRPC-Status", true, true),
            ("x-b3-sampled", true, true),
            ("x-b3", false, false),
            ("b3", true, true),
            ("b33", false, false),
            ("user-agent", false, true),
            ("Server-Timing", true, false),
            ("set-cookie", true, false),
            ("x-envoy-upstream-service-time", true, false),
            ("authorization", false, false),
            ("x-trace-id", false, false),
            ("", false, false),
        ];
        for (name, responses, exports) in table {
            let found = [Target::Responses, Target::Exports].map(|target| fault(name, target).is_some());
            assert_eq!(found, [responses, exports], "{name}");
        }
    }

    #[test]
    fn every_reserved_name_is_documented() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/configuration.md");
        let docs = std::fs::read_to_string(path).expect("the documentation of the configuration");
        let (_, section) = docs.split_once("## Reserved header names").expect("the section");
        for name in GROUPS.iter().flat_map(|group| group.names.split(' ')) {
            assert!(!name.is_empty() && section.contains(&format!("`{name}`")), "{name:?} is not there");
        }
    }
}
