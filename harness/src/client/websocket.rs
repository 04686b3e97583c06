//! A websocket client.

use anyhow::{Context as _, Result, bail};
use futures_util::{SinkExt as _, StreamExt as _};
use http::Request;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::{WebSocketStream, client_async};

/// An open websocket.
pub struct WebSocket {
    stream: WebSocketStream<TcpStream>,
}

// === impl WebSocket ===

impl WebSocket {
    /// Connects to a port on 127.0.0.1.
    ///
    /// # Errors
    /// If the answer is not 101; the error carries the status.
    pub async fn connect(port: u16, host: &str, path: &str, headers: &[(&str, &str)]) -> Result<Self> {
        let mut request = Request::builder()
            .uri(format!("ws://{host}{path}"))
            .header("host", host)
            .header("connection", "upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", generate_key());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (stream, _) =
            client_async(request.body(())?, super::connect::connect(super::connect::localhost(port)).await?)
                .await
                .context("websocket")?;
        Ok(Self { stream })
    }

    /// Sends a text and returns the next one.
    ///
    /// # Errors
    /// If the connection ends before.
    pub async fn exchange(&mut self, text: &str) -> Result<String> {
        self.send(text).await?;
        self.receive().await
    }

    /// Sends a text.
    ///
    /// # Errors
    /// If the connection has ended.
    pub async fn send(&mut self, text: &str) -> Result<()> {
        Ok(self.stream.send(Message::text(text)).await?)
    }

    /// Waits for the next text.
    ///
    /// # Errors
    /// If the connection ends before.
    pub async fn receive(&mut self) -> Result<String> {
        while let Some(message) = self.stream.next().await {
            if let Message::Text(text) = message? {
                return Ok(text.as_str().to_owned());
            }
        }
        bail!("the websocket ended")
    }

    /// Closes properly: close frames both ways.
    ///
    /// # Errors
    /// If the connection breaks instead.
    pub async fn close(mut self) -> Result<()> {
        self.stream.close(None).await?;
        while let Some(message) = self.stream.next().await {
            message?;
        }
        Ok(())
    }
}
