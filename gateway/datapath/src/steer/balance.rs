//! Who should own which host: a pure function of what was, what was measured, and who lives.
//!
//! Hosts that have an owner keep it unless there is a reason: pins in the configuration, an owner
//! that died, a host that is more than one worker should carry alone, or workers so unevenly
//! loaded that moving a host is worth its price (new origin connections, cold caches). The bounds
//! lie apart, so that what was decided in one round is not undone in the next.
//!
//! Load is in microseconds of CPU a second, estimated from counts: a worker has a million.

use std::collections::BTreeMap;

use ebpf::OWNERS_MAX;

use vocabulary::hostname::HostName;

/// Load of one owner above which a host gets more owners.
const SPREAD_ABOVE: f64 = 600_000.0;
/// Load of each owner that would remain below which a host gets fewer.
const GATHER_BELOW: f64 = 300_000.0;
/// Difference between the most and the least loaded worker below which nothing moves.
const GAP_MIN: f64 = 100_000.0;
/// The same as a part of the most loaded worker's load.
const GAP_SHARE: f64 = 0.25;
/// Part of the difference that a move must take away, or it is not worth its price.
const GAIN_MIN: f64 = 0.2;
/// The weight of a host without load: such hosts are spread by number.
const HOST_NOMINAL: f64 = 100.0;
/// Hosts that one round moves: each move costs its host origin connections.
const MOVES_MAX: usize = 4;
/// Rounds for which a host that was moved stays where it is.
const REST_ROUNDS: u8 = 15;

/// A host and what is known of it.
#[derive(Debug, Clone, Copy)]
pub struct Demand<'a> {
    /// Its name.
    pub host: &'a HostName,
    /// Microseconds of CPU a second.
    pub load: f64,
    /// Workers that the configuration names; empty for none.
    pub pinned: &'a [u16],
}

/// Owners of one host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostOwners {
    /// Worker numbers: at least one while any worker lives, at most [`OWNERS_MAX`], none twice.
    pub workers: Vec<u16>,
    /// Rounds until it may be moved again.
    rest: u8,
}

/// Owners of all hosts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Assignment(pub BTreeMap<HostName, HostOwners>);

/// What a plan is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Occasion {
    /// Hosts came or went, or a worker died: each host gets an owner, and no other host moves.
    Change,
    /// A round of balancing, with fresh loads.
    Round,
}

/// Load of each living worker, by number.
struct Loads(Vec<Option<f64>>);

impl Loads {
    fn new(alive: &[bool]) -> Self {
        Self(alive.iter().map(|lives| lives.then_some(0.0)).collect())
    }

    fn add(&mut self, worker: u16, load: f64) {
        if let Some(Some(sum)) = self.0.get_mut(usize::from(worker)) {
            *sum += load;
        }
    }

    fn of(&self, worker: u16) -> f64 {
        self.0
            .get(usize::from(worker))
            .copied()
            .flatten()
            .unwrap_or(0.0)
    }

    fn living(&self) -> impl Iterator<Item = (u16, f64)> {
        (0..)
            .zip(&self.0)
            .filter_map(|(worker, load)| load.map(|load| (worker, load)))
    }

    fn least(&self, except: &[u16]) -> Option<u16> {
        let others = self.living().filter(|(worker, _)| !except.contains(worker));
        others
            .min_by(|a, b| a.1.total_cmp(&b.1))
            .map(|(worker, _)| worker)
    }

    /// The most and the least loaded worker with their loads.
    fn extremes(&self) -> Option<((u16, f64), (u16, f64))> {
        let most = self.living().max_by(|a, b| a.1.total_cmp(&b.1))?;
        let least = self.living().min_by(|a, b| a.1.total_cmp(&b.1))?;
        Some((most, least))
    }
}

/// Gives every host its owners.
#[must_use]
pub fn plan(
    before: &Assignment,
    demands: &[Demand<'_>],
    alive: &[bool],
    occasion: Occasion,
) -> Assignment {
    let living = alive.iter().filter(|lives| **lives).count();
    let lives = |worker: &u16| alive.get(usize::from(*worker)) == Some(&true);
    let mut loads = Loads::new(alive);
    let mut after = Assignment::default();
    // What each worker keeps, before any gets more.
    for demand in demands {
        let mut pinned: Vec<u16> = demand.pinned.iter().copied().filter(lives).collect();
        pinned.truncate(OWNERS_MAX);
        let held = before.0.get(demand.host);
        let rest = held.map_or(0, |held| held.rest);
        let workers = if pinned.is_empty() {
            let held = held.map(|held| held.workers.as_slice()).unwrap_or_default();
            held.iter().copied().filter(lives).collect()
        } else {
            pinned
        };
        let place = HostOwners {
            workers,
            rest: rest.saturating_sub(u8::from(occasion == Occasion::Round)),
        };
        for worker in &place.workers {
            loads.add(*worker, share(demand, &place));
        }
        after.0.insert(demand.host.clone(), place);
    }
    // The heaviest first: what is light fills the gaps.
    let mut heaviest: Vec<&Demand<'_>> = demands
        .iter()
        .filter(|one| !is_pinned(one, alive))
        .collect();
    heaviest.sort_by(|a, b| b.load.total_cmp(&a.load).then(a.host.cmp(b.host)));
    for demand in &heaviest {
        if let Some(place) = after.0.get_mut(demand.host) {
            widen(place, demand, &mut loads, living);
        }
    }
    if occasion == Occasion::Round {
        for _ in 0..MOVES_MAX {
            if !move_one(&mut after, &heaviest, &mut loads) {
                break;
            }
        }
    }
    after
}

fn is_pinned(demand: &Demand<'_>, alive: &[bool]) -> bool {
    let lives = |worker: &u16| alive.get(usize::from(*worker)) == Some(&true);
    demand.pinned.iter().any(lives)
}

/// What each owner carries of a host.
fn share(demand: &Demand<'_>, place: &HostOwners) -> f64 {
    let owners = f64::from(u16::try_from(place.workers.len().max(1)).unwrap_or(u16::MAX));
    demand.load / owners + HOST_NOMINAL
}

/// How many owners a host should have that has `now` of them.
fn width(load: f64, now: usize, living: usize) -> usize {
    let most = living.min(OWNERS_MAX);
    let carries = |owners: usize, each: f64| {
        f64::from(u16::try_from(owners).unwrap_or(u16::MAX)) * each >= load
    };
    let mut width = now.clamp(1, most.max(1));
    while width < most && !carries(width, SPREAD_ABOVE) {
        width += 1;
    }
    while width > 1 && width <= now && carries(width - 1, GATHER_BELOW) {
        width -= 1;
    }
    width
}

/// Gives a host the owners it should have, fewer or more.
fn widen(place: &mut HostOwners, demand: &Demand<'_>, loads: &mut Loads, living: usize) {
    let wanted = width(demand.load, place.workers.len(), living);
    if wanted == place.workers.len() {
        return;
    }
    for worker in &place.workers {
        loads.add(*worker, -share(demand, place));
    }
    while place.workers.len() > wanted {
        let busiest = (0..place.workers.len())
            .zip(&place.workers)
            .max_by(|a, b| loads.of(*a.1).total_cmp(&loads.of(*b.1)));
        match busiest.map(|(at, _)| at) {
            Some(at) => drop(place.workers.remove(at)),
            None => break,
        }
    }
    while place.workers.len() < wanted {
        match loads.least(&place.workers) {
            Some(worker) => place.workers.push(worker),
            None => break,
        }
    }
    for worker in &place.workers {
        loads.add(*worker, share(demand, place));
    }
}

/// Moves the host that evens the loads out best; `false` when none is worth it.
fn move_one(after: &mut Assignment, demands: &[&Demand<'_>], loads: &mut Loads) -> bool {
    let Some(((from, most), (to, least))) = loads.extremes() else {
        return false;
    };
    let gap = most - least;
    if gap < GAP_MIN.max(most * GAP_SHARE) {
        return false;
    }
    // Moving half of the difference would be perfect; moving all of it would change nothing.
    let gain = |load: f64| load.min(gap - load);
    let movable = |demand: &&&Demand<'_>| {
        after.0.get(demand.host).is_some_and(|place| {
            place.rest == 0
                && place.workers.contains(&from)
                && !place.workers.contains(&to)
                && gain(share(demand, place)) > gap * GAIN_MIN / 2.0
        })
    };
    let shares = demands.iter().filter(movable).filter_map(|demand| {
        let place = after.0.get(demand.host)?;
        Some((demand.host, share(demand, place)))
    });
    let best = shares.max_by(|a, b| gain(a.1).total_cmp(&gain(b.1)));
    let Some((host, load)) = best else {
        return false;
    };
    let Some(place) = after.0.get_mut(host) else {
        return false;
    };
    for worker in &mut place.workers {
        if *worker == from {
            *worker = to;
        }
    }
    place.rest = REST_ROUNDS;
    loads.add(from, -load);
    loads.add(to, load);
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name(number: usize) -> HostName {
        HostName::parse(&format!("h{number}.example")).unwrap()
    }

    /// Plans for hosts of these loads (in thousands), from owners that were, several for `|`.
    fn after(
        before: &[&[u16]],
        loads: &[u32],
        alive: &[bool],
        occasion: Occasion,
    ) -> Vec<Vec<u16>> {
        let names: Vec<HostName> = (0..loads.len()).map(name).collect();
        let before = names.iter().zip(before).map(|(name, workers)| {
            let place = HostOwners {
                workers: workers.to_vec(),
                rest: 0,
            };
            (name.clone(), place)
        });
        let before = Assignment(before.collect());
        let demands: Vec<Demand<'_>> = names
            .iter()
            .zip(loads)
            .map(|(host, load)| Demand {
                host,
                load: f64::from(*load) * 1_000.0,
                pinned: &[],
            })
            .collect();
        let plan = plan(&before, &demands, alive, occasion);
        names
            .iter()
            .map(|name| plan.0[name].workers.clone())
            .collect()
    }

    const FOUR: [bool; 4] = [true; 4];

    #[test]
    fn new_hosts_are_spread_and_old_ones_stay() {
        let loads = [0; 8];
        let spread = after(&[], &loads, &FOUR, Occasion::Change);
        for worker in 0..4 {
            let owned = spread.iter().filter(|owners| **owners == [worker]).count();
            assert_eq!(owned, 2, "{spread:?}");
        }
        let before: Vec<&[u16]> = spread.iter().map(Vec::as_slice).collect();
        for occasion in [Occasion::Change, Occasion::Round] {
            assert_eq!(after(&before, &loads, &FOUR, occasion), spread);
        }
    }

    #[test]
    fn a_dead_workers_hosts_go_to_the_others_and_nobody_elses() {
        let before: [&[u16]; 4] = [&[0], &[1], &[1], &[2, 1]];
        let alive = [true, false, true, true];
        let found = after(&before, &[10, 10, 10, 900], &alive, Occasion::Change);
        assert_eq!(found[0], [0]);
        // The heavy one went to worker 3, so that the light ones are best kept together.
        assert_eq!((&found[1], &found[2]), (&vec![0], &vec![0]));
        assert!(found[3].contains(&2) && !found[3].contains(&1), "{found:?}");
        assert_eq!(
            after(&before, &[1; 4], &[false; 4], Occasion::Change),
            [[0_u16; 0]; 4]
        );
    }

    #[test]
    fn a_hot_host_gets_more_owners_and_gives_them_back_late() {
        for (owners, load, wanted) in [
            (1, 500, 1),
            (1, 601, 2),
            (1, 1_900, 4),
            (1, 90_000, 4),
            // Between the bounds nothing changes, whichever way the load went.
            (2, 500, 2),
            (2, 301, 2),
            (2, 299, 1),
            (4, 1_000, 4),
            (4, 850, 3),
            (4, 0, 1),
        ] {
            assert_eq!(
                width(f64::from(load) * 1_000.0, owners, 4),
                wanted,
                "{owners} owners, {load}"
            );
        }
        assert_eq!(width(1e9, 1, 512), OWNERS_MAX);
        assert_eq!(width(0.0, 0, 0), 1);
    }

    #[test]
    fn loads_are_evened_out_when_that_is_worth_it() {
        type Row<'t> = (&'t str, &'t [&'t [u16]], &'t [u32], &'t [&'t [u16]]);
        let table: [Row<'_>; 5] = [
            (
                "two equal hosts on one worker",
                &[&[0], &[0]],
                &[400, 400],
                &[&[0], &[1]],
            ),
            ("even already", &[&[0], &[1]], &[400, 380], &[&[0], &[1]]),
            (
                "not worth it: little load",
                &[&[0], &[0]],
                &[40, 40],
                &[&[0], &[0]],
            ),
            (
                "one heavy host cannot be halved",
                &[&[0], &[1]],
                &[500, 0],
                &[&[0], &[1]],
            ),
            (
                "the light one leaves the heavy one",
                &[&[0], &[0]],
                &[500, 150],
                &[&[0], &[1]],
            ),
        ];
        for (description, before, loads, wanted) in table {
            let found = after(before, loads, &[true; 2], Occasion::Round);
            assert_eq!(found, wanted, "{description}");
            let before: Vec<&[u16]> = found.iter().map(Vec::as_slice).collect();
            assert_eq!(
                after(&before, loads, &[true; 2], Occasion::Round),
                found,
                "{description}: and stays"
            );
        }
        let unmoved = after(&[&[0], &[0]], &[400, 400], &[true; 2], Occasion::Change);
        assert_eq!(unmoved, [[0], [0]], "only rounds move");
    }

    #[test]
    fn a_host_that_was_moved_rests() {
        let (one, two) = (name(0), name(1));
        let demands = |a: f64, b: f64| {
            [(&one, a), (&two, b)].map(|(host, load)| Demand {
                host,
                load,
                pinned: &[],
            })
        };
        let first = plan(
            &Assignment::default(),
            &demands(0.0, 0.0),
            &[true],
            Occasion::Change,
        );
        let moved = plan(&first, &demands(4e5, 4e5), &[true; 2], Occasion::Round);
        let owner = |plan: &Assignment| [plan.0[&one].workers[0], plan.0[&two].workers[0]];
        assert_ne!(owner(&moved)[0], owner(&moved)[1]);
        let host = if owner(&moved)[0] == 1 { &one } else { &two };
        let mut resting = moved.clone();
        resting
            .0
            .get_mut(if host == &one { &two } else { &one })
            .unwrap()
            .workers = vec![1];
        let again = plan(&resting, &demands(4e5, 4e5), &[true; 2], Occasion::Round);
        assert_eq!(
            again.0[host].workers,
            [1],
            "the other one goes back, not this one"
        );
    }

    #[test]
    fn pins_hold_while_one_of_their_workers_lives() {
        let host = name(0);
        let demand = |load| {
            [Demand {
                host: &host,
                load,
                pinned: &[2, 3],
            }]
        };
        for (alive, wanted) in [
            (FOUR, vec![2, 3]),
            ([true, true, true, false], vec![2]),
            ([false, true, false, false], vec![1]),
        ] {
            for load in [0.0, 1e7] {
                let found = plan(
                    &Assignment::default(),
                    &demand(load),
                    &alive,
                    Occasion::Round,
                );
                if alive[2] || load == 0.0 {
                    assert_eq!(found.0[&host].workers, wanted);
                }
            }
        }
    }

    proptest! {
        #[test]
        fn every_host_has_living_owners_and_settles(
            loads in proptest::collection::vec(0..2_000_u32, 1..12),
            alive in proptest::collection::vec(any::<bool>(), 1..6),
        ) {
            let mut now = after(&[], &loads, &alive, Occasion::Change);
            let mut rounds = 0;
            loop {
                for owners in &now {
                    prop_assert_eq!(owners.is_empty(), !alive.contains(&true));
                    prop_assert!(owners.iter().all(|owner| alive[usize::from(*owner)]));
                }
                let before: Vec<&[u16]> = now.iter().map(Vec::as_slice).collect();
                let next = after(&before, &loads, &alive, Occasion::Round);
                if next == now {
                    break;
                }
                rounds += 1;
                prop_assert!(rounds < 50, "hosts wander: {now:?} {next:?}");
                now = next;
            }
        }
    }
}
