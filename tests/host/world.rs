//! The driver: one worker of one Envoy, seen from a test.
//!
//! ```ignore
//! let mut world = World::new(CONFIG);
//! let stream = world.request(Direction::Inbound, &[(":method", "GET"), (":path", "/")]);
//! stream.response(&[(":status", "503")]);
//! stream.finish(EndFacts::default());
//! world.tick_after(Duration::from_secs(2));
//! assert_eq!(world.exported()[0].status(), "ERROR");
//! ```

use super::attributes::{Direction, Property};
use super::collector::{Cluster, End, ExportedSpan, OutCall};
use super::contexts::{Root, Stream, enter};
use super::engine::{self, Call, Engine, Fault, LogLine};
use super::headers::HeaderMap;
use super::process::Process;
use super::symbols;
use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// A worker. It lives on its thread: a thread is a VM.
pub struct World {
    root: Root,
    here: PhantomData<*const ()>,
}

/// Calls counted by callback and function.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Calls(Vec<Call>);

// === impl World: start ===

impl World {
    /// The filter with this `pluginConfig`, started in an Envoy of its own.
    pub fn new(configuration: impl AsRef<[u8]>) -> Self {
        Self::of(Process::default(), configuration)
    }

    /// The filter as one more worker of an Envoy.
    pub fn of(process: Process, configuration: impl AsRef<[u8]>) -> Self {
        Self::with_filter(super::start_filter, process, configuration)
    }

    /// Any filter: `initialize` is what `_initialize` does in a module.
    pub fn with_filter(initialize: fn(), process: Process, configuration: impl AsRef<[u8]>) -> Self {
        let mut world = Self::idle(process);
        world.boot(initialize, configuration);
        world
    }

    /// A worker whose host can still be told about the node, clusters and faults; then [`World::boot`].
    pub fn idle(process: Process) -> Self {
        engine::with(|engine| {
            *engine = Engine { process, log_level: 1, callback: "outside", ..Engine::default() };
            engine.node = node();
        });
        Self { root: Root { id: 0, accepted: false }, here: PhantomData }
    }

    /// Loads the module and gives it its first configuration.
    pub fn boot(&mut self, initialize: fn(), configuration: impl AsRef<[u8]>) -> Root {
        // Registering a logger is process-wide and not made for threads, as a module has none.
        static INITIALIZE: Mutex<()> = Mutex::new(());
        let one_at_a_time = INITIALIZE.lock().unwrap_or_else(PoisonError::into_inner);
        initialize();
        drop(one_at_a_time);
        self.start(configuration)
    }

    /// A new root context in the same VM, as an update of the configuration makes one. Streams come to it from now on, if
    /// it accepts.
    pub fn start(&mut self, configuration: impl AsRef<[u8]>) -> Root {
        let id = engine::fresh_id();
        let configuration = configuration.as_ref().to_vec();
        let size = configuration.len();
        engine::with(|engine| engine.roots.insert(id, engine::Root { configuration, ..engine::Root::default() }));
        enter(id, "on_context_create", || symbols::proxy_on_context_create(id, 0));
        let started = enter(id, "on_vm_start", || symbols::proxy_on_vm_start(id, 0));
        engine::with(|engine| engine.configuring = true);
        let configured = enter(id, "on_configure", || symbols::proxy_on_configure(id, size));
        engine::with(|engine| engine.configuring = false);
        let root = Root { id, accepted: started && configured };
        if root.accepted || self.root.id == 0 {
            self.root = root;
        }
        root
    }

    /// An update: the new root context takes over, the old one ends with its last stream. A refused update changes nothing.
    pub fn reconfigure(&mut self, configuration: impl AsRef<[u8]>) -> Root {
        let old = self.root;
        let new = self.start(configuration);
        if new.accepted {
            old.release();
        }
        new
    }

    /// The root context that takes streams now.
    pub fn root(&self) -> Root {
        self.root
    }
}

/// What a sidecar's node says: only what every Istio proxy says.
fn node() -> BTreeMap<Vec<u8>, Property> {
    let leaves: &[(&[&str], &str)] = &[
        (&["xds", "node", "id"], "sidecar~10.1.2.3~shop-7d9f-x2x.store~store.svc.cluster.local"),
        (&["xds", "node", "cluster"], "shop.store"),
        (&["xds", "node", "metadata", "NAME"], "shop-7d9f-x2x"),
        (&["xds", "node", "metadata", "NAMESPACE"], "store"),
        (&["xds", "node", "metadata", "WORKLOAD_NAME"], "shop"),
        (&["xds", "node", "metadata", "CLUSTER_ID"], "east"),
        (&["plugin_name"], "store.sidespan"),
        (&["plugin_root_id"], "sidespan"),
    ];
    leaves.iter().map(|(path, value)| (path.join("\0").into_bytes(), Property::from(*value))).collect()
}

// === impl World: what the host is ===

impl World {
    /// An attribute of the node or the plugin, readable in root and stream.
    pub fn set_node(&mut self, path: &[&str], value: impl Into<Property>) {
        engine::with(|engine| engine.node.insert(path.join("\0").into_bytes(), value.into()));
    }

    /// As an Envoy that was built without CEL.
    pub fn know_no_cel(&mut self) {
        engine::with(|engine| engine.without_cel = true);
    }

    /// What Envoy knows of a cluster; all are healthy unless told.
    pub fn set_cluster(&mut self, name: &str, state: Cluster) {
        engine::with(|engine| engine.clusters.insert(name.to_owned(), state));
    }

    /// Makes host calls fail from now on, or stops that.
    pub fn set_faults(&mut self, plan: impl FnMut(&Call) -> Option<Fault> + 'static) {
        engine::with(|engine| engine.faults = Some(Box::new(plan)));
    }

    /// Host calls work again.
    pub fn clear_faults(&mut self) {
        engine::with(|engine| engine.faults = None);
    }

    /// What this worker shares with others.
    pub fn process(&self) -> Process {
        engine::with(|engine| engine.process.clone())
    }

    /// Nanoseconds since the Unix epoch.
    pub fn now_ns(&self) -> u64 {
        self.process().clock().now_ns()
    }

    /// Lets time pass without firing any timer, as while a request is worked on.
    pub fn pass(&mut self, duration: Duration) {
        let process = self.process();
        let later = process.clock().now_ns() + u64::try_from(duration.as_nanos()).expect("short");
        process.clock().set_ns(later);
    }

    /// Lets time pass and fires every timer that falls due, in order.
    pub fn tick_after(&mut self, duration: Duration) {
        let process = self.process();
        let end = process.clock().now_ns() + u64::try_from(duration.as_nanos()).expect("short");
        while let Some((due, root)) = next_timer().filter(|(due, _)| *due <= end) {
            process.clock().set_ns(due.max(process.clock().now_ns()));
            fire(root);
        }
        process.clock().set_ns(end);
    }

    /// Fires each timer that is due by now (a clock that others moved), once.
    pub fn fire_due(&mut self) {
        let now = self.now_ns();
        let due = engine::with(|engine| {
            let due =
                |root: &&u32| engine.roots.get(root).is_some_and(|root| root.period_ns > 0 && root.next_tick_ns <= now);
            engine.roots.keys().filter(due).copied().collect::<Vec<_>>()
        });
        due.into_iter().for_each(fire);
    }

    /// How long the current root's timer waits between ticks; zero is off.
    pub fn tick_period(&self) -> Duration {
        engine::with(|engine| Duration::from_nanos(engine.roots.get(&self.root.id).map_or(0, |root| root.period_ns)))
    }
}

fn next_timer() -> Option<(u64, u32)> {
    engine::with(|engine| {
        let armed = engine.roots.iter().filter(|(_, root)| root.period_ns > 0);
        armed.map(|(id, root)| (root.next_tick_ns, *id)).min()
    })
}

/// `Wasm::tickHandler`: the timer is re-armed after the callback, by the period that is set then.
fn fire(root: u32) {
    enter(root, "on_tick", || symbols::proxy_on_tick(root));
    engine::with(|engine| {
        let now = engine.process.clock().now_ns();
        if let Some(root) = engine.roots.get_mut(&root) {
            root.next_tick_ns = now + root.period_ns;
        }
    });
}

// === impl World: streams ===

impl World {
    /// A request arrives, without a body, and meets the filter.
    ///
    /// # Panics
    /// If the filter does anything but let it pass.
    pub fn request(&mut self, direction: Direction, headers: impl Into<HeaderMap>) -> Stream {
        let stream = self.unseen(direction, headers);
        stream.request_headers();
        stream
    }

    /// A request arrives and is rejected before it meets the filter: only `on_log` will run.
    pub fn unseen(&mut self, direction: Direction, headers: impl Into<HeaderMap>) -> Stream {
        self.root.unseen(direction, headers)
    }
}

// === impl World: what can be seen ===

impl World {
    /// Every line that was logged, at `level` or above (0 trace to 5 critical).
    pub fn log(&self, level: u32) -> Vec<LogLine> {
        engine::with(|engine| engine.log.iter().filter(|line| line.level >= level).cloned().collect())
    }

    /// The value of a counter or gauge.
    pub fn metric(&self, name: &str) -> u64 {
        self.process().metric(name)
    }

    /// Every host call since the last [`World::forget_calls`].
    pub fn calls(&self) -> Calls {
        engine::with(|engine| Calls(engine.calls.clone()))
    }

    /// Starts counting anew.
    pub fn forget_calls(&mut self) {
        engine::with(|engine| engine.calls.clear());
    }

    /// Every call to another cluster.
    pub fn sent(&self) -> Vec<OutCall> {
        engine::with(|engine| engine.sent.clone())
    }

    /// Calls that were not answered yet.
    pub fn pending(&self) -> Vec<OutCall> {
        self.sent().into_iter().filter(|call| call.end == End::Pending).collect()
    }

    /// The spans of every call that was not refused: what a collector has.
    pub fn exported(&self) -> Vec<ExportedSpan> {
        let taken = |call: &OutCall| matches!(call.end, End::Pending | End::Answered(200..=299));
        self.sent().iter().filter(|call| taken(call)).flat_map(OutCall::spans).collect()
    }
}

// === impl World: replies ===

impl World {
    /// Answers a call: `on_http_call_response`. No headers at all is a reset, as Envoy reports one.
    ///
    /// # Panics
    /// If no such call is under way.
    pub fn respond(&mut self, token: u32, headers: impl Into<HeaderMap>, body: &[u8], trailers: impl Into<HeaderMap>) {
        let (headers, trailers) = (headers.into(), trailers.into());
        let status = headers.text(":status").and_then(|status| status.parse().ok()).unwrap_or_default();
        let (fields, tail, size) = (headers.len(), trailers.len(), body.len());
        let root = end_call(token, End::Answered(status));
        engine::with(|engine| {
            engine.roots.get_mut(&root).expect("a root").reply = Some((headers, body.to_vec(), trailers))
        });
        enter(root, "on_http_call_response", || symbols::proxy_on_http_call_response(root, token, fields, size, tail));
        engine::with(|engine| engine.roots.get_mut(&root).map(|root| root.reply = None));
    }

    /// Answers a call with a status and nothing else.
    pub fn respond_status(&mut self, token: u32, status: u16) {
        let status = status.to_string();
        self.respond(token, &[(":status", status.as_str())], &[], HeaderMap::default());
    }

    /// Answers everything under way with this status.
    pub fn respond_all(&mut self, status: u16) {
        self.pending().iter().for_each(|call| self.respond_status(call.token, status));
    }

    /// Envoy answers a call that the filter never made, and tells of contexts that it never created.
    pub fn stray_callbacks(&mut self) {
        let (root, nobody) = (self.root.id, engine::fresh_id());
        enter(root, "on_http_call_response", || symbols::proxy_on_http_call_response(root, nobody, 0, 0, 0));
        enter(nobody, "on_http_call_response", || symbols::proxy_on_http_call_response(nobody, nobody, 0, 0, 0));
        enter(nobody, "on_request_headers", || symbols::proxy_on_request_headers(nobody, 0, true));
        enter(nobody, "on_response_headers", || symbols::proxy_on_response_headers(nobody, 0, true));
        enter(nobody, "on_log", || symbols::proxy_on_log(nobody));
        enter(nobody, "on_tick", || symbols::proxy_on_tick(nobody));
        enter(nobody, "on_context_create", || symbols::proxy_on_context_create(nobody, engine::fresh_id()));
        assert!(enter(nobody, "on_done", || symbols::proxy_on_done(nobody)), "nothing waits");
        enter(nobody, "on_delete", || symbols::proxy_on_delete(nobody));
    }
}

fn end_call(token: u32, end: End) -> u32 {
    engine::with(|engine| {
        let call = engine.sent.iter_mut().find(|call| call.token == token && call.end == End::Pending);
        let call = call.expect("a call under way");
        call.end = end;
        call.root
    })
}

// === impl Calls ===

impl Calls {
    /// How many in all.
    pub fn total(&self) -> usize {
        self.0.len()
    }

    /// How many from this callback.
    pub fn from(&self, callback: &str) -> usize {
        self.0.iter().filter(|call| call.callback == callback).count()
    }

    /// How many of this function from this callback.
    pub fn count(&self, callback: &str, function: &str) -> usize {
        self.0.iter().filter(|call| call.callback == callback && call.function == function).count()
    }

    /// Each in order.
    pub fn iter(&self) -> impl Iterator<Item = &Call> {
        self.0.iter()
    }

    /// `callback function detail`, one a line: what an assertion prints.
    pub fn table(&self) -> String {
        let line = |call: &Call| format!("{} {} {}\n", call.callback, call.function, call.detail);
        self.0.iter().map(line).collect()
    }
}
