//! The host's side of the ABI: contexts, phases, and what each host call answers, by Envoy's rules.
//!
//! Sources: `source/extensions/common/wasm/context.cc` of Envoy and `src/{exports,context,wasm}.cc` of proxy-wasm-cpp-host.

use super::attributes::{self, Facts, Property};
use super::cel;
use super::collector::{Cluster, End, OutCall};
use super::headers::HeaderMap;
use super::process::{Kind, Process};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io::Write;

/// A status of the ABI.
pub type Status = u32;
/// Success.
pub const OK: Status = 0;
/// There is no such thing.
pub const NOT_FOUND: Status = 1;
/// An argument makes no sense here.
pub const BAD_ARGUMENT: Status = 2;
/// A value has no serialised form.
pub const SERIALIZATION_FAILURE: Status = 3;
/// Something serialised cannot be read.
pub const PARSE_FAILURE: Status = 4;
/// The shared value has changed.
pub const CAS_MISMATCH: Status = 8;
/// The host failed; also the answer of everything that this host does not have.
pub const INTERNAL_FAILURE: Status = 10;

/// One call that the filter made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// The callback it was made from, such as `on_log`.
    pub callback: &'static str,
    /// The function, such as `proxy_get_property`.
    pub function: &'static str,
    /// The property path, header name or shared-data key.
    pub detail: String,
    /// How many calls were made before it since the last reset.
    pub index: usize,
}

/// What a host call does instead of working.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Answers this status.
    Status(Status),
    /// Answers `Ok` with these bytes, where it answers bytes at all.
    Data(Vec<u8>),
}

/// Decides whether a call fails.
pub type FaultPlan = Box<dyn FnMut(&Call) -> Option<Fault>>;

/// A line of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// 0 trace to 5 critical.
    pub level: u32,
    /// The text.
    pub text: String,
}

/// Which maps a stream can see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// None.
    #[default]
    Elsewhere,
    /// The request headers, writable.
    RequestHeaders,
    /// The response headers, writable.
    ResponseHeaders,
    /// All, read-only.
    Log,
}

/// A root context.
#[derive(Default)]
pub struct Root {
    /// `pluginConfig` as bytes.
    pub configuration: Vec<u8>,
    /// The reply that is being delivered: headers, body, trailers.
    pub reply: Option<(HeaderMap, Vec<u8>, HeaderMap)>,
    /// Timer period; 0 is off.
    pub period_ns: u64,
    /// When it fires next.
    pub next_tick_ns: u64,
    /// Answered `false` to `on_done`.
    pub finishing: bool,
    /// Said `proxy_done` since.
    pub finished: bool,
    /// Replaced by a newer one: ends with its last stream.
    pub released: bool,
}

/// A stream context.
#[derive(Default)]
pub struct Stream {
    /// Its root.
    pub root: u32,
    /// What it can see now.
    pub phase: Phase,
    /// Whether the VM knows it.
    pub created: bool,
    /// Request headers, as the router would send them.
    pub request: HeaderMap,
    /// Response headers, if there are any.
    pub response: Option<HeaderMap>,
    /// Response trailers, if there are any.
    pub trailers: Option<HeaderMap>,
    /// What Envoy knows of the request.
    pub facts: Facts,
    /// What tests said about this stream; wins over everything derived.
    pub properties: BTreeMap<Vec<u8>, Property>,
}

/// All of one worker's host state.
#[derive(Default)]
pub struct Engine {
    /// Shared with other workers.
    pub process: Process,
    /// Answered to `get_log_level`.
    pub log_level: u32,
    /// What was logged.
    pub log: Vec<LogLine>,
    /// Root contexts that live.
    pub roots: BTreeMap<u32, Root>,
    /// Streams that live.
    pub streams: BTreeMap<u32, Stream>,
    /// The node's and the plugin's attributes, readable in root and stream.
    pub node: BTreeMap<Vec<u8>, Property>,
    /// Clusters that are not healthy.
    pub clusters: BTreeMap<String, Cluster>,
    /// Every outbound call.
    pub sent: Vec<OutCall>,
    /// Every host call since the last reset.
    pub calls: Vec<Call>,
    /// Makes calls fail.
    pub faults: Option<FaultPlan>,
    /// The callback that runs.
    pub callback: &'static str,
    /// The context it runs on; 0 is none.
    pub current: u32,
    /// Set by `set_effective_context`; 0 is none.
    pub effective: u32,
    /// An Envoy that was built without CEL.
    pub without_cel: bool,
    /// Whether `on_configure` runs: the only time that the configuration is readable.
    pub configuring: bool,
}

thread_local! {
    static ENGINE: RefCell<Engine> = RefCell::default();
    // Ids are never used twice in a thread: the contexts of a thread outlive a world.
    static NEXT_ID: Cell<u32> = const { Cell::new(1) };
    static METRICS: RefCell<Vec<(Kind, String)>> = const { RefCell::new(Vec::new()) };
}

/// Runs `work` on this thread's host. `None` while the host itself is at work, as in a panic hook.
pub fn try_with<R>(work: impl FnOnce(&mut Engine) -> R) -> Option<R> {
    ENGINE.try_with(|engine| engine.try_borrow_mut().ok().map(|mut engine| work(&mut engine))).ok().flatten()
}

/// Runs `work` on this thread's host.
pub fn with<R>(work: impl FnOnce(&mut Engine) -> R) -> R {
    try_with(work).expect("the host is not at work")
}

/// An id that this thread never saw before: of a context, or a token.
pub fn fresh_id() -> u32 {
    NEXT_ID.replace(NEXT_ID.get() + 1)
}

// === impl Engine: calls ===

impl Engine {
    /// Notes a call and says whether it fails.
    pub fn admit(&mut self, function: &'static str, detail: &[u8]) -> Option<Fault> {
        let detail = String::from_utf8_lossy(detail).replace('\0', ".");
        let call = Call { callback: self.callback, function, detail, index: self.calls.len() };
        let fault = self.faults.as_mut().and_then(|plan| plan(&call));
        self.calls.push(call);
        fault
    }

    /// `contextOrEffectiveContext()`.
    fn context(&self) -> u32 {
        let lives = self.roots.contains_key(&self.effective) || self.streams.contains_key(&self.effective);
        if lives { self.effective } else { self.current }
    }

    /// `root_context()` of the context that runs.
    fn root_id(&self) -> u32 {
        let id = self.context();
        self.streams.get(&id).map_or(id, |stream| stream.root)
    }

    /// `proxy_set_effective_context`.
    pub fn set_effective(&mut self, id: u32) -> Result<(), Status> {
        if !self.roots.contains_key(&id) && !self.streams.contains_key(&id) {
            return Err(BAD_ARGUMENT);
        }
        self.effective = id;
        Ok(())
    }

    /// `proxy_log`.
    pub fn log(&mut self, level: u32, text: &[u8]) -> Result<(), Status> {
        if level > 5 {
            return Err(BAD_ARGUMENT);
        }
        self.log.push(LogLine { level, text: String::from_utf8_lossy(text).into_owned() });
        Ok(())
    }

    /// `proxy_set_tick_period_milliseconds`: re-arms from now, whatever was left.
    pub fn set_tick_period(&mut self, millis: u32) -> Result<(), Status> {
        let now = self.process.clock().now_ns();
        let id = self.root_id();
        let root = self.roots.get_mut(&id).ok_or(BAD_ARGUMENT)?;
        root.period_ns = u64::from(millis) * 1_000_000;
        root.next_tick_ns = now + root.period_ns;
        Ok(())
    }

    /// `proxy_done`.
    pub fn done(&mut self) -> Result<(), Status> {
        let id = self.root_id();
        let root = self.roots.get_mut(&id).filter(|root| root.finishing && !root.finished).ok_or(NOT_FOUND)?;
        root.finished = true;
        Ok(())
    }
}

// === impl Engine: maps and buffers ===

impl Engine {
    /// `Context::getConstMap`; the error is `getHeaderMapValue`'s for a map that is not there.
    fn map(&self, kind: u32) -> Result<&HeaderMap, Status> {
        let id = self.context();
        if let Some(stream) = self.streams.get(&id) {
            let logging = stream.phase == Phase::Log;
            let found = match (kind, stream.phase) {
                (0, Phase::RequestHeaders | Phase::Log) => Some(&stream.request),
                (2, Phase::ResponseHeaders | Phase::Log) => stream.response.as_ref(),
                (3, Phase::Log) => stream.trailers.as_ref(),
                _ => None,
            };
            return found.ok_or(if logging { NOT_FOUND } else { BAD_ARGUMENT });
        }
        let reply = self.roots.get(&id).and_then(|root| root.reply.as_ref()).ok_or(BAD_ARGUMENT)?;
        match kind {
            6 => Ok(&reply.0),
            7 => Ok(&reply.2),
            _ => Err(BAD_ARGUMENT),
        }
    }

    /// `proxy_get_header_map_pairs`: a missing map is empty.
    pub fn pairs(&self, kind: u32) -> Result<Vec<u8>, Status> {
        Ok(self.map(kind).map(HeaderMap::to_pairs).unwrap_or_default())
    }

    /// `proxy_get_header_map_value`: the first value.
    pub fn header(&self, kind: u32, name: &[u8]) -> Result<Vec<u8>, Status> {
        self.map(kind)?.first(name).map(<[u8]>::to_vec).ok_or(NOT_FOUND)
    }

    /// `Context::getMap`: only the map of the running phase can be changed.
    pub fn edit(&mut self, kind: u32, change: impl FnOnce(&mut HeaderMap)) -> Result<(), Status> {
        let id = self.context();
        let stream = self.streams.get_mut(&id).ok_or(BAD_ARGUMENT)?;
        let map = match (kind, stream.phase) {
            (0, Phase::RequestHeaders) => Some(&mut stream.request),
            (2, Phase::ResponseHeaders) => stream.response.as_mut(),
            _ => None,
        };
        change(map.ok_or(BAD_ARGUMENT)?);
        Ok(())
    }

    /// `proxy_get_buffer_bytes`.
    pub fn buffer(&self, kind: u32, start: usize, length: usize) -> Result<Vec<u8>, Status> {
        let root = self.roots.get(&self.context());
        let buffer: &[u8] = match kind {
            4 | 5 => root.and_then(|root| root.reply.as_ref()).map(|reply| reply.1.as_slice()),
            6 => Some(&[][..]),
            7 if self.configuring => root.map(|root| root.configuration.as_slice()),
            _ => None,
        }
        .ok_or(NOT_FOUND)?;
        let end = start.checked_add(length).ok_or(BAD_ARGUMENT)?.min(buffer.len());
        Ok(buffer.get(start..end).unwrap_or_default().to_vec())
    }

    /// `proxy_get_property`.
    pub fn property(&self, path: &[u8]) -> Result<Vec<u8>, Status> {
        let stream = self.streams.get(&self.context());
        let told = stream.and_then(|stream| stream.properties.get(path)).or_else(|| self.node.get(path));
        match told {
            Some(property) => property.answer(),
            None => stream.and_then(|stream| attributes::derived(stream, path)).ok_or(NOT_FOUND),
        }
    }
}

// === impl Engine: metrics ===

impl Engine {
    /// `proxy_define_metric`: a new id each time, the same metric for the same name.
    pub fn define_metric(&mut self, kind: u32, name: &[u8]) -> Result<u32, Status> {
        let kind = match kind {
            0 => Kind::Counter,
            1 => Kind::Gauge,
            2 => Kind::Histogram,
            _ => return Err(BAD_ARGUMENT),
        };
        let name = String::from_utf8(name.to_vec()).expect("metric names are UTF-8");
        let define = |metrics: &RefCell<Vec<(Kind, String)>>| {
            metrics.borrow_mut().push((kind, name));
            u32::try_from(metrics.borrow().len()).map_err(|_| INTERNAL_FAILURE)
        };
        METRICS.try_with(define).unwrap_or(Err(INTERNAL_FAILURE))
    }

    /// The kind and name of a defined metric.
    pub fn metric(&self, id: u32) -> Result<(Kind, String), Status> {
        let index = usize::try_from(id).map_err(|_| NOT_FOUND)?.checked_sub(1).ok_or(NOT_FOUND)?;
        METRICS.try_with(|metrics| metrics.borrow().get(index).cloned()).ok().flatten().ok_or(NOT_FOUND)
    }
}

// === impl Engine: calls to other clusters ===

impl Engine {
    /// `Context::httpCall`.
    pub fn http_call(&mut self, mut call: OutCall) -> Result<u32, Status> {
        let complete = [":method", ":path", ":authority"].iter().all(|name| call.headers.first(name).is_some());
        match self.clusters.get(&call.cluster) {
            Some(Cluster::Unknown) => return Err(BAD_ARGUMENT),
            _ if !complete => return Err(BAD_ARGUMENT),
            Some(Cluster::NoHost) => return Err(INTERNAL_FAILURE),
            _ => call.root = self.root_id(),
        }
        Ok(self.send(call))
    }

    /// `Context::grpcCall`.
    pub fn grpc_call(&mut self, mut call: OutCall) -> Result<u32, Status> {
        match self.clusters.get(&call.cluster) {
            Some(Cluster::Unknown) => return Err(PARSE_FAILURE),
            Some(Cluster::NoHost) => return Err(INTERNAL_FAILURE),
            _ => call.root = self.root_id(),
        }
        Ok(self.send(call))
    }

    fn send(&mut self, mut call: OutCall) -> u32 {
        call.token = fresh_id();
        call.sent_ns = self.process.clock().now_ns();
        call.end = End::Pending;
        self.sent.push(call);
        self.sent.last().map_or(0, |call| call.token)
    }

    /// Envoy's foreign functions, as far as there are any here: `compress` is a zlib stream, `expr_…` evaluate CEL.
    pub fn foreign(&self, name: &[u8], argument: &[u8]) -> Result<Vec<u8>, Status> {
        match name {
            b"compress" => compress(argument),
            _ if self.without_cel => Err(NOT_FOUND),
            // An id is whatever the host likes.
            b"expr_create" => Ok([b"id:", argument].concat()),
            b"expr_evaluate" => self.evaluate(argument),
            b"expr_delete" => Ok(Vec::new()),
            _ => Err(NOT_FOUND),
        }
    }

    fn evaluate(&self, id: &[u8]) -> Result<Vec<u8>, Status> {
        let text = id.strip_prefix(b"id:").and_then(|text| std::str::from_utf8(text).ok()).ok_or(NOT_FOUND)?;
        let exists = |path: &[u8]| {
            let within = |known: &Vec<u8>| known.strip_prefix(path).is_some_and(|rest| rest.first() == Some(&0));
            let stream = self.streams.get(&self.context());
            self.property(path).is_ok() || stream.is_some_and(|stream| stream.properties.keys().any(within))
        };
        cel::evaluate(text, |path| self.property(path).ok(), exists).ok_or(INTERNAL_FAILURE)
    }
}

fn compress(plain: &[u8]) -> Result<Vec<u8>, Status> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(plain).map_err(|_| INTERNAL_FAILURE)?;
    encoder.finish().map_err(|_| INTERNAL_FAILURE)
}
