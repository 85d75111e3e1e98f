//! What the configuration says of ACME, for the client.

use config::Config;
use fetch::AcmeSettings;

/// The server that certificates come from, and how.
pub(super) fn settings(config: &Config) -> AcmeSettings {
    let acme = config.acme.clone();
    AcmeSettings {
        directory: acme.directory,
        staging: acme.staging,
        contact: acme.contact,
        challenge: acme.challenge,
        ca_file: acme.ca_file,
        orders_per_hour: acme.orders_per_hour,
        // One is not there without the other.
        eab: acme.eab_key_id.zip(acme.eab_key_file),
    }
}
