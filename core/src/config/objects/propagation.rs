//! `propagation`: which trace headers are read and written.

use crate::{choice, object};

object! {
    /// Which trace headers are read and written.
    pub struct Propagation {
        /// Formats read, in order; the first valid one wins.
        "extract" => extract: Vec<Dialect> = vec![Dialect::TraceContext, Dialect::B3], schema {"uniqueItems": true};
        /// Formats always written; each format that came in is rewritten too.
        "inject" => inject: Vec<Dialect> = vec![Dialect::TraceContext], schema {"uniqueItems": true};
        /// What an incoming context is worth.
        "trust" => trust: Trust = Trust::Continue;
        /// A response header that tells the client the trace id (for support tickets). Absent: none.
        "traceIdResponseHeader" => trace_id_response_header: Option<String> = None,
            schema {"pattern": "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$"};
        /// Leaves the keep signal in responses to applications and outside clients, instead of removing it.
        "exposeKeepSignal" => expose_keep_signal: bool = false;
        /// Also believes signals of other instrumentation (`traceresponse`, and `server-timing: trace` without our `th`).
        "foreignKeepSignals" => foreign_keep_signals: bool = false;
        /// Which callers of a gateway get the keep signal. Sidecars and waypoints always send it.
        "answerCallers" => answer_callers: AnswerCallers = AnswerCallers::Auto;
    }
}

choice! {
    /// A trace header format by the name that operators know.
    pub enum Dialect {
        /// W3C Trace Context.
        "tracecontext" => TraceContext,
        /// B3: extracts single and multi, injects single.
        "b3" => B3,
        /// B3 in several headers.
        "b3multi" => B3Multi,
        /// `uber-trace-id`.
        "jaeger" => Jaeger,
        /// `x-datadog-*`.
        "datadog" => Datadog,
        /// `x-amzn-trace-id`.
        "xray" => XRay,
        /// `x-cloud-trace-context`.
        "gcp" => Gcp,
        /// `ot-tracer-*`.
        "ottrace" => OtTrace,
    }
}

choice! {
    /// Which callers of a gateway get the keep signal.
    pub enum AnswerCallers {
        /// Those that show a certificate of the gateway's own trust domain.
        "auto" => Auto,
        /// All of them, also clients outside.
        "always" => Always,
        /// None.
        "never" => Never,
    }
}

choice! {
    /// What an incoming context is worth.
    pub enum Trust {
        /// It is continued.
        "continue" => Continue,
        /// A new trace starts, with a link to it.
        "restart" => Restart,
        /// A new trace starts as if nothing had come in.
        "ignore" => Ignore,
    }
}
