//! The steering loop: reports hosts, workers and load to the steering controller, which decides.

use std::sync::Arc;
use std::time::Instant;

use tokio::time::MissedTickBehavior;

use crate::limits::{BLOCKED_NETWORKS_MAX, STEER_POLL, STEER_ROUND, STEER_SILENT_ROUNDS};
use config::Live;
use control::Control;
use datapath::observe::HostLoad;
use datapath::steer::controller::Controller;
use datapath::worker::Workers;
use snapshot::Published;

/// Keeps the steering controller informed: of hosts as they come and go, of workers, of load.
pub(super) async fn steer(
    controller: Arc<Controller>,
    workers: Arc<Workers>,
    control: Arc<Control>,
    published: Arc<Published>,
    live: Arc<Live>,
) {
    let mut poll = tokio::time::interval(STEER_POLL);
    poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut generation = published.load().generation;
    let mut silent = vec![0_u32; workers.alive().len()];
    let mut before = workers.alive();
    let mut last_round = Instant::now();
    // The generation whose rules' addresses the kernel drops, when it is to, and the proxies then.
    let mut blocked = None;
    loop {
        poll.tick().await;
        if controller.admits() {
            let tunables = **live.load();
            let proxies = tunables.proxy_trusted;
            let wanted = tunables
                .steer_drop_blocked
                .then(|| (published.load().generation, proxies));
            if wanted.is_some() && wanted != blocked {
                let mut networks = control.blocked_addresses(BLOCKED_NETWORKS_MAX);
                for networks in networks.values_mut() {
                    // A proxy's address is not that of the clients behind it.
                    networks.retain(|(address, bits)| !proxies.meet(*address, *bits));
                }
                controller.set_blocks(&networks);
            }
            blocked = wanted;
            controller.set_admission(&tunables);
        }
        let fit = |(lives, silent): (bool, &u32)| lives && *silent < STEER_SILENT_ROUNDS;
        let alive: Vec<bool> = workers.alive().into_iter().zip(&silent).map(fit).collect();
        if alive != before {
            if !workers.is_draining() {
                tracing::warn!(?alive, "workers died or came back: their hosts move");
            }
            controller.set_workers(&alive);
            before.clone_from(&alive);
        }
        let snapshot = published.load();
        if snapshot.generation != generation {
            generation = snapshot.generation;
            controller.set_hosts(&snapshot, &alive);
            controller.set_pins(&live.pins(), &alive);
        }
        let passed = last_round.elapsed();
        if passed >= STEER_ROUND {
            last_round = Instant::now();
            controller.set_pins(&live.pins(), &alive);
            let answers = workers.loads().await;
            for (silent, answer) in silent.iter_mut().zip(&answers) {
                *silent = if answer.is_some() { 0 } else { *silent + 1 };
            }
            let counts = HostLoad::sum(answers.into_iter().flatten());
            let balance = live.load().steer_balance;
            controller.round(&counts, passed.as_secs_f64(), &alive, balance);
        }
    }
}
