//! The OpenAPI document of the admin API, checked by a validator that others have written.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Command;

use tests::Setup;
use tests::tool::run;

const SCRIPT: &str = include_str!("openapi.py");

/// The Python that `cargo xtask test` has given the validator to.
fn python() -> Option<PathBuf> {
    let python =
        std::env::var_os("POSTERN_TEST_PYTHON").map_or_else(|| "python3".into(), PathBuf::from);
    let probe = Command::new(&python)
        .args(["-c", "import openapi_spec_validator"])
        .output();
    if probe.is_ok_and(|done| done.status.success()) {
        return Some(python);
    }
    eprintln!(
        "skipped: needs a Python with openapi-spec-validator (`cargo xtask setup` makes one)"
    );
    None
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_document_is_valid_and_true() {
    let Some(python) = python() else { return };
    // Free when it was looked for; the gateway says so if another process was faster.
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let gateway = Setup::new()
        .set("admin.listen", &address.to_string())
        .start();
    let token = gateway.cli(&["token", "create", "reader", "--scope", "read", "--json"]);
    let token = token.json()["value"].as_str().unwrap().to_owned();
    let outcome =
        run(Command::new(python).args(["-c", SCRIPT, &format!("http://{address}"), &token]));
    assert!(outcome.out.contains("all good"), "{outcome:?}");
}
