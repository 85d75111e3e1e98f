//! `http_request_origin`: sends permitted requests to another origin than their host's own.
//!
//! <https://developers.cloudflare.com/rules/origin-rules/>. All rules that match act, in order: of
//! the host header, the server name, the host and the port, the last one said holds. Certificates
//! of origins are verified all the same.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use http::header::HeaderValue;
use serde_json::{Map, Value};

use super::{Fault, PhaseInput, PhaseProgram, PhaseRule};
use crate::http::origin::{Detour, Origin, host_header};
use crate::http::reach::{OutOfReach, Reach};
use crate::origins::OriginGroup;
use rules::{Lists, Overworked, RuleError};
use vocabulary::hostname::HostName;

/// What one rule changes of the origin.
#[derive(Debug, Clone, Default)]
pub struct Route {
    host_header: Option<HeaderValue>,
    server_name: Option<Box<str>>,
    to: Option<To>,
    port: Option<u16>,
    /// What it may not lead to, when a token of a zone set it.
    reach: Option<Arc<Reach>>,
}

/// Where a rule sends requests.
#[derive(Debug, Clone, PartialEq, Eq)]
enum To {
    /// A name or an address to connect to, or a host of the zone: where that one's requests go.
    Host(Box<str>),
    /// An origin of the zone, by its name.
    Origin(Box<str>),
}

/// A zone's origin rules.
#[derive(Debug)]
pub struct Routes {
    asked: PhaseProgram<Route>,
    /// Where rules send requests.
    to: Vec<To>,
}

/// Where a zone's origin rules may send requests by a name.
#[derive(Debug, Default)]
pub struct NamedOrigins {
    /// Where requests of the zone's hosts go.
    pub hosts: HashMap<Box<str>, Arc<OriginGroup>>,
    /// The zone's origins.
    pub origins: HashMap<Box<str>, Arc<OriginGroup>>,
}

impl NamedOrigins {
    /// Whether connections have to keep the ClientHello for the choice of an address.
    pub(super) fn read_client_hello(&self) -> bool {
        self.all().any(|origin| origin.reads_client_hello())
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &Arc<OriginGroup>> {
        self.hosts.values().chain(self.origins.values())
    }
}

/// Where a request goes by the origin rules.
#[derive(Clone, Copy, Default)]
pub struct Routed<'r> {
    /// Another origin than the host's own.
    pub group: Option<&'r Arc<OriginGroup>>,
    /// What is different about it.
    detour: Detour<'r>,
    reach: Option<&'r Arc<Reach>>,
}

impl fmt::Debug for Routed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Routed")
            .field("group", &self.group)
            .field("detour", &self.detour)
            .finish_non_exhaustive()
    }
}

impl Routed<'_> {
    /// Whether it is a place of its own, and none of an origin's addresses.
    #[must_use]
    pub fn is_elsewhere(&self) -> bool {
        self.detour.host.is_some()
    }

    /// Whether what happens there says something about the origin's addresses: they are connected to
    /// as they are.
    #[must_use]
    pub fn is_as_it_is(&self) -> bool {
        let Detour {
            host_header: _,
            server_name,
            host,
            port,
        } = self.detour;
        server_name.is_none() && host.is_none() && port.is_none()
    }

    /// An address with what is different about it.
    #[must_use]
    pub fn by(&self, origin: &Arc<Origin>) -> Arc<Origin> {
        if self.detour == Detour::default() {
            return origin.clone();
        }
        Arc::new(origin.by(&self.detour, self.reach))
    }
}

impl Route {
    /// Reads what the API takes as `action` and `action_parameters`.
    ///
    /// # Errors
    /// What is wrong, and where.
    pub fn from_api(action: &str, parameters: Option<&Value>) -> Result<Self, Fault> {
        if action != "route" {
            let why = format!(
                "`{}` is not offered in this phase; `route` is",
                action.escape_debug()
            );
            return Err(Fault::new("action", why));
        }
        let none = Map::new();
        let all = parameters.and_then(Value::as_object).unwrap_or(&none);
        only(all, "action_parameters", &["host_header", "origin", "sni"])?;
        let mut route = Self::default();
        if let Some(said) = said(all, "host_header") {
            let header = said.as_str().and_then(host_header);
            let why = "expected a host name, with a port if need be";
            let path = "action_parameters.host_header";
            route.host_header = Some(header.ok_or_else(|| Fault::new(path, why))?);
        }
        if let Some(sni) = said(all, "sni") {
            const AT: &str = "action_parameters.sni";
            let wrong = |why: String| Fault::new(format!("{AT}.value"), why);
            let Some(sni) = sni.as_object() else {
                return Err(Fault::new(
                    AT,
                    "expected an object such as {\"value\": NAME}",
                ));
            };
            only(sni, AT, &["value"])?;
            let Some(name) = sni.get("value").and_then(Value::as_str) else {
                return Err(wrong("it is required: a host name".into()));
            };
            let name = HostName::parse(name).map_err(|why| wrong(why.to_string()))?;
            if name.wildcard_parent().is_some() {
                return Err(wrong("a certificate is for one name; name it".into()));
            }
            route.server_name = Some(name.as_str().into());
        }
        if let Some(origin) = said(all, "origin") {
            route.read_origin(origin)?;
        }
        if route.is_nothing() {
            let why = "expected at least one of `host_header`, `origin` ({\"host\": NAME, \
                       \"port\": NUMBER}) and `sni` ({\"value\": NAME})";
            return Err(Fault::new("action_parameters", why));
        }
        Ok(route)
    }

    fn read_origin(&mut self, origin: &Value) -> Result<(), Fault> {
        const AT: &str = "action_parameters.origin";
        let Some(origin) = origin.as_object() else {
            let why = "expected an object such as {\"host\": NAME, \"port\": NUMBER}";
            return Err(Fault::new(AT, why));
        };
        only(origin, AT, &["host", "name", "port"])?;
        if let Some(name) = said(origin, "name") {
            let wrong = |why: &str| Fault::new(format!("{AT}.name"), why);
            let name = name.as_str();
            let name = name.ok_or_else(|| wrong("expected the name of an origin of the zone"))?;
            if said(origin, "host").is_some() || said(origin, "port").is_some() {
                let why = "an origin has its addresses: it stands without `host` and `port`";
                return Err(wrong(why));
            }
            self.to = Some(To::Origin(name.into()));
        }
        if let Some(host) = said(origin, "host") {
            let wrong = |why: String| Fault::new(format!("{AT}.host"), why);
            let text = host.as_str().unwrap_or_default();
            let bare = text.trim_start_matches('[').trim_end_matches(']');
            self.to = Some(To::Host(match bare.parse::<IpAddr>() {
                Ok(address) => address.to_string().into(),
                Err(_) => {
                    let name = HostName::parse(text).map_err(|why| {
                        wrong(format!("{why}; expected a host name or an address, no URL"))
                    })?;
                    if name.wildcard_parent().is_some() {
                        return Err(wrong("a wildcard is no place to connect to".into()));
                    }
                    name.as_str().into()
                }
            }));
        }
        if let Some(port) = said(origin, "port") {
            let number = port.as_u64().and_then(|port| u16::try_from(port).ok());
            let why = "expected a number between 1 and 65535";
            let wrong = || Fault::new(format!("{AT}.port"), why);
            self.port = Some(number.filter(|port| *port != 0).ok_or_else(wrong)?);
        }
        Ok(())
    }

    fn is_nothing(&self) -> bool {
        self.host_header.is_none()
            && self.server_name.is_none()
            && self.to.is_none()
            && self.port.is_none()
    }

    /// The same rule, set by a tenant.
    #[must_use]
    pub fn confined_to(mut self, reach: Arc<Reach>) -> Self {
        self.reach = Some(reach);
        self
    }

    /// Whether the rule may be set by a tenant. What a name resolves to, and what becomes of a port
    /// alone, is checked when the origin is connected to.
    ///
    /// # Errors
    /// It leads to what is out of reach.
    pub fn check_reach(&self) -> Result<(), OutOfReach> {
        match (&self.reach, &self.to) {
            (Some(reach), Some(To::Host(host))) => {
                reach.check_text(host, self.port.unwrap_or_default())
            }
            _ => Ok(()),
        }
    }
}

/// What was said under a name; `null` is nothing.
fn said<'v>(all: &'v Map<String, Value>, name: &str) -> Option<&'v Value> {
    all.get(name).filter(|value| !value.is_null())
}

fn only(all: &Map<String, Value>, at: &str, known: &[&str]) -> Result<(), Fault> {
    match all.keys().find(|name| !known.contains(&name.as_str())) {
        None => Ok(()),
        Some(name) => {
            let path = format!("{at}.{}", name.escape_debug());
            let why = format!("it is not known; {} can be said here", known.join(", "));
            Err(Fault::new(path, why))
        }
    }
}

impl Routes {
    /// Compiles a zone's origin rules, in order.
    ///
    /// # Errors
    /// The first rule that does not parse or type-check.
    pub fn compile(rules: Vec<PhaseRule<Route>>, lists: &Lists) -> Result<Self, RuleError> {
        let to = rules.iter().filter_map(|rule| rule.does.to.clone());
        let to = to.collect();
        Ok(Self {
            asked: PhaseProgram::compile(rules, lists)?,
            to,
        })
    }

    /// Whether connections have to keep the ClientHello for it.
    #[must_use]
    pub fn reads_client_hello(&self) -> bool {
        self.asked.program.reads_client_hello()
    }

    /// Names and addresses that its rules send requests to.
    pub fn hosts(&self) -> impl Iterator<Item = &str> {
        self.to.iter().filter_map(|to| match to {
            To::Host(host) => Some(&**host),
            To::Origin(_) => None,
        })
    }

    /// Names, and no addresses, that its rules send requests to and that are none of these hosts'.
    pub fn names<'r>(&'r self, named: &'r NamedOrigins) -> impl Iterator<Item = &'r str> {
        let is_elsewhere =
            |host: &&str| !named.hosts.contains_key(*host) && host.parse::<IpAddr>().is_err();
        self.hosts().filter(is_elsewhere)
    }

    /// Names of origins that they send requests to.
    pub fn origins(&self) -> impl Iterator<Item = &str> {
        self.to.iter().filter_map(|to| match to {
            To::Origin(name) => Some(&**name),
            To::Host(_) => None,
        })
    }

    /// Where a request goes.
    ///
    /// # Errors
    /// It cannot be told: the request is not to be forwarded.
    pub fn ask<'r>(
        &'r self,
        subject: PhaseInput<'_>,
        named: &'r NamedOrigins,
    ) -> Result<Routed<'r>, Overworked> {
        let mut detour = Detour::default();
        let mut reach = None;
        let mut to = None;
        for (_, rule) in self.asked.matching(subject)? {
            detour.host_header = rule.host_header.as_ref().or(detour.host_header);
            detour.server_name = rule.server_name.as_deref().or(detour.server_name);
            to = rule.to.as_ref().or(to);
            detour.port = rule.port.or(detour.port);
            // One of them is enough.
            reach = reach.or(rule.reach.as_ref());
        }
        let group = match to {
            None => None,
            // A zone whose rules name an origin that is not there is not compiled.
            Some(To::Origin(name)) => Some(named.origins.get(name).ok_or(Overworked)?),
            Some(To::Host(host)) => {
                // That origin as it is, with its scheme, its CAs and its header.
                let group = named.hosts.get(host);
                detour.host = Some(&**host).filter(|_| group.is_none());
                group
            }
        };
        Ok(Routed {
            group,
            detour,
            reach,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use rules::ConnectionState;
    use rules::testing::world::{Certificate, World};
    use vocabulary::settings::OriginProtocol;

    fn plain(host: &str, port: u16) -> Origin {
        Origin {
            key: 7,
            url: format!("http://{host}:{port}").into(),
            host: host.into(),
            port,
            addresses: Vec::new(),
            protocol: OriginProtocol::Auto,
            tls: None,
            reach: None,
            host_header: None,
            proxy_protocol: false,
            introduction: None,
            gone: Arc::default(),
        }
    }

    fn routes(rules: &[(&str, Value)]) -> Routes {
        let rule = |(place, (expression, parameters)): (usize, &(&str, Value))| PhaseRule {
            id: Arc::from(place.to_string()),
            expression: (*expression).into(),
            enabled: true,
            does: Route::from_api("route", Some(parameters)).unwrap(),
        };
        let rules = rules.iter().enumerate().map(rule).collect();
        Routes::compile(rules, &Lists::default()).unwrap()
    }

    #[test]
    fn the_last_word_on_each_part_holds() {
        let world = World::new(Certificate::None, "api.example.test", "/p");
        let state = ConnectionState::default();
        let request = world.request();
        let subject = PhaseInput {
            connection: &world.connection,
            state: &state,
            request: &request,
        };
        let own = Arc::new(plain("own.test", 80));
        let single = |origin| Arc::new(OriginGroup::single(Arc::new(origin)));
        let other = single(plain("192.0.2.7", 9));
        let backends = single(plain("192.0.2.8", 8));
        let named = NamedOrigins {
            hosts: [("other.example.test".into(), other)].into(),
            origins: [("backends".into(), backends)].into(),
        };
        let origin = |rules: &[(&str, Value)]| {
            let routes = routes(rules);
            let routed = routes.ask(subject, &named).unwrap();
            let origin = routed.by(routed.group.map_or(&own, |group| group.first()));
            (!Arc::ptr_eq(&origin, &own)).then(|| {
                let header = origin.host_header.as_ref();
                let header = header.map(|value| value.to_str().unwrap().to_owned());
                (String::from(&*origin.url), header, origin.key == own.key)
            })
        };
        let named_origin = json!({ "origin": { "name": "backends" } });
        let to = |host: &str, port: u16| json!({ "origin": { "host": host, "port": port } });
        for (rules, expected) in [
            (vec![("http.host eq \"x\"", to("a.test", 1))], None),
            (
                vec![("true", to("a.test", 1))],
                Some(("http://a.test:1", None, false)),
            ),
            (
                vec![
                    ("true", to("a.test", 1)),
                    ("true", json!({ "origin": { "port": 2 } })),
                ],
                Some(("http://a.test:2", None, false)),
            ),
            (
                vec![("true", json!({ "host_header": "h.test" }))],
                Some(("http://own.test:80", Some("h.test"), true)),
            ),
            (
                vec![("true", json!({ "origin": { "host": "2001:db8::1" } }))],
                Some(("http://[2001:db8::1]:80", None, false)),
            ),
            (
                vec![(
                    "true",
                    json!({ "origin": { "host": "other.example.test" } }),
                )],
                Some(("http://192.0.2.7:9", None, true)),
            ),
            (
                vec![("true", named_origin.clone())],
                Some(("http://192.0.2.8:8", None, true)),
            ),
            (
                vec![
                    ("true", to("a.test", 1)),
                    ("true", named_origin.clone()),
                    ("true", json!({ "host_header": "h.test" })),
                ],
                Some(("http://192.0.2.8:1", Some("h.test"), false)),
            ),
            (
                vec![("true", named_origin), ("true", to("a.test", 1))],
                Some(("http://a.test:1", None, false)),
            ),
        ] {
            let found = origin(&rules);
            let found = found.as_ref();
            let found = found.map(|(url, header, same)| (&**url, header.as_deref(), *same));
            assert_eq!(found, expected, "{rules:?}");
        }
    }

    #[test]
    fn names_that_rules_lead_to_are_those_that_have_to_be_looked_up() {
        let to = |host: &str| ("true", json!({ "origin": { "host": host } }));
        let host = Arc::new(OriginGroup::single(Arc::new(plain("own.test", 80))));
        let named = NamedOrigins {
            hosts: [("api.example.test".into(), host)].into(),
            origins: HashMap::new(),
        };
        let routes = routes(&[
            to("A.test"),
            to("api.example.test"),
            to("192.0.2.1"),
            to("2001:db8::1"),
            ("true", json!({ "origin": { "name": "backends" } })),
            ("true", json!({ "origin": { "port": 8080 } })),
        ]);
        let names: Vec<&str> = routes.names(&named).collect();
        assert_eq!(names, ["a.test"]);
    }

    #[test]
    fn what_is_wrong_is_refused_with_its_place() {
        for (action, parameters, path) in [
            ("block", json!({}), "action"),
            ("route", json!({}), "action_parameters"),
            ("route", json!({ "origin": {} }), "action_parameters"),
            ("route", json!({ "to": "x" }), "action_parameters.to"),
            (
                "route",
                json!({ "host_header": "a\r\nb" }),
                "action_parameters.host_header",
            ),
            (
                "route",
                json!({ "host_header": "u@h" }),
                "action_parameters.host_header",
            ),
            ("route", json!({ "sni": "a.test" }), "action_parameters.sni"),
            (
                "route",
                json!({ "sni": { "value": "*.test" } }),
                "action_parameters.sni.value",
            ),
            (
                "route",
                json!({ "origin": { "host": "http://a.test" } }),
                "action_parameters.origin.host",
            ),
            (
                "route",
                json!({ "origin": { "host": "*.a.test" } }),
                "action_parameters.origin.host",
            ),
            (
                "route",
                json!({ "origin": { "host": 1 } }),
                "action_parameters.origin.host",
            ),
            (
                "route",
                json!({ "origin": { "port": 0 } }),
                "action_parameters.origin.port",
            ),
            (
                "route",
                json!({ "origin": { "port": 65536 } }),
                "action_parameters.origin.port",
            ),
            (
                "route",
                json!({ "origin": { "name": "x", "port": 1 } }),
                "action_parameters.origin.name",
            ),
            (
                "route",
                json!({ "origin": { "name": 1 } }),
                "action_parameters.origin.name",
            ),
            (
                "route",
                json!({ "origin": { "names": "x" } }),
                "action_parameters.origin.names",
            ),
        ] {
            let fault = Route::from_api(action, Some(&parameters)).unwrap_err();
            assert_eq!(&*fault.path, path, "{parameters}: {fault}");
        }
    }
}
