//! Loopback addresses and ports that no other run on this machine uses.

use anyhow::{Result, bail};
use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;
use std::sync::atomic::{AtomicU8, AtomicU16, Ordering};

/// Loopback addresses of one mesh: `127.A.B.0/24`, where A and B follow from the process id and the number of the mesh.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Network {
    prefix: [u8; 2],
}

// === impl Network ===

impl Network {
    /// One that no other mesh of this process has, and hardly one of another process.
    pub(crate) fn new() -> Self {
        static MESHES: AtomicU8 = AtomicU8::new(0);
        let number = u32::from(MESHES.fetch_add(1, Ordering::Relaxed));
        // 127.1.0.0 to 127.254.255.0; a process has its number from the process before it, so meshes are spread by a prime.
        let place = std::process::id().wrapping_add(number.wrapping_mul(7919)) % (254 * 256);
        let [.., high, low] = (place + 256).to_be_bytes();
        Self { prefix: [high, low] }
    }

    /// An address of it.
    pub(crate) fn address(self, host: u8) -> Ipv4Addr {
        Ipv4Addr::new(127, self.prefix[0], self.prefix[1], host)
    }
}

/// A port that is free now on all addresses, below the ports that the kernel gives to clients: a port that nobody binds by
/// number stays free until the program that gets it binds it, without sharing, perhaps on `0.0.0.0`.
pub(crate) fn free_port() -> Result<u16> {
    static CALLS: AtomicU16 = AtomicU16::new(0);
    // Processes have numbers near each other, so a prime spreads them.
    let start = std::process::id().wrapping_mul(7919);
    for _ in 0..PORTS.len() {
        let place = start.wrapping_add(u32::from(CALLS.fetch_add(1, Ordering::Relaxed))) % u32::try_from(PORTS.len())?;
        let port = PORTS.start + u16::try_from(place)?;
        if TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no port between {} and {} is free", PORTS.start, PORTS.end)
}

/// Linux gives clients 32768 to 60999 (`net.ipv4.ip_local_port_range`).
const PORTS: Range<u16> = 20_000..32_000;
