//! The OpenAPI document of the admin API, checked by a validator that others have written.

use std::process::Command;

use fixtures::new_loopback;
use tests::Setup;
use tests::tool::{python, run};

const SCRIPT: &str = include_str!("openapi.py");

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_document_is_valid_and_true() {
    let Some(python) = python("openapi_spec_validator", "openapi-spec-validator") else {
        return;
    };
    let address = new_loopback();
    let gateway = Setup::new()
        .set("admin.listen", &address.to_string())
        .start();
    let token = gateway.cli(&["token", "create", "reader", "--scope", "read", "--json"]);
    let token = token.json()["value"].as_str().unwrap().to_owned();
    let outcome =
        run(Command::new(python).args(["-c", SCRIPT, &format!("http://{address}"), &token]));
    assert!(outcome.out.contains("all good"), "{outcome:?}");
}
