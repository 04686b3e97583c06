//! The invariants of the sampling account that a configuration guarantees.

use serde_json::Value;

/// Invariants that hold under a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Guarantees {
    /// Every failing trace has all spans from the root to the failure.
    pub whole_path: bool,
    /// The adjusted counts of failing spans add up to the number of failures.
    pub exact_errors: bool,
    /// Every request at a listener has a trace context of its own, in a header that the access log records.
    pub unique_contexts: bool,
}

// === impl Guarantees ===

impl Guarantees {
    /// The guarantees of a configuration while no span is lost; see [`Guarantees::after_losses`].
    pub(super) fn of(config: &Value) -> Self {
        let (sampling, propagation) = (&config["sampling"], &config["propagation"]);
        let rules = sampling["rules"].as_array().map_or(&[][..], Vec::as_slice);
        let drops = rules.iter().any(may_drop);
        let errors = std::iter::once(sampling).chain(rules).map(|holder| &holder["errors"]);
        let all_errors = errors.clone().all(|errors| errors["percentage"].as_f64().is_none_or(|share| share >= 100.0));
        // The requests of the demo fail with 500, 503 and resets. Lists of statuses other than the default are not evaluated.
        let default = |list: &Value| list.is_null() || *list == serde_json::json!(["5xx"]);
        let known_errors = errors.clone().all(|errors| default(&errors["httpStatus"]));
        let whole = errors.clone().all(|errors| errors["wholePath"] != false);
        let continued = matches!(propagation["trust"].as_str(), None | Some("continue"));
        let readable = |dialect: &Value| matches!(dialect.as_str(), Some("tracecontext" | "b3" | "b3multi"));
        let readable_header = propagation["inject"].as_array().is_none_or(|inject| inject.iter().any(readable));
        let unique_contexts = continued && readable_header && !drops;
        // Over a cap, a span whose caller sampled it without giving a probability has no adjusted count.
        let mut caps = errors.map(|errors| errors["maxPerSecond"].as_u64());
        let uncapped = caps.next() == Some(Some(0)) && caps.all(|cap| cap.is_none_or(|cap| cap == 0));
        let every_error = unique_contexts && all_errors && known_errors;
        Self { whole_path: every_error && whole, exact_errors: every_error && uncapped, unique_contexts }
    }

    /// What is still guaranteed after spans were dropped or capped.
    pub(super) fn after_losses(self, lost: u64) -> Self {
        if lost == 0 { self } else { Self { whole_path: false, exact_errors: false, ..self } }
    }
}

/// Whether a rule may drop requests of the demo. It does not if it names only paths without wildcards that the demo does not send.
fn may_drop(rule: &Value) -> bool {
    let paths = rule["match"]["path"].as_array().map_or(&[][..], Vec::as_slice);
    let foreign = |path: &Value| {
        let sent = |path: &str| ["/checkout", "/api", "/query"].iter().any(|begin| path.starts_with(begin));
        path.as_str().is_some_and(|path| path.starts_with('/') && !path.contains(['*', '{', '~']) && !sent(path))
    };
    rule["drop"] == true && (paths.is_empty() || !paths.iter().all(foreign))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn guarantees_follow_the_configuration() {
        let expected =
            |whole_path, exact_errors, unique_contexts| Guarantees { whole_path, exact_errors, unique_contexts };
        let errors = |mut errors: Value| {
            sidespan_harness::merge(&mut errors, json!({"maxPerSecond": 0}));
            json!({"sampling": {"errors": errors}})
        };
        let table = [
            (errors(json!({})), expected(true, true, true), "the defaults without a cap"),
            (json!({}), expected(true, false, true), "the defaults cap errors"),
            (errors(json!({"percentage": 50})), expected(false, false, true), "half of the errors"),
            (errors(json!({"wholePath": false})), expected(false, true, true), "errors alone"),
            (json!({"sampling": {"rules": [{"drop": true}]}}), expected(false, false, false), "a rule drops"),
            (
                json!({"sampling": {"rules": [{"drop": true, "match": {"path": ["/healthz", "/*"]}}]}}),
                expected(false, false, false),
                "a wildcard",
            ),
            (
                json!({"sampling": {"rules": [{"drop": true, "match": {"path": ["/healthz"]}}]}}),
                expected(true, false, true),
                "a rule drops probes only",
            ),
            (errors(json!({"httpStatus": ["5xx"]})), expected(true, true, true), "the default, spelled out"),
            (
                json!({"sampling": {"rules": [{"errors": {"percentage": 1}}]}}),
                expected(false, false, true),
                "a rule's own",
            ),
            (
                json!({"propagation": {"inject": ["xray"]}}),
                expected(false, false, false),
                "no header that the demo reads",
            ),
            (json!({"propagation": {"trust": "restart"}}), expected(false, false, false), "each hop its own trace"),
        ];
        for (config, guarantees, why) in table {
            assert_eq!(Guarantees::of(&config), guarantees, "{why}");
        }
        let kept = Guarantees::of(&errors(json!({})));
        assert_eq!((kept.after_losses(0), kept.after_losses(1)), (kept, expected(false, false, true)));
    }

    #[test]
    fn the_configuration_of_the_demo_guarantees_everything() {
        let config = crate::demo::config_file::read(None).expect("JSON");
        assert_eq!(Guarantees::of(&config), Guarantees { whole_path: true, exact_errors: true, unique_contexts: true });
    }
}
