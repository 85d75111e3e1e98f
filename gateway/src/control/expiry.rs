//! What ends soon: told in the log at the start and once a day, and in the status.

use std::sync::PoisonError;

use super::Control;
use super::client_certificates::Status;
use super::moment::Moment;
use crate::hostname::HostName;
use crate::limits::EXPIRY_WARNING_DAYS;

const DAY_SECONDS: i64 = 86_400;

impl Control {
    /// Writes a warning for every server certificate and CA that ends within
    /// [`EXPIRY_WARNING_DAYS`] or has ended, and one for all client certificates together.
    pub fn warn_of_expiry(&self, now: Moment) {
        let now = now.seconds();
        let soon = now + i64::from(EXPIRY_WARNING_DAYS) * DAY_SECONDS;
        let model = self.model();
        let days = |end: i64| (end - now).div_euclid(DAY_SECONDS);
        let ending = model
            .server_certificates
            .values()
            .filter(|found| found.not_after <= soon);
        for certificate in ending {
            let hosts: Vec<&str> = certificate.names.iter().map(HostName::as_str).collect();
            let (id, left) = (certificate.id, days(certificate.not_after));
            tracing::warn!(%id, hosts = hosts.join(" "), days = left, "a server certificate expires");
        }
        for authority in model
            .authorities
            .values()
            .filter(|found| found.not_after <= soon)
        {
            let (id, name, left) = (authority.id, &authority.name, days(authority.not_after));
            tracing::warn!(%id, name, days = left, "a CA expires: its clients are refused then");
        }
        let clients = self.expiring(now, soon);
        if clients > 0 {
            let within = EXPIRY_WARNING_DAYS;
            tracing::warn!(count = clients, days = within, "client certificates expire");
        }
    }

    /// How many active client certificates end in this span, in seconds since the epoch.
    #[must_use]
    pub fn expiring(&self, from: i64, to: i64) -> usize {
        let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
        let entries = index.0.values().flatten();
        entries
            .filter(|entry| {
                entry.status == Status::Active && (from..=to).contains(&entry.not_after)
            })
            .count()
    }
}
