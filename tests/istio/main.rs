//! The filter under a real Istio: API server, istiod, registry, and a `pilot-agent` with its Envoy for each workload.
//!
//! `cargo xtask test --istio` builds the module and provides what else is needed; by hand, with Go installed:
//! `ENVOY_BIN=… SIDESPAN_WASM=… cargo test --test istio`. The tests share one control plane and one mesh, which start with the
//! first test; each test puts the resources that it needs in force.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::arithmetic_side_effects,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test that is wrong must fail loudly"
)]

mod changes;
mod identity;
mod images;
mod install;
mod manifests;
mod module;
mod native;
mod rates;
mod traffic_extension;
mod versions;
mod whole_path;
mod world;

use libtest_mimic::{Arguments, Failed, Trial};
use sidespan_harness::Result;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use world::World;

type Shared = Arc<Mutex<Option<World>>>;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    let shared = Shared::default();
    let conclusion = libtest_mimic::run(&arguments, trials(&shared));
    let world = shared.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(Err(error)) = world.map(|world| sidespan_harness::run(world.end())) {
        eprintln!("error: {error:#}");
        return ExitCode::FAILURE;
    }
    conclusion.exit_code()
}

macro_rules! trials {
    ($shared:ident: $($module:ident::$name:ident,)*) => {
        vec![$({
            let shared = $shared.clone();
            Trial::test(concat!(stringify!($module), "::", stringify!($name)), move || {
                run(&shared, async |world: &mut World| $module::$name(world).await)
            })
        }),*]
    };
}

fn trials(shared: &Shared) -> Vec<Trial> {
    trials![shared:
        manifests::every_manifest_is_accepted_by_the_api_server_and_by_istioctl,
        manifests::every_kustomization_is_accepted_by_the_api_server_by_istioctl_and_by_the_check,
        manifests::components_add_to_each_other,
        manifests::a_mistake_in_a_manifest_is_refused,
        images::the_module_comes_from_the_registry_by_the_digest_of_its_manifest,
        identity::the_resource_is_that_of_the_node_as_pilot_agent_sends_it,
        identity::peers_have_the_principals_of_their_certificates_and_plain_text_is_refused,
        whole_path::every_failing_request_is_kept_from_the_gateway_to_the_failure_at_one_percent,
        rates::namespaces_and_services_have_the_rates_of_the_production_overlay,
        changes::a_change_under_traffic_loses_no_request_and_no_span,
        changes::a_bad_change_is_refused_and_the_old_configuration_stays_in_force,
        changes::deletion_under_traffic_touches_no_request,
        images::with_a_wrong_digest_requests_pass_untraced,
        images::with_fail_close_and_a_wrong_digest_every_request_is_refused,
        images::without_an_image_requests_pass_untraced,
        images::with_the_registry_down_requests_pass_untraced_and_a_module_in_store_works_on,
        install::the_commands_touch_nothing_that_a_team_has,
        install::the_patch_for_an_existing_telemetry_keeps_its_fields_and_its_reverse_restores_it,
        install::a_plugin_in_one_namespace_changes_the_tracing_of_that_namespace_alone,
        native::envoys_own_tracer_is_off_with_the_shipped_telemetry_and_overwrites_headers_without_it,
        native::beside_native_opentelemetry_failing_requests_are_whole_and_deletion_takes_nothing_away,
        native::beside_native_zipkin_failing_requests_are_whole_and_deletion_takes_nothing_away,
        traffic_extension::it_does_what_the_wasm_plugin_does,
        module::the_example_keeps_whole_paths_and_its_metrics_pass_istios_matcher,
        versions::the_same_module_works_in_every_supported_envoy_under_the_same_istiod,
    ]
}

fn run(shared: &Shared, test: impl AsyncFnOnce(&mut World) -> Result<()>) -> Result<(), Failed> {
    let mut shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
    let outcome = sidespan_harness::run(async {
        if shared.is_none() {
            *shared = Some(World::start().await?);
        }
        let world = shared.as_mut().expect("it was just started");
        world.check().await?;
        test(world).await
    });
    outcome.map_err(|error| Failed::from(format!("{error:#}")))
}
