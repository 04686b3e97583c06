//! A server that speaks HTTP/1.1 and HTTP/2 (prior knowledge) on one port, can refuse connections and come back.

use crate::support::lock;
use anyhow::{Context as _, Result};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Empty, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsFd as _;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// Any error that ends an exchange without a proper end.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A body of any kind. An error in it aborts the connection (HTTP/1.1) or resets the stream (HTTP/2).
pub type Body = UnsyncBoxBody<Bytes, BoxError>;

/// What answers a request; `Err` ends the exchange without an answer.
pub type Answer = Result<Response<Body>, Abort>;

type Respond = dyn Fn(Request<Incoming>) -> Pin<Box<dyn Future<Output = Answer> + Send>> + Send + Sync;

/// No answer, or no end of it. HTTP/2 resets the stream either way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Abort {
    /// HTTP/1.1: the connection is closed in order (FIN).
    Close,
    /// HTTP/1.1: the connection is reset (RST).
    Reset,
}

/// A running server; it ends, with all its connections, when dropped.
pub struct Server {
    port: u16,
    respond: Arc<Respond>,
    state: Mutex<State>,
}

enum State {
    Listening(JoinHandle<()>),
    /// The port is bound but nobody listens: the kernel refuses connections, and nobody else can take the port.
    Refusing(TcpSocket),
    Broken,
}

/// Connections that wait to be accepted.
const BACKLOG: u32 = 1024;

// === bodies ===

/// A body known in full.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// No body.
pub fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

// === impl Server ===

impl Server {
    /// Starts on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// If no port can be bound.
    pub async fn start<F, R>(respond: F) -> Result<Self>
    where
        F: Fn(Request<Incoming>) -> R + Send + Sync + 'static,
        R: Future<Output = Answer> + Send + 'static,
    {
        let listener = reserve(0)?.listen(BACKLOG).context("listen on a free port")?;
        let port = listener.local_addr()?.port();
        let respond: Arc<Respond> = Arc::new(move |request| Box::pin(respond(request)));
        let state = Mutex::new(State::Listening(tokio::spawn(accept(listener, respond.clone()))));
        Ok(Self { port, respond, state })
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Ends all connections and refuses new ones, until [`Server::resume`]. The port stays reserved.
    ///
    /// # Errors
    /// If the port cannot be bound again.
    pub async fn refuse(&self) -> Result<()> {
        // Before the listener goes: in between somebody else could be given the port.
        let reservation = reserve(self.port)?;
        let task = match std::mem::replace(&mut *lock(&self.state), State::Broken) {
            State::Listening(task) => task,
            other => {
                *lock(&self.state) = other;
                return Ok(());
            }
        };
        task.abort();
        // The listener is closed once the task is gone.
        let _ = task.await;
        *lock(&self.state) = State::Refusing(reservation);
        Ok(())
    }

    /// Listens again on the same port.
    ///
    /// # Errors
    /// If the port cannot be listened on.
    pub async fn resume(&self) -> Result<()> {
        let mut state = lock(&self.state);
        let socket = match std::mem::replace(&mut *state, State::Broken) {
            State::Listening(task) => {
                *state = State::Listening(task);
                return Ok(());
            }
            State::Refusing(socket) => socket,
            State::Broken => reserve(self.port)?,
        };
        let listener = socket.listen(BACKLOG).context("listen again")?;
        *state = State::Listening(tokio::spawn(accept(listener, self.respond.clone())));
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let State::Listening(task) = &*lock(&self.state) {
            task.abort();
        }
    }
}

impl std::fmt::Display for Abort {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("aborted on purpose")
    }
}

impl std::error::Error for Abort {}

/// Binds a port (0: a free one) without listening, so that nobody but who also asks for reuse can take it.
pub(crate) fn reserve(port: u16) -> Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.set_reuseport(true)?;
    socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).with_context(|| format!("reserve port {port}"))?;
    Ok(socket)
}

/// Connections live in the set, so that they end together with this task.
async fn accept(listener: TcpListener, respond: Arc<Respond>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                if let Ok((stream, _)) = accepted {
                    connections.spawn(serve(stream, respond.clone()));
                }
            }
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
        }
    }
}

async fn serve(stream: TcpStream, respond: Arc<Respond>) {
    let _ = stream.set_nodelay(true);
    let socket = stream.as_fd().try_clone_to_owned();
    let mut builder = Builder::new(TokioExecutor::new());
    // Generous limits: what is under test is the proxy in front, not this server.
    builder.http1().max_headers(2048).max_buf_size(1 << 20).timer(TokioTimer::new());
    builder.http2().max_header_list_size(1 << 20).timer(TokioTimer::new());
    let service = service_fn(move |request| respond(request));
    let served = builder.serve_connection_with_upgrades(TokioIo::new(stream), service).await;
    // Any other error is a peer that went away: it does not concern the server.
    if let (Err(error), Ok(socket)) = (served, socket)
        && is_reset(&*error)
    {
        // This is now the last handle of the socket: closing it without linger sends RST.
        let _ = rustix::net::sockopt::set_socket_linger(&socket, Some(Duration::ZERO));
    }
}

fn is_reset(error: &(dyn std::error::Error + 'static)) -> bool {
    let is = error.downcast_ref::<Abort>() == Some(&Abort::Reset);
    is || error.source().is_some_and(is_reset)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::ErrorKind;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    async fn how_it_ends(port: u16) -> std::io::Result<usize> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
        stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await?;
        stream.read_to_end(&mut Vec::new()).await
    }

    #[tokio::test]
    async fn a_close_is_a_fin_and_a_reset_is_an_rst() {
        for (abort, expected) in [(Abort::Close, Ok(0)), (Abort::Reset, Err(ErrorKind::ConnectionReset))] {
            let server = Server::start(move |_| async move { Err(abort) }).await.expect("starts");
            assert_eq!(how_it_ends(server.port()).await.map_err(|error| error.kind()), expected, "{abort:?}");
        }
    }

    #[tokio::test]
    async fn while_refusing_the_port_is_refused_but_not_free() {
        let server = Server::start(|_| async { Err(Abort::Close) }).await.expect("starts");
        let port = server.port();
        server.refuse().await.expect("refuses");
        assert_eq!(how_it_ends(port).await.map_err(|error| error.kind()), Err(ErrorKind::ConnectionRefused));
        assert!(
            std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
                .is_ok_and(|other| { other.local_addr().is_ok_and(|address| address.port() != port) })
        );
        server.resume().await.expect("listens again");
        assert_eq!(how_it_ends(port).await.map_err(|error| error.kind()), Ok(0));
    }
}
