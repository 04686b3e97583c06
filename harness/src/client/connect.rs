//! TCP connections.

use anyhow::{Context as _, Result};
use std::net::Ipv4Addr;
use tokio::net::TcpStream;

pub(super) async fn connect(port: u16) -> Result<TcpStream> {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await;
    let stream = stream.with_context(|| format!("connect to port {port}"))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}
