//! What a configuration lets one expect of the account.

use serde_json::Value;

/// Invariants that hold under a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Promise {
    /// Every failing trace has all spans from the root to the failure.
    pub whole_path: bool,
    /// Failures counted by weight are the failures that happened.
    pub exact_errors: bool,
    /// Every request through a listener gets a context of its own that an access log can tell.
    pub contexts: bool,
}

// === impl Promise ===

impl Promise {
    /// Of a configuration that nobody has lost spans to: see [`Promise::after_losses`].
    pub fn of(config: &Value) -> Self {
        let (sampling, propagation) = (&config["sampling"], &config["propagation"]);
        let rules = sampling["rules"].as_array().map_or(&[][..], Vec::as_slice);
        let drops = rules.iter().any(|rule| rule["drop"] == true);
        let errors = std::iter::once(sampling).chain(rules).map(|holder| &holder["errors"]);
        let all_errors = errors.clone().all(|errors| errors["percentage"].as_f64().is_none_or(|share| share >= 100.0));
        // The demo fails by 500, 503 and resets; other lists of statuses are not looked into.
        let known_errors = errors.clone().all(|errors| errors["httpStatus"].is_null());
        let whole = errors.clone().all(|errors| errors["wholePath"] != false);
        let continued = matches!(propagation["trust"].as_str(), None | Some("continue"));
        let readable = |dialect: &Value| matches!(dialect.as_str(), Some("tracecontext" | "b3" | "b3multi"));
        let told = propagation["inject"].as_array().is_none_or(|inject| inject.iter().any(readable));
        let contexts = continued && told && !drops;
        // Over a cap, a span that was sampled by a caller who told no probability has no weight.
        let mut caps = errors.map(|errors| errors["maxPerSecond"].as_u64());
        let uncapped = caps.next() == Some(Some(0)) && caps.all(|cap| cap.is_none_or(|cap| cap == 0));
        let every_error = contexts && all_errors && known_errors;
        Self { whole_path: every_error && whole, exact_errors: every_error && uncapped, contexts }
    }

    /// Nothing is promised of spans that were dropped or over the cap; they are counted.
    pub fn after_losses(self, lost: u64) -> Self {
        if lost == 0 { self } else { Self { whole_path: false, exact_errors: false, ..self } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_promise_follows_the_configuration() {
        let promise = |whole_path, exact_errors, contexts| Promise { whole_path, exact_errors, contexts };
        let errors = |mut errors: Value| {
            sidespan_harness::merge(&mut errors, json!({"maxPerSecond": 0}));
            json!({"sampling": {"errors": errors}})
        };
        let table = [
            (errors(json!({})), promise(true, true, true), "the defaults without a cap"),
            (json!({}), promise(true, false, true), "the defaults cap errors"),
            (errors(json!({"percentage": 50})), promise(false, false, true), "half of the errors"),
            (errors(json!({"wholePath": false})), promise(false, true, true), "errors alone"),
            (json!({"sampling": {"rules": [{"drop": true}]}}), promise(false, false, false), "a rule drops"),
            (
                json!({"sampling": {"rules": [{"errors": {"percentage": 1}}]}}),
                promise(false, false, true),
                "a rule's own",
            ),
            (json!({"propagation": {"inject": ["xray"]}}), promise(false, false, false), "no header that is read here"),
            (json!({"propagation": {"trust": "restart"}}), promise(false, false, false), "each hop its own trace"),
        ];
        for (config, expected, why) in table {
            assert_eq!(Promise::of(&config), expected, "{why}");
        }
        let kept = Promise::of(&errors(json!({})));
        assert_eq!((kept.after_losses(0), kept.after_losses(1)), (kept, promise(false, false, true)));
    }

    #[test]
    fn the_demos_own_configuration_promises_everything() {
        let config: Value = serde_json::from_str(crate::demo::CONFIG).expect("JSON");
        assert_eq!(Promise::of(&config), Promise { whole_path: true, exact_errors: true, contexts: true });
    }
}
