//! Networks that a ruleset blocks whatever the request: what the kernel may refuse before there is
//! one.
//!
//! Takes only rules that are certain: enabled, blocking, about `ip.src` alone (`eq`, `in {…}`, `in
//! $list`, joined by `or`), and with no `skip` rule before them that could let the request through.
//! [`crate::decide()`] still decides on every request that arrives.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::action::Action;
use crate::rule::Rule;
use crate::syntax::ast::{Comparison, Condition, IpItem, Literal, Relation, Scalar, Set};
use crate::syntax::field::Field;
use crate::syntax::list::Lists;
use crate::syntax::parser;

/// A network: an address whose bits after the prefix are zero, and the prefix's length.
pub type Network = (IpAddr, u8);

/// Networks from which a ruleset blocks everything; at most `max`, the rest is left out.
#[must_use]
pub fn blocked_addresses<'r>(
    rules: impl Iterator<Item = &'r Rule>,
    lists: &Lists,
    max: usize,
) -> Vec<Network> {
    let mut found = Vec::new();
    for rule in rules.filter(|rule| rule.enabled) {
        match rule.action {
            Action::Skip(_) => break,
            Action::Log => {}
            // Of many rules few speak of addresses: the others are not read at all.
            Action::Block(_) if !rule.expression.contains(Field::IpSrc.name()) => {}
            Action::Block(_) => {
                if let Ok(condition) = parser::parse(&rule.expression, Some(lists)) {
                    let mut ranges = Vec::new();
                    if is_about_addresses(&condition, &mut ranges) {
                        for (first, last) in ranges {
                            split(first, last, &mut found, max);
                        }
                    }
                }
            }
        }
        if found.len() >= max {
            break;
        }
    }
    found
}

/// Whether the condition only asks for addresses; gathers them.
fn is_about_addresses(condition: &Condition, ranges: &mut Vec<(IpAddr, IpAddr)>) -> bool {
    match condition {
        Condition::Or(parts) => parts.iter().all(|part| is_about_addresses(part, ranges)),
        Condition::Compare(Scalar::Field(Field::IpSrc), test) => match test {
            Comparison::Order(Relation::Equal, Literal::Ip(address)) => {
                ranges.push((*address, *address));
                true
            }
            Comparison::In(Set::Ips(items)) => {
                ranges.extend(items.iter().copied().map(IpItem::bounds));
                true
            }
            Comparison::Listed(reference) => match reference.list.as_deref() {
                Some(list) => {
                    ranges.extend_from_slice(list.ip_ranges());
                    true
                }
                None => false,
            },
            _ => false,
        },
        _ => false,
    }
}

/// The fewest networks that make up a range, both ends included.
fn split(first: IpAddr, last: IpAddr, into: &mut Vec<Network>, max: usize) {
    let (mut at, end, width) = match (first, last) {
        (IpAddr::V4(first), IpAddr::V4(last)) => {
            (u128::from(first.to_bits()), u128::from(last.to_bits()), 32)
        }
        (IpAddr::V6(first), IpAddr::V6(last)) => (first.to_bits(), last.to_bits(), 128),
        _ => return,
    };
    while at <= end && into.len() < max {
        // As large as the address allows by its zeros, and the range by what is left of it.
        let aligned = at.trailing_zeros().min(width);
        // All of IPv6 has one address more than the number can say.
        let left = (end - at).checked_add(1).map_or(128, u128::ilog2);
        let free = aligned.min(left);
        let bits = u8::try_from(width - free).unwrap_or(u8::MAX);
        let address = if width == 32 {
            IpAddr::V4(Ipv4Addr::from_bits(u32::try_from(at).unwrap_or(u32::MAX)))
        } else {
            IpAddr::V6(Ipv6Addr::from_bits(at))
        };
        into.push((address, bits));
        let Some(next) = 1_u128
            .checked_shl(free)
            .and_then(|size| at.checked_add(size))
        else {
            return;
        };
        at = next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BlockResponse, Skip};

    fn networks(rules: &[(&str, &str)]) -> Vec<String> {
        let rules: Vec<Rule> = rules
            .iter()
            .map(|(action, expression)| Rule {
                id: "0".into(),
                expression: (*expression).into(),
                action: match *action {
                    "skip" => Action::Skip(Skip {
                        current_ruleset: true,
                        ..Skip::default()
                    }),
                    "log" => Action::Log,
                    _ => Action::Block(BlockResponse {
                        status: 403,
                        content_type: "text/plain".into(),
                        content: "".into(),
                    }),
                },
                enabled: *action != "off",
            })
            .collect();
        let mut lists = Lists::default();
        let list = crate::List::ip(["198.51.100.0/24", "2001:db8::/32"]).unwrap();
        lists.insert("bad", list).unwrap();
        let found = blocked_addresses(rules.iter(), &lists, 100);
        found
            .iter()
            .map(|(address, bits)| format!("{address}/{bits}"))
            .collect()
    }

    #[test]
    fn only_what_is_sure_is_taken() {
        type Row<'t> = (&'t [(&'t str, &'t str)], &'t [&'t str]);
        let table: [Row<'_>; 12] = [
            (&[("block", "ip.src eq 192.0.2.1")], &["192.0.2.1/32"]),
            (
                &[("block", "ip.src in {192.0.2.0/24 2001:db8::/48}")],
                &["192.0.2.0/24", "2001:db8::/48"],
            ),
            (
                &[("block", "ip.src in {192.0.2.1..192.0.2.6}")],
                &[
                    "192.0.2.1/32",
                    "192.0.2.2/31",
                    "192.0.2.4/31",
                    "192.0.2.6/32",
                ],
            ),
            (
                &[("block", "ip.src in $bad or ip.src eq 192.0.2.9")],
                &["198.51.100.0/24", "2001:db8::/32", "192.0.2.9/32"],
            ),
            (&[("block", "ip.src in {0.0.0.0/0}")], &["0.0.0.0/0"]),
            (&[("block", "ip.src in {::/0}")], &["::/0"]),
            (&[("block", "not ip.src eq 192.0.2.1")], &[]),
            (&[("block", "ip.src ne 192.0.2.1")], &[]),
            (
                &[(
                    "block",
                    "ip.src eq 192.0.2.1 and http.host eq \"a.example\"",
                )],
                &[],
            ),
            (
                &[("block", "ip.src eq 192.0.2.1 or http.host eq \"a.example\"")],
                &[],
            ),
            (&[("off", "ip.src eq 192.0.2.1")], &[]),
            (
                &[
                    ("log", "true"),
                    ("block", "ip.src eq 192.0.2.1"),
                    ("skip", "ip.src eq 192.0.2.2"),
                    ("block", "ip.src eq 192.0.2.2"),
                ],
                &["192.0.2.1/32"],
            ),
        ];
        for (rules, wanted) in table {
            assert_eq!(networks(rules), wanted, "{rules:?}");
        }
    }

    #[test]
    fn a_range_becomes_networks_that_hold_it_exactly() {
        let mut found = Vec::new();
        let (first, last) = (
            "10.0.0.3".parse().unwrap(),
            "10.0.1.200".parse::<IpAddr>().unwrap(),
        );
        split(first, last, &mut found, 1_000);
        let sum: u64 = found.iter().map(|(_, bits)| 1_u64 << (32 - bits)).sum();
        assert_eq!(sum, 0x1c8 - 3 + 1);
        split(first, last, &mut found, 3);
        assert!(found.len() > 3, "what is over is left out");
        let mut all = Vec::new();
        split(
            "::".parse().unwrap(),
            Ipv6Addr::from_bits(u128::MAX).into(),
            &mut all,
            10,
        );
        assert_eq!(all, [("::".parse::<IpAddr>().unwrap(), 0)]);
    }
}
