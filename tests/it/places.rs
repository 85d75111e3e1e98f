//! GeoIP databases: read at a start and at SIGHUP, and refused when they are none.

use rules::testing::database::File;
use serde_json::json;
use tests::{Origin, Setup};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn databases_are_read_at_a_start_and_at_sighup() {
    let here = |country: &str| {
        let record = json!({ "country": { "iso_code": country } });
        File::new(&[("127.0.0.0/8", record)])
    };
    let (first, second) = (here("DE"), here("FR"));
    let number = File::new(&[("127.0.0.0/9", json!({ "autonomous_system_number": 64496 }))]);
    let broken = File::of(b"this is no database");
    let path = |file: &File| file.path().to_str().unwrap().to_owned();
    let origin = Origin::echo();
    let gateway = Setup::new()
        .set("geoip.database", &path(&first))
        .host("api.example.test", "off", &origin.url())
        .block(r#"ip.src.country eq "DE" and http.request.uri.path eq "/de""#)
        .block(r#"ip.src.country eq "FR" and http.request.uri.path eq "/fr""#)
        .block(r#"ip.src.asnum eq 64496 and http.request.uri.path eq "/as""#)
        .start();
    let said = |text: &str| {
        tests::wait::until(text, || gateway.stderr().contains(text).then_some(()));
    };
    // A new connection for each: what holds for one is what was there when it began.
    let statuses = async || {
        let client = gateway.client("api.example.test");
        let mut statuses = Vec::new();
        for path in ["/de", "/fr", "/as", "/"] {
            statuses.push(client.get(path).await.unwrap().status);
        }
        statuses
    };
    assert_eq!(statuses().await, [403, 200, 200, 200]);
    gateway.configure(&[("geoip.database", &path(&broken))]);
    gateway.signal("HUP");
    said("damaged or not in MaxMind's format");
    said("stays as it was");
    assert_eq!(statuses().await, [403, 200, 200, 200]);
    gateway.configure(&[
        ("geoip.database", &path(&second)),
        ("geoip.asn_database", &path(&number)),
    ]);
    gateway.signal("HUP");
    said("was read again");
    assert_eq!(statuses().await, [200, 403, 403, 200]);
    let setting = gateway.admin.get("/postern/v1/sysctl/geoip.database");
    assert_eq!(setting.result()["value"], path(&second).as_str());
}
