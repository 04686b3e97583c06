//! Root and stream contexts as a test holds them, and how Envoy walks them through their callbacks.

use super::attributes::{Direction, EndFacts, Facts, Property};
use super::collector::End;
use super::engine::{self, Phase};
use super::headers::HeaderMap;
use super::symbols;

/// What `on_request_headers` and `on_response_headers` answer when the stream goes on.
const CONTINUE: u32 = 0;

/// A root context. The handle outlives the context.
#[derive(Clone, Copy, Debug)]
pub struct Root {
    pub(super) id: u32,
    pub(super) accepted: bool,
}

/// A stream context. The handle outlives the context, and means something only on its own thread.
#[derive(Debug)]
pub struct Stream {
    id: u32,
}

// === impl Root ===

impl Root {
    /// Its context id.
    pub fn id(self) -> u32 {
        self.id
    }

    /// Whether `on_vm_start` and `on_configure` both answered true.
    pub fn accepted(self) -> bool {
        self.accepted
    }

    /// Whether it still exists.
    pub fn lives(self) -> bool {
        engine::with(|engine| engine.roots.contains_key(&self.id))
    }

    /// As [`World::unseen`], on this root.
    pub fn unseen(self, direction: Direction, headers: impl Into<HeaderMap>) -> Stream {
        let id = engine::fresh_id();
        engine::with(|engine| {
            let facts = Facts { direction, start_ns: engine.process.clock().now_ns(), ..Facts::default() };
            let stream = engine::Stream { root: self.id, request: headers.into(), facts, ..engine::Stream::default() };
            engine.streams.insert(id, stream);
        });
        Stream { id }
    }

    /// `on_done`, and `on_delete` at once if it agrees, else after `proxy_done`.
    pub fn retire(self) {
        if enter(self.id, "on_done", || symbols::proxy_on_done(self.id)) {
            return delete_root(self.id);
        }
        engine::with(|engine| engine.roots.get_mut(&self.id).expect("a root").finishing = true);
    }

    /// Envoy forgets it, but its streams hold it until they end.
    pub fn release(self) {
        engine::with(|engine| engine.roots.get_mut(&self.id).expect("a root").released = true);
        retire_released(self.id);
    }
}

fn retire_released(id: u32) {
    let ready = engine::with(|engine| {
        let held = engine.streams.values().any(|stream| stream.root == id);
        !held && engine.roots.get(&id).is_some_and(|root| root.released && !root.finishing)
    });
    if ready {
        Root { id, accepted: true }.retire();
    }
}

fn delete_root(id: u32) {
    enter(id, "on_delete", || symbols::proxy_on_delete(id));
    engine::with(|engine| {
        engine.roots.remove(&id);
        let under_way = engine.sent.iter_mut().filter(|call| call.root == id && call.end == End::Pending);
        under_way.for_each(|call| call.end = End::Cancelled);
    });
}

// === impl Stream ===

impl Stream {
    /// The context id; [`Stream::from_id`] is the inverse, on the same thread.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// The handle of a stream on this thread.
    pub fn from_id(id: u32) -> Self {
        Self { id }
    }

    /// An attribute of this stream; wins over what follows from headers and facts.
    pub fn set_property(&self, path: &[&str], value: impl Into<Property>) {
        self.with(|stream| stream.properties.insert(path.join("\0").into_bytes(), value.into()));
    }

    /// `on_request_headers`.
    pub fn request_headers(&self) {
        self.create();
        let count = self.with(|stream| {
            stream.phase = Phase::RequestHeaders;
            stream.request.len()
        });
        let action = enter(self.id, "on_request_headers", || symbols::proxy_on_request_headers(self.id, count, true));
        assert_eq!(action, CONTINUE, "a tracing filter never holds a request");
        self.with(|stream| stream.phase = Phase::Elsewhere);
    }

    /// The router sends the request with these headers: a native tracer has added its own.
    pub fn router_sends(&self, headers: impl Into<HeaderMap>) {
        self.with(|stream| stream.request = headers.into());
    }

    /// `on_response_headers`.
    ///
    /// # Panics
    /// If the filter does anything but let it pass.
    pub fn response(&self, headers: impl Into<HeaderMap>) {
        self.response_headers(headers.into(), false);
    }

    /// The same for a response that ends with its headers.
    pub fn whole_response(&self, headers: impl Into<HeaderMap>) {
        self.response_headers(headers.into(), true);
    }

    fn response_headers(&self, headers: HeaderMap, end_of_stream: bool) {
        let count = headers.len();
        self.with(|stream| {
            stream.response = Some(headers);
            stream.phase = Phase::ResponseHeaders;
        });
        let action =
            enter(self.id, "on_response_headers", || symbols::proxy_on_response_headers(self.id, count, end_of_stream));
        assert_eq!(action, CONTINUE, "a tracing filter never holds a response");
        self.with(|stream| stream.phase = Phase::Elsewhere);
    }

    /// How often the router tried before the response came; once, unless told.
    pub fn attempts(&self, attempts: u64) {
        self.with(|stream| stream.facts.attempts = Some(attempts));
    }

    /// The response has trailers; the release module exports no callback for them, they are seen in `on_log`.
    pub fn trailers(&self, trailers: impl Into<HeaderMap>) {
        self.with(|stream| stream.trailers = Some(trailers.into()));
    }

    /// A local reply whose encoding skipped the filter: the headers are seen in `on_log` only.
    pub fn unseen_response(&self, headers: impl Into<HeaderMap>) {
        self.with(|stream| stream.response = Some(headers.into()));
    }

    /// The request as it goes on: to the application, or to the next hop.
    pub fn upstream_headers(&self) -> HeaderMap {
        self.with(|stream| stream.request.clone())
    }

    /// The response as it goes back.
    ///
    /// # Panics
    /// If there is none.
    pub fn downstream_headers(&self) -> HeaderMap {
        self.with(|stream| stream.response.clone().expect("a response"))
    }

    /// The last words: `on_log`, `on_done`, `on_delete`. Answers what went upstream and downstream.
    pub fn finish(self, facts: EndFacts) -> (HeaderMap, Option<HeaderMap>) {
        self.create();
        self.with(|stream| {
            stream.facts.end = Some(facts);
            stream.phase = Phase::Log;
        });
        enter(self.id, "on_log", || symbols::proxy_on_log(self.id));
        self.with(|stream| stream.phase = Phase::Elsewhere);
        enter(self.id, "on_done", || symbols::proxy_on_done(self.id));
        enter(self.id, "on_delete", || symbols::proxy_on_delete(self.id));
        let stream = engine::with(|engine| engine.streams.remove(&self.id)).expect("a stream");
        retire_released(stream.root);
        (stream.request, stream.response)
    }

    /// `Context::onCreate`: in the first callback, whichever that is.
    fn create(&self) {
        let (created, root) = self.with(|stream| (std::mem::replace(&mut stream.created, true), stream.root));
        if !created {
            enter(self.id, "on_context_create", || symbols::proxy_on_context_create(self.id, root));
        }
    }

    fn with<R>(&self, work: impl FnOnce(&mut engine::Stream) -> R) -> R {
        engine::with(|engine| work(engine.streams.get_mut(&self.id).expect("a stream that lives on this thread")))
    }
}

// === into the VM ===

/// Enters the VM: the context is current, nothing is effective; what was put off until the VM is left happens after.
pub fn enter<R>(context: u32, callback: &'static str, work: impl FnOnce() -> R) -> R {
    engine::with(|engine| (engine.current, engine.effective, engine.callback) = (context, 0, callback));
    let result = work();
    let finished = engine::with(|engine| {
        (engine.current, engine.effective, engine.callback) = (0, 0, "outside");
        engine.roots.iter().find(|(_, root)| root.finished).map(|(id, _)| *id)
    });
    if let Some(root) = finished.filter(|_| callback != "on_delete") {
        delete_root(root);
    }
    result
}
