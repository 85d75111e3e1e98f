//! Why a request was not served as its client meant it, in one word.
//!
//! Owns the words of the access log's `error` and of the metric of origins' errors. Which of them
//! is true is found by the checks before the rules and by the code that forwards.

use crate::words;

words! {
    /// Why a request was not served as its client meant it.
    pub enum RequestError("the error of a request", without serde) {
        /// TRACE, or CONNECT for what is not served.
        Method = "method",
        /// It is not clear which host is meant.
        Authority = "authority",
        /// Another host than the connection may be used for.
        Misdirected = "misdirected",
        /// A proxy in front does not say who the client is.
        ClientAddress = "client_address",
        /// Headers that rules and origin would understand differently, or too many of them.
        Headers = "headers",
        /// A path that could be read in two ways.
        Path = "path",
        /// The rules cannot be evaluated within their bound.
        Rules = "rules",
        /// Its body is larger than it may be.
        RequestBody = "request_body",
        /// A redirect made no target.
        Redirect = "redirect",
        /// The client has more open at once than its share.
        ClientShare = "client_share",
        /// The client went away.
        ClientGone = "client_gone",
        /// The client stopped in the middle of its body.
        ClientStalled = "client_stalled",
        /// The origin's name has no address.
        OriginResolve = "origin_resolve",
        /// The origin's address is one that who set it may not reach.
        OriginOutOfReach = "origin_out_of_reach",
        /// The origin refuses connections.
        OriginRefused = "origin_refused",
        /// No address of the origin took the connection.
        OriginConnect = "origin_connect",
        /// Not connected in time.
        OriginConnectTimeout = "origin_connect_timeout",
        /// TLS to the origin failed.
        OriginTls = "origin_tls",
        /// The origin agreed on another protocol than was offered.
        OriginProtocol = "origin_protocol",
        /// No response head in time.
        OriginResponseTimeout = "origin_response_timeout",
        /// The origin has as much at once as it may, and its queue is full.
        OriginFull = "origin_full",
        /// The request waited for its turn for as long as it may.
        OriginQueueTimeout = "origin_queue_timeout",
        /// The origin sent no HTTP, or closed before its head was whole.
        OriginResponse = "origin_response",
        /// The origin stopped in the middle of its body.
        OriginStalled = "origin_stalled",
        /// The origin broke its response off.
        ResponseCut = "response_cut",
        /// The head is not HTTP, or larger than it may be.
        BadHttp = "bad_http",
        /// A tunnel was silent for too long.
        IdleTimeout = "idle_timeout",
        /// A tunnel's socket broke.
        TunnelBroken = "tunnel_broken",
        /// A tunnel's client certificate is no longer good.
        CertificateLost = "certificate_lost",
    }
}

impl RequestError {
    /// Whether it stops a request before any rule is evaluated.
    #[must_use]
    pub fn is_before_rules(self) -> bool {
        matches!(
            self,
            Self::Method
                | Self::Authority
                | Self::Misdirected
                | Self::ClientAddress
                | Self::Headers
                | Self::Path
        )
    }
}
