//! Loopback addresses and ports that no other run on this machine uses.

use crate::server::reserve;
use anyhow::Result;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU8, Ordering};

/// Loopback addresses of one mesh: `127.A.B.0/24`, where A and B follow from the process id and the number of the mesh.
#[derive(Clone, Copy, Debug)]
pub(super) struct Network {
    prefix: [u8; 2],
}

// === impl Network ===

impl Network {
    /// One that no other mesh of this process has, and hardly one of another process.
    pub(super) fn new() -> Self {
        static MESHES: AtomicU8 = AtomicU8::new(0);
        let number = u32::from(MESHES.fetch_add(1, Ordering::Relaxed));
        // 127.1.0.0 to 127.254.255.0; a process has its number from the process before it, so meshes are spread by a prime.
        let place = std::process::id().wrapping_add(number.wrapping_mul(7919)) % (254 * 256);
        let [.., high, low] = (place + 256).to_be_bytes();
        Self { prefix: [high, low] }
    }

    /// An address of it.
    pub(super) fn address(self, host: u8) -> Ipv4Addr {
        Ipv4Addr::new(127, self.prefix[0], self.prefix[1], host)
    }
}

/// A port of 127.0.0.1 that is free now. It is not kept: the program that gets it binds it without sharing.
pub(super) fn free_port() -> Result<u16> {
    Ok(reserve(0)?.local_addr()?.port())
}
