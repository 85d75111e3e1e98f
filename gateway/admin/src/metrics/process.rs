//! Metrics of the process: snapshot, revocation, expiry, logs, and use of the machine.

use std::fmt;

use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

use super::{Process, Scrape, counters, gauge};
use control::{CrlFileOutcome, CrlFileStatus, CrlStatus, Expiring};
use fetch::{AcmeCounts, AcmeState, FetchOutcome, FetchStatus, StapleStatus};
use vocabulary::clock::since_epoch;

impl Scrape {
    pub(super) fn process(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let Process {
            generation,
            trust_epoch,
            hosts,
            access_log_dropped,
            traced,
            plain,
            draining,
            started,
            steering: _,
            crls,
            crl_fetches,
            files_late,
            store_write_failures,
            fleet,
            reloads,
            upgrades,
            host_metrics: _,
            crl_files,
            ocsp,
            staples: stapled,
            acme,
            origins: _,
            origin_limits: _,
            names: _,
            expiring,
        } = &self.process;
        for (name, help, value) in [
            (
                "postern_snapshot_generation",
                "Generation of the published snapshot",
                *generation,
            ),
            (
                "postern_trust_epoch",
                "Moves when a CA, CRL or revocation changes",
                *trust_epoch,
            ),
            (
                "postern_hosts",
                "Hosts in the published snapshot",
                *hosts as u64,
            ),
            (
                "postern_workers",
                "Workers that answered this scrape",
                self.workers.len() as u64,
            ),
            (
                "postern_draining",
                "1 while the gateway finishes requests and takes none",
                u64::from(*draining),
            ),
            (
                "postern_files_late",
                "Watched files of revocation lists that have not answered in time",
                *files_late as u64,
            ),
        ] {
            gauge(out, name, help, None, value)?;
        }
        let lists: Vec<(String, &CrlStatus)> = crls
            .iter()
            .map(|crl| (crl.authority.to_string(), crl))
            .collect();
        type Read = fn(&CrlStatus) -> i64;
        let read: [(&str, &str, Read); 2] = [
            (
                "postern_crl_next_update_timestamp_seconds",
                "When the next revocation list of a CA is due, since the epoch",
                |crl| crl.next_update,
            ),
            (
                "postern_crl_entries",
                "Entries of a revocation list",
                |crl| i64::try_from(crl.entries).unwrap_or(i64::MAX),
            ),
        ];
        for (name, help, read) in read {
            let mut family = out.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (id, crl) in &lists {
                let kind = if crl.delta { "delta" } else { "complete" };
                let labels = [
                    ("ca_id", id.as_str()),
                    ("issuer", crl.issuer.as_str()),
                    ("kind", kind),
                    // Of one issuer there may be several, for certificates of several kinds.
                    ("list", crl.place.as_str()),
                ];
                family.encode_family(&labels)?.encode_gauge(&read(crl))?;
            }
        }
        let help = "Changes that the store did not take: its disk is full, or fails";
        if let Some(fleet) = fleet {
            self.fleet(fleet, out)?;
        }
        let failures = std::iter::once(([("", ""); 0], *store_write_failures));
        counters(out, "postern_store_write_failures", help, failures)?;
        let help = "New configurations by SIGHUP";
        let results = ["applied", "refused"].into_iter().zip(*reloads);
        let results = results.map(|(result, count)| ([("result", result)], count));
        counters(out, "postern_reloads", help, results)?;
        let results = ["done", "failed"].into_iter().zip(*upgrades);
        let results = results.map(|(result, count)| ([("result", result)], count));
        let help = "Processes that took over from the one before, and those that could not";
        counters(out, "postern_upgrades", help, results)?;
        fetches(out, crl_fetches)?;
        files(out, crl_files)?;
        sources(out, crl_files, crl_fetches)?;
        ends(out, expiring)?;
        let answers = ocsp
            .iter()
            .map(|((id, answer), count)| ([("ca_id", id.as_str()), ("answer", *answer)], *count));
        let help = "What OCSP responders have answered about client certificates";
        counters(out, "postern_ocsp_answers", help, answers)?;
        staples(out, stapled)?;
        orders(out, acme)?;
        let help =
            "Lines that the access log lost because its writer was behind or its disk failed";
        counters(
            out,
            "postern_access_log_dropped",
            help,
            std::iter::once(([("", ""); 0], *access_log_dropped)),
        )?;
        let help = "Sampled requests, and what became of their spans";
        let results = traced
            .iter()
            .map(|(result, count)| ([("result", *result)], *count));
        counters(out, "postern_traced_requests", help, results)?;
        let outcomes = plain
            .iter()
            .map(|(outcome, count)| ([("outcome", outcome.as_str())], *count));
        let help = "Connections to `listen.http` and `health.listen`, and what became of them";
        counters(out, "postern_plain_connections", help, outcomes)?;
        let mut build =
            out.encode_descriptor("postern_build", "What runs here", None, MetricType::Info)?;
        build.encode_info(&[("version", vocabulary::version())])?;
        let since = since_epoch(*started).as_secs_f64();
        gauge(
            out,
            "process_start_time",
            "When the process started, since the epoch",
            Some(&Unit::Seconds),
            since,
        )?;
        if let Some(bytes) = self.usage.resident_bytes {
            gauge(
                out,
                "process_resident_memory",
                "Memory in use",
                Some(&Unit::Bytes),
                bytes,
            )?;
        }
        if let Some(open) = self.usage.open_fds {
            gauge(
                out,
                "process_open_fds",
                "File descriptors in use",
                None,
                open,
            )?;
        }
        if let Some(cpu) = self.usage.cpu {
            let mut family = out.encode_descriptor(
                "process_cpu",
                "CPU time used",
                Some(&Unit::Seconds),
                MetricType::Counter,
            )?;
            family.encode_counter::<NoLabelSet, f64, f64>(&cpu.as_secs_f64(), None)?;
        }
        Ok(())
    }
}

/// What ends soon, and what has ended.
fn ends(out: &mut DescriptorEncoder<'_>, expiring: &[Expiring]) -> fmt::Result {
    let help = "Certificates and revocation lists that end within so many days, or have ended";
    let mut family = out.encode_descriptor("postern_expiring", help, None, MetricType::Gauge)?;
    let number = |count| i64::try_from(count).unwrap_or(i64::MAX);
    for one in expiring {
        let days = one
            .within
            .map(|(days, count)| (format!("{days}d"), number(count)));
        let expired = ("expired".to_owned(), number(one.expired));
        for (within, count) in days.iter().chain([&expired]) {
            let labels = [("kind", one.kind.as_str()), ("within", within.as_str())];
            family.encode_family(&labels)?.encode_gauge(count)?;
        }
    }
    Ok(())
}

/// How it stands with certificates from ACME.
fn orders(out: &mut DescriptorEncoder<'_>, acme: &AcmeCounts) -> fmt::Result {
    let help = "Hosts that have their certificate from ACME, by how it stands with it";
    let mut family = out.encode_descriptor("postern_acme_hosts", help, None, MetricType::Gauge)?;
    for (state, count) in AcmeState::ALL.into_iter().zip(acme.hosts) {
        let labels = [("state", state.as_str())];
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        family.encode_family(&labels)?.encode_gauge(&count)?;
    }
    let results = [("issued", acme.issued), ("failed", acme.failed)];
    let results = results.map(|(result, count)| ([("result", result)], count));
    let help = "Orders of certificates from ACME, and what became of them";
    counters(out, "postern_acme_orders", help, results.into_iter())
}

/// What became of reading revocation lists from watched files.
fn files(out: &mut DescriptorEncoder<'_>, files: &[CrlFileStatus]) -> fmt::Result {
    let ids: Vec<String> = files.iter().map(|one| one.authority.to_string()).collect();
    let counted = files.iter().zip(&ids).flat_map(|(one, id)| {
        let outcomes = CrlFileOutcome::ALL.into_iter().zip(one.counts);
        outcomes.map(move |(result, count)| ([("ca_id", id.as_str()), ("result", result)], count))
    });
    let help = "Readings of a watched file of revocation lists";
    counters(out, "postern_crl_file_reads", help, counted)
}

/// Which sources of revocation lists had something that was not taken.
fn sources(
    out: &mut DescriptorEncoder<'_>,
    files: &[CrlFileStatus],
    fetches: &[FetchStatus],
) -> fmt::Result {
    let of_files = files.iter().map(|one| {
        let source = one.file.display().to_string();
        (one.authority.to_string(), source, one.last.why().is_some())
    });
    let of_urls = fetches.iter().map(|one| {
        let is_bad = one.last.as_ref().is_some_and(|last| last.why().is_some());
        (one.authority.to_string(), one.url.to_string(), is_bad)
    });
    let name = "postern_crl_source_failing";
    let help =
        "1 while what a source of revocation lists had last was not taken, or not had at all";
    let mut family = out.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (id, source, is_bad) in of_files.chain(of_urls) {
        let labels = [("ca_id", id.as_str()), ("source", source.as_str())];
        family
            .encode_family(&labels)?
            .encode_gauge(&i64::from(is_bad))?;
    }
    Ok(())
}

/// What is stapled to server certificates, of those to which something should be.
fn staples(out: &mut DescriptorEncoder<'_>, staples: &[StapleStatus]) -> fmt::Result {
    let concerned: Vec<(String, &StapleStatus)> = staples
        .iter()
        .filter(|one| one.is_wanted || one.is_must)
        .map(|one| (one.certificate.to_string(), one))
        .collect();
    let name = "postern_ocsp_staple_missing";
    let help = "1 while a server certificate has no OCSP answer that is to be stapled to it";
    let mut family = out.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (id, one) in &concerned {
        let is_must = if one.is_must { "true" } else { "false" };
        let labels = [("cert_id", id.as_str()), ("must_staple", is_must)];
        family
            .encode_family(&labels)?
            .encode_gauge(&i64::from(one.is_missing()))?;
    }
    let name = "postern_ocsp_staple_next_update_timestamp_seconds";
    let help = "When the OCSP answer ends that is stapled to a server certificate, since the epoch";
    let mut family = out.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (id, one) in &concerned {
        let Some(until_sec) = one.until_sec else {
            continue;
        };
        let labels = [("cert_id", id.as_str())];
        family.encode_family(&labels)?.encode_gauge(&until_sec)?;
    }
    Ok(())
}

/// What became of fetching revocation lists.
fn fetches(out: &mut DescriptorEncoder<'_>, fetches: &[FetchStatus]) -> fmt::Result {
    let help = "Attempts to fetch a revocation list";
    let ids: Vec<String> = fetches
        .iter()
        .map(|one| one.authority.to_string())
        .collect();
    let counted = fetches.iter().zip(&ids).flat_map(|(one, id)| {
        let outcomes = FetchOutcome::ALL.into_iter().zip(one.counts);
        outcomes.map(move |(result, count)| {
            let labels = [
                ("ca_id", id.as_str()),
                ("url", one.url.as_str()),
                ("result", result),
            ];
            (labels, count)
        })
    });
    counters(out, "postern_crl_fetch", help, counted)?;
    let name = "postern_crl_fetch_good_timestamp_seconds";
    let help = "When the server of a revocation list last had a good one, since the epoch";
    let mut family = out.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (one, id) in fetches.iter().zip(&ids) {
        let Some(good_at) = one.good_at else { continue };
        let labels = [("ca_id", id.as_str()), ("url", one.url.as_str())];
        family
            .encode_family(&labels)?
            .encode_gauge(&good_at.seconds())?;
    }
    Ok(())
}
