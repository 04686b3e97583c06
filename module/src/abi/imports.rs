//! What Envoy offers, in all versions from 1.38 to 1.40. Each function is called in one place of this crate only.

use super::{Buffer, ConfigPtr, FilterPtr, HeaderPair, Map, SchedulerPtr};

unsafe extern "C" {
    #[link_name = "envoy_dynamic_module_callback_log"]
    pub(crate) fn log(level: u32, message: Buffer);
    #[link_name = "envoy_dynamic_module_callback_log_enabled"]
    pub(crate) fn log_enabled(level: u32) -> bool;
    #[link_name = "envoy_dynamic_module_callback_is_validation_mode"]
    pub(crate) fn is_validation_mode() -> bool;

    #[link_name = "envoy_dynamic_module_callback_http_get_headers_size"]
    pub(crate) fn get_headers_size(filter: FilterPtr, map: Map) -> usize;
    #[link_name = "envoy_dynamic_module_callback_http_get_headers"]
    pub(crate) fn get_headers(filter: FilterPtr, map: Map, out: *mut HeaderPair) -> bool;
    #[link_name = "envoy_dynamic_module_callback_http_set_header"]
    pub(crate) fn set_header(filter: FilterPtr, map: Map, name: Buffer, value: Buffer) -> bool;
    #[link_name = "envoy_dynamic_module_callback_http_add_header"]
    pub(crate) fn add_header(filter: FilterPtr, map: Map, name: Buffer, value: Buffer) -> bool;

    #[link_name = "envoy_dynamic_module_callback_http_filter_get_attribute_string"]
    pub(crate) fn get_attribute_string(filter: FilterPtr, attribute: u32, out: *mut Buffer) -> bool;
    #[link_name = "envoy_dynamic_module_callback_http_filter_get_attribute_int"]
    pub(crate) fn get_attribute_int(filter: FilterPtr, attribute: u32, out: *mut u64) -> bool;
    #[link_name = "envoy_dynamic_module_callback_http_filter_get_attribute_bool"]
    pub(crate) fn get_attribute_bool(filter: FilterPtr, attribute: u32, out: *mut u8) -> bool;
    #[link_name = "envoy_dynamic_module_callback_http_get_cluster_name"]
    pub(crate) fn get_cluster_name(filter: FilterPtr, out: *mut Buffer) -> bool;
    #[link_name = "envoy_dynamic_module_callback_http_get_filter_state_typed"]
    pub(crate) fn get_filter_state_typed(filter: FilterPtr, key: Buffer, out: *mut Buffer) -> bool;
    #[link_name = "envoy_dynamic_module_callback_http_get_metadata_keys_count"]
    pub(crate) fn get_metadata_keys_count(filter: FilterPtr, source: u32, namespace: Buffer) -> usize;
    #[link_name = "envoy_dynamic_module_callback_http_get_metadata_keys"]
    pub(crate) fn get_metadata_keys(filter: FilterPtr, source: u32, namespace: Buffer, out: *mut Buffer) -> bool;
    #[link_name = "envoy_dynamic_module_callback_http_get_metadata_string"]
    pub(crate) fn get_metadata_string(
        filter: FilterPtr,
        source: u32,
        namespace: Buffer,
        key: Buffer,
        out: *mut Buffer,
    ) -> bool;

    #[link_name = "envoy_dynamic_module_callback_http_filter_increment_counter"]
    pub(crate) fn filter_increment_counter(
        filter: FilterPtr,
        id: usize,
        labels: *mut Buffer,
        labels_length: usize,
        value: u64,
    ) -> u32;
    #[link_name = "envoy_dynamic_module_callback_http_filter_increment_gauge"]
    pub(crate) fn filter_increment_gauge(
        filter: FilterPtr,
        id: usize,
        labels: *mut Buffer,
        labels_length: usize,
        value: u64,
    ) -> u32;
    #[link_name = "envoy_dynamic_module_callback_http_filter_decrement_gauge"]
    pub(crate) fn filter_decrement_gauge(
        filter: FilterPtr,
        id: usize,
        labels: *mut Buffer,
        labels_length: usize,
        value: u64,
    ) -> u32;
    #[link_name = "envoy_dynamic_module_callback_http_filter_record_histogram_value"]
    pub(crate) fn filter_record_histogram(
        filter: FilterPtr,
        id: usize,
        labels: *mut Buffer,
        labels_length: usize,
        value: u64,
    ) -> u32;

    #[link_name = "envoy_dynamic_module_callback_http_filter_config_define_counter"]
    pub(crate) fn config_define_counter(
        config: ConfigPtr,
        name: Buffer,
        labels: *mut Buffer,
        labels_length: usize,
        id: *mut usize,
    ) -> u32;
    #[link_name = "envoy_dynamic_module_callback_http_filter_config_define_gauge"]
    pub(crate) fn config_define_gauge(
        config: ConfigPtr,
        name: Buffer,
        labels: *mut Buffer,
        labels_length: usize,
        id: *mut usize,
    ) -> u32;
    #[link_name = "envoy_dynamic_module_callback_http_filter_config_define_histogram"]
    pub(crate) fn config_define_histogram(
        config: ConfigPtr,
        name: Buffer,
        labels: *mut Buffer,
        labels_length: usize,
        id: *mut usize,
    ) -> u32;

    #[link_name = "envoy_dynamic_module_callback_http_filter_config_scheduler_new"]
    pub(crate) fn config_scheduler_new(config: ConfigPtr) -> SchedulerPtr;
    #[link_name = "envoy_dynamic_module_callback_http_filter_config_scheduler_delete"]
    pub(crate) fn config_scheduler_delete(scheduler: SchedulerPtr);
    #[link_name = "envoy_dynamic_module_callback_http_filter_config_scheduler_commit"]
    pub(crate) fn config_scheduler_commit(scheduler: SchedulerPtr, event: u64);

    #[link_name = "envoy_dynamic_module_callback_http_filter_config_start_http_stream"]
    pub(crate) fn config_start_http_stream(
        config: ConfigPtr,
        id: *mut u64,
        cluster: Buffer,
        headers: *mut HeaderPair,
        headers_length: usize,
        body: Buffer,
        end_stream: bool,
        timeout_ms: u64,
    ) -> u32;
    #[link_name = "envoy_dynamic_module_callback_http_filter_config_reset_http_stream"]
    pub(crate) fn config_reset_http_stream(config: ConfigPtr, id: u64);
}
