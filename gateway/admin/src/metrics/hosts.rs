//! Metrics of hosts: requests, bytes, handshakes, verdicts, origin errors, rule matches.

use std::fmt;

use prometheus_client::encoding::DescriptorEncoder;

use super::{Scrape, counters};
use datapath::observe::stats::OTHER_NAME;
use datapath::observe::tally::{CLASSES, CLIENTS, OUTCOMES};

impl Scrape {
    pub(super) fn hosts(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let hosts = &self.sum.hosts;
        counters(
            out,
            "postern_requests",
            "Requests answered",
            hosts.iter().flat_map(|host| {
                host.requests.cells().filter(|(.., count)| *count > 0).map(
                    |(class, outcome, client, count)| {
                        let word = |words: &[&'static str], index: usize| {
                            words.get(index).copied().unwrap_or("other")
                        };
                        let labels = [
                            ("host", &*host.name),
                            ("status_class", word(&CLASSES, class)),
                            ("outcome", word(&OUTCOMES, outcome)),
                            ("client", word(&CLIENTS, client)),
                        ];
                        (labels, count)
                    },
                )
            }),
        )?;
        let used = || {
            hosts.iter().filter(|host| {
                &*host.name != OTHER_NAME || host.bytes_received + host.bytes_sent > 0
            })
        };
        for (name, help, sent) in [
            ("postern_received_bytes", "Bytes of request bodies", false),
            ("postern_sent_bytes", "Bytes of response bodies", true),
        ] {
            counters(
                out,
                name,
                help,
                used().map(|host| {
                    (
                        [("host", &*host.name)],
                        if sent {
                            host.bytes_sent
                        } else {
                            host.bytes_received
                        },
                    )
                }),
            )?;
        }
        let without_host = self
            .sum
            .handshakes
            .iter()
            .map(|(result, count)| ([("host", ""), ("result", result)], count));
        counters(
            out,
            "postern_tls_handshakes",
            "TLS handshakes with clients",
            without_host.chain(hosts.iter().flat_map(|host| {
                host.handshakes
                    .iter()
                    .map(|(result, count)| ([("host", &*host.name), ("result", result)], count))
            })),
        )?;
        let help = "Verifications of client certificates";
        counters(
            out,
            "postern_client_cert_verify",
            help,
            hosts.iter().flat_map(|host| {
                host.verdicts
                    .iter()
                    .map(|(reason, count)| ([("host", &*host.name), ("reason", reason)], count))
            }),
        )?;
        counters(
            out,
            "postern_origin_errors",
            "Requests that the origin failed",
            hosts.iter().flat_map(|host| {
                host.origin_errors
                    .iter()
                    .map(|(reason, count)| ([("host", &*host.name), ("reason", reason)], count))
            }),
        )?;
        counters(
            out,
            "postern_client_errors",
            "Requests that the client left before their answer's end",
            hosts.iter().flat_map(|host| {
                host.client_errors
                    .iter()
                    .map(|(reason, count)| ([("host", &*host.name), ("reason", reason)], count))
            }),
        )?;
        let mut rules: Vec<_> = self.sum.rules.iter().collect();
        rules.sort_by_key(|(id, _)| &***id);
        counters(
            out,
            "postern_rule_matches",
            "Requests that a rule matched",
            rules.into_iter().flat_map(|(id, matches)| {
                [
                    ("block", matches.blocked),
                    ("rate_limit", matches.rate_limited),
                    ("redirect", matches.redirected),
                    ("log", matches.logged),
                ]
                .into_iter()
                .filter(|(_, count)| *count > 0)
                .map(move |(action, count)| ([("rule_id", &**id), ("action", action)], count))
            }),
        )
    }
}
