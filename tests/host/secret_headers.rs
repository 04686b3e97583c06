//! Headers of export calls whose values come from environment variables. In this world they are those of the test process.

use super::attributes::{Direction, EndFacts};
use super::traffic::{FLUSH, KEEP_ALL, traced};
use super::world::World;
use std::time::Duration;

const ERROR: u32 = 4;

/// Everything is kept; export calls have the header `authorization` from this variable.
fn config(variable: &str) -> String {
    let header =
        format!(r#"{{"cluster": "collector", "headers": {{"Authorization": {{"environment": {variable}}}}}}}"#);
    KEEP_ALL.replace(r#"{"cluster": "collector"}"#, &header)
}

fn one_request(world: &mut World) {
    let stream = world.request(Direction::Inbound, traced("01"));
    stream.response(&[(":status", "200")]);
    stream.finish(EndFacts::default());
    world.tick_after(FLUSH);
}

#[test]
fn an_export_call_has_the_value_of_the_variable_else_its_default() {
    let path = std::env::var("PATH").expect("each process has it");
    let table = [
        (r#"{"name": "PATH"}"#, path.trim()),
        (r#"{"name": "PATH", "defaultValue": "d"}"#, path.trim()),
        (r#"{"name": "SIDESPAN_IS_NOT_SET", "defaultValue": "Bearer default"}"#, "Bearer default"),
    ];
    for (variable, expected) in table {
        let mut world = World::new(config(variable));
        one_request(&mut world);
        let sent = world.sent();
        assert_eq!(sent.len(), 1, "{:?}", world.log(0));
        assert_eq!(sent[0].headers.text("authorization").as_deref(), Some(expected), "{variable}");
        assert!(!world.log(0).iter().any(|line| line.text.contains(expected)), "the log has the value");
    }
}

#[test]
fn a_variable_that_is_not_set_refuses_the_configuration_and_the_log_names_it() {
    let missing = config(r#"{"name": "SIDESPAN_IS_NOT_SET"}"#);
    let mut world = World::new(&missing);
    assert!(world.root().accepted(), "refusing the first one would answer every request with 500");
    one_request(&mut world);
    world.tick_after(Duration::from_secs(30));
    let log = world.log(ERROR);
    let line = "exporter.otlp.headers.Authorization: the environment variable `SIDESPAN_IS_NOT_SET` is not set";
    assert!(log.len() == 1 && log[0].text.to_ascii_lowercase().contains(&line.to_ascii_lowercase()), "{log:?}");
    assert_eq!((world.sent().len(), world.metric("sidespan_config_errors_total")), (0, 1));

    let mut world = World::new(KEEP_ALL);
    world.tick_after(FLUSH);
    assert!(!world.reconfigure(&missing).accepted(), "the configuration before stays");
    one_request(&mut world);
    assert_eq!(world.exported().len(), 1);
}
