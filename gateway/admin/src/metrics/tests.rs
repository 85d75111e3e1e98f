//! The text is OpenMetrics, and it says what was counted.

use super::*;
use crate::fleet::{FleetState, InForce};
use datapath::observe::tally::RuleAction;
use datapath::observe::{HandshakeResult, Stage, Steered};
use datapath::plain::Outcome;
use snapshot::origins::gate::GateCounts;
use std::collections::HashMap;
use std::time::{Duration, UNIX_EPOCH};
use vocabulary::hostname::HostName;
use vocabulary::request_error::RequestError;
use vocabulary::settings::HostMetrics;
use vocabulary::verdict::{Reason, Verdict};

fn process() -> Process {
    Process {
        started: UNIX_EPOCH + Duration::from_secs(1_700_000_000),
        generation: 7,
        trust_epoch: 3,
        hosts: 1,
        access_log_dropped: 2,
        traced: vec![("sent", 4), ("dropped", 1)],
        plain: vec![(Outcome::Redirected, 4), (Outcome::Evicted, 0)],
        draining: false,
        steering: SteeringStatus {
            mode: "kernel",
            kernel: Some(ebpf::Counters {
                placed: 9,
                cookies_bad: 1,
                ..ebpf::Counters::default()
            }),
            moves: 5,
            ..SteeringStatus::default()
        },
        // Several lists of one CA: of itself, of CAs of one name below it, of several scopes.
        crls: [
            ("CN=a", false, "01"),
            ("CN=a", false, "02"),
            ("CN=b", false, "03"),
            ("CN=b", true, "04"),
        ]
        .map(|(issuer, delta, place)| CrlStatus {
            authority: "00000000-0000-4000-8000-000000000001".parse().unwrap(),
            place: place.into(),
            issuer: issuer.into(),
            warnings: Vec::new(),
            number: "01".into(),
            delta,
            this_update: 1,
            next_update: 2,
            entries: 3,
            bytes: 4,
        })
        .to_vec(),
        crl_fetches: Vec::new(),
        files_late: 0,
        store_write_failures: 1,
        fleet: Some(FleetShown {
            state: FleetState::Away,
            why: None,
            name: Some("prod".into()),
            edge: Some("edge-1".into()),
            revision: 7,
            digest: None,
            head: Some(9),
            age_seconds: 2.5,
            leader: None,
            leads: false,
            etcd: Vec::new(),
            credentials: Vec::new(),
            in_force: InForce {
                changes: 3,
                p50_ms: 4,
                p99_ms: 250,
                max_ms: 300,
            },
            alone: Vec::new(),
        }),
        reloads: [3, 1],
        upgrades: [2, 1],
        host_metrics: HostMetrics::Full,
        crl_files: vec![CrlFileStatus {
            authority: "00000000-0000-4000-8000-000000000001".parse().unwrap(),
            file: "/a.crl".into(),
            last: control::CrlFileOutcome::Refused("expired".into()),
            counts: [1, 2, 0],
        }],
        ocsp: [(("ca".to_owned(), "good"), 3)].into(),
        staples: vec![StapleStatus {
            certificate: "00000000-0000-4000-8000-000000000002".parse().unwrap(),
            is_must: true,
            responder: Some("http://ocsp.test/".into()),
            is_wanted: true,
            until_sec: None,
            error: Some("it answers 500".into()),
        }],
        acme: AcmeCounts {
            hosts: [0, 1, 0, 4, 2],
            issued: 7,
            failed: 3,
        },
        origins: vec![AddressStatus {
            origin: "example.com/backends".into(),
            address: "http://10.0.0.1:80".into(),
            is_good: true,
            open: 1,
            requests: 9,
            failed: 2,
            ejections: 1,
        }],
        names: vec![NameStatus {
            name: "backend.example.com".into(),
            addresses: vec![[10, 0, 0, 1].into(), [10, 0, 0, 2].into()],
            error: Some("no".into()),
        }],
        origin_limits: vec![LimitStatus {
            origin: "example.com/backends".into(),
            limit: "requests",
            max: 20,
            counts: GateCounts {
                inside: 20,
                waiting: 3,
                queued: 9,
                refused: 2,
                waited: Duration::from_millis(1_500),
            },
        }],
        expiring: vec![Expiring {
            kind: control::ExpiryKind::Server,
            expired: 1,
            within: [(30, 5), (7, 2), (1, 0)],
        }],
    }
}

fn busy() -> WorkerStats {
    let mut stats = WorkerStats::new(1);
    let host = stats.host(&HostName::parse("api.example.com").unwrap());
    stats.record(host, Stage::Total, Duration::from_millis(3));
    stats.record(host, Stage::Total, Duration::from_secs(45));
    stats.record(host, Stage::Rules, Duration::from_nanos(700));
    stats.request(host, 403, Verdict::NONE, Some(RuleAction::Block));
    stats.handshake(Some(host), HandshakeResult::Resumed);
    stats.handshake(None, HandshakeResult::Failed("unknown_host"));
    stats.verified(host, Reason::Expired);
    stats.rule("ab\"\\\ncd", RuleAction::Block);
    stats.stop("closed");
    stats.origin_error(host, RequestError::OriginRefused);
    stats.bytes(host, 5, 6);
    stats.connections_open = 4;
    stats.steered(host, Steered::Handoff);
    stats
}

/// Every sample line as (name with labels, value); panics on anything that is no OpenMetrics.
fn parse(text: &str) -> HashMap<String, f64> {
    assert!(text.ends_with("# EOF\n"));
    let mut families = std::collections::HashSet::new();
    let mut family = String::new();
    let mut samples = HashMap::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            family = rest.split(' ').next().unwrap().to_owned();
            assert!(families.insert(family.clone()), "{family} is there twice");
        } else if !line.starts_with('#') {
            let (name, value) = line.rsplit_once(' ').unwrap();
            assert!(name.starts_with(&family), "{line} is not of {family}");
            let labels = name.find('{').map_or("", |at| &name[at..]);
            assert!(labels.is_empty() || labels.ends_with('}'), "{line}");
            assert!(
                samples
                    .insert(name.to_owned(), value.parse::<f64>().unwrap())
                    .is_none(),
                "{name} is there twice"
            );
        }
    }
    samples
}

#[test]
fn all_families_and_what_they_count() {
    let workers = [busy(), WorkerStats::new(0)];
    let samples = parse(&render(&workers, &process(), Format::OpenMetrics));
    for (name, value) in [
        (
            "postern_request_duration_seconds_count{host=\"api.example.com\"}",
            2.0,
        ),
        (
            "postern_request_duration_seconds_bucket{le=\"0.0025\",host=\"api.example.com\"}",
            0.0,
        ),
        (
            "postern_request_duration_seconds_bucket{le=\"0.005\",host=\"api.example.com\"}",
            1.0,
        ),
        (
            "postern_request_duration_seconds_bucket{le=\"30.0\",host=\"api.example.com\"}",
            1.0,
        ),
        (
            "postern_request_duration_seconds_bucket{le=\"+Inf\",host=\"api.example.com\"}",
            2.0,
        ),
        (
            "postern_request_duration_seconds_sum{host=\"api.example.com\"}",
            45.003,
        ),
        (
            "postern_stage_duration_seconds_count{host=\"api.example.com\",stage=\"rules\"}",
            1.0,
        ),
        (
            "postern_stage_duration_seconds_bucket{le=\"0.000001\",host=\"api.example.com\",stage=\"rules\"}",
            1.0,
        ),
        (
            "postern_requests_total{host=\"api.example.com\",status_class=\"4xx\",outcome=\"blocked\",client=\"anonymous\"}",
            1.0,
        ),
        (
            "postern_received_bytes_total{host=\"api.example.com\"}",
            5.0,
        ),
        ("postern_sent_bytes_total{host=\"api.example.com\"}", 6.0),
        (
            "postern_tls_handshakes_total{host=\"api.example.com\",result=\"resumed\"}",
            1.0,
        ),
        (
            "postern_tls_handshakes_total{host=\"\",result=\"unknown_host\"}",
            1.0,
        ),
        (
            "postern_client_cert_verify_total{host=\"api.example.com\",reason=\"expired\"}",
            1.0,
        ),
        (
            "postern_origin_errors_total{host=\"api.example.com\",reason=\"origin_refused\"}",
            1.0,
        ),
        (
            "postern_rule_matches_total{rule_id=\"ab\\\"\\\\\\ncd\",action=\"block\"}",
            1.0,
        ),
        ("postern_connection_stops_total{stop=\"closed\"}", 1.0),
        ("postern_connections_open{worker=\"1\"}", 4.0),
        ("postern_connections_open{worker=\"0\"}", 0.0),
        ("postern_snapshot_generation", 7.0),
        ("postern_trust_epoch", 3.0),
        ("postern_hosts", 1.0),
        ("postern_workers", 2.0),
        (
            "postern_crl_entries{ca_id=\"00000000-0000-4000-8000-000000000001\",issuer=\"CN=b\",kind=\"delta\",list=\"04\"}",
            3.0,
        ),
        (
            "postern_crl_file_reads_total{ca_id=\"00000000-0000-4000-8000-000000000001\",result=\"refused\"}",
            2.0,
        ),
        (
            "postern_crl_source_failing{ca_id=\"00000000-0000-4000-8000-000000000001\",source=\"/a.crl\"}",
            1.0,
        ),
        ("postern_access_log_dropped_total", 2.0),
        ("postern_store_write_failures_total", 1.0),
        ("postern_fleet_revision", 7.0),
        ("postern_fleet_head", 9.0),
        ("postern_fleet_age_seconds", 2.5),
        ("postern_fleet_leads", 0.0),
        ("postern_fleet_state{state=\"away\"}", 1.0),
        ("postern_fleet_state{state=\"current\"}", 0.0),
        ("postern_fleet_in_force_seconds{percentile=\"99\"}", 0.25),
        ("postern_reloads_total{result=\"applied\"}", 3.0),
        ("postern_reloads_total{result=\"refused\"}", 1.0),
        ("postern_upgrades_total{result=\"done\"}", 2.0),
        ("postern_upgrades_total{result=\"failed\"}", 1.0),
        (
            "postern_plain_connections_total{outcome=\"redirected\"}",
            4.0,
        ),
        ("postern_build_info{version=\"0.1.0\"}", 1.0),
        ("process_start_time_seconds", 1_700_000_000.0),
    ] {
        assert_eq!(samples.get(name), Some(&value), "{name} in {samples:#?}");
    }
    assert!(samples["process_resident_memory_bytes"] > 0.0);
    assert!(samples["process_open_fds"] > 0.0);
    assert!(samples.contains_key("process_cpu_seconds_total"));
}

#[test]
fn nothing_counted_is_valid_too() {
    let samples = parse(&render(&[], &process(), Format::OpenMetrics));
    assert!(samples.contains_key("postern_workers"));
}

#[test]
fn a_host_in_brief_has_two_dozen_series() {
    let mut stats = busy();
    let host = stats.host(&HostName::parse("api.example.com").unwrap());
    for status in [200, 302, 404, 502] {
        stats.request(host, status, Verdict::NONE, None);
    }
    stats.handshake(Some(host), HandshakeResult::Full);
    stats.verified(host, Reason::Verified);
    let other = stats.host(&HostName::parse("b.example.com").unwrap());
    stats.record(other, Stage::Rules, Duration::from_micros(3));
    let mut process = process();
    process.host_metrics = HostMetrics::Brief;
    let text = render(&[stats], &process, Format::OpenMetrics);
    let samples = parse(&text);
    let of_host = samples
        .keys()
        .filter(|name| name.contains("host=\"api.example.com\""));
    assert!(
        of_host.clone().count() <= 25,
        "{:#?}",
        of_host.collect::<Vec<_>>()
    );
    let stage = "postern_stage_duration_seconds_count{stage=\"rules\"}";
    assert_eq!(samples[stage], 2.0, "of both hosts");
    let bucket = "postern_request_duration_seconds_bucket{le=\"0.005\",host=\"api.example.com\"}";
    assert_eq!(samples[bucket], 1.0);
}

#[test]
fn both_texts_say_the_same() {
    let openmetrics = render(&[busy()], &process(), Format::OpenMetrics);
    let text = render(&[busy()], &process(), Format::Text);
    let samples = |text: &str| {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        // What the process takes moves meanwhile.
        let lines = lines.filter(|line| !line.starts_with("process_"));
        lines.map(ToOwned::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(samples(&openmetrics), samples(&text));
}
