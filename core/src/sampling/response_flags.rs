//! Envoy's response flags: one table of their bits, names, and what each of them means for a request.
//!
//! Source: `CoreResponseFlag` in `envoy/stream_info/stream_info.h`, names in `source/common/stream_info/utility.h`.

/// Envoy's `response.flags`: one bit for each flag.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ResponseFlags(pub u64);

/// What a flag means for the request.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Meaning {
    /// The request was not served as it should be: no healthy or known upstream, timeouts, resets, overload, protocol
    /// errors, missing configuration.
    Failure,
    /// A failure (as above) that Envoy may explain with the reason why its connection to the upstream failed.
    ConnectionFailure,
    /// An answer: a delay, an injected fault, a rate limit, an authorisation, a cached response. Its status says what it is.
    Answer,
    /// Not kept as an error, since the status says what it is; an error of the span only where no status decides.
    Rejection,
    /// The client went away.
    ClientGone,
}

/// Short name, long name, meaning.
type Row = (&'static str, &'static str, Meaning);

/// The flags by bit: the short name, the long name (`%RESPONSE_FLAGS_LONG%` of the access log), the meaning.
const TABLE: [Row; 30] = {
    use Meaning::{Answer, ClientGone, ConnectionFailure, Failure, Rejection};
    [
        ("LH", "FailedLocalHealthCheck", Rejection),
        ("UH", "NoHealthyUpstream", ConnectionFailure),
        ("UT", "UpstreamRequestTimeout", Failure),
        ("LR", "LocalReset", ConnectionFailure),
        ("UR", "UpstreamRemoteReset", ConnectionFailure),
        ("UF", "UpstreamConnectionFailure", ConnectionFailure),
        ("UC", "UpstreamConnectionTermination", ConnectionFailure),
        ("UO", "UpstreamOverflow", Failure),
        ("NR", "NoRouteFound", Failure),
        ("DI", "DelayInjected", Answer),
        ("FI", "FaultInjected", Answer),
        ("RL", "RateLimited", Answer),
        ("UAEX", "UnauthorizedExternalService", Answer),
        ("RLSE", "RateLimitServiceError", Answer),
        ("DC", "DownstreamConnectionTermination", ClientGone),
        ("URX", "UpstreamRetryLimitExceeded", ConnectionFailure),
        ("SI", "StreamIdleTimeout", Failure),
        ("IH", "InvalidEnvoyRequestHeaders", Rejection),
        ("DPE", "DownstreamProtocolError", Failure),
        ("UMSDR", "UpstreamMaxStreamDurationReached", Failure),
        ("RFCF", "ResponseFromCacheFilter", Answer),
        ("NFCF", "NoFilterConfigFound", Failure),
        ("DT", "DurationTimeout", Failure),
        ("UPE", "UpstreamProtocolError", Failure),
        ("NC", "NoClusterFound", Failure),
        ("OM", "OverloadManagerTerminated", Failure),
        ("DF", "DnsResolutionFailed", Failure),
        ("DO", "DropOverload", Failure),
        ("DR", "DownstreamRemoteReset", ClientGone),
        ("UDO", "UnconditionalDropOverload", Failure),
    ]
};

/// The bits of all flags with one of two meanings.
const fn with(one: Meaning, other: Meaning) -> ResponseFlags {
    let (mut rest, mut bit, mut bits) = (TABLE.as_slice(), 1u64, 0u64);
    while let [(_, _, meaning), tail @ ..] = rest {
        if *meaning as u8 == one as u8 || *meaning as u8 == other as u8 {
            bits |= bit;
        }
        bit <<= 1;
        rest = tail;
    }
    ResponseFlags(bits)
}

impl ResponseFlags {
    /// The client went away.
    pub const CLIENT_GONE: Self = with(Meaning::ClientGone, Meaning::ClientGone);

    /// The request was not served as it should be. It is kept as an error.
    pub const FAILURE: Self = with(Meaning::Failure, Meaning::ConnectionFailure);

    /// Envoy may know why its connection to the upstream failed.
    pub const CONNECTION_FAILURE: Self = with(Meaning::ConnectionFailure, Meaning::ConnectionFailure);

    /// Flags that are no failure by themselves: an answer whose status says what it is, and a client that went away.
    pub const HARMLESS: Self = with(Meaning::Answer, Meaning::ClientGone);

    /// UR and UC: how the tunnel of an upgraded connection ends when the server closes it, in order or not. Envoy sees no
    /// difference.
    pub(super) const TUNNEL_END: Self = Self(1 << 4 | 1 << 6);

    /// Whether any of `other`'s bits is set.
    pub fn any(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// The flags that are not in `other`; flags of a later Envoy, which the table lacks, stay.
    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// The flags that are in `other` too.
    pub fn only(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Both sets of flags.
    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The flag with this short name; `None` if Envoy has no such flag.
    pub fn named(name: &str) -> Option<Self> {
        TABLE.iter().position(|(short, ..)| *short == name).map(|bit| Self(1 << bit))
    }

    /// The short names of all flags, by bit.
    pub fn all_names() -> impl Iterator<Item = &'static str> {
        TABLE.iter().map(|(short, ..)| *short)
    }

    /// The short names of the flags that are set, as access logs print them.
    pub fn short_names(self) -> impl Iterator<Item = &'static str> {
        self.names(|(short, ..)| short)
    }

    /// The long names of the flags that are set.
    pub fn long_names(self) -> impl Iterator<Item = &'static str> {
        self.names(|(_, long, _)| long)
    }

    /// `name` is a function pointer, so that code which uses these names is compiled once for both kinds.
    fn names(self, name: fn(&Row) -> &'static str) -> impl Iterator<Item = &'static str> {
        let rows = TABLE.iter().enumerate().filter(move |(bit, _)| self.0 >> bit & 1 == 1);
        rows.map(move |(_, row)| name(row))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flag_names_are_those_of_access_logs() {
        assert_eq!(ResponseFlags(1 << 5 | 1 << 15).short_names().collect::<Vec<_>>(), ["UF", "URX"]);
        assert_eq!(ResponseFlags(1 << 14).long_names().collect::<Vec<_>>(), ["DownstreamConnectionTermination"]);
        assert_eq!(ResponseFlags::named("UDO"), Some(ResponseFlags(1 << 29)));
        assert_eq!(ResponseFlags::named("XX"), None);
        assert_eq!(ResponseFlags::all_names().count(), 30);
    }

    #[test]
    fn each_meaning_has_its_bits() {
        let bits = |bits: &[u32]| ResponseFlags(bits.iter().fold(0, |sum, bit| sum | 1 << bit));
        assert_eq!(ResponseFlags::CLIENT_GONE, bits(&[14, 28]));
        assert_eq!(ResponseFlags::CONNECTION_FAILURE, bits(&[1, 3, 4, 5, 6, 15]));
        assert_eq!(ResponseFlags::HARMLESS, bits(&[9, 10, 11, 12, 13, 14, 20, 28]));
        assert_eq!(
            ResponseFlags::FAILURE,
            bits(&[1, 2, 3, 4, 5, 6, 7, 8, 15, 16, 18, 19, 21, 22, 23, 24, 25, 26, 27, 29])
        );
        assert_eq!(ResponseFlags(1 << 60 | 1 << 9).without(ResponseFlags::HARMLESS), ResponseFlags(1 << 60));
    }
}
