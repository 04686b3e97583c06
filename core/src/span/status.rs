//! Span status and `error.type`, by the rules of the semantic conventions (HTTP spans, "Status"; RPC, gRPC).
//!
//! Whether a span is *kept* as an error is another question (`sampling::outcome`), with its own configuration.

use crate::sampling::outcome::Outcome;
use crate::sampling::response_flags::ResponseFlags;
use crate::span::model::{Kind, Status};
use std::borrow::Cow;

/// The status of a span and the class of its error, which belong together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ErrorStatus {
    /// Unset or error.
    pub status: Status,
    /// Of low cardinality: the status code, or Envoy's long name of the response flag.
    pub error_type: Option<Cow<'static, str>>,
}

/// Texts that may explain an error.
#[derive(Clone, Debug, Default)]
pub(super) struct Explanation {
    /// `response.code_details`.
    pub details: Option<String>,
    /// `grpc-message`, decoded.
    pub grpc_message: Option<String>,
}

/// Names of the gRPC status codes 0 to 16.
const GRPC_CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// The short names, separated by commas, as access logs show them; `None` if no flag is set.
pub(super) fn short_flags(flags: ResponseFlags) -> Option<String> {
    joined(flags.short_names())
}

/// The long names, separated by commas.
pub(super) fn long_flags(flags: ResponseFlags) -> Option<String> {
    joined(flags.long_names())
}

fn joined(names: impl Iterator<Item = &'static str>) -> Option<String> {
    let names: Vec<_> = names.collect();
    (!names.is_empty()).then(|| names.join(","))
}

/// The name of a gRPC status code; a number outside the specification is shown as one.
pub(super) fn grpc_code_name(code: u32) -> Cow<'static, str> {
    let name = usize::try_from(code).ok().and_then(|at| GRPC_CODES.get(at));
    name.map_or_else(|| Cow::Owned(code.to_string()), |name| Cow::Borrowed(*name))
}

/// The gRPC status: what was sent, else what a client must make of an HTTP status (gRPC, "HTTP to gRPC Status Code
/// Mapping"); `None` where nothing was sent with 200 or without any response.
pub(super) fn grpc_code(outcome: &Outcome) -> Option<u32> {
    outcome.grpc_status.or(match http_status(outcome)? {
        200 => None,
        400 => Some(13),
        401 => Some(16),
        403 => Some(7),
        404 => Some(12),
        429 | 502 | 503 | 504 => Some(14),
        _ => Some(2),
    })
}

/// The HTTP status; Envoy's `0` is none.
pub(super) fn http_status(outcome: &Outcome) -> Option<u16> {
    outcome.http_status.filter(|status| *status >= 100)
}

/// The status of a span and the type of its error. `client_gone_is_error` is `sampling.errors.clientDisconnect`.
pub(super) fn classify(
    kind: Kind,
    outcome: &Outcome,
    explanation: &Explanation,
    client_gone_is_error: bool,
) -> ErrorStatus {
    let found = if outcome.grpc { by_grpc(kind, outcome) } else { by_http(kind, outcome) };
    let error_type = match found {
        Some(Ok(error_type)) => Some(error_type),
        Some(Err(())) => None,
        None => by_flags(outcome, client_gone_is_error),
    };
    match error_type {
        Some(error_type) => {
            ErrorStatus { status: Status::Error(message(outcome, explanation)), error_type: Some(error_type) }
        }
        None => ErrorStatus::default(),
    }
}

/// An error of this type, no error (`Err`), or `None`: the status does not decide.
type ByStatus = Option<Result<Cow<'static, str>, ()>>;

/// 5xx is an error; 4xx is an error of a client span only; below 400 the flags decide.
fn by_http(kind: Kind, outcome: &Outcome) -> ByStatus {
    match http_status(outcome)? {
        status @ 500.. => Some(Ok(status.to_string().into())),
        status @ 400..=499 if kind == Kind::Client => Some(Ok(status.to_string().into())),
        400..=499 => Some(Err(())),
        _ => None,
    }
}

/// For a client every code but OK is an error; for a server the six codes that say that the server failed.
fn by_grpc(kind: Kind, outcome: &Outcome) -> ByStatus {
    let code = grpc_code(outcome)?;
    let error = match kind {
        Kind::Client => code != 0,
        Kind::Server => matches!(code, 2 | 4 | 12 | 13 | 14 | 15),
    };
    Some(if error { Ok(grpc_code_name(code)) } else { Err(()) })
}

/// The error that the response flags name, such as a reset or a timeout, which may also follow a good status; or that there
/// was no response, unless the client went away before there was one.
fn by_flags(outcome: &Outcome, client_gone_is_error: bool) -> Option<Cow<'static, str>> {
    let flags = outcome.flags_that_count();
    let failure = flags.without(ResponseFlags::HARMLESS);
    if failure.0 != 0 {
        Some(first_name(failure).into())
    } else if flags.any(ResponseFlags::CLIENT_GONE) {
        client_gone_is_error.then(|| first_name(flags.only(ResponseFlags::CLIENT_GONE)).into())
    } else {
        http_status(outcome).is_none().then_some("no_response".into())
    }
}

/// What the status code does not say: `grpc-message` for gRPC; Envoy's code details if Envoy made or changed the answer, else
/// its flags (after the last retry the details are still those of the upstream's answer).
fn message(outcome: &Outcome, explanation: &Explanation) -> Cow<'static, str> {
    let words = explanation.grpc_message.as_ref().filter(|words| outcome.grpc && !words.is_empty());
    let details = || explanation.details.as_ref().filter(|details| *details != "via_upstream");
    let flags = || long_flags(outcome.flags.without(ResponseFlags::HARMLESS));
    words.or_else(details).cloned().or_else(flags).unwrap_or_default().into()
}

/// The long name of the lowest flag. A flag that the table lacks is of a later Envoy.
fn first_name(flags: ResponseFlags) -> &'static str {
    flags.long_names().next().unwrap_or("_OTHER")
}

#[cfg(test)]
mod tests {
    use super::*;

    const DC: u64 = 1 << 14;
    const UF: u64 = 1 << 5;
    const UC: u64 = 1 << 6;
    const UT: u64 = 1 << 2;
    const UAEX: u64 = 1 << 12;
    const NR: u64 = 1 << 8;

    fn http(status: u16, flags: u64) -> Outcome {
        Outcome { http_status: Some(status), flags: ResponseFlags(flags), ..Outcome::default() }
    }

    fn grpc(status: Option<u32>, http_status: u16, flags: u64) -> Outcome {
        Outcome { grpc: true, grpc_status: status, ..http(http_status, flags) }
    }

    #[test]
    fn http_status_is_judged_by_kind_status_and_flags() {
        use Kind::{Client, Server};
        let nothing = |flags| Outcome { http_status: None, ..http(0, flags) };
        #[rustfmt::skip]
        type Expected = Option<(&'static str, &'static str)>;
        let table: &[(Kind, Outcome, Expected, &str)] = &[
            (Server, http(200, 0), None, "success"),
            (Server, http(101, 0), None, "websocket"),
            (Server, http(101, UC), None, "websocket, closed by its server"),
            (Client, http(302, 0), None, "redirect"),
            (Server, http(404, 0), None, "4xx is not a server's error"),
            (Server, http(404, NR), None, "also when Envoy answered"),
            (Client, http(404, 0), Some(("404", "")), "4xx is a client's error"),
            (Client, http(404, NR), Some(("404", "why")), "Envoy answered: the details say why"),
            (Server, http(500, 0), Some(("500", "")), "the code says it all"),
            (Client, http(599, 0), Some(("599", "")), "any 5xx"),
            (Server, http(503, UF), Some(("503", "why")), "the code does not say why"),
            (Client, http(504, UT), Some(("504", "why")), "timeout"),
            (Server, http(200, UC), Some(("UpstreamConnectionTermination", "why")), "reset after a good status"),
            (Server, http(302, UAEX), None, "an authorizer's redirect is an answer"),
            (Server, http(200, DC), None, "the client left in the middle"),
            (Client, nothing(DC), None, "the application cancelled"),
            (Server, nothing(DC), None, "the client left before an answer"),
            (Server, nothing(UC | DC), Some(("UpstreamConnectionTermination", "why")), "a failure came first"),
            (Server, nothing(UF), Some(("UpstreamConnectionFailure", "why")), "refused"),
            (Server, nothing(0), Some(("no_response", "why")), "no response, no reason"),
            (Server, http(0, 0), Some(("no_response", "why")), "Envoy's 0 is none"),
            (Server, nothing(1 << 60), Some(("_OTHER", "why")), "a flag of a later Envoy"),
        ];
        for (kind, outcome, expected, why) in table {
            let envoys = outcome.flags.0 != 0 || http_status(outcome).is_none();
            let details = if envoys { "why" } else { "via_upstream" };
            let explanation =
                Explanation { details: Some(details.to_owned()), grpc_message: Some("not gRPC".to_owned()) };
            let found = classify(*kind, outcome, &explanation, false);
            let expected = expected.map_or_else(ErrorStatus::default, |(error_type, message)| ErrorStatus {
                status: Status::Error(message.into()),
                error_type: Some(error_type.into()),
            });
            assert_eq!(found, expected, "{why}");
        }
    }

    #[test]
    fn the_client_going_away_is_an_error_if_the_operator_says_so() {
        let gone = Outcome { flags: ResponseFlags(DC), ..Outcome::default() };
        let found = classify(Kind::Server, &gone, &Explanation::default(), true);
        assert_eq!(found.error_type.as_deref(), Some("DownstreamConnectionTermination"));
    }

    #[test]
    fn grpc_codes_are_judged_by_kind() {
        for code in 0..=16 {
            let name = grpc_code_name(code);
            let client = classify(Kind::Client, &grpc(Some(code), 200, 0), &Explanation::default(), false);
            assert_eq!(client.error_type.as_deref(), (code != 0).then_some(&*name), "client {code}");
            let server = classify(Kind::Server, &grpc(Some(code), 200, 0), &Explanation::default(), false);
            let expected = [2, 4, 12, 13, 14, 15].contains(&code);
            assert_eq!(server.error_type.as_deref(), expected.then_some(&*name), "server {code}");
        }
        assert_eq!(grpc_code_name(99), "99");
    }

    #[test]
    fn a_missing_grpc_status_follows_the_http_status_or_the_flags() {
        for (http, code) in [(200, None), (400, Some(13)), (404, Some(12)), (503, Some(14)), (500, Some(2))] {
            assert_eq!(grpc_code(&grpc(None, http, 0)), code, "{http}");
        }
        let reset = classify(Kind::Server, &grpc(None, 200, UC), &Explanation::default(), false);
        assert_eq!(reset.error_type.as_deref(), Some("UpstreamConnectionTermination"));
        let cancelled = classify(Kind::Server, &grpc(None, 200, DC), &Explanation::default(), false);
        assert_eq!(cancelled, ErrorStatus::default());
    }

    #[test]
    fn a_grpc_error_speaks_with_the_servers_words() {
        let explanation =
            Explanation { details: Some("via_upstream".to_owned()), grpc_message: Some("no stock".to_owned()) };
        let found = classify(Kind::Client, &grpc(Some(9), 200, 0), &explanation, false);
        assert_eq!(found.status, Status::Error("no stock".into()));
        let silent = Explanation { grpc_message: None, ..explanation };
        assert_eq!(classify(Kind::Client, &grpc(Some(9), 200, 0), &silent, false).status, Status::Error("".into()));
        assert_eq!(
            classify(Kind::Client, &grpc(Some(14), 200, UF), &silent, false).status,
            Status::Error("UpstreamConnectionFailure".into())
        );
    }

    #[test]
    fn what_envoy_answers_by_itself_is_explained_by_its_details_or_its_flags() {
        let explained = |details: &str| Explanation { details: Some(details.to_owned()), grpc_message: None };
        for (outcome, details, expected) in [
            (http(403, 0), "rbac_access_denied_matched_policy[none]", "rbac_access_denied_matched_policy[none]"),
            (http(503, 1 << 15), "via_upstream", "UpstreamRetryLimitExceeded"),
            (http(503, 0), "via_upstream", ""),
        ] {
            let found = classify(Kind::Client, &outcome, &explained(details), false);
            assert_eq!(found.status, Status::Error(expected.into()), "{details}");
        }
    }

    #[test]
    fn flags_have_envoys_names() {
        assert_eq!(short_flags(ResponseFlags(UF | 1 << 15)).as_deref(), Some("UF,URX"));
        assert_eq!(long_flags(ResponseFlags(DC)).as_deref(), Some("DownstreamConnectionTermination"));
        assert_eq!(short_flags(ResponseFlags(0)), None);
    }
}
