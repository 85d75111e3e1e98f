//! SIGHUP: reads the configuration files again and applies them all, or none.

use std::sync::Arc;

use super::reach;
use crate::{geoip, logging};
use admin::{AdminTls, AdminTlsError};
use config::{Config, ConfigErrors, Loaded, Sources};
use control::Control;
use datapath::connection::Shared;
use fetch::AcmeClient;
use rules::geo::Geo;
use snapshot::Published;
use vocabulary::hostname::HostName;

/// The key that no new process takes.
const STORE: &str = "store.path";
/// The key that a new process takes when there was none, or is none any more; it is read again otherwise.
const ADMIN_TLS: &str = "admin.tls_certificate";

/// Reads the configuration files again; one error, and everything stays as it is. Answers whether some of
/// it takes a new process.
/// The files are read off the runtime's thread, which answers the admin API meanwhile.
pub(super) async fn reload(
    shared: &Shared,
    sources: Option<&Sources>,
    control: &Arc<Control>,
    acme: &AcmeClient,
    admin_tls: Option<&Arc<AdminTls>>,
) -> bool {
    let Some(sources) = sources else {
        // Whoever asked is not to wait for it.
        shared.live.count_reload(false);
        tracing::warn!(
            "there are no configuration files to read again: it was started without any"
        );
        return false;
    };
    let (sources, admin_tls) = (sources.clone(), admin_tls.cloned());
    let reading = tokio::task::spawn_blocking(move || read(&sources, admin_tls.as_deref()));
    let read = match reading.await {
        Ok(read) => read,
        Err(error) => {
            shared.live.count_reload(false);
            tracing::error!(%error, "reading failed; the configuration stays as it was");
            return false;
        }
    };
    let Read {
        loaded,
        geo,
        switches_tls,
    } = match read {
        Ok(read) => read,
        Err(errors) => {
            for line in errors.to_string().lines() {
                tracing::error!("{line}");
            }
            shared.live.count_reload(false);
            tracing::error!("the configuration stays as it was");
            return false;
        }
    };
    let geo = geo.map(Arc::new);
    control.set_geo(geo.clone());
    shared.geo.store(geo);
    acme.configure(super::acme::settings(&loaded.config));
    let mut differ = shared.live.reload(&loaded.config);
    if switches_tls && loaded.config.admin_listen.is_some() {
        differ.push(ADMIN_TLS);
    }
    logging::set_level(loaded.config.log_level);
    // A change may hold the writer for as long as etcd takes: this thread answers meanwhile.
    let (writer, config) = (control.clone(), loaded.config.clone());
    let telling = tokio::task::spawn_blocking(move || tell(&writer, &config));
    let is_applied = telling.await.unwrap_or_else(|error| {
        tracing::error!(%error, "telling what has changed failed");
        false
    });
    shared.live.count_reload(is_applied);
    look_for_default_host(loaded.config.default_host.as_ref(), &shared.published);
    tracing::info!(
        files = loaded.files.len(),
        "the configuration was read again"
    );
    if differ.contains(&STORE) {
        // Another store is not for connections that are let in by this one.
        let keys = differ.join(", ");
        tracing::warn!(
            keys,
            "changed, and taken at the next start, with the other store"
        );
        return false;
    }
    if !differ.is_empty() {
        let keys = differ.join(", ");
        tracing::info!(keys, "changed: a new process takes over with them");
    }
    !differ.is_empty()
}

/// Tells the control plane what holds from now on. Whether it has taken all of it; it says what it has not.
fn tell(control: &Control, config: &Config) -> bool {
    let mut is_applied = true;
    if let Err(error) = control.set_default_host(config.default_host.clone()) {
        is_applied = false;
        tracing::error!(%error, "host.default stays as it was");
    }
    if let Err(error) = control.set_reach(reach(config)) {
        is_applied = false;
        tracing::error!(%error, "control.private_origins stays as it was");
    }
    match control.read_system_cas() {
        Ok(true) => tracing::info!(
            "the system's CA bundle has changed: origins are verified by what it has now"
        ),
        Ok(false) => {}
        Err(error) => {
            is_applied = false;
            tracing::error!(%error, "origins are verified by the system's CA bundle as it was");
        }
    }
    is_applied
}

/// What the files name.
struct Read {
    loaded: Loaded,
    geo: Option<Geo>,
    /// The admin API's address is to speak TLS and does not, or the other way round.
    switches_tls: bool,
}

/// Why the files are not taken.
#[derive(Debug, thiserror::Error)]
enum ReloadError {
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    #[error(transparent)]
    Geo(#[from] geoip::GeoipError),
    #[error(transparent)]
    AdminTls(#[from] AdminTlsError),
}

/// Reads all that the files name. The certificate of the admin API is exchanged last: it is the
/// only part that takes effect by being read.
fn read(sources: &Sources, admin_tls: Option<&AdminTls>) -> Result<Read, ReloadError> {
    let loaded = Config::load(sources)?;
    let geo = geoip::open(loaded.config.geoip_databases())?;
    let switches_tls = match (admin_tls, loaded.config.admin_tls()) {
        (Some(tls), Some((certificate, key))) => {
            tls.reload(certificate, key)?;
            false
        }
        (None, None) => false,
        // A mistake in them is found before a process is asked to take over.
        (None, Some((certificate, key))) => AdminTls::load(certificate, key).map(|_fits| true)?,
        (Some(_), None) => true,
    };
    Ok(Read {
        loaded,
        geo,
        switches_tls,
    })
}

/// Warns when `host.default` names no host: it may be added later, and until then clients without
/// SNI are refused.
pub(super) fn look_for_default_host(wanted: Option<&HostName>, published: &Published) {
    let Some(host) = wanted else { return };
    if published.swap().load().default_host.is_none() {
        tracing::warn!(%host, "host.default names a host that is not there: clients without SNI are refused until it is");
    }
}
