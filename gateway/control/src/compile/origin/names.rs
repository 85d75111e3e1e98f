//! What names of origins mean: the addresses that DNS has for them, each of which is balanced over.
//!
//! Asks nothing: who asks brings what was answered ([`crate::Control::set_names`]). A name that nothing is
//! known of has no address; who connects asks ([`snapshot::names`]).

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};

use super::key_with;
use snapshot::http::origin::Origin;
use snapshot::limits::ADDRESSES_MAX;

/// Addresses by names in lower case, as they were answered last. Those of the family of the first one
/// are balanced over; those of the other are for when one of them does not answer, since a machine may have
/// no way to them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names(pub HashMap<Box<str>, Vec<IpAddr>>);

impl Names {
    /// Names of which these say something else.
    pub(crate) fn changed<'n>(&'n self, before: &'n Self) -> HashSet<&'n str> {
        let all = self.0.keys().chain(before.0.keys());
        let changed = all.filter(|name| self.0.get(*name) != before.0.get(*name));
        changed.map(|name| &**name).collect()
    }

    /// The addresses that an origin has, for those that are names with all that they mean; no more than
    /// [`ADDRESSES_MAX`], and one at least for each. Each has the weight of its name.
    pub(super) fn expand(&self, said: Vec<(Origin, u16)>) -> Vec<(Origin, u16)> {
        let mut left = ADDRESSES_MAX.saturating_sub(said.len());
        let mut all = Vec::with_capacity(said.len());
        for (origin, weight) in said {
            let known = self.0.get(&*origin.host.to_ascii_lowercase());
            let Some(known) = known.filter(|known| origin.is_named() && !known.is_empty()) else {
                all.push((origin, weight));
                continue;
            };
            let places = known.iter().map(|ip| SocketAddr::new(*ip, origin.port));
            let places: Vec<SocketAddr> = places.collect();
            let Ok(within) = origin.within_reach(&places) else {
                // Who connects to it is told.
                all.push((origin, weight));
                continue;
            };
            let is_first = |place: &&SocketAddr| {
                let first = within.first();
                first.is_some_and(|first| first.is_ipv4() == place.is_ipv4())
            };
            let (family, others): (Vec<_>, Vec<_>) = within.iter().partition(is_first);
            let count = family.len().min(left + 1);
            left -= count.saturating_sub(1);
            let mut others = others.into_iter().cycle();
            for place in family.into_iter().take(count) {
                let other = others.next().map(SocketAddr::ip);
                let key = key_with(&origin, format_args!("{}", place.ip()));
                all.push((origin.at(key, place.ip(), other, count > 1), weight));
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::compile::origin::origins;
    use crate::model::OriginSpec;
    use snapshot::http::reach::Reach;

    fn expanded(names: &Names, urls: &[&str], confined: bool) -> Vec<String> {
        let addresses: Vec<_> = urls
            .iter()
            .map(|url| serde_json::json!({ "url": url }))
            .collect();
        let spec = serde_json::json!({"addresses": addresses, "confined": confined});
        let spec: OriginSpec = serde_json::from_value(spec).unwrap();
        let made = origins(&spec, &Arc::<Reach>::default(), None).unwrap();
        let made = names.expand(made.into_iter().map(|one| (one, 1)).collect());
        made.iter()
            .map(|(one, _)| match one.addresses.as_slice() {
                [] => format!("{} ?", one.url),
                [address] => format!("{} {}", one.url, address.ip()),
                all => format!(
                    "{} {:?}",
                    one.url,
                    all.iter().map(SocketAddr::ip).collect::<Vec<_>>()
                ),
            })
            .collect()
    }

    #[test]
    fn a_name_is_all_that_it_means() {
        let ip = |text: &str| -> IpAddr { text.parse().unwrap() };
        let names = Names(HashMap::from([
            ("one.test".into(), vec![ip("192.0.2.1")]),
            (
                "two.test".into(),
                vec![ip("192.0.2.2"), ip("192.0.2.4"), ip("2001:db8::2")],
            ),
            ("local.test".into(), vec![ip("127.0.0.1"), ip("192.0.2.3")]),
            ("here.test".into(), vec![ip("127.0.0.1")]),
            (
                "many.test".into(),
                (0..100).map(|n| ip(&format!("192.0.2.{n}"))).collect(),
            ),
        ]));
        assert_eq!(
            expanded(
                &names,
                &[
                    "http://ONE.test:1",
                    "http://unknown.test",
                    "http://192.0.2.9"
                ],
                false
            ),
            [
                "http://ONE.test:1 192.0.2.1",
                "http://unknown.test ?",
                "http://192.0.2.9 192.0.2.9"
            ]
        );
        assert_eq!(
            expanded(&names, &["http://two.test"], false),
            [
                "http://two.test (192.0.2.2) [192.0.2.2, 2001:db8::2]",
                "http://two.test (192.0.2.4) [192.0.2.4, 2001:db8::2]"
            ]
        );
        // What a tenant may not reach is left out; where that is all, who connects is told why.
        assert_eq!(
            expanded(&names, &["http://local.test"], true),
            ["http://local.test 192.0.2.3"]
        );
        assert_eq!(
            expanded(&names, &["http://here.test"], true),
            ["http://here.test ?"]
        );
        assert_eq!(
            expanded(&names, &["http://here.test"], false),
            ["http://here.test 127.0.0.1"]
        );
        let many = expanded(&names, &["http://many.test", "http://two.test"], false);
        assert_eq!(many.len(), ADDRESSES_MAX);
        assert!(many.last().unwrap().starts_with("http://two.test"));
    }

    #[test]
    fn who_has_a_name_cannot_choose_the_key_that_its_addresses_have() {
        let ip = |text: &str| -> IpAddr { text.parse().unwrap() };
        let both = vec![ip("192.0.2.1"), ip("192.0.2.2")];
        let names = ["one.test", "two.test"].map(|name| (name.into(), both.clone()));
        let names = Names(HashMap::from(names));
        let keys = |url: &str, confined: bool| -> Vec<u64> {
            let spec = serde_json::json!({ "url": url, "confined": confined });
            let spec: OriginSpec = serde_json::from_value(spec).unwrap();
            let made = origins(&spec, &Arc::<Reach>::default(), None).unwrap();
            let made = names.expand(made.into_iter().map(|one| (one, 1)).collect());
            made.iter().map(|(one, _)| one.key).collect()
        };
        let mut all = HashSet::new();
        for confined in [false, true] {
            let (one, two) = (
                keys("http://one.test", confined),
                keys("http://two.test", confined),
            );
            assert_eq!(
                one,
                keys("http://one.test", confined),
                "it is always the same"
            );
            // What an address does to a key depends on the key: what is known of one origin says nothing of
            // the address that would lead to another's.
            assert_ne!(one[0] ^ one[1], two[0] ^ two[1]);
            assert_ne!(one[0].wrapping_sub(one[1]), two[0].wrapping_sub(two[1]));
            all.extend(one.into_iter().chain(two));
        }
        assert_eq!(all.len(), 8, "none shares connections with another");
    }
}
