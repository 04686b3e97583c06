//! What the tracers of one plugin remember in a process, beyond the end of each: which configuration was put into force last, and
//! whether one was refused since.

use super::host::TracerHost;

/// The first byte of what is remembered; the digest of the configuration follows.
const IN_FORCE: u8 = 1;
/// The same, after a later configuration was refused.
const UPDATE_REFUSED: u8 = 2;

/// Whether a good configuration has been in force.
pub(super) fn was_configured(host: &dyn TracerHost) -> bool {
    host.remembered().is_some()
}

/// Whether a configuration was refused since the last one was put into force.
pub(super) fn was_update_refused(host: &dyn TracerHost) -> bool {
    host.remembered().is_some_and(|value| value.first() == Some(&UPDATE_REFUSED))
}

/// A configuration is in force. Envoy puts the same one into force again when a listener changes: a refused
/// update is still refused then.
pub(super) fn put_into_force(digest: u64, host: &dyn TracerHost) {
    let known = host.remembered().is_some_and(|value| value.get(1..) == Some(&digest.to_le_bytes()));
    if !known {
        let [a, b, c, d, e, f, g, h] = digest.to_le_bytes();
        host.remember(&[IN_FORCE, a, b, c, d, e, f, g, h]);
    }
}

/// A configuration is refused, and the one in force stays.
pub(super) fn refuse_update(host: &dyn TracerHost) {
    let mut value = host.remembered().unwrap_or_default();
    if let Some(first) = value.first_mut() {
        *first = UPDATE_REFUSED;
        host.remember(&value);
    }
}

/// Tells configurations apart: FNV-1a, 64 bits. Not a checksum against malice.
pub(super) fn digest(json: &[u8]) -> u64 {
    json.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
