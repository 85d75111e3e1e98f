//! Load for Postern and for its peers, and what it cost them.
//!
//! | file | owns |
//! |---|---|
//! | `cli` | arguments, and how a run ends |
//! | `compare` | the same work for Postern, nginx, HAProxy … in turns |
//! | `aims` | the aims of the HTTP engine: measured, and kept or not |
//! | `flood` | what attackers cost, and what a visitor beside them notices |
//! | `faults` | what goes wrong with an origin, and how many requests fail of it |
//! | `pages` | what open pages of the dashboard cost while requests are refused |
//! | `fleet` | many edges of a fleet: when the last of them has a change in force |
//! | `idle` | what ten thousand idle connections weigh, and what BoringSSL weighs of it |
//! | `load` | load on any URL |
//! | `client` | the client: TLS, HTTP/1.1 and HTTP/2, closed loop and open loop |
//! | `relay` | the peer `floor`: TLS records and bytes, and no HTTP |
//! | `peers` | the proxies: their configuration, their processes |
//! | `admin` | requests on the admin socket |
//! | `world` | what they stand on: an origin, certificates, a directory |
//! | `store` | what the control plane does with 100,000 certificates and 10,000 rules |
//! | `machine` | CPUs, descriptors, CPU time and memory of processes |
//! | `report` | text, JSON, plot, page |
//!
//! Two numbers are told apart. *CPU per operation* comes from a closed loop: as many connections
//! as asked for, each with the next request as soon as it has its answer. *Latency* comes from an
//! open loop: requests have their time whether or not the answers are there, and an answer's
//! latency counts from that time, so a proxy that stalls cannot slow its own clock down.

mod admin;
pub mod aims;
pub mod cli;
pub mod client;
pub mod compare;
pub mod faults;
pub mod fleet;
pub mod flood;
pub mod idle;
pub mod load;
pub mod machine;
pub mod pages;
pub mod peers;
pub mod relay;
pub mod report;
pub mod store;
pub mod world;
