//! The keys of what stands in front: plain listeners, balancers and proxies.
//!
//! Their places in the table are `keys`'.

use super::key_macros::number;
use super::keys::{Key, none, plain};
use super::kind::{Change, Kind};
use super::network::Networks;
use super::value;
use crate::limits;
use vocabulary::settings::ClientHeader;

const CLIENT_HEADERS: &[(&str, ClientHeader)] = &[
    ("x-forwarded-for", ClientHeader::XForwardedFor),
    ("forwarded", ClientHeader::Forwarded),
];

pub(super) const LISTEN_HTTP: Key = Key {
    name: "listen.http",
    kind: Kind::AddressesOrOff,
    default: "off",
    change: Change::Restart,
    doc: "Where plain HTTP is answered, as in `*:80`, or `off`: requests for hosts that exist are redirected to HTTPS, all others get 421, but for `/livez` and `/readyz`, and ACME servers their answers.",
    set: |config, text| {
        config.listen_http.clear();
        if text == "off" || text.is_empty() {
            return Ok(());
        }
        value::add_addresses(text, &mut config.listen_http)
    },
    show: |config| {
        if config.listen_http.is_empty() {
            "off".into()
        } else {
            value::show_addresses(&config.listen_http)
        }
    },
};

pub(super) const LISTEN_HTTP_REDIRECT_PORT: Key = number!(
    "http.redirect_port",
    Count,
    count,
    plain,
    http_redirect_port,
    "443",
    1,
    limits::PORT_MAX,
    "The port of the `https://` addresses that `listen.http` redirects to; 443 is not written out."
);

pub(super) const HEALTH_LISTEN: Key = Key {
    name: "health.listen",
    kind: Kind::AddressOrOff,
    default: "off",
    change: Change::Restart,
    doc: "Address of plain HTTP for balancers, or `off`: `/livez` tells that the process answers, `/readyz` whether new connections are welcome (503 while draining). No token, and nothing else.",
    set: |config, text| {
        config.health_listen = none(text, &["off", ""], value::address)?;
        Ok(())
    },
    show: |config| {
        let address = config.health_listen;
        address.map_or_else(|| "off".into(), |address| address.to_string())
    },
};

pub(super) const PROXY_PROTOCOL_FROM: Key = Key {
    name: "proxy.protocol_from",
    kind: Kind::NetworksOrNone,
    default: "none",
    change: Change::Live,
    doc: "Networks, up to 16, of balancers whose connections to `listen` and `listen.http` begin with a PROXY protocol header (version 1 or 2): the source in it is the client everywhere. A connection from them without one is closed; from others none is read.",
    set: |config, text| {
        Networks::parse(text).map(|networks| config.tunables.proxy_protocol_from = networks)
    },
    show: |config| config.tunables.proxy_protocol_from.show(),
};

pub(super) const PROXY_TRUSTED: Key = Key {
    name: "proxy.trusted",
    kind: Kind::NetworksOrNone,
    default: "none",
    change: Change::Live,
    doc: "Networks, up to 16, of HTTP proxies in front of the gateway: the client of a request over a connection from them is the last address in `proxy.header` that is not in these networks. Name proxies only, no other machines.",
    set: |config, text| {
        Networks::parse(text).map(|networks| config.tunables.proxy_trusted = networks)
    },
    show: |config| config.tunables.proxy_trusted.show(),
};

pub(super) const PROXY_HEADER: Key = Key {
    name: "proxy.header",
    kind: Kind::Word(&["x-forwarded-for", "forwarded"]),
    default: "x-forwarded-for",
    change: Change::Live,
    doc: "The header in which the proxies of `proxy.trusted` say who the client is. The other one is not read: a proxy passes on what clients write into the header that it does not set itself.",
    set: |config, text| {
        let header = value::word(text, CLIENT_HEADERS);
        header.map(|header| config.tunables.proxy_header = header)
    },
    show: |config| value::show_word(&config.tunables.proxy_header, CLIENT_HEADERS),
};
