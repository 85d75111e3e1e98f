//! The dry run against the data path: the same generated requests, good and hostile, get the same
//! outcome, status, reason and rule from both.
//!
//! `rule_test` looks at what people are shown of a dry run; this file only at whether it is true.

use std::fmt::Write as _;

use http::{Request, Version};
use serde_json::{Value, json};
use tests::client::body;
use tests::gateway::ZONE;
use tests::{Gateway, Identity, Origin, Setup};

/// Requests of an ordinary run; `POSTERN_FUZZ_ROUNDS` asks for more.
const ROUNDS: usize = 400;

/// A request, and the connection that it comes on.
#[derive(Debug, Clone)]
struct Sent {
    sni: &'static str,
    with_certificate: bool,
    version: Version,
    method: &'static str,
    target: String,
    /// HTTP/2's.
    authority: String,
    headers: Vec<(String, String)>,
}

/// What became of it.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Permitted,
    /// With this status, by this rule.
    Blocked(u64, String),
    /// With this status, for this reason.
    Refused(u64, String),
    /// The handshake was, for this reason.
    NotLetIn(String),
    /// No request of HTTP, or one that no client can send.
    NoRequest,
}

/// Numbers that look random and are the same in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % end as u64).unwrap()
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    /// Whether something happens that does so once in `times`.
    fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }
}

const API: &str = "api.example.test";

const NAMES: [&str; 6] = [
    API,
    "require.example.test",
    "open.example.test",
    "a.wild.example.test",
    "b.wild.example.test",
    "c.wild.example.test",
];

const AUTHORITIES: [&str; 12] = [
    "API.example.test",
    "api.example.test.",
    "api.example.test:8443",
    "api.example.test.:1",
    "api.example.test:x",
    "api.example.test:123456",
    "nowhere.example.test",
    "host.other.test",
    "127.0.0.1",
    "[::1]:443",
    "u@api.example.test",
    "a,b",
];

/// What HTTP/2 clients and URIs cannot even write.
const BROKEN_AUTHORITIES: [&str; 4] = ["", " ", "a b", "a/b"];

const SEGMENTS: [&str; 22] = [
    "admin",
    "a",
    "",
    ".",
    "..",
    "..;",
    "admin;x=y",
    "%61dmin",
    "%2e%2E",
    "%2e",
    "%2f",
    "%5c",
    "%00",
    "%",
    "%zz",
    "%3f",
    "\u{e9}",
    "%c3%a9",
    "a\\b",
    "a|b",
    "{}",
    "%252e",
];

const TARGETS: [&str; 14] = [
    "*",
    "*?q",
    "?q",
    "admin",
    "https://api.example.test",
    "https://api.example.test?x=1",
    "https://API.example.test:1/admin",
    "http://b.wild.example.test/admin",
    "https://nowhere.example.test/",
    "https://u@api.example.test/",
    "api.example.test:443",
    "/a b",
    "/a#b?c",
    "//api.example.test/admin",
];

fn authority(dice: &mut Dice, sni: &'static str) -> String {
    match dice.below(8) {
        0 => dice.pick(&NAMES).into(),
        1 => dice.pick(&AUTHORITIES).into(),
        2 => format!("{sni}:8443"),
        _ => sni.into(),
    }
}

fn target(dice: &mut Dice, http2: bool) -> String {
    if !http2 && dice.once_in(8) {
        return dice.pick(&TARGETS).into();
    }
    let mut target = String::new();
    for _ in 0..=dice.below(3) {
        write!(target, "/{}", dice.pick(&SEGMENTS)).unwrap();
    }
    if dice.once_in(4) {
        target += dice.pick(&["?", "?q=1", "?a=/../%2f", "?block=me&block=you"]);
    }
    target
}

fn request(dice: &mut Dice) -> Sent {
    let sni = dice.pick(&NAMES);
    let version = dice.pick(&[
        Version::HTTP_11,
        Version::HTTP_11,
        Version::HTTP_11,
        Version::HTTP_10,
        Version::HTTP_2,
        Version::HTTP_2,
    ]);
    let http2 = version == Version::HTTP_2;
    let mut methods = vec!["GET", "GET", "HEAD", "OPTIONS", "DELETE", "TRACE", "BREW"];
    let mut headers: Vec<(String, String)> = Vec::new();
    let mut add = |name: &str, value: &str| headers.push((name.into(), value.into()));
    let mut sent_authority = sni.to_owned();
    if http2 {
        sent_authority = authority(dice, sni);
        if dice.once_in(6) {
            add("host", &authority(dice, sni));
        }
    } else {
        methods.push("CONNECT");
        match dice.below(12) {
            0 => {}
            1 => add("host", dice.pick(&BROKEN_AUTHORITIES)),
            2 => {
                add("host", sni);
                add("Host", &authority(dice, sni));
            }
            _ => add("host", &authority(dice, sni)),
        }
        if dice.once_in(8) {
            for _ in 0..=usize::from(dice.once_in(6)) {
                let codings = [
                    "chunked",
                    "Chunked",
                    "gzip, chunked",
                    "gzip",
                    "chunked, gzip",
                ];
                add("transfer-encoding", dice.pick(&codings));
            }
        }
        if dice.once_in(8) {
            add("connection", dice.pick(&["close", "x-a", "keep-alive, te"]));
        }
    }
    if dice.once_in(3) {
        add(
            "x-a",
            dice.pick(&["good", "bad", "  bad\t", "b\u{e4}d", ""]),
        );
    }
    if dice.once_in(4) {
        add("x_a", "bad");
    }
    if dice.once_in(20) {
        for number in 0..dice.pick(&[95, 99, 100, 101]) {
            add(&format!("x-{number}"), "1");
        }
    }
    if dice.once_in(6) {
        add("cookie", "a=1");
        add("cookie", "b=2");
    }
    Sent {
        sni,
        with_certificate: dice.once_in(2),
        version,
        method: dice.pick(&methods),
        target: target(dice, http2),
        authority: sent_authority,
        headers,
    }
}

impl Sent {
    fn client(&self, gateway: &Gateway, identity: &Identity) -> tests::Client {
        let client = gateway.client(self.sni);
        client.identity_if(self.with_certificate.then_some(identity))
    }

    /// As the gateway has it; `None` when no client can send it.
    async fn send(&self, gateway: &Gateway, identity: &Identity) -> Option<Outcome> {
        let client = self.client(gateway, identity);
        let (status, id, local) = if self.version == Version::HTTP_2 {
            let uri = format!("https://{}{}", self.authority, self.target);
            let mut request = Request::builder()
                .method(self.method)
                .version(self.version)
                .uri(uri);
            for (name, value) in &self.headers {
                request = request.header(name, value);
            }
            let request = request.body(body("")).ok()?;
            let sent = match client.http2().await {
                Ok(connection) => connection.send(request).await,
                Err(refused) => Err(refused),
            };
            match sent {
                Ok(answer) => (
                    u64::from(answer.status),
                    answer.header("x-request-id").to_owned(),
                    answer.local.unwrap(),
                ),
                Err(refused) => (0, String::new(), refused.local),
            }
        } else {
            match client.raw().await {
                Ok(mut raw) => {
                    raw.write(self.bytes()).await;
                    let local = raw.local;
                    match raw.message_to(self.method).await {
                        Some(answer) => {
                            let id = answer.header("x-request-id").to_owned();
                            (u64::from(answer.status()), id, local)
                        }
                        None => (0, String::new(), local),
                    }
                }
                Err(refused) => (0, String::new(), refused.local),
            }
        };
        if status == 0 {
            let local = local.to_string();
            let refused = |line: &Value| line["kind"] == "handshake" && line["client"] == *local;
            if self.sni != "require.example.test" || self.with_certificate {
                return Some(Outcome::NoRequest);
            }
            let line = gateway.record("a handshake that was refused", refused);
            return Some(Outcome::NotLetIn(line["reason"].as_str()?.to_owned()));
        }
        if id.is_empty() {
            // hyper's own answer, which no request stands behind.
            return Some(match status {
                400 => Outcome::NoRequest,
                _ => Outcome::Refused(status, String::new()),
            });
        }
        let line = gateway.record(&format!("{self:?}"), |line| line["request_id"] == *id);
        let error = line["error"].as_str().unwrap_or_default();
        Some(match line["rule"]["id"].as_str() {
            Some(rule) => Outcome::Blocked(status, rule.to_owned()),
            None if error.is_empty() => Outcome::Permitted,
            None => Outcome::Refused(status, error.to_owned()),
        })
    }

    fn bytes(&self) -> String {
        let version = match self.version {
            Version::HTTP_10 => "HTTP/1.0",
            _ => "HTTP/1.1",
        };
        let mut bytes = format!("{} {} {version}\r\n", self.method, self.target);
        for (name, value) in &self.headers {
            write!(bytes, "{name}: {value}\r\n").unwrap();
        }
        let coded = |(name, _): &(String, String)| name == "transfer-encoding";
        bytes += if self.headers.iter().any(coded) {
            "\r\n0\r\n\r\n"
        } else {
            "\r\n"
        };
        bytes
    }

    /// As a dry run is asked.
    fn asked(&self, certificate: &str) -> Value {
        let mut headers = serde_json::Map::new();
        if self.version != Version::HTTP_2 {
            // None, unless one is listed.
            headers.insert("host".into(), json!([]));
        }
        // hyper's client says how long a body is where a method may have one.
        let may_have_body = !matches!(self.method, "GET" | "HEAD" | "DELETE" | "CONNECT");
        if self.version == Version::HTTP_2 && may_have_body {
            headers.insert("content-length".into(), json!(["0"]));
        }
        for (name, value) in &self.headers {
            let values = headers
                .entry(name.to_ascii_lowercase())
                .or_insert_with(|| json!([]));
            values.as_array_mut().unwrap().push(json!(value));
        }
        json!({
            "host": self.authority,
            "sni": self.sni,
            "method": self.method,
            "path": self.target,
            "http": match self.version {
                Version::HTTP_10 => "HTTP/1.0",
                Version::HTTP_2 => "HTTP/2",
                _ => "HTTP/1.1",
            },
            "headers": headers,
            "certificate": if self.with_certificate { certificate } else { "none" },
        })
    }
}

/// As the dry run has it.
fn told(tested: &Value) -> Outcome {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let status = tested["status"].as_u64();
    match (tested["outcome"].as_str().unwrap(), status) {
        ("permit", _) => Outcome::Permitted,
        ("block", status) => Outcome::Blocked(status.unwrap(), text(&tested["rule"]["id"])),
        ("refuse", Some(status)) => Outcome::Refused(status, text(&tested["reason"])),
        ("refuse", None) => Outcome::NotLetIn(text(&tested["reason"])),
        ("not_judged", _) => Outcome::NoRequest,
        _ => panic!("nothing is left open here: {tested:#}"),
    }
}

/// hyper refuses some heads itself: the gateway's word for it is `bad_http`.
fn same(real: &Outcome, dry: &Outcome) -> bool {
    match (real, dry) {
        // hyper refuses a head before the first of our checks sees it. The dry run refuses it too,
        // and may name another of its faults.
        (Outcome::NoRequest, Outcome::Refused(..)) => true,
        (Outcome::Refused(_, word), Outcome::Refused(..) | Outcome::NoRequest) => {
            word == "bad_http" || real == dry
        }
        _ => real == dry,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn says_what_the_gateway_does_with_any_request() {
    let origin = Origin::echo();
    let gateway = Setup::new()
        .zone("other.test")
        .host(API, "request", &origin.url())
        .host("require.example.test", "require", &origin.url())
        .host("open.example.test", "off", &origin.url())
        .host("*.wild.example.test", "request", &origin.url())
        .host("host.other.test", "request", &origin.url())
        .block(r#"not cf.tls_client_auth.cert_verified and http.request.uri.path eq "/admin""#)
        .block(r#"http.request.method eq "DELETE""#)
        .block(r#"http.host eq "b.wild.example.test" and http.request.version eq "HTTP/2""#)
        .block(r#"any(http.request.headers["x-a"][*] eq "bad")"#)
        .block(r#"any(http.request.headers["host"][*] contains "API")"#)
        .block(r#"http.request.uri.query contains "block=me""#)
        .block(r#"raw.http.request.uri.path contains "%61" and http.request.version eq "HTTP/1.0""#)
        .start();
    let (_, identity) = gateway.certificate(ZONE, "device");
    let rounds = std::env::var("POSTERN_FUZZ_ROUNDS").ok();
    let rounds = rounds.and_then(|text| text.parse().ok()).unwrap_or(ROUNDS);
    let mut dice = Dice(20_261_128);
    let mut sent = Vec::new();
    let mut real = Vec::new();
    for _ in 0..rounds {
        let request = request(&mut dice);
        if let Some(outcome) = request.send(&gateway, &identity).await {
            sent.push(request);
            real.push(outcome);
        }
    }
    let pem = identity.chain_pem();
    let asked: Vec<Value> = sent.iter().map(|request| request.asked(&pem)).collect();
    let path = format!("/postern/v1/zones/{}/rule_tests", gateway.zone_id(ZONE));
    let found = gateway
        .admin
        .call("POST", &path, &json!({ "requests": asked }));
    let found = found.result();
    let mut wrong = String::new();
    for ((request, real), tested) in sent
        .iter()
        .zip(&real)
        .zip(found["tested"].as_array().unwrap())
    {
        let dry = told(tested);
        if !same(real, &dry) {
            writeln!(wrong, "{request:?}\n  gateway {real:?}\n  dry run {dry:?}").unwrap();
            writeln!(wrong, "  {}", tested["notes"]).unwrap();
        }
    }
    assert!(wrong.is_empty(), "they differ:\n{wrong}");
    // Every kind has been there.
    let seen = |what: &dyn Fn(&Outcome) -> bool| real.iter().filter(|found| what(found)).count();
    let refused_for =
        |reason: &str| seen(&|o| matches!(o, Outcome::Refused(_, why) if why == reason));
    for reason in ["method", "authority", "misdirected", "headers", "path"] {
        assert!(refused_for(reason) > 0, "none was refused for {reason}");
    }
    assert!(seen(&|o| *o == Outcome::Permitted) > rounds / 20);
    assert!(seen(&|o| matches!(o, Outcome::Blocked(..))) > rounds / 20);
    assert!(seen(&|o| matches!(o, Outcome::NotLetIn(_))) > 0);
}
