//! Every dialect in, the right dialect out: each case is sent through an inbound and an outbound listener of a real Envoy,
//! and what went upstream, what was exported and what came in must fit together.

use crate::dialects::{self, ALL, CORE, Said};
use crate::stage::{Stage, config, filter};
use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use sidespan_harness::bootstrap::{Bootstrap, Listener};
use sidespan_harness::client::{RawConnection, RawRequest};
use sidespan_harness::span::{Kind, only};
use sidespan_harness::upstream::{Recorded, status};
use sidespan_harness::{ReceivedSpan, Result, Upstream};
use std::collections::BTreeMap;
use std::time::Duration;

/// One case: the configuration, the headers that are sent, the headers that must come out, where the span comes from
/// (`trace parent`, or `new`, and links after `=>`), and why.
///
/// Of what comes in, `{t}` `{s}` are a trace id and a span id and `{u}` `{v}` another pair, fresh for every request; `{l}`
/// is the lower half of `{t}`, `{h}` the upper, `{ld}` `{sd}` are decimal, `{t8}-{t24}` is the form of X-Ray, `{T}` `{S}` are
/// upper case. Of what goes out, `{n}` is the id of the exported span and `{r}` its trace id, with `{rl}` … as above.
type Case = (&'static str, &'static str, &'static str, &'static str, &'static str);

/// A trace that starts here, at a head rate of 100 %.
const NEW: &str = "traceparent: 00-{r}-{n}-03\ntracestate: ot=th:0";
const ON: &str = "traceparent: 00-{t}-{n}-01";
const OFF: &str = "traceparent: 00-{t}-{n}-00";
/// A new decision for a trace whose ids do not promise to be random.
const ROLLED: &str = "traceparent: 00-{t}-{n}-01\ntracestate: ot=th:0";
const LONG: &str =
    "zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz";

const W3C: &[Case] = &[
    ("core", "", NEW, "new", "nothing comes in: a trace starts"),
    ("core", "traceparent: 00-{t}-{s}-01", ON, "{t} {s}", "sampled"),
    ("core", "traceparent: 00-{t}-{s}-00", OFF, "{t} {s}", "not sampled"),
    ("core", "traceparent: 00-{t}-{s}-02", "traceparent: 00-{t}-{n}-02", "{t} {s}", "the random flag goes on"),
    ("core", "traceparent: 00-{t}-{s}-03", "traceparent: 00-{t}-{n}-03", "{t} {s}", "both flags"),
    ("core", "traceparent: 00-{t}-{s}-ff", "traceparent: 00-{t}-{n}-03", "{t} {s}", "unknown flags are masked"),
    ("core", "traceparent: 00-{t}-{s}-fc", OFF, "{t} {s}", "and alone they are none"),
    ("core", "TraceParent: 00-{t}-{s}-01", ON, "{t} {s}", "a name in mixed case"),
    ("core", "TRACEPARENT: 00-{t}-{s}-01\nTRACESTATE: a=1", "{on}\ntracestate: a=1", "{t} {s}", "in upper case"),
    ("core", "traceparent:  \t 00-{t}-{s}-01 \t", ON, "{t} {s}", "white space around a value is none of it"),
    ("core", "trace-parent: 00-{t}-{s}-01", "{new}\ntrace-parent: 00-{t}-{s}-01", "new", "another header"),
    ("core", "traceparent: cc-{t}-{s}-01", ON, "{t} {s}", "a future version comes down to ours"),
    ("core", "traceparent: cc-{t}-{s}-01-what-the-future", ON, "{t} {s}", "with a field more"),
    ("core", "traceparent: cc-{t}-{s}-01.what", NEW, "new", "but not with anything else behind the flags"),
    ("core", "traceparent: cc-{t}-{s}-0", NEW, "new", "nor shorter than ours"),
    ("core", "traceparent: ff-{t}-{s}-01", NEW, "new", "the forbidden version"),
    ("core", "traceparent: 0-{t}-{s}-01", NEW, "new", "half a version"),
    ("core", "traceparent: 00-{t}-{s}-01-", NEW, "new", "version 00 ends with its flags"),
    ("core", "traceparent: 00-{t}-{s}-01-what-the-future", NEW, "new", "version 00 has no future"),
    ("core", "traceparent: 00-{T}-{s}-01", NEW, "new", "an upper-case trace id"),
    ("core", "traceparent: 00-{t}-{S}-01", NEW, "new", "an upper-case parent id"),
    ("core", "traceparent: 00-{t}-{s}-0A", NEW, "new", "upper-case flags"),
    ("core", "traceparent: 00-00000000000000000000000000000000-{s}-01", NEW, "new", "a zero trace id"),
    ("core", "traceparent: 00-{t}-0000000000000000-01", NEW, "new", "a zero parent id"),
    ("core", "traceparent: 00-{t}0-{s}-01", NEW, "new", "33 digits"),
    ("core", "traceparent: 00-{t}-{s}", NEW, "new", "no flags"),
    ("core", "traceparent: 00-{t}-{s}-.1", NEW, "new", "a dot in the flags"),
    ("core", "traceparent:", NEW, "new", "empty"),
    ("core", "traceparent: 00-{t}-{s}-01\ntraceparent: 00-{t}-{s}-01", ON, "{t} {s}", "the same twice"),
    (
        "core",
        "traceparent: 00-{t}-{s}-01\ntraceparent: 00-{t}-{v}-00\ntracestate: a=1",
        "{on}\ntracestate: a=1",
        "{t} {s} => {t} {v}",
        "one trace, two parents: the first is the parent",
    ),
    (
        "core",
        "traceparent: 00-{t}-{s}-00\ntraceparent: 00-{t}-{v}-01",
        OFF,
        "{t} {s} => {t} {v}",
        "and its decision counts",
    ),
    ("core", "traceparent: 00-{t}-{s}-01\ntraceparent: 00-{u}-{v}-01", NEW, "new", "two that differ"),
    ("core", "traceparent: 00-{t}-{s}-01\ntracestate: a=1,b=2", "{on}\ntracestate: a=1,b=2", "{t} {s}", "a state"),
    (
        "core",
        "traceparent: 00-{t}-{s}-01\ntracestate: a=1,b=2\ntracestate: c=3",
        "{on}\ntracestate: a=1,b=2\ntracestate: c=3",
        "{t} {s}",
        "in several headers, and not modified",
    ),
    (
        "core",
        "traceparent: 00-{t}-{s}-01\ntracestate: a=1 \t,\t b=2",
        "{on}\ntracestate: a=1 \t,\t b=2",
        "{t} {s}",
        "tabs are white space",
    ),
    ("core", "tracestate: a=1", NEW, "new", "a state without a parent is discarded"),
    ("core", "traceparent: bogus\ntracestate: a=1", NEW, "new", "so is the state of an invalid parent"),
    ("core", "traceparent: 00-{t}-{s}-01\ntracestate:", ON, "{t} {s}", "no empty tracestate leaves"),
    ("core", "traceparent: 00-{t}-{s}-01\ntracestate: ,\t,", ON, "{t} {s}", "nor one of empty members"),
    (
        "core",
        "traceparent: 00-{t}-{s}-01\ntracestate:\ntracestate: a=1",
        "{on}\ntracestate: a=1",
        "{t} {s}",
        "nor an empty one beside another",
    ),
    ("core", "traceparent: 00-{t}-{s}-01\ntracestate: a=1,b", ON, "{t} {s}", "an invalid member discards all"),
    ("core", "traceparent: 00-{t}-{s}-01\ntracestate: A=1", ON, "{t} {s}", "an upper-case key"),
    ("core", "traceparent: 00-{t}-{s}-01\ntracestate: a=1=2,b=3", ON, "{t} {s}", "an equals sign in a value"),
    ("core", "traceparent: 00-{t}-{s}-01\ntracestate: a=1\ntracestate: {33}", ON, "{t} {s}", "too many members"),
    (
        "core",
        "traceparent: 00-{t}-{s}-00\ntracestate: {32}",
        "{off}\ntracestate: {32}",
        "{t} {s}",
        "as many as are allowed",
    ),
    (
        "core",
        "traceparent: 00-{t}-{s}-01\ntracestate: a=1,a=2,0b@c/d=3",
        "{on}\ntracestate: a=1,a=2,0b@c/d=3",
        "{t} {s}",
        "duplicates and the keys of level 2",
    ),
    (
        "core",
        "traceparent: 00-{t}-{s}-01\ntracestate: a={long},b={long},c={long},d={long},e={long},f={long}",
        "{on}\ntracestate: a={long},b={long},c={long},d={long},e={long},f={long}",
        "{t} {s}",
        "more than 512 characters",
    ),
    (
        "core",
        "traceparent: 00-{t}-{s}-01\ntracestate: a=1\ntracestate: ot=rv:00000000000000;th:8",
        "{on}\ntracestate: ot=rv:00000000000000,a=1",
        "{t} {s}",
        "a threshold that contradicts the flag goes; one header, our member first",
    ),
    (
        "core",
        "traceparent: 00-{t}-{s}-01\ntracestate: a=1,ot=rv:notadigitatall;x:y",
        "{on}\ntracestate: ot=x:y,a=1",
        "{t} {s}",
        "a randomness that is no number is nobody's: it is not handed on",
    ),
    (
        "core",
        "traceparent: 00-{t}-{s}-01\ntracestate: a=1,ot=rv:123",
        "{on}\ntracestate: a=1",
        "{t} {s}",
        "nor one of other than 14 digits",
    ),
    (
        "core",
        "traceparent: 00-{t}-{s}-00\ntracestate: ot=rv:zzzzzzzzzzzzzz,a=1",
        "{off}\ntracestate: a=1",
        "{t} {s}",
        "whether it is sampled or not",
    ),
    (
        "core",
        "traceparent: 00-{t}-{s}-01\ntracestate: a=1,ot=rv:ffffffffffffff;th:8;x:y",
        "{on}\ntracestate: a=1,ot=rv:ffffffffffffff;th:8;x:y",
        "{t} {s}",
        "one that agrees stays",
    ),
    (
        "core",
        "traceparent: 00-{t}-{s}-01\nBaggage: a=1 ;p \t, b=%20\"\\,,c\nbaggage: d={long}",
        "{on}\nbaggage: a=1 ;p \t, b=%20\"\\,,c\nbaggage: d={long}",
        "{t} {s}",
        "baggage passes byte for byte",
    ),
    ("core", "baggage: a=1", "{new}\nbaggage: a=1", "new", "also where a trace starts"),
];

const B3: &[Case] = &[
    ("core", "b3: {t}-{s}-1", "{on}\nb3: {t}-{n}-1", "{t} {s}", "single, accepted"),
    ("core", "b3: {t}-{s}-0", "{off}\nb3: {t}-{n}-0", "{t} {s}", "denied"),
    ("core", "b3: {t}-{s}-d", "{on}\nb3: {t}-{n}-d", "{t} {s}", "debug stays debug"),
    ("core", "b3: {t}-{s}", "{rolled}\nb3: {t}-{n}-1", "{t} {s}", "deferred: we decide"),
    ("core", "b3: {t}-{s}-1-{v}", "{on}\nb3: {t}-{n}-1", "{t} {s}", "the grandparent stays behind"),
    ("core", "b3: {t}-{s}-{v}", "{rolled}\nb3: {t}-{n}-1", "{t} {s}", "deferred, with a grandparent"),
    ("core", "B3: {l}-{s}-1", "traceparent: 00-{0l}-{n}-01\nb3: {0l}-{n}-1", "{0l} {s}", "64 bits are padded"),
    ("core", "b3: 0", "traceparent: 00-{r}-{n}-02\nb3: {r}-{n}-0", "new", "only a denial"),
    ("core", "b3: 1", "traceparent: 00-{r}-{n}-03\nb3: {r}-{n}-1", "new", "only an acceptance"),
    ("core", "b3: d", "traceparent: 00-{r}-{n}-03\nb3: {r}-{n}-d", "new", "only debug"),
    ("core", "b3: {T}-{s}-1", "{new}\nb3: {r}-{n}-1", "new", "upper case is malformed"),
    ("core", "b3: {t}-{s}-", "{new}\nb3: {r}-{n}-1", "new", "and what is malformed is replaced"),
    ("core", "b3: {t}-{s}-1\nb3: {t}-{s}-1", "{new}\nb3: {r}-{n}-1", "new", "so is what comes twice"),
    ("core", "b3:", "{new}\nb3: {r}-{n}-1", "new", "and what is empty"),
    (
        "core",
        "x-b3-traceid: {t}\nx-b3-spanid: {s}\nx-b3-parentspanid: {v}\nx-b3-sampled: 1",
        "{on}\n{multi}\nx-b3-sampled: 1",
        "{t} {s}",
        "multi, and no stale parent",
    ),
    (
        "core",
        "X-B3-TraceId: {t}\nX-B3-SpanId: {s}\nX-B3-Sampled: 0",
        "{off}\n{multi}\nx-b3-sampled: 0",
        "{t} {s}",
        "as the specification spells it",
    ),
    (
        "core",
        "x-b3-traceid: {t}\nx-b3-spanid: {s}\nx-b3-sampled: true",
        "{on}\n{multi}\nx-b3-sampled: 1",
        "{t} {s}",
        "an old tracer",
    ),
    (
        "core",
        "x-b3-traceid: {t}\nx-b3-spanid: {s}\nx-b3-sampled: 0\nx-b3-flags: 1",
        "{on}\n{multi}\nx-b3-flags: 1",
        "{t} {s}",
        "debug, and then nothing is said of sampling",
    ),
    ("core", "x-b3-traceid: {t}\nx-b3-spanid: {s}", "{rolled}\n{multi}\nx-b3-sampled: 1", "{t} {s}", "deferred"),
    (
        "core",
        "x-b3-traceid: {t}\nx-b3-spanid: {s}\nx-b3-sampled: 1\nx-b3-sampled: 1",
        "{on}\n{multi}\nx-b3-sampled: 1",
        "{t} {s}",
        "the state twice",
    ),
    (
        "core",
        "x-b3-traceid: {t}\nx-b3-spanid: {s}\nx-b3-sampled: 0\nx-b3-sampled: 1",
        "{off}\n{multi}\nx-b3-sampled: 0",
        "{t} {s}",
        "of two states the first counts",
    ),
    (
        "core",
        "x-b3-traceid: {t}\nx-b3-spanid: {s}\nx-b3-flags: 1\nx-b3-flags: 1",
        "{on}\n{multi}\nx-b3-flags: 1",
        "{t} {s}",
        "debug twice",
    ),
    (
        "core",
        "x-b3-traceid: {t}\nx-b3-spanid: {s}\nx-b3-sampled: 0\nx-b3-flags: 0\nx-b3-flags: 1",
        "{off}\n{multi}\nx-b3-sampled: 0",
        "{t} {s}",
        "of two flags the first counts",
    ),
    (
        "core",
        "x-b3-traceid: {l}\nx-b3-spanid: {s}\nx-b3-sampled: 1",
        "traceparent: 00-{0l}-{n}-01\nx-b3-traceid: {0l}\nx-b3-spanid: {n}\nx-b3-sampled: 1",
        "{0l} {s}",
        "64 bits",
    ),
    (
        "core",
        "x-b3-sampled: 0",
        "traceparent: 00-{r}-{n}-02\nx-b3-traceid: {r}\nx-b3-spanid: {n}\nx-b3-sampled: 0",
        "new",
        "only a denial",
    ),
    (
        "core",
        "x-b3-flags: 1",
        "traceparent: 00-{r}-{n}-03\nx-b3-traceid: {r}\nx-b3-spanid: {n}\nx-b3-flags: 1",
        "new",
        "only debug",
    ),
    (
        "core",
        "x-b3-traceid: {t}\nx-b3-spanid: {s}\nx-b3-sampled: maybe",
        "{new}\nx-b3-traceid: {r}\nx-b3-spanid: {n}\nx-b3-sampled: 1",
        "new",
        "a malformed state",
    ),
    (
        "core",
        "x-b3-parentspanid: {s}",
        "{new}\nx-b3-traceid: {r}\nx-b3-spanid: {n}\nx-b3-sampled: 1",
        "new",
        "a parent alone is nothing",
    ),
    (
        "core",
        "b3: {u}-{v}-\nx-b3-traceid: {t}\nx-b3-spanid: {s}\nx-b3-sampled: 1",
        "{on}\nb3: {t}-{n}-1\n{multi}\nx-b3-sampled: 1",
        "{t} {s}",
        "a malformed single falls back to multi",
    ),
    (
        "core",
        "b3: {t}-{s}-0\nx-b3-traceid: {t}\nx-b3-spanid: {s}\nx-b3-sampled: 1",
        "{off}\nb3: {t}-{n}-0\n{multi}\nx-b3-sampled: 0",
        "{t} {s}",
        "single over multi, and then both agree",
    ),
    ("zero", "b3: {t}-{s}", "{off}\nb3: {t}-{n}-0", "{t} {s}", "deferred to a rate of nothing"),
    ("zero", "b3: {t}-{s}-d", "{on}\nb3: {t}-{n}-d", "{t} {s}", "debug does not ask for rates"),
    ("zero", "", "traceparent: 00-{r}-{n}-02", "new", "a trace that is not sampled"),
    ("zero", "traceparent: 00-{t}-{s}-01\ntracestate: a=1", "{on}\ntracestate: a=1", "{t} {s}", "a parent decides"),
];

const CONFLICTS: &[Case] = &[
    (
        "core",
        "traceparent: 00-{t}-{s}-00\ntracestate: a=1\nb3: {t}-{v}-1",
        "{off}\ntracestate: a=1\nb3: {t}-{n}-0",
        "{t} {s}",
        "one trace: the first format's word",
    ),
    (
        "b3first",
        "traceparent: 00-{t}-{s}-00\ntracestate: a=1\nb3: {t}-{v}-1",
        "{on}\ntracestate: a=1\nb3: {t}-{n}-1",
        "{t} {s}",
        "W3C's ids and state, the first format's decision",
    ),
    (
        "core",
        "traceparent: 00-{t}-{s}-00\nb3: {l}-{v}-d",
        "{on}\nb3: {t}-{n}-d",
        "{t} {s}",
        "the lower half is the same trace, and debug counts anywhere",
    ),
    (
        "core",
        "traceparent: 00-{t}-{s}-01\nb3: {u}-{v}-0",
        "{on}\nb3: {t}-{n}-1",
        "{t} {s} => {u} {v}",
        "another trace becomes a link",
    ),
    (
        "b3first",
        "traceparent: 00-{t}-{s}-01\ntracestate: a=1\nb3: {u}-{v}-1",
        "traceparent: 00-{u}-{n}-01\nb3: {u}-{n}-1",
        "{u} {v} => {t} {s}",
        "in the order that is configured; without the other's state",
    ),
    ("core", "traceparent: bogus\nb3: {t}-{s}-1", "{on}\nb3: {t}-{n}-1", "{t} {s}", "the first valid one wins"),
    ("core", "traceparent: 00-{t}-{s}-01\nb3: 0", "{on}\nb3: {t}-{n}-1", "{t} {s}", "a bare state is not asked"),
    ("core", "traceparent: 00-{t}-{s}-00\nx-b3-flags: 1", "{on}\n{multi}\nx-b3-flags: 1", "{t} {s}", "but for debug"),
    (
        "restart",
        "traceparent: 00-{t}-{s}-01\ntracestate: a=1\nb3: {u}-{v}-d",
        "{new}\nb3: {r}-{n}-1",
        "new => {t} {s} => {u} {v}",
        "restart: a new trace with links",
    ),
    ("restart", "b3: 0", "{new}\nb3: {r}-{n}-1", "new", "and nobody outside decides"),
    ("restart", "", NEW, "new", "nothing to restart"),
    ("restart", "traceparent: bogus", NEW, "new", "nor to link"),
    (
        "ignore",
        "traceparent: 00-{t}-{s}-00\ntracestate: a=1\nb3: {u}-{v}-d",
        "{new}\nb3: {r}-{n}-1",
        "new",
        "ignore: as if nothing had come",
    ),
    ("none", "", "", "new", "nothing in, nothing configured, nothing out"),
    ("none", "traceparent: 00-{t}-{s}-01", ON, "{t} {s}", "what came in is rewritten"),
    ("none", "b3: {t}-{s}-1\nx-other: b3", "b3: {t}-{n}-1\nx-other: b3", "{t} {s}", "and nothing else"),
    ("none", "b3: {t}-{s}\n", "b3: {t}-{n}-1", "{t} {s}", "no tracestate without traceparent"),
    (
        "triple",
        "traceparent: 00-{t}-{s}-00\ntracestate: a=1",
        "{off}\ntracestate: a=1\nb3: {t}-{n}-0\n{multi}\nx-b3-sampled: 0",
        "{t} {s}",
        "three formats out",
    ),
    ("triple", "b3: {t}-{s}-d", "{on}\nb3: {t}-{n}-d\n{multi}\nx-b3-flags: 1", "{t} {s}", "and debug in each"),
    ("onlyb3", "traceparent: 00-{t}-{s}-01\ntracestate: a=1", "{new}\nb3: {r}-{n}-1", "new", "W3C is not read here"),
];

const OPT_IN: &[Case] = &[
    (
        "core",
        "uber-trace-id: {u}:{v}:0:1\nx-amzn-trace-id: Root=x\nx-cloud-trace-context: {u}/1\nx-datadog-trace-id: 1\n\
         ot-tracer-traceid: 1",
        "{new}\nuber-trace-id: {u}:{v}:0:1\nx-amzn-trace-id: Root=x\nx-cloud-trace-context: {u}/1\n\
         x-datadog-trace-id: 1\not-tracer-traceid: 1",
        "new",
        "formats that nobody named pass untouched",
    ),
    ("all", "uber-trace-id: {t}:{s}:{v}:1", "{on}\nuber-trace-id: {t}:{n}:0:1", "{t} {s}", "Jaeger"),
    ("all", "Uber-Trace-Id: {t}%3A{s}%3A0%3A0", "{off}\nuber-trace-id: {t}:{n}:0:0", "{t} {s}", "URL-encoded"),
    ("all", "uber-trace-id: {t}:{s}:0:3", "{on}\nuber-trace-id: {t}:{n}:0:3", "{t} {s}", "debug"),
    (
        "all",
        "uber-trace-id: {l}:{s}:0:1\nuberctx-a: 1",
        "traceparent: 00-{0l}-{n}-01\nuber-trace-id: {0l}:{n}:0:1\nuberctx-a: 1",
        "{0l} {s}",
        "64 bits, and Jaeger's baggage passes",
    ),
    ("all", "uber-trace-id: {t}:{s}:1", "{new}\nuber-trace-id: {r}:{n}:0:1", "new", "malformed"),
    (
        "all",
        "x-datadog-trace-id: {ld}\nx-datadog-parent-id: {sd}\nx-datadog-sampling-priority: 2\nx-datadog-origin: rum\n\
         x-datadog-tags: _dd.p.dm=-4,_dd.p.tid={h}",
        "{on}\nx-datadog-trace-id: {ld}\nx-datadog-parent-id: {nd}\nx-datadog-sampling-priority: 2\n\
         x-datadog-origin: rum\nx-datadog-tags: _dd.p.tid={h},_dd.p.dm=-4",
        "{t} {s}",
        "Datadog, 128 bits",
    ),
    (
        "all",
        "x-datadog-trace-id: {ld}\nx-datadog-parent-id: {sd}\nx-datadog-sampling-priority: -1",
        "traceparent: 00-{0l}-{n}-00\nx-datadog-trace-id: {ld}\nx-datadog-parent-id: {nd}\n\
         x-datadog-sampling-priority: -1",
        "{0l} {s}",
        "64 bits, dropped by the user",
    ),
    (
        "all",
        "X-Amzn-Trace-Id: Self=1-a-b;Root=1-{t8}-{t24};Parent={s};Sampled=1;Lineage=x:1",
        "{on}\nx-amzn-trace-id: Root=1-{t8}-{t24};Parent={n};Sampled=1;Self=1-a-b;Lineage=x:1",
        "{t} {s}",
        "X-Ray, with fields of others",
    ),
    (
        "all",
        "x-amzn-trace-id: Root=1-{t8}-{t24}",
        "{rolled}\nx-amzn-trace-id: Root=1-{t8}-{t24};Parent={n};Sampled=1",
        "{t} -",
        "a load balancer names no parent",
    ),
    (
        "all",
        "x-cloud-trace-context: {t}/{sd};o=1",
        "{on}\nx-cloud-trace-context: {t}/{nd};o=1",
        "{t} {s}",
        "Google Cloud",
    ),
    (
        "all",
        "traceparent: 00-{t}-{s}-00\nx-cloud-trace-context: {u}/{sd};o=1",
        "{off}\nx-cloud-trace-context: {t}/{nd};o=0",
        "{t} {s}",
        "Google only where W3C is silent, and never against it",
    ),
    (
        "all",
        "ot-tracer-traceid: {l}\not-tracer-spanid: {s}\not-tracer-sampled: true\not-baggage-a: 1",
        "traceparent: 00-{0l}-{n}-01\not-tracer-traceid: {l}\not-tracer-spanid: {n}\not-tracer-sampled: true\n\
         ot-baggage-a: 1",
        "{0l} {s}",
        "OpenTracing",
    ),
    (
        "all",
        "b3: {t}-{s}-1\nuber-trace-id: {u}:{v}:0:1\nx-amzn-trace-id: Root=1-{t8}-{t24};Parent={v};Sampled=0",
        "{on}\nb3: {t}-{n}-1\nuber-trace-id: {t}:{n}:0:1\nx-amzn-trace-id: Root=1-{t8}-{t24};Parent={n};Sampled=1",
        "{t} {s} => {u} {v}",
        "three at once",
    ),
    (
        "every",
        "",
        "{new}\nb3: {r}-{n}-1\nx-b3-traceid: {r}\nx-b3-spanid: {n}\nx-b3-sampled: 1\nuber-trace-id: {r}:{n}:0:1\n\
         x-datadog-trace-id: {rld}\nx-datadog-parent-id: {nd}\nx-datadog-sampling-priority: 1\n\
         x-datadog-tags: _dd.p.tid={rh}\nx-amzn-trace-id: Root=1-{r8}-{r24};Parent={n};Sampled=1\n\
         x-cloud-trace-context: {r}/{nd};o=1\not-tracer-traceid: {rl}\not-tracer-spanid: {n}\not-tracer-sampled: true",
        "new",
        "every format out",
    ),
    (
        "every",
        "traceparent: 00-{t}-{s}-00\ntracestate: dd=s:0;p:{s},a=1",
        "{off}\ntracestate: dd=s:0;p:{n},a=1\nb3: {t}-{n}-0\n{multi}\nx-b3-sampled: 0\nuber-trace-id: {t}:{n}:0:0\n\
         x-datadog-trace-id: {ld}\nx-datadog-parent-id: {nd}\nx-datadog-sampling-priority: 0\n\
         x-datadog-tags: _dd.p.tid={h}\nx-amzn-trace-id: Root=1-{t8}-{t24};Parent={n};Sampled=0\n\
         x-cloud-trace-context: {t}/{nd};o=0\not-tracer-traceid: {l}\not-tracer-spanid: {n}\not-tracer-sampled: false",
        "{t} {s}",
        "and none of them sampled",
    ),
];

/// The configurations by their names, and the formats that they see to.
fn configurations() -> Vec<(&'static str, Value, &'static [&'static str])> {
    let all = json!(["tracecontext", "b3", "jaeger", "datadog", "xray", "gcp", "ottrace"]);
    let every = json!(["tracecontext", "b3", "b3multi", "jaeger", "datadog", "xray", "gcp", "ottrace"]);
    vec![
        ("core", json!({}), CORE),
        ("zero", json!({"sampling": {"randomSamplingPercentage": 0}}), CORE),
        ("b3first", json!({"propagation": {"extract": ["b3", "tracecontext"]}}), CORE),
        ("onlyb3", json!({"propagation": {"extract": ["b3"], "inject": ["tracecontext", "b3"]}}), CORE),
        ("none", json!({"propagation": {"inject": []}}), CORE),
        ("triple", json!({"propagation": {"inject": ["b3multi", "tracecontext", "b3"]}}), CORE),
        ("restart", json!({"propagation": {"trust": "restart"}}), CORE),
        ("ignore", json!({"propagation": {"trust": "ignore"}}), CORE),
        ("all", json!({"propagation": {"extract": all}}), ALL),
        ("every", json!({"propagation": {"inject": every}}), ALL),
    ]
}

/// One request of a case: which listener, and whether the application fails it.
struct Attempt {
    case: &'static Case,
    direction: &'static str,
    key: String,
    names: BTreeMap<&'static str, String>,
}

#[tokio::test]
async fn every_dialect_in_gives_the_right_dialect_out() -> Result<()> {
    let mut stage = start().await?;
    let mut attempts = Vec::new();
    for direction in ["inbound", "outbound"] {
        for (name, _, formats) in configurations() {
            let mut connection = RawConnection::connect(stage.envoy.port(&format!("{name}.{direction}"))?).await?;
            for case in cases().filter(|case| case.0 == name) {
                let attempt = Attempt::new(attempts.len(), case, direction, "ok");
                let sent = attempt.send(&mut connection, &stage.app).await?;
                let sampled = attempt.agreed(&sent, formats)?.is_none_or(|said| said.sampled != Some(false));
                attempts.push((attempt, sent, sampled));
                // What is not sampled shows its ids all the same, if it fails.
                if !sampled {
                    let attempt = Attempt::new(attempts.len(), case, direction, "fail");
                    let sent = attempt.send(&mut connection, &stage.app).await?;
                    attempts.push((attempt, sent, true));
                }
            }
        }
    }
    let kept = attempts.iter().filter(|(_, _, kept)| *kept).count();
    // What is missing is told below, by name.
    let in_time = stage.spans(kept).await.map(|_| ());
    // Long enough for a span too many.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let spans = stage.receiver.spans();
    let mut failures = Vec::new();
    for (attempt, sent, kept) in &attempts {
        if let Err(error) = attempt.check(sent, &spans, *kept) {
            failures.push(format!("{}: {error:#}", attempt.title()));
        }
    }
    assert!(failures.is_empty(), "{} of {} fail:\n{}", failures.len(), attempts.len(), failures.join("\n"));
    assert_eq!(spans.len(), kept, "no other span");
    in_time?;
    assert!(stage.receiver.errors().is_empty(), "{:?}", stage.receiver.errors());
    stage.envoy.assert_no_trap();
    Ok(())
}

#[test]
fn the_table_is_as_large_as_it_should_be() {
    assert!(cases().count() >= 60, "{}", cases().count());
    let known: Vec<_> = configurations().into_iter().map(|(name, _, _)| name).collect();
    for case in cases() {
        assert!(known.contains(&case.0), "{case:?}");
    }
}

fn cases() -> impl Iterator<Item = &'static Case> {
    [W3C, B3, CONFLICTS, OPT_IN].into_iter().flatten()
}

/// One Envoy with a pair of listeners for every configuration.
async fn start() -> Result<Stage> {
    let app = Upstream::start(|request| async move {
        status(if request.uri().path().starts_with("/fail") { 503 } else { 200 }, "done").await
    });
    let mut filters = Vec::new();
    for (name, patch, _) in configurations() {
        // Errors come faster here than a cap would let them through.
        let mut configuration = config(json!({
            "spans": {"requestHeaders": ["x-case"]},
            "sampling": {"errors": {"maxPerSecond": 100_000}},
        }));
        sidespan_harness::merge(&mut configuration, patch);
        filters.push((name, filter(&configuration)?.named(&format!("test.{name}"))));
    }
    let add = |bootstrap: Bootstrap| {
        filters.iter().fold(bootstrap, |bootstrap, (name, filter)| {
            let pair = [
                Listener::inbound("app").named(&format!("{name}.inbound")),
                Listener::outbound("app").named(&format!("{name}.outbound")),
            ];
            pair.into_iter().fold(bootstrap, |bootstrap, listener| bootstrap.listener(listener.filter(filter.clone())))
        })
    };
    Stage::with(app.await?, &config(json!({})), add).await
}

// === impl Attempt ===

impl Attempt {
    fn new(number: usize, case: &'static Case, direction: &'static str, path: &str) -> Self {
        let word = |nth: u64| scramble((number as u64) << 8 | nth);
        let trace = (word(0), word(1));
        let mut names = ids("t", trace.0, trace.1);
        names.insert("s", format!("{:016x}", word(2)));
        names.insert("sd", word(2).to_string());
        names.insert("S", format!("{:016X}", word(2) | 0xa << 60));
        names.insert("u", format!("{:016x}{:016x}", word(3), word(4)));
        names.insert("v", format!("{:016x}", word(5)));
        Self { case, direction, key: format!("/{path}/{number}"), names }
    }

    fn title(&self) -> String {
        let (name, input, _, _, why) = self.case;
        format!("{} {name} ({why}) of {input:?} to {}", self.direction, self.key)
    }

    /// Placeholders replaced; those of the span only once it is known.
    fn fill(&self, text: &str, names: &BTreeMap<&'static str, String>) -> String {
        let members = |from: usize, to: usize| (from..to).map(|n| format!("k{n}=1")).collect::<Vec<_>>().join(",");
        let mut text = text.to_owned();
        for (name, short) in [("{on}", ON), ("{off}", OFF), ("{rolled}", ROLLED), ("{new}", NEW)] {
            text = text.replace(name, short);
        }
        text = text.replace("{multi}", "x-b3-traceid: {t}\nx-b3-spanid: {n}").replace("{long}", LONG);
        text = text.replace("{32}", &members(0, 32)).replace("{33}", &members(1, 33));
        for (name, value) in self.names.iter().chain(names) {
            text = text.replace(&format!("{{{name}}}"), value);
        }
        text
    }

    /// Sends the case and returns what the application received.
    async fn send(&self, connection: &mut RawConnection, app: &Upstream) -> Result<Recorded> {
        let mut request = RawRequest::get("backend", &self.key).header("x-case", &self.key);
        for line in self.fill(self.case.1, &BTreeMap::new()).lines() {
            let (name, value) = line.split_once(':').with_context(|| line.to_owned())?;
            request = request.header(name, value.strip_prefix(' ').unwrap_or(value));
        }
        let response = connection.exchange(&request).await.with_context(|| self.title())?;
        let expected = if self.key.starts_with("/fail") { 503 } else { 200 };
        ensure!(response.status == expected, "{}: status {}", self.title(), response.status);
        let received = app.take().into_iter().find(|request| request.path == self.key);
        received.with_context(|| format!("{}: not received", self.title()))
    }

    /// What the headers say, in one voice.
    fn agreed(&self, sent: &Recorded, formats: &[&'static str]) -> Result<Option<Said>> {
        let all = dialects::read(sent, formats).with_context(|| self.title())?;
        Ok(all.into_iter().next())
    }

    fn check(&self, sent: &Recorded, spans: &[ReceivedSpan], kept: bool) -> Result<()> {
        let of_case = |span: &ReceivedSpan| *span.attribute("http.request.header.x-case") == json!([self.key]);
        if !kept {
            ensure!(!spans.iter().any(of_case), "it is not sampled, and yet there is a span");
            return Ok(());
        }
        let span = only(spans, of_case)?;
        ensure!(span.problems.is_empty(), "{:?}", span.problems);
        let kind = if self.direction == "inbound" { Kind::Server } else { Kind::Client };
        ensure!(span.kind == kind, "{:?}", span.kind);
        let trace = u128::from_str_radix(&span.trace_id, 16)?;
        let mut names = ids("r", (trace >> 64) as u64, trace as u64);
        names.insert("nd", u64::from_str_radix(&span.span_id, 16)?.to_string());
        names.insert("n", span.span_id.clone());
        let expected = sorted(self.fill(self.case.2, &names).lines().map(str::to_owned));
        let came = sorted(sent.headers.iter().filter(|(name, _)| !is_noise(name)).map(|(name, value)| {
            // As it is written in the table.
            format!("{name}: {}", String::from_utf8_lossy(value))
        }));
        ensure!(came == expected, "went upstream:\n  {}\nexpected:\n  {}", came.join("\n  "), expected.join("\n  "));
        self.check_origin(span, &names)?;
        self.check_state(span, sent)
    }

    /// Trace, parent and links of the span are those that came in.
    fn check_origin(&self, span: &ReceivedSpan, names: &BTreeMap<&'static str, String>) -> Result<()> {
        let parent = if span.is_root() { "-" } else { &span.parent_span_id };
        let foreign = [&self.names["t"], &self.names["u"], &self.names["0l"]];
        let mut origin = match foreign.contains(&&span.trace_id) {
            true => format!("{} {parent}", span.trace_id),
            false if span.is_root() => "new".to_owned(),
            false => format!("an unknown trace, parent {parent}"),
        };
        for link in &span.links {
            origin += &format!(" => {} {}", link.trace_id, link.span_id);
        }
        let expected = self.fill(self.case.3, names);
        ensure!(origin == expected, "the span comes from {origin}, not from {expected}");
        Ok(())
    }

    /// The span's own `tracestate` and flags are those that went upstream, but for the threshold of its sampling (which may
    /// push out a 32nd member) and Datadog's word about the last parent.
    fn check_state(&self, span: &ReceivedSpan, sent: &Recorded) -> Result<()> {
        let Some(traceparent) = sent.header("traceparent") else { return Ok(()) };
        let state = sent.values("tracestate").iter().map(|value| String::from_utf8_lossy(value)).collect::<Vec<_>>();
        let (ours, theirs) = (others(&span.trace_state), others(&state.join(",")));
        let full = span.trace_state.starts_with("ot=") && theirs.len() == 32;
        ensure!(ours[..] == theirs[..if full { 31 } else { theirs.len() }], "tracestate {ours:?} and {theirs:?}");
        let random = u32::from_str_radix(&traceparent[53..], 16)? & 2;
        ensure!(span.flags & 0xff == 1 | random, "flags {:x}", span.flags);
        Ok(())
    }
}

/// Members other than `ot` and `dd`, without white space.
fn others(state: &str) -> Vec<String> {
    let other = |member: &&str| !member.is_empty() && !member.starts_with("ot=") && !member.starts_with("dd=");
    state.split(',').map(str::trim).filter(other).map(str::to_owned).collect()
}

/// The forms of a trace id, under the names that start with `prefix`.
fn ids(prefix: &str, high: u64, low: u64) -> BTreeMap<&'static str, String> {
    let whole = format!("{high:016x}{low:016x}");
    let values = [
        whole.clone(),
        whole[..8].to_owned(),
        whole[8..].to_owned(),
        whole[16..].to_owned(),
        whole[..16].to_owned(),
        low.to_string(),
        format!("{:032}", 0)[..16].to_owned() + &whole[16..],
        whole.replacen(|_: char| true, "a", 1).to_uppercase(),
    ];
    let names = match prefix {
        "t" => ["t", "t8", "t24", "l", "h", "ld", "0l", "T"],
        _ => ["r", "r8", "r24", "rl", "rh", "rld", "r0l", "R"],
    };
    names.into_iter().zip(values).collect()
}

/// Lines of different names in the order of their names; those of one name keep their order.
fn sorted(lines: impl Iterator<Item = String>) -> Vec<String> {
    let mut lines: Vec<String> = lines.filter(|line| !line.is_empty()).collect();
    lines.sort_by_key(|line| line.split(':').next().unwrap_or_default().to_owned());
    lines
}

/// What the client and Envoy add to every request.
fn is_noise(name: &str) -> bool {
    ["host", "x-case", "x-request-id", "x-forwarded-proto", "x-envoy-expected-rq-timeout-ms"].contains(&name)
}

/// SplitMix64: numbers that look random and are never zero.
fn scramble(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z ^ (z >> 31)).max(1)
}
