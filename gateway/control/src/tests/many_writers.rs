//! Many writers at once: what was acknowledged is there, or undone by what was acknowledged later.
//!
//! Every change is made under an actor of its own, so that the audit log tells the order in which
//! the changes took place. A model goes through the acknowledged ones in that order and has to come
//! to what the gateway has, before a restart and after it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::*;
use crate::pki::crl;
use crate::pki::x509::Signer;
use fixtures::pki::{Identity, Spec};

/// Writers at once.
const WRITERS: usize = 64;
/// Changes of each writer in the ordinary run, which takes a few seconds.
const CHANGES: usize = 24;
/// Seconds to go on for in the place of `CHANGES`.
const SECONDS: &str = "POSTERN_TEST_WRITERS_SECONDS";

/// A change as the model sees it. Rules are named by their `ref`.
#[derive(Debug, Clone)]
enum Step {
    AddRule {
        of: String,
        first: bool,
    },
    MoveRule {
        of: String,
        first: bool,
    },
    EditRule {
        of: String,
        text: String,
    },
    DropRule {
        of: String,
    },
    PutRules {
        of: Vec<String>,
    },
    NameRuleset(String),
    /// Without mTLS: a CA that it is associated with is asked for nothing.
    AddHost {
        of: String,
        port: u16,
    },
    SetHost {
        of: String,
        port: u16,
    },
    DropHost(String),
    Believe(BTreeSet<String>),
    AddItem(String),
    PutItems(Vec<String>),
    DropItem(String),
    DescribeList(String),
    AddToken(String),
    DropToken(String),
    PutCrl(u64),
    Revoke(String),
    Restore(String),
}

/// What there is to be.
#[derive(Debug, Default, PartialEq)]
struct Picture {
    /// Refs with descriptions, in their order.
    rules: Vec<(String, String)>,
    ruleset: String,
    hosts: BTreeMap<String, u16>,
    believed: BTreeSet<String>,
    items: BTreeSet<String>,
    list: String,
    tokens: BTreeSet<String>,
    crl: u64,
    revoked: BTreeSet<String>,
}

impl Picture {
    fn apply(&mut self, step: Step) {
        let place = |rules: &[(String, String)], of: &str| {
            let found = rules.iter().position(|(name, _)| name == of);
            found.unwrap_or_else(|| panic!("{of} was acknowledged, and is not there"))
        };
        match step {
            Step::AddRule { of, first } => {
                let at = if first { 0 } else { self.rules.len() };
                self.rules.insert(at, (of.clone(), of));
            }
            Step::MoveRule { of, first } => {
                let rule = self.rules.remove(place(&self.rules, &of));
                let at = if first { 0 } else { self.rules.len() };
                self.rules.insert(at, rule);
            }
            Step::EditRule { of, text } => {
                let at = place(&self.rules, &of);
                self.rules[at].1 = text;
            }
            Step::DropRule { of } => drop(self.rules.remove(place(&self.rules, &of))),
            Step::PutRules { of } => {
                self.rules = of.into_iter().map(|of| (of.clone(), of)).collect();
            }
            Step::NameRuleset(name) => self.ruleset = name,
            // A name that was associated before its host came stays so.
            Step::AddHost { of, port } | Step::SetHost { of, port } => {
                self.hosts.insert(of, port);
            }
            Step::DropHost(of) => {
                self.hosts.remove(&of).unwrap();
                self.believed.remove(&of);
            }
            Step::Believe(names) => self.believed = names,
            Step::AddItem(value) => {
                self.items.insert(value);
            }
            Step::PutItems(values) => self.items = values.into_iter().collect(),
            Step::DropItem(value) => assert!(self.items.remove(&value), "{value}"),
            Step::DescribeList(text) => self.list = text,
            Step::AddToken(name) => {
                self.tokens.insert(name);
            }
            Step::DropToken(name) => assert!(self.tokens.remove(&name), "{name}"),
            Step::PutCrl(number) => {
                assert!(number > self.crl, "a list went back to {number}");
                self.crl = number;
            }
            Step::Revoke(id) => {
                self.revoked.insert(id);
            }
            Step::Restore(id) => {
                self.revoked.remove(&id);
            }
        }
    }
}

/// What all writers change.
struct Ground {
    zone: Id,
    ruleset: Id,
    list: Id,
    brought: Uuid,
    clients: Vec<Uuid>,
    /// Lists of the uploaded CA, number 1 first.
    crls: Vec<Vec<u8>>,
}

fn new_rule(of: &str) -> NewRule {
    NewRule {
        reference: Some(of.into()),
        description: of.into(),
        ..NewRule::block(&format!("http.request.uri.path eq \"/{of}\""))
    }
}

fn rule_of(control: &Control, ground: &Ground, pick: usize) -> Option<(Id, String)> {
    let rules = &control.ruleset(ground.zone, ground.ruleset).ok()?.rules;
    let rule = rules.iter().nth(pick % rules.len().max(1))?;
    Some((rule.id, rule.reference.clone()))
}

/// One change of a writer: what it did when it was acknowledged. What it picks may be gone by the
/// time that it is made, and is refused then.
fn change(control: &Control, ground: &Ground, name: &str, dice: usize) -> Option<Step> {
    let (zone, ruleset) = (ground.zone, ground.ruleset);
    let (kind, pick) = (dice % 32, dice / 32);
    let first = pick % 2 == 0;
    let at = match first {
        true => Position::Before(None),
        false => Position::After(None),
    };
    match kind {
        0..=6 => {
            let made = control.add_rule(zone, new_rule(name), Some(&at));
            made.ok()?;
            let of = name.to_owned();
            Some(Step::AddRule { of, first })
        }
        7 | 8 => {
            let (id, of) = rule_of(control, ground, pick)?;
            // Said with it, so that moving to where it is is a change too.
            let patch = RulePatch {
                description: Some(name.into()),
                ..RulePatch::default()
            };
            control
                .update_rule(zone, ruleset, id, patch, Some(&at))
                .ok()?;
            Some(Step::MoveRule { of, first })
        }
        9 | 10 => {
            let (id, of) = rule_of(control, ground, pick)?;
            let patch = RulePatch {
                description: Some(name.into()),
                ..RulePatch::default()
            };
            control.update_rule(zone, ruleset, id, patch, None).ok()?;
            let text = name.to_owned();
            Some(Step::EditRule { of, text })
        }
        11 | 12 => {
            let (id, of) = rule_of(control, ground, pick)?;
            control.delete_rule(zone, ruleset, id).ok()?;
            Some(Step::DropRule { of })
        }
        13 => {
            let of: Vec<String> = (0..pick % 9).map(|n| format!("{name}-{n}")).collect();
            let rules = of.iter().map(|of| new_rule(of)).collect();
            let texts = (None, None);
            control
                .replace_ruleset(zone, ruleset, None, texts, Some(rules))
                .ok()?;
            Some(Step::PutRules { of })
        }
        14..=16 => {
            let texts = (Some(name.to_owned()), None);
            control
                .replace_ruleset(zone, ruleset, None, texts, None)
                .ok()?;
            Some(Step::NameRuleset(name.into()))
        }
        17 | 18 => {
            let of = format!("h{}.example.test", pick % 40);
            control.create_host(zone, host(&of, MtlsMode::Off)).ok()?;
            Some(Step::AddHost { of, port: 9000 })
        }
        19 | 20 => {
            let of = format!("h{}.example.test", pick % 40);
            let port = 10_000 + u16::try_from(pick % 50_000).unwrap();
            let patch = HostPatch {
                origin: Some(OriginPatch::from(OriginSpec {
                    url: format!("http://127.0.0.1:{port}"),
                    ..OriginSpec::default()
                })),
                ..HostPatch::default()
            };
            control.update_host(&super::name(&of), patch).ok()?;
            Some(Step::SetHost { of, port })
        }
        21 => {
            let of = format!("h{}.example.test", pick % 40);
            control.delete_host(&super::name(&of)).ok()?;
            Some(Step::DropHost(of))
        }
        22 | 23 => {
            let own = format!("h{}.example.test", pick / 40 % 40);
            let names = BTreeSet::from([own, format!("h{}.example.test", pick % 40)]);
            let parsed = names.iter().map(|text| super::name(text)).collect();
            let set = AuthoritySet::Uploaded(ground.brought);
            control.set_associations(zone, set, parsed).ok()?;
            Some(Step::Believe(names))
        }
        24 => {
            let values = vec![(format!("{name}.test"), String::new())];
            let added = ItemsChange::Append(values.clone());
            control.change_items(ground.list, added).ok()?;
            Some(Step::AddItem(values[0].0.clone()))
        }
        25 => {
            let list = control.list(ground.list).ok()?;
            let item = list.items.get(pick % list.items.len().max(1))?;
            let gone = ItemsChange::Remove(vec![item.id]);
            control.change_items(ground.list, gone).ok()?;
            Some(Step::DropItem(item.value.clone()))
        }
        26 if first => {
            let values: Vec<String> = (0..3).map(|n| format!("{name}-{n}.test")).collect();
            let items = values.iter().map(|value| (value.clone(), String::new()));
            let all = ItemsChange::Replace(items.collect());
            control.change_items(ground.list, all).ok()?;
            Some(Step::PutItems(values))
        }
        26 => {
            control.describe_list(ground.list, name).ok()?;
            Some(Step::DescribeList(name.into()))
        }
        27 => {
            let new = NewToken {
                name: name.into(),
                scopes: BTreeSet::from([Scope::Read]),
                zones: BTreeSet::new(),
                days: 1,
            };
            control.create_token(new).ok()?;
            Some(Step::AddToken(name.into()))
        }
        28 => {
            let model = control.model();
            let token = model
                .tokens
                .values()
                .nth(pick % model.tokens.len().max(1))?;
            control.delete_token(token.id).ok()?;
            Some(Step::DropToken(token.name.clone()))
        }
        29 => {
            let number = pick % ground.crls.len();
            let list = &ground.crls[number];
            let put = control.put_crls(ground.brought, &CrlSource::Upload, list, false);
            put.ok()?;
            Some(Step::PutCrl(u64::try_from(number + 1).unwrap()))
        }
        30 => {
            let id = ground.clients[pick % ground.clients.len()];
            control.revoke_certificate(zone, id).ok()?;
            Some(Step::Revoke(id.to_string()))
        }
        _ => {
            let id = ground.clients[pick % ground.clients.len()];
            control.restore_certificate(zone, id).ok()?;
            Some(Step::Restore(id.to_string()))
        }
    }
}

fn ground(control: &Control) -> Ground {
    let zone = control.create_zone("example.test").unwrap().id;
    let now = Moment::now();
    let authority = Identity::issued(&Spec::authority("Brought").at(now.seconds()), None);
    let signer = Signer {
        certificate: authority.leaf().clone(),
        key: authority.key.clone(),
    };
    let subject = Subject::named("device");
    let client = |_| {
        control
            .create_certificate(zone, &subject, 9)
            .unwrap()
            .certificate
            .id
    };
    Ground {
        zone,
        ruleset: control
            .add_rule(zone, new_rule("first"), None)
            .unwrap()
            .0
            .id,
        list: control
            .create_list("all", ListKind::Hostname, "")
            .unwrap()
            .id,
        brought: control
            .upload_authority("brought", &authority.chain_pem())
            .unwrap()
            .id,
        clients: (0..4).map(client).collect(),
        crls: (1..=200)
            .map(|number| crl::sign(&signer, &[], number, now, 9).unwrap())
            .collect(),
    }
}

fn seen(control: &Control, ground: &Ground) -> Picture {
    let model = control.model();
    let ruleset = control.ruleset(ground.zone, ground.ruleset).unwrap();
    let set = AuthoritySet::Uploaded(ground.brought);
    let believed = control.associations(ground.zone, set).unwrap();
    let list = control.list(ground.list).unwrap();
    let number = control
        .crls()
        .first()
        .map_or(0, |crl| u64::from_str_radix(&crl.number, 16).unwrap());
    let port = |host: &HostRecord| host.origin.url.rsplit(':').next().unwrap().parse().unwrap();
    let is_revoked =
        |id: &&Uuid| control.certificate(ground.zone, **id).unwrap().status == Status::Revoked;
    Picture {
        rules: ruleset
            .rules
            .iter()
            .map(|rule| (rule.reference.clone(), rule.description.clone()))
            .collect(),
        ruleset: ruleset.name.clone(),
        hosts: model
            .hosts
            .values()
            .map(|host| (host.name.to_string(), port(host)))
            .collect(),
        believed: believed.iter().map(ToString::to_string).collect(),
        items: list.items.iter().map(|item| item.value.clone()).collect(),
        list: list.description.clone(),
        tokens: model
            .tokens
            .values()
            .map(|token| token.name.clone())
            .collect(),
        crl: number,
        revoked: ground
            .clients
            .iter()
            .filter(is_revoked)
            .map(ToString::to_string)
            .collect(),
    }
}

#[test]
fn what_many_writers_had_acknowledged_is_there_or_undone_by_a_later_one() {
    let mut world = World::new();
    let ground = ground(world.control());
    let long = std::env::var(SECONDS)
        .ok()
        .map(|text| text.parse().unwrap());
    let end = long.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let before = world.control().model().revision;
    let mut expected = seen(world.control(), &ground);
    let done: Mutex<HashMap<String, Step>> = Mutex::default();
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (ground, done, control) = (&ground, &done, world.control());
            scope.spawn(move || {
                // A generator of Lehmer's: every run makes the same choices, in another order.
                let mut state = u64::try_from(writer + 1).unwrap() * 0x9e37_79b9;
                for count in 0.. {
                    let is_over = match end {
                        Some(end) => Instant::now() >= end,
                        None => count >= CHANGES,
                    };
                    if is_over {
                        break;
                    }
                    state = state
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1);
                    let dice = usize::try_from(state >> 33).unwrap();
                    let name = format!("w{writer}n{count}");
                    let handle = control.acting(Intent::of(&name));
                    if let Some(step) = change(&handle, ground, &name, dice) {
                        done.lock().unwrap().insert(name, step);
                    }
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap();
    let made = world.control().model().revision - before;
    let count = usize::try_from(made).unwrap();
    let (mut entries, _) = world.control().audit(0, count).unwrap();
    entries.reverse();
    assert_eq!(entries.len(), count, "every change is in the audit log");
    let acknowledged = done.len();
    for entry in entries {
        let step = done.remove(&entry.actor);
        let step = step.unwrap_or_else(|| panic!("{} was refused, and is there", entry.actor));
        expected.apply(step.clone());
        // A move says a description too.
        if let Step::MoveRule { of, .. } = step {
            expected.apply(Step::EditRule {
                of,
                text: entry.actor,
            });
        }
    }
    // What has no entry changed nothing: it was so already.
    let idle = |step: &Step| {
        matches!(
            step,
            Step::Revoke(_) | Step::Restore(_) | Step::Believe(_) | Step::PutCrl(_)
        )
    };
    for (name, step) in &done {
        assert!(
            idle(step),
            "{name} was acknowledged, and was not made: {step:?}"
        );
    }
    assert_eq!(seen(world.control(), &ground), expected);
    world.reopen();
    assert_eq!(seen(world.control(), &ground), expected, "after a restart");
    println!("{WRITERS} writers: {acknowledged} acknowledged, {made} changes");
    assert!(made > 300, "{made} changes are too few to mean anything");
}
