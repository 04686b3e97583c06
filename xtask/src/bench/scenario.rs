//! Scenarios: the traffic under which variants are measured.

use anyhow::Result;
use http::{HeaderMap, HeaderName, HeaderValue, Request};
use sidespan_harness::bootstrap::Listener;
use sidespan_harness::client::Client;
use sidespan_harness::server::Body;
use std::sync::atomic::{AtomicU64, Ordering};

/// Protocol, number of headers, failures, and direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Scenario {
    /// HTTP/2 on both sides of the proxy; otherwise HTTP/1.1.
    pub http2: bool,
    /// 40 request headers; otherwise 10. Pseudo-headers count.
    pub many_headers: bool,
    /// 5 % of the requests are answered with 503.
    pub errors: bool,
    /// The outbound listener; otherwise the inbound one.
    pub outbound: bool,
}

/// One of so many requests fails, in scenarios with errors.
const FAIL_EVERY: usize = 20;
/// The path that the application answers with 503.
pub(super) const FAILING: &str = "/api/orders/fail";
const SUCCEEDING: &str = "/api/orders/4711?expand=items";

/// Headers of a browser's request at a sidecar, without the four that HTTP requires.
const FEW: [(&str, &str); 5] = [
    ("user-agent", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0 Safari/537.36"),
    ("accept", "application/json, text/plain, */*"),
    ("accept-encoding", "gzip, deflate, br, zstd"),
    ("accept-language", "en-GB,en;q=0.9,de;q=0.8"),
    ("x-forwarded-for", "203.0.113.7"),
];

// === impl Scenario ===

impl Scenario {
    /// The scenario of the figures in the documentation.
    pub(super) const MAIN: Self = Self { http2: false, many_headers: false, errors: false, outbound: false };

    /// Both protocols, both header sets, with and without errors; and the main scenario for the outbound listener.
    pub(super) fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for http2 in [false, true] {
            for many_headers in [false, true] {
                for errors in [false, true] {
                    all.push(Self { http2, many_headers, errors, outbound: false });
                }
            }
        }
        all.insert(1, Self { outbound: true, ..Self::MAIN });
        all
    }

    /// The name, such as `http1-10-ok-inbound`.
    pub(super) fn name(&self) -> String {
        let protocol = if self.http2 { "http2" } else { "http1" };
        let headers = if self.many_headers { 40 } else { 10 };
        let errors = if self.errors { "errors" } else { "ok" };
        let side = if self.outbound { "outbound" } else { "inbound" };
        format!("{protocol}-{headers}-{errors}-{side}")
    }

    /// The title in reports.
    pub(super) fn title(&self) -> String {
        let protocol = if self.http2 { "HTTP/2" } else { "HTTP/1.1" };
        let headers = if self.many_headers { 40 } else { 10 };
        let errors = if self.errors { "5 % errors" } else { "successes" };
        let side = if self.outbound { "outbound" } else { "inbound" };
        format!("{protocol}, {headers} request headers, {errors}, {side}")
    }

    /// A listener without any tracing.
    pub(super) fn listener(&self) -> Listener {
        if self.outbound { Listener::outbound("app") } else { Listener::inbound("app") }
    }

    /// A client of a listener.
    pub(super) fn client(&self, port: u16) -> Client {
        if self.http2 { Client::http2(port) } else { Client::http1(port) }
    }

    /// The headers of every request, without `x-request-id`. Four more are required (method, scheme, path, authority); in HTTP/1.1
    /// Envoy adds the scheme.
    pub(super) fn headers(&self) -> Result<HeaderMap> {
        let mut headers = HeaderMap::new();
        for (name, value) in FEW {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        for n in 0..if self.many_headers { 30 } else { 0 } {
            let name = format!("x-{}-{n}", ["tenant", "b2b-session", "feature-flag", "client-hint", "edge"][n % 5]);
            let value = "0123456789abcdefghijklmnopqrstuvwxyz-0123456789".repeat(1 + n % 3);
            headers.append(HeaderName::try_from(name)?, HeaderValue::try_from(value)?);
        }
        Ok(headers)
    }

    /// Whether the n-th request fails.
    pub(super) fn fails(&self, n: usize) -> bool {
        self.errors && n.is_multiple_of(FAIL_EVERY)
    }

    /// The n-th request.
    pub(super) fn request(&self, client: &Client, headers: &HeaderMap, n: usize) -> Result<Request<Body>> {
        let path = if self.fails(n) { FAILING } else { SUCCEEDING };
        let mut request = client.request("GET", "orders.shop.svc.cluster.local", path, &[], "")?;
        request.headers_mut().extend(headers.clone());
        request.headers_mut().insert("x-request-id", HeaderValue::try_from(request_id())?);
        Ok(request)
    }
}

/// A UUID that no other request has: the native tracer draws its decision from it.
fn request_id() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let mix = |seed: u64| {
        // splitmix64
        let z = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    let n = COUNT.fetch_add(2, Ordering::Relaxed);
    let (a, b) = (mix(n + 1), mix(n + 2));
    let (first, second, third) = (a >> 32, (a >> 16) & 0xffff, a & 0xfff);
    format!("{first:08x}-{second:04x}-4{third:03x}-8{:03x}-{:012x}", (b >> 48) & 0xfff, b & 0xffff_ffff_ffff)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scenarios_are_all_different_and_the_main_one_comes_first() {
        let all = Scenario::all();
        let mut names: Vec<_> = all.iter().map(Scenario::name).collect();
        assert_eq!((all[0], names.len()), (Scenario::MAIN, 9));
        names.sort();
        names.dedup();
        assert_eq!(names.len(), 9);
    }

    #[test]
    fn a_request_has_as_many_headers_as_the_scenario_says() {
        for (many_headers, expected) in [(false, 10), (true, 40)] {
            let scenario = Scenario { many_headers, ..Scenario::MAIN };
            let (pseudo, id) = (4, 1);
            assert_eq!(scenario.headers().unwrap().len() + pseudo + id, expected);
        }
    }
}
