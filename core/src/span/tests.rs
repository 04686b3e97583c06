//! Whole spans: what each kind, convention and configuration makes of a request.

use super::attributes::{Recorded, path};
use super::*;
use crate::config::{Config, Direction};
use crate::context::Flags;
use crate::http::headers::Header;
use crate::id::{SpanId, TraceId};
use crate::sampling::outcome::Outcome;
use crate::sampling::response_flags::ResponseFlags;
use proptest::prelude::*;
use std::borrow::Cow;
use std::cell::RefCell;

/// A request to be described: headers, outcome, attributes.
#[derive(Clone)]
struct Case {
    config: &'static str,
    environment: Environment,
    direction: Direction,
    outcome: Outcome,
    recorded: Recorded,
    identity: Identity,
}

fn case(direction: Direction, request: &[(&str, &str)]) -> Case {
    let request = request.iter().map(|(k, v)| (k.as_bytes().to_vec(), v.as_bytes().to_vec())).collect();
    let mut recorded = Recorded { request, ..Recorded::default() };
    recorded
        .set(path::REQUEST_PROTOCOL, "HTTP/1.1")
        .set_int(path::REQUEST_SIZE, 10)
        .set_int(path::RESPONSE_SIZE, 20)
        .set(path::RESPONSE_CODE_DETAILS, "via_upstream")
        .set(path::SOURCE_ADDRESS, "10.0.0.7:51000")
        .set(path::UPSTREAM_ADDRESS, "10.0.0.9:8080");
    Case {
        config: "{}",
        environment: Environment::new(),
        direction,
        outcome: Outcome { http_status: Some(200), attempts: 1, ..Outcome::default() },
        recorded,
        identity: Identity::default(),
    }
}

const GET: &[(&str, &str)] = &[
    (":method", "GET"),
    (":path", "/api/users/42?sig=secret&page=2"),
    (":authority", "shop.example:8443"),
    (":scheme", "https"),
    ("user-agent", "curl/8"),
    ("x-request-id", "req-1"),
    ("x-forwarded-for", "203.0.113.9, 10.0.0.1"),
];

const CALL: &[(&str, &str)] = &[
    (":method", "POST"),
    (":path", "/shop.v1.Cart/AddItem"),
    (":authority", "cart:9090"),
    (":scheme", "http"),
    ("content-type", "application/grpc"),
    ("grpc-timeout", "1S"),
];

impl Case {
    fn config(mut self, config: &'static str) -> Self {
        self.config = config;
        self
    }

    fn builder(&self) -> SpanBuilder {
        SpanBuilder::new(&Config::parse(self.config.as_bytes()).expect("valid"), &self.environment)
    }

    fn original(&self) -> OriginalRequest {
        let headers: Vec<_> = self.recorded.request.iter().map(|(name, value)| Header::new(name, value)).collect();
        OriginalRequest::new(self.direction, &headers)
    }

    fn span(&self) -> Span {
        self.span_from(&self.recorded)
    }

    fn span_from(&self, attributes: &dyn Attributes) -> Span {
        self.span_between(1_000, 7_001_000, attributes)
    }

    fn span_between(&self, start_ns: u64, end_ns: u64, attributes: &dyn Attributes) -> Span {
        let (original, outcome) = (&self.original(), &self.outcome);
        let request = EndedRequest { original, ids: ids(), outcome, start_ns, end_ns, reason: "head" };
        self.builder().build(&self.identity, request, attributes)
    }
}

fn ids() -> Ids {
    Ids {
        trace_id: TraceId::from_halves(1, 2).expect("not zero"),
        span_id: SpanId::from_u64(3).expect("not zero"),
        parent: SpanId::from_u64(4),
        flags: Flags::new(true, true),
        links: Vec::new(),
    }
}

/// `key=value` of every attribute; numbers as `#8`, lists as `[a b]`.
fn shown(span: &Span) -> Vec<String> {
    let value = |value: &Value| match value {
        Value::String(text) => text.to_string(),
        Value::Int(number) => format!("#{number}"),
        Value::Bool(truth) => format!("#{truth}"),
        Value::Double(number) => format!("#{number}"),
        Value::Strings(texts) => format!("[{}]", texts.join(" ")),
    };
    span.attributes.iter().map(|attribute| format!("{}={}", attribute.key, value(&attribute.value))).collect()
}

fn has(span: &Span, expected: &[&str]) {
    let shown = shown(span);
    for entry in expected {
        assert!(shown.iter().any(|found| found == entry), "{entry} is missing in {shown:#?}");
    }
}

fn lacks(span: &Span, keys: &[&str]) {
    for key in keys {
        assert!(!span.attributes.iter().any(|found| found.key == *key), "{key} in {:#?}", shown(span));
    }
}

// === conventions ===

#[test]
fn a_server_span_has_the_stable_attributes_and_no_others() {
    let span = case(Direction::Inbound, GET).span();
    assert_eq!((span.name.as_str(), span.kind, &span.status), ("GET /api/users/{id}", Kind::Server, &Status::Unset));
    assert_eq!((span.start_ns, span.end_ns, span.parent), (1_000, 7_001_000, SpanId::from_u64(4)));
    assert_eq!(
        shown(&span),
        [
            "sidespan.sampling.reason=head",
            "http.request.method=GET",
            "http.response.status_code=#200",
            "url.scheme=https",
            "url.path=/api/users/42",
            "url.query=sig=REDACTED&page=2",
            "server.address=shop.example",
            "server.port=#8443",
            "client.address=203.0.113.9",
            "network.peer.address=10.0.0.7",
            "network.peer.port=#51000",
            "network.protocol.name=http",
            "network.protocol.version=1.1",
            "user_agent.original=curl/8",
            "http.request.body.size=#10",
            "http.response.body.size=#20",
            "envoy.response_code_details=via_upstream",
            "envoy.upstream_address=10.0.0.9:8080",
            "envoy.request_id=req-1",
        ]
    );
}

#[test]
fn a_client_span_has_the_whole_url_without_secrets_and_the_resends() {
    let mut case = case(Direction::Outbound, GET);
    case.outcome.attempts = 3;
    let span = case.span();
    assert_eq!((span.name.as_str(), span.kind), ("GET /api/users/{id}", Kind::Client));
    has(
        &span,
        &[
            "http.request.method=GET",
            "url.full=https://shop.example:8443/api/users/42?sig=REDACTED&page=2",
            "url.template=/api/users/{id}",
            "http.request.resend_count=#2",
            "server.address=shop.example",
            "server.port=#8443",
            "network.peer.address=10.0.0.9",
            "network.peer.port=#8080",
        ],
    );
    lacks(&span, &["url.path", "url.query", "url.scheme", "client.address", "http.route"]);
}

#[test]
fn attempts_and_duration_are_known_even_if_the_decision_did_not_need_them() {
    let tags = r#"{"customTags": {"took": {"formatter": {"value": "%DURATION%"}}}}"#;
    let mut case = case(Direction::Outbound, GET).config(tags);
    (case.outcome.attempts, case.outcome.duration_ns) = (0, 0);
    case.recorded.set_int(path::UPSTREAM_REQUEST_ATTEMPT_COUNT, 2);
    has(&case.span(), &["http.request.resend_count=#1", "took=7"]);
}

#[test]
fn a_gateway_serves_and_counts_attempts_under_envoys_name() {
    let mut case = case(Direction::Gateway, GET);
    case.outcome.attempts = 2;
    let span = case.span();
    assert_eq!(span.kind, Kind::Server);
    has(&span, &["envoy.upstream_request_attempt_count=#2", "url.path=/api/users/42"]);
    lacks(&span, &["http.request.resend_count"]);
}

#[test]
fn old_conventions_have_the_old_names_only_and_dup_both() {
    let old_server = [
        "http.method=GET",
        "http.status_code=#200",
        "http.scheme=https",
        "http.target=/api/users/42?sig=REDACTED&page=2",
        "net.host.name=shop.example",
        "net.host.port=#8443",
        "http.client_ip=203.0.113.9",
        "net.sock.peer.addr=10.0.0.7",
        "net.sock.peer.port=#51000",
        "net.protocol.name=http",
        "net.protocol.version=1.1",
        "user_agent.original=curl/8",
        "http.request_content_length=#10",
        "http.response_content_length=#20",
    ];
    let old = case(Direction::Inbound, GET).config(r#"{"spans": {"semanticConventions": "old"}}"#).span();
    has(&old, &old_server);
    lacks(&old, &["http.request.method", "url.path", "url.query", "url.scheme", "server.address", "client.address"]);
    let dup = case(Direction::Inbound, GET).config(r#"{"spans": {"semanticConventions": "dup"}}"#).span();
    has(&dup, &old_server);
    has(&dup, &["http.request.method=GET", "url.path=/api/users/42", "server.port=#8443"]);
    let client = case(Direction::Outbound, GET).config(r#"{"spans": {"semanticConventions": "old"}}"#).span();
    has(&client, &["http.url=https://shop.example:8443/api/users/42?sig=REDACTED&page=2", "net.peer.port=#8443"]);
}

#[test]
fn grpc_spans_follow_the_rpc_conventions() {
    let grpc = |config| {
        let mut case = case(Direction::Inbound, CALL).config(config);
        case.outcome.grpc_status = Some(14);
        case.recorded.trailers = vec![(b"grpc-message".to_vec(), b"out%20of%20stock".to_vec())];
        case.span()
    };
    let stable = grpc("{}");
    assert_eq!(stable.name, "shop.v1.Cart/AddItem");
    assert_eq!(stable.status, Status::Error("out of stock".into()));
    has(
        &stable,
        &[
            "rpc.system.name=grpc",
            "rpc.method=shop.v1.Cart/AddItem",
            "rpc.status_code=UNAVAILABLE",
            "rpc.request.header.grpc-timeout=[1S]",
            "rpc.request.header.content-type=[application/grpc]",
            "error.type=UNAVAILABLE",
            "server.address=cart",
            "server.port=#9090",
        ],
    );
    lacks(&stable, &["http.request.method", "url.path", "rpc.system", "http.response.status_code"]);
    let old = grpc(r#"{"spans": {"semanticConventions": "old"}}"#);
    has(&old, &["rpc.system=grpc", "rpc.service=shop.v1.Cart", "rpc.method=AddItem", "rpc.grpc.status_code=#14"]);
    has(&old, &["rpc.grpc.request.metadata.grpc_timeout=[1S]"]);
    lacks(&old, &["rpc.system.name", "rpc.status_code", "error.type"]);
    let dup = grpc(r#"{"spans": {"semanticConventions": "dup"}}"#);
    has(&dup, &["rpc.service=shop.v1.Cart", "rpc.method=shop.v1.Cart/AddItem", "rpc.grpc.status_code=#14"]);
}

#[test]
fn grpc_to_a_path_that_is_no_method_is_other() {
    let mut request = CALL.to_vec();
    request[1] = (":path", "/wp-admin/x.php");
    let span = case(Direction::Inbound, &request).span();
    assert_eq!(span.name, "grpc");
    has(&span, &["rpc.method=_OTHER", "rpc.method_original=wp-admin/x.php"]);
}

#[test]
fn trailers_only_and_proxy_answers_are_explained_too() {
    let mut only = case(Direction::Outbound, CALL);
    only.outcome.grpc_status = Some(5);
    only.recorded.response = vec![(b"grpc-message".to_vec(), b"no cart".to_vec())];
    assert_eq!(only.span().status, Status::Error("no cart".into()));
    let mut proxy = case(Direction::Outbound, CALL);
    proxy.outcome.http_status = Some(503);
    let span = proxy.span();
    has(&span, &["rpc.status_code=UNAVAILABLE", "http.response.status_code=#503", "error.type=UNAVAILABLE"]);
}

#[test]
fn unusual_requests_have_names_and_attributes_that_hold() {
    type Pairs = &'static [(&'static str, &'static str)];
    let table: &[(Pairs, &str, &[&str])] = &[
        (
            &[(":method", "BREW"), (":path", "/pot/1"), (":authority", "tea")],
            "HTTP /pot/{id}",
            &["http.request.method=_OTHER", "http.request.method_original=BREW", "server.port=#80"],
        ),
        (&[(":method", "OPTIONS"), (":path", "*"), (":authority", "a")], "OPTIONS", &["url.path=*"]),
        (&[(":method", "CONNECT"), (":authority", "db:5432")], "CONNECT", &["server.port=#5432"]),
        (
            &[(":method", "GET"), (":path", "/chat"), (":authority", "[2001:db8::1]:90"), ("upgrade", "websocket")],
            "GET /chat",
            &["server.address=2001:db8::1", "server.port=#90"],
        ),
        (
            &[(":method", "GET"), (":path", "/"), (":authority", "in"), ("x-forwarded-host", "u:p@out:81, b")],
            "GET /",
            &["server.address=out", "server.port=#81"],
        ),
        (
            &[(":method", "GET"), (":path", "/"), ("x-forwarded-for", "unknown"), ("x-forwarded-proto", "https")],
            "GET /",
            &["client.address=10.0.0.7", "url.scheme=https"],
        ),
        (
            &[
                (":method", "GET"),
                (":path", "/"),
                ("x-envoy-external-address", "1.2.3.4"),
                ("x-forwarded-for", "9.9.9.9"),
            ],
            "GET /",
            &["client.address=1.2.3.4"],
        ),
        (&[], "HTTP", &["http.request.method=_OTHER"]),
    ];
    for (request, name, attributes) in table {
        let span = case(Direction::Inbound, request).span();
        assert_eq!(span.name, *name);
        has(&span, attributes);
    }
}

#[test]
fn a_template_is_the_route_of_a_server_and_the_template_of_a_client() {
    let config = r#"{"spans": {"pathTemplates": ["/api/users/{user}"]}}"#;
    let server = case(Direction::Inbound, GET).config(config).span();
    assert_eq!(server.name, "GET /api/users/{user}");
    has(&server, &["http.route=/api/users/{user}"]);
    let client = case(Direction::Outbound, GET).config(config).span();
    has(&client, &["url.template=/api/users/{user}"]);
}

#[test]
fn a_path_is_cut_on_a_character_boundary() {
    let request = [(":method", "GET"), (":path", "/aaa\u{e9}\u{e9}\u{e9}"), (":authority", "a")];
    let span = case(Direction::Inbound, &request).config(r#"{"spans": {"maxPathTagLength": 7}}"#).span();
    has(&span, &["url.path=/aaa\u{e9}"]);
}

// === Envoy and Istio ===

#[test]
fn a_failed_connection_is_an_error_with_envoys_reasons() {
    let mut case = case(Direction::Outbound, GET);
    case.outcome.http_status = Some(503);
    case.outcome.flags = ResponseFlags(1 << 5 | 1 << 15);
    case.recorded
        .set(path::RESPONSE_CODE_DETAILS, "upstream_reset_before_response_started{connection_failure}")
        .set(path::UPSTREAM_TRANSPORT_FAILURE_REASON, "delayed connect error: 111");
    let span = case.span();
    let details = "upstream_reset_before_response_started{connection_failure}";
    assert_eq!(span.status, Status::Error(details.into()));
    has(
        &span,
        &[
            "error.type=503",
            "envoy.response_flags=UF,URX",
            "envoy.upstream_transport_failure_reason=delayed connect error: 111",
        ],
    );
}

#[test]
fn in_istio_the_peer_and_the_five_tags_are_there() {
    let mut case = case(Direction::Outbound, GET);
    case.identity.istio = true;
    case.identity.istio_tags = vec![Attribute::new("istio.mesh_id", "mesh1")];
    case.recorded
        .set(path::CLUSTER_NAME, "outbound|9080|v1|reviews.shop.svc.cluster.local")
        .set(path::UPSTREAM_URI_SAN_PEER, "spiffe://cluster.local/ns/shop/sa/reviews")
        .set(path::UPSTREAM_PEER_WORKLOAD, "reviews-v1")
        .set(path::UPSTREAM_PEER_NAMESPACE, "shop")
        .set(path::ROUTE_NAME, "default");
    has(
        &case.span(),
        &[
            "istio.mesh_id=mesh1",
            "istio.destination_service=reviews.shop.svc.cluster.local",
            "istio.destination_principal=spiffe://cluster.local/ns/shop/sa/reviews",
            "istio.destination_workload=reviews-v1",
            "istio.destination_namespace=shop",
            "envoy.upstream_cluster=outbound|9080|v1|reviews.shop.svc.cluster.local",
            "envoy.route_name=default",
        ],
    );
    let mut newer = case.clone();
    newer.recorded.values.remove(path::UPSTREAM_PEER_WORKLOAD);
    newer
        .recorded
        .set(b"filter_state\0upstream_peer_obj\0workload", "reviews-v2")
        .set(b"filter_state\0upstream_peer_obj\0namespace", "new");
    has(&newer.span(), &["istio.destination_workload=reviews-v2", "istio.destination_namespace=new"]);
    let without = Case { config: r#"{"spans": {"istioTags": false}}"#, ..case };
    lacks(&without.span(), &["istio.mesh_id"]);
}

#[test]
fn a_waypoint_shows_both_peers_whole_and_a_server_its_policies_in_dry_run() {
    let mut case = case(Direction::Gateway, GET);
    (case.identity.istio, case.identity.waypoint) = (true, true);
    for (side, name) in [("downstream", "caller"), ("upstream", "callee")] {
        for (_, field) in istio::FIELDS {
            case.recorded.set(format!("filter_state\0{side}_peer_obj\0{field}").as_bytes(), format!("{name} {field}"));
        }
    }
    let policy = ("istio_dry_run_deny_shadow_effective_policy_id", "ns[shop]-policy[deny-all]-rule[0]");
    let result = ("istio_dry_run_deny_shadow_engine_result", "denied");
    let metadata = [policy, result].map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()));
    case.recorded.maps.insert(path::RBAC_METADATA.to_vec(), metadata.to_vec());
    let span = case.span();
    has(
        &span,
        &[
            "istio.source_workload=caller workload",
            "istio.source_canonical_service=caller service",
            "istio.source_instance_name=caller name",
            "istio.destination_app_version=callee version",
            "istio.destination_cluster_id=callee cluster",
            "istio.destination_workload_type=callee type",
            "istio.authorization.dry_run.deny_policy.name=ns[shop]-policy[deny-all]-rule[0]",
            "istio.authorization.dry_run.deny_policy.result=denied",
        ],
    );
    lacks(&span, &["istio.authorization.dry_run.allow_policy.name"]);
    assert_eq!(shown(&span).iter().filter(|text| text.starts_with("istio.")).count(), 20);
}

#[test]
fn reads_are_few_and_never_repeated() {
    struct Counting<'a>(&'a Recorded, RefCell<Vec<Vec<u8>>>);
    impl Counting<'_> {
        fn note(&self, what: &[u8]) {
            self.1.borrow_mut().push(what.to_vec());
        }
    }
    impl Attributes for Counting<'_> {
        fn get(&self, path: &[u8]) -> Option<Cow<'_, [u8]>> {
            self.note(path);
            self.0.get(path)
        }
        fn get_map(&self, path: &[u8]) -> Option<attributes::Pairs> {
            self.note(path);
            self.0.get_map(path)
        }
        fn request_headers(&self) -> Vec<Header<'_>> {
            self.note(b"request headers");
            self.0.request_headers()
        }
        fn response_headers(&self) -> Vec<Header<'_>> {
            self.note(b"response headers");
            self.0.response_headers()
        }
        fn response_trailers(&self) -> Vec<Header<'_>> {
            self.note(b"response trailers");
            self.0.response_trailers()
        }
    }
    let plain = "{}";
    let tags = r#"{"customTags": {"a": {"formatter": {"value": "%UPSTREAM_HOST% %PROTOCOL%"}},
        "b": {"property": {"path": "upstream.address"}}, "c": {"responseHeader": {"name": "x"}}}}"#;
    for (direction, istio, config, expected) in [
        (Direction::Inbound, false, plain, 11),
        (Direction::Outbound, false, plain, 10),
        (Direction::Gateway, false, plain, 11),
        (Direction::Inbound, true, plain, 14),
        (Direction::Outbound, true, plain, 12),
        (Direction::Inbound, false, tags, 12),
    ] {
        let mut case = case(direction, GET).config(config);
        (case.identity.istio, case.outcome.attempts) = (istio, 0);
        let counting = Counting(&case.recorded, RefCell::default());
        case.span_from(&counting);
        let mut reads = counting.1.into_inner();
        assert_eq!(reads.len(), expected, "{direction:?} {istio}");
        reads.sort();
        reads.dedup();
        assert_eq!(reads.len(), expected, "one is read twice");
    }
}

// === the operator's ===

#[test]
fn a_custom_tags_block_of_istio_works_as_it_is() {
    let config = r#"{"customTags": {
        "environment": {"literal": {"value": "production"}},
        "cluster": {"environment": {"name": "CLUSTER_NAME", "defaultValue": "k8s-prod"}},
        "pod": {"environment": {"name": "POD"}},
        "nothing": {"environment": {"name": "ABSENT"}},
        "tenant": {"header": {"name": "X-Tenant-Id", "defaultValue": "none"}},
        "agent": {"header": {"name": "User-Agent"}},
        "absent": {"header": {"name": "x-absent"}},
        "served": {"responseHeader": {"name": "server"}},
        "sum": {"responseTrailer": {"name": "x-sum"}},
        "path": {"formatter": {"value": "%REQ(:PATH)%"}},
        "line": {"formatter": {"value": "%REQ(:METHOD)% %REQ(X-A?:AUTHORITY):4% %RESPONSE_CODE% %RESPONSE_FLAGS% %DURATION%ms 100%%"}},
        "host": {"formatter": {"value": "%UPSTREAM_HOST_WITHOUT_PORT%"}},
        "port": {"formatter": {"value": "%DOWNSTREAM_REMOTE_PORT%"}},
        "sni": {"formatter": {"value": "%REQUESTED_SERVER_NAME%"}},
        "trace": {"formatter": {"value": "%TRACE_ID%"}},
        "upstream": {"property": {"path": "upstream.address"}},
        "size": {"property": {"path": "request.size"}},
        "mtls": {"property": {"path": "connection.mtls"}},
        "message": {"property": {"path": "xds.route_metadata", "defaultValue": "unreadable"}},
        "query": {"property": {"path": "request.query"}},
        "http.request.method": {"literal": {"value": "REPLACED"}}
    }}"#;
    let mut case = case(Direction::Inbound, GET).config(config);
    case.environment.insert("POD".to_owned(), "pod-1".to_owned());
    case.recorded.response = vec![(b"server".to_vec(), b"envoy".to_vec())];
    case.recorded.trailers = vec![(b"x-sum".to_vec(), b"abc".to_vec())];
    case.recorded
        .set_bool(b"connection\0mtls", true)
        .set(b"xds\0route_metadata", [0xff, 0xfe])
        .set(b"request\0query", "sig=secret");
    let span = case.span();
    has(
        &span,
        &[
            "environment=production",
            "cluster=k8s-prod",
            "pod=pod-1",
            "tenant=none",
            "agent=curl/8",
            "served=envoy",
            "sum=abc",
            "path=/api/users/42?sig=REDACTED&page=2",
            "line=GET shop 200 - 7ms 100%",
            "host=10.0.0.9",
            "port=51000",
            "trace=00000000000000010000000000000002",
            "upstream=10.0.0.9:8080",
            "size=#10",
            "mtls=#true",
            "message=unreadable",
            "query=sig=REDACTED",
            "http.request.method=REPLACED",
        ],
    );
    lacks(&span, &["nothing", "absent", "sni"]);
}

#[test]
fn named_headers_and_baggage_are_captured_and_nothing_else() {
    let config = r#"{"spans": {"requestHeaders": ["X-Tenant-Id", "referer"], "responseHeaders": ["x-shard"],
        "baggage": ["user"], "semanticConventions": "dup"}}"#;
    let mut request = GET.to_vec();
    request.extend([
        ("x-tenant-id", "a"),
        ("x-tenant-id", "b"),
        ("authorization", "Bearer hidden-token"),
        ("cookie", "session=hidden-token"),
        ("x-api-key", "hidden-token"),
        ("referer", "https://me:hidden-token@site/?sig=hidden-token"),
        ("baggage", "user=jane%20doe,other=hidden-token"),
    ]);
    let mut case = case(Direction::Inbound, &request).config(config);
    case.recorded.response =
        vec![(b"x-shard".to_vec(), b"7".to_vec()), (b"set-cookie".to_vec(), b"hidden-token".to_vec())];
    let span = case.span();
    has(
        &span,
        &[
            "http.request.header.x-tenant-id=[a b]",
            "http.request.header.x_tenant_id=[a b]",
            "http.response.header.x-shard=[7]",
            "baggage.user=jane doe",
            "http.request.header.referer=[https://REDACTED:REDACTED@site/?sig=REDACTED]",
        ],
    );
    assert!(!format!("{span:?}").contains("hidden-token"), "{span:#?}");
}

#[test]
fn limits_hold_and_what_was_dropped_is_counted() {
    let config = r#"{"spans": {"maxAttributes": 5, "maxAttributeLength": 4}}"#;
    let span = case(Direction::Inbound, GET).config(config).span();
    assert_eq!(span.attributes.len(), 5);
    assert_eq!(span.dropped_attributes, 14);
    has(&span, &["sidespan.sampling.reason=head", "http.request.method=GET", "url.path=/api"]);
}

#[test]
fn an_end_is_never_before_the_start() {
    let case = case(Direction::Inbound, GET);
    let span = case.span_between(5_000, 4_000, &case.recorded);
    assert_eq!((span.start_ns, span.end_ns), (5_000, 5_000));
}

// === properties ===

fn header() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
    let names = prop::sample::select(vec![
        ":method",
        ":path",
        ":authority",
        ":scheme",
        "content-type",
        "user-agent",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-request-id",
        "baggage",
        "grpc-message",
        "x-any",
    ]);
    let value = prop_oneof![
        any::<Vec<u8>>(),
        "[ -~]{0,60}".prop_map(String::into_bytes),
        "application/grpc".prop_map(String::into_bytes),
        "/([a-z]{1,9}/){0,3}\\?[a-z]{1,4}=[ -~]{0,9}".prop_map(String::into_bytes),
        any::<u8>().prop_map(|byte| vec![byte; 5000]),
    ];
    (names.prop_map(|name| name.as_bytes().to_vec()), value)
}

proptest! {
    #[test]
    fn any_bytes_give_a_span_within_its_limits(
        request in prop::collection::vec(header(), 0..12),
        trailers in prop::collection::vec(header(), 0..3),
        attribute in any::<Vec<u8>>(),
        status in prop::option::of(any::<u16>()),
        grpc_status in prop::option::of(any::<u32>()),
        flags in any::<u64>(),
        direction in prop::sample::select(vec![Direction::Inbound, Direction::Outbound, Direction::Gateway]),
        dialect in 0..3usize,
    ) {
        let mut case = case(direction, &[]).config([
            r#"{"spans": {"maxAttributes": 20, "maxAttributeLength": 50, "requestHeaders": ["x-any"], "baggage": ["a"]}}"#,
            r#"{"spans": {"maxAttributes": 128, "semanticConventions": "old"}}"#,
            r#"{"spans": {"semanticConventions": "dup", "maxAttributeLength": 65536}, "customTags": {
                "x": {"formatter": {"value": "%REQ(x-any)% %TRAILER(x-any)% %FILTER_STATE(k)%"}},
                "y": {"property": {"path": "upstream.address"}}}}"#,
        ][dialect]);
        case.recorded.request = request;
        case.recorded.trailers = trailers;
        for value in case.recorded.values.values_mut() {
            value.clone_from(&attribute);
        }
        case.outcome = Outcome {
            http_status: status, grpc_status, flags: ResponseFlags(flags), attempts: 2, ..Outcome::default()
        };
        let (spans, limit) = (case.span(), [50, 4096, 65536][dialect]);
        let mut keys: Vec<_> = spans.attributes.iter().map(|attribute| attribute.key.clone()).collect();
        prop_assert!(keys.len() <= [20, 128, 128][dialect]);
        keys.sort();
        keys.dedup();
        prop_assert_eq!(keys.len(), spans.attributes.len());
        let mut total = 0usize;
        for attribute in &spans.attributes {
            let texts = match &attribute.value {
                Value::String(text) => vec![text.to_string()],
                Value::Strings(texts) => texts.clone(),
                _ => Vec::new(),
            };
            for text in texts {
                prop_assert!(text.chars().count() <= limit && !text.contains('\0'), "{}", attribute.key);
                total = total.saturating_add(text.len());
            }
        }
        prop_assert!(total <= limits::MAX_SPAN_BYTES);
        prop_assert!(!spans.name.is_empty() && spans.name.len() <= 300);
    }
}
