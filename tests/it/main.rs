//! Everything end to end, one file for each subject.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "this is a test binary: a panic is a failed test, with its place"
)]

mod access_log;
mod acme;
mod admin_tls;
mod answers;
mod authorities;
mod balance;
mod behind;
mod bounds;
mod cli;
mod dashboard;
mod denied;
mod doctor;
mod documents;
mod dry_run;
mod durability;
mod fair;
mod fields;
mod fleet;
mod fleet_faults;
mod fleet_load;
mod fleet_tls;
mod front;
mod grpc;
mod guide;
mod handshake;
mod headers;
mod hostile;
mod http1;
mod http2;
mod image;
mod input;
mod interim;
mod lifecycle;
mod list_fetching;
mod live;
mod load;
mod managed_ca;
mod names;
mod observe;
mod ocsp;
mod openapi;
mod origin_cuts;
mod origin_health;
mod origin_limits;
mod origin_names;
mod origin_pool;
mod origin_proxy;
mod origin_tls;
mod origins;
mod package;
mod paths;
mod pem;
mod phases;
mod places;
mod plain;
mod prometheus;
mod request_body;
mod resumption;
mod revocation;
mod revocation_latency;
mod revocation_lists;
mod rule_test;
mod rules;
mod scripts;
mod sdk;
mod second_opinion;
mod server_certificates;
mod slow;
mod stapling;
mod steering;
mod steering_wire;
mod tenants;
mod ticket_matrix;
mod tools;
mod top;
mod traces;
mod unread;
mod upgrade;
mod websocket;
