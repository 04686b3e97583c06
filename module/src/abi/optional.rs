//! What only newer Envoys offer, looked up by name once.
//!
//! | function | since |
//! |---|---|
//! | metrics of a configuration, outside of any request | 1.39 |
//! | the times of a request | 1.40 |

use super::{Buffer, ConfigPtr, FilterPtr};
use std::ffi::{CStr, c_void};
use std::sync::OnceLock;

/// Changes a metric by its number in a configuration.
pub(crate) type ChangeMetric = unsafe extern "C" fn(ConfigPtr, usize, *mut Buffer, usize, u64) -> u32;
/// Fills in the times of a request.
pub(crate) type GetTiming = unsafe extern "C" fn(FilterPtr, *mut Timing);

/// Metrics of a configuration: may be called on the main thread at any time.
#[derive(Clone, Copy)]
pub(crate) struct ConfigMetrics {
    pub(crate) increment_counter: ChangeMetric,
    pub(crate) increment_gauge: ChangeMetric,
    pub(crate) decrement_gauge: ChangeMetric,
    pub(crate) record_histogram: ChangeMetric,
}

/// The times of a request: 19 numbers of nanoseconds, then for each of them whether it is known. The reserve is for an Envoy
/// that adds some.
#[repr(C, align(8))]
pub(crate) struct Timing {
    times: [i64; 19],
    known: [u8; 19],
    reserve: [u8; 1024],
}

/// Place of the start: nanoseconds since the Unix epoch.
const START: usize = 0;
/// Place of the duration from the start to the end.
const DURATION: usize = 17;

struct Functions {
    metrics: Option<ConfigMetrics>,
    get_timing: Option<GetTiming>,
}

/// Metrics outside of requests, if this Envoy has them.
pub(crate) fn config_metrics() -> Option<ConfigMetrics> {
    functions().metrics
}

/// Start and duration of a request in nanoseconds, as far as this Envoy tells them.
pub(crate) fn times(filter: FilterPtr) -> (Option<u64>, Option<u64>) {
    let Some(get) = functions().get_timing else { return (None, None) };
    let mut timing = Timing { times: [-1; 19], known: [0; 19], reserve: [0; 1024] };
    // SAFETY: `filter` is the filter of the hook that runs, and Envoy writes less than `Timing` holds.
    unsafe { get(filter, &mut timing) };
    (timing.get(START), timing.get(DURATION))
}

fn functions() -> &'static Functions {
    static FUNCTIONS: OnceLock<Functions> = OnceLock::new();
    FUNCTIONS.get_or_init(|| Functions { metrics: find_metrics(), get_timing: find_timing() })
}

fn find_metrics() -> Option<ConfigMetrics> {
    let change = |name: &CStr| {
        let found = find(name)?;
        // SAFETY: all functions of this name have this type (abi.h, "Metrics callbacks").
        Some(unsafe { std::mem::transmute::<*mut c_void, ChangeMetric>(found) })
    };
    Some(ConfigMetrics {
        increment_counter: change(c"envoy_dynamic_module_callback_http_filter_config_increment_counter")?,
        increment_gauge: change(c"envoy_dynamic_module_callback_http_filter_config_increment_gauge")?,
        decrement_gauge: change(c"envoy_dynamic_module_callback_http_filter_config_decrement_gauge")?,
        record_histogram: change(c"envoy_dynamic_module_callback_http_filter_config_record_histogram_value")?,
    })
}

fn find_timing() -> Option<GetTiming> {
    let found = find(c"envoy_dynamic_module_callback_http_get_timing_info")?;
    // SAFETY: the function of this name takes a filter and a place for the times, and returns nothing.
    Some(unsafe { std::mem::transmute::<*mut c_void, GetTiming>(found) })
}

fn find(name: &CStr) -> Option<*mut c_void> {
    // SAFETY: the name ends with NUL; RTLD_DEFAULT searches the program and its libraries.
    let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
    (!found.is_null()).then_some(found)
}

// === impl Timing ===

impl Timing {
    fn get(&self, place: usize) -> Option<u64> {
        let known = self.known.get(place).is_some_and(|known| *known != 0);
        self.times.get(place).filter(|_| known).and_then(|time| u64::try_from(*time).ok())
    }
}
