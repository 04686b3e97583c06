//! HTTP/1.1 written byte by byte, for requests that no well-behaved library would send.

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// A request as bytes; nothing is checked or normalised.
#[derive(Clone, Debug)]
pub struct RawRequest {
    head: Vec<u8>,
    body: Vec<u8>,
}

/// A response as it came.
#[derive(Clone, Debug)]
pub struct RawResponse {
    /// Status code.
    pub status: u16,
    /// Header lines in order: names as written, values without surrounding blanks.
    pub headers: Vec<(String, Vec<u8>)>,
    /// Body without transfer coding, as far as it came.
    pub body: Vec<u8>,
    /// Whether the body ended as its framing says.
    pub complete: bool,
}

/// A connection to a port on 127.0.0.1.
pub struct RawConnection {
    stream: TcpStream,
    /// Received, but not yet part of a response.
    rest: Vec<u8>,
}

enum Framing {
    Length(usize),
    Chunked,
    UntilClose,
}

const TIMEOUT: Duration = Duration::from_secs(30);

// === impl RawRequest ===

impl RawRequest {
    /// A request line for HTTP/1.1.
    pub fn new(method: &str, target: &str) -> Self {
        Self { head: format!("{method} {target} HTTP/1.1\r\n").into_bytes(), body: Vec::new() }
    }

    /// `GET` with a `host` header.
    pub fn get(host: &str, target: &str) -> Self {
        Self::new("GET", target).header("host", host)
    }

    /// A header line: any name in any case, any bytes, empty values and duplicates too.
    #[must_use]
    pub fn header(mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Self {
        self.head.extend_from_slice(name.as_ref());
        self.head.extend_from_slice(b": ");
        self.head.extend_from_slice(value.as_ref());
        self.head.extend_from_slice(b"\r\n");
        self
    }

    /// A body with its `content-length`.
    #[must_use]
    pub fn body(self, body: impl Into<Vec<u8>>) -> Self {
        let body = body.into();
        let mut this = self.header("content-length", body.len().to_string());
        this.body = body;
        this
    }

    /// The request's bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        [&self.head, &b"\r\n"[..], &self.body].concat()
    }
}

// === impl RawResponse ===

impl RawResponse {
    /// The first header of that name, in any case, as text.
    pub fn header(&self, name: &str) -> Option<String> {
        let found = self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| String::from_utf8_lossy(value).into_owned())
    }

    fn framing(&self, to_head: bool) -> Framing {
        let chunked = self.header("transfer-encoding").is_some_and(|coding| coding.to_lowercase().contains("chunked"));
        let length = self.header("content-length").and_then(|length| length.parse().ok());
        match length {
            _ if to_head || matches!(self.status, 101 | 204 | 304) => Framing::Length(0),
            _ if chunked => Framing::Chunked,
            Some(length) => Framing::Length(length),
            None => Framing::UntilClose,
        }
    }
}

// === impl RawConnection ===

impl RawConnection {
    /// Connects.
    ///
    /// # Errors
    /// If the connection is refused.
    pub async fn connect(port: u16) -> Result<Self> {
        Ok(Self { stream: super::connect::connect(super::connect::localhost(port)).await?, rest: Vec::new() })
    }

    /// Sends bytes.
    ///
    /// # Errors
    /// If the connection is gone.
    pub async fn send(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.stream.write_all(bytes).await?)
    }

    /// Sends a request and reads its response; the connection can be used again if both sides keep it.
    ///
    /// # Errors
    /// If no response head comes within 30 seconds.
    pub async fn exchange(&mut self, request: &RawRequest) -> Result<RawResponse> {
        self.send(&request.to_bytes()).await?;
        self.read_response(request.head.starts_with(b"HEAD ")).await
    }

    /// Reads the next final response; `to_head` says that it answers a `HEAD`, and so has no body.
    ///
    /// # Errors
    /// If no response head comes within 30 seconds.
    pub async fn read_response(&mut self, to_head: bool) -> Result<RawResponse> {
        tokio::time::timeout(TIMEOUT, async {
            loop {
                let mut response = self.read_head().await?;
                if (100..200).contains(&response.status) && response.status != 101 {
                    continue;
                }
                response.complete = match response.framing(to_head) {
                    Framing::Length(length) => self.read_length(length, &mut response.body).await,
                    Framing::Chunked => self.read_chunks(&mut response.body).await.is_ok(),
                    Framing::UntilClose => self.read_to_close(&mut response.body).await,
                };
                return Ok(response);
            }
        })
        .await
        .context("no response within 30 s")?
    }

    /// Closes the sending side only.
    ///
    /// # Errors
    /// If the connection is gone.
    pub async fn half_close(&mut self) -> Result<()> {
        Ok(self.stream.shutdown().await?)
    }

    /// Ends the connection by a TCP reset, whatever is under way.
    pub fn abort(self) {
        // Closing with zero linger sends RST. If the option cannot be set, the peer sees an ordinary close.
        let _ = self.stream.set_zero_linger();
    }

    /// Whether the peer closes (or resets) the connection within `patience`, sending nothing more.
    pub async fn is_closed_within(&mut self, patience: Duration) -> bool {
        let mut byte = [0];
        matches!(tokio::time::timeout(patience, self.stream.read(&mut byte)).await, Ok(Ok(0) | Err(_)))
    }

    async fn read_head(&mut self) -> Result<RawResponse> {
        loop {
            if let Some((length, response)) = parse_head(&self.rest)? {
                self.rest.drain(..length);
                return Ok(response);
            }
            if !self.fill().await {
                bail!("closed before a response head; received {:?}", String::from_utf8_lossy(&self.rest));
            }
        }
    }

    async fn read_length(&mut self, length: usize, body: &mut Vec<u8>) -> bool {
        let mut open = true;
        while open && self.rest.len() < length {
            open = self.fill().await;
        }
        body.extend(self.rest.drain(..length.min(self.rest.len())));
        body.len() == length
    }

    async fn read_chunks(&mut self, body: &mut Vec<u8>) -> Result<()> {
        loop {
            let line = self.read_line().await?;
            let digits = line.split(';').next().unwrap_or_default().trim();
            let size = usize::from_str_radix(digits, 16).with_context(|| format!("chunk size {line:?}"))?;
            if size == 0 {
                break;
            }
            let before = body.len();
            let mut chunk = Vec::new();
            let whole = self.read_length(size, &mut chunk).await;
            body.append(&mut chunk);
            ensure!(whole, "chunk of {size} cut short at {}", body.len() - before);
            ensure!(self.read_line().await?.is_empty(), "chunk does not end with its length");
        }
        // Trailers, up to the empty line.
        while !self.read_line().await?.is_empty() {}
        Ok(())
    }

    async fn read_to_close(&mut self, body: &mut Vec<u8>) -> bool {
        while self.fill().await {}
        body.append(&mut self.rest);
        true
    }

    async fn read_line(&mut self) -> Result<String> {
        loop {
            if let Some(end) = self.rest.windows(2).position(|pair| pair == b"\r\n") {
                let line: Vec<u8> = self.rest.drain(..end + 2).take(end).collect();
                return Ok(String::from_utf8_lossy(&line).into_owned());
            }
            ensure!(self.fill().await, "closed within a chunked body");
        }
    }

    /// `false` once the peer has closed or reset.
    async fn fill(&mut self) -> bool {
        let mut buffer = [0; 16 * 1024];
        match self.stream.read(&mut buffer).await {
            Ok(0) | Err(_) => false,
            Ok(count) => {
                self.rest.extend_from_slice(&buffer[..count]);
                true
            }
        }
    }
}

/// The head and its length; `None` if it is not there as a whole yet.
fn parse_head(bytes: &[u8]) -> Result<Option<(usize, RawResponse)>> {
    let mut headers = vec![httparse::EMPTY_HEADER; 2048];
    let mut parsed = httparse::Response::new(&mut headers);
    let status = parsed.parse(bytes).map_err(|error| anyhow!("{error}: {:?}", String::from_utf8_lossy(bytes)))?;
    let httparse::Status::Complete(length) = status else { return Ok(None) };
    let headers = parsed.headers.iter().map(|header| (header.name.to_owned(), header.value.to_vec())).collect();
    let status = parsed.code.context("response without a status")?;
    Ok(Some((length, RawResponse { status, headers, body: Vec::new(), complete: false })))
}
