//! SIGHUP: the configuration files are read again, all or nothing.

use std::sync::Arc;

use admin::AdminTls;
use config::{Config, Sources};
use control::Control;
use datapath::worker::Shared;
use rules::geo::Geo;
use snapshot::Published;
use vocabulary::hostname::HostName;

/// Reads the configuration files again; one error, and everything stays as it is.
pub(super) fn reload(
    shared: &Shared,
    sources: Option<&Sources>,
    control: &Control,
    admin_tls: Option<&AdminTls>,
) {
    let Some(sources) = sources else {
        tracing::info!("there are no configuration files to read again");
        return;
    };
    let loaded = Config::load(sources)
        .map_err(|errors| errors.to_string())
        .and_then(|loaded| {
            let geo = Geo::open(loaded.config.geoip_databases());
            let geo = geo.map_err(|error| error.to_string())?;
            match (admin_tls, loaded.config.admin_tls()) {
                (Some(tls), Some((certificate, key))) => tls
                    .reload(certificate, key)
                    .map_err(|error| error.to_string())?,
                (None, None) => {}
                // The socket is bound as it is: what was safe with TLS is not without.
                _ => tracing::warn!(
                    "TLS of the admin API is switched on or off at the next start; until then it stays"
                ),
            }
            Ok((loaded, geo))
        });
    match loaded {
        Err(errors) => {
            for line in errors.lines() {
                tracing::error!("{line}");
            }
            tracing::error!("the configuration stays as it was");
        }
        Ok((loaded, geo)) => {
            let geo = geo.map(Arc::new);
            control.set_geo(geo.clone());
            shared.geo.store(geo);
            for key in shared.live.reload(&loaded.config) {
                tracing::warn!(key, "this key changed and takes effect at the next start");
            }
            if let Err(error) = control.set_default_host(loaded.config.default_host.clone()) {
                tracing::error!(%error, "host.default stays as it was");
            }
            look_for_default_host(loaded.config.default_host.as_ref(), &shared.published);
            tracing::info!(
                files = loaded.files.len(),
                "the configuration was read again"
            );
        }
    }
}

/// Warns when `host.default` names nobody: it may be added later, and until then clients without
/// SNI are refused.
pub(super) fn look_for_default_host(wanted: Option<&HostName>, published: &Published) {
    let Some(host) = wanted else { return };
    if published.swap().load().default_host.is_none() {
        tracing::warn!(%host, "host.default names a host that is not there: clients without SNI are refused until it is");
    }
}
