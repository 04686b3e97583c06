//! What a finding is about, and how bad it is.

use serde::Serialize;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// It will not work.
    Error,
    /// It works, but probably not as meant.
    Warning,
    /// Worth knowing; nothing is wrong.
    Note,
}

/// The kind of a finding. Its name does not change from version to version, so that scripts can depend on it.
#[derive(Debug, PartialEq, Eq)]
pub struct Code {
    /// As it is written, such as `no-exporter`.
    pub name: &'static str,
    /// How bad.
    pub severity: Severity,
}

macro_rules! codes {
    ($($(#[doc = $doc:literal])* $name:ident = $severity:ident $text:literal;)*) => {
        $($(#[doc = $doc])* pub static $name: Code = Code { name: $text, severity: Severity::$severity };)*

        /// All of them. `docs/check.md` has a row for each.
        pub static ALL: &[&Code] = &[$(&$name),*];
    };
}

codes! {
    /// A file that cannot be read.
    UNREADABLE = Error "unreadable";
    /// Neither YAML nor JSON.
    SYNTAX = Error "syntax";
    /// A Helm template that is not rendered.
    TEMPLATE = Error "template";
    /// A file with nothing in it.
    EMPTY = Error "empty";
    /// A field or value that Istio, Envoy or the filter refuses.
    INVALID = Error "invalid";
    /// A key given twice.
    DUPLICATE_KEY = Error "duplicate-key";
    /// A kind that is nearly one of Istio's.
    UNKNOWN_KIND = Error "unknown-kind";
    /// Two plugins make two spans of each request.
    TWO_PLUGINS = Error "two-plugins";
    /// Envoy's own tracer overwrites the headers of the plugin.
    NATIVE_TRACER = Error "native-tracer";
    /// Istio takes only one Telemetry without selector per namespace.
    TELEMETRY_IGNORED = Error "telemetry-ignored";
    /// A header of export calls from a variable that is not passed.
    HEADER_VARIABLE = Error "header-variable";
    /// An Envoy cluster that the bootstrap does not have.
    UNKNOWN_CLUSTER = Error "unknown-cluster";
    /// Legal but probably not meant.
    DOUBTFUL = Warning "doubtful";
    /// Two plugins whose selectors may select the same pod.
    MAY_OVERLAP = Warning "may-overlap";
    /// The same resource in two places.
    SAME_RESOURCE = Warning "same-resource";
    /// The plugin adopts the spans of Envoy's own tracer, which is off.
    NATIVE_TRACER_OFF = Warning "native-tracer-off";
    /// A tag from a variable that is not passed.
    TAG_VARIABLE = Warning "tag-variable";
    /// A header of export calls that always has its default.
    HEADER_DEFAULT = Warning "header-default";
    /// A secret that stands in the configuration.
    LITERAL_SECRET = Warning "literal-secret";
    /// The usual port of another protocol.
    PORT = Warning "port";
    /// An Envoy cluster where Istio makes the clusters.
    CLUSTER_IN_MESH = Warning "cluster-in-mesh";
    /// Nothing is exported.
    NO_EXPORTER = Warning "no-exporter";
    /// A percentage that looks like a fraction.
    LOW_RATE = Warning "low-rate";
    /// A rule that an earlier one hides.
    SHADOWED_RULE = Warning "shadowed-rule";
    /// A rule that drops every request.
    DROPS_EVERYTHING = Warning "drops-everything";
    /// No plugin and no configuration in all files.
    NOTHING_CHECKED = Warning "nothing-checked";
    /// A document of another kind.
    PASSED_OVER = Note "passed-over";
}
