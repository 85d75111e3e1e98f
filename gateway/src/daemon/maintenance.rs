//! Periodic work of the process: rotates session ticket keys, reads revocation lists from files and
//! URLs, asks responders, checks addresses of origins and looks their names up, warns of expiry, has the
//! heaviest client shed when something runs short, writes the managed CAs' own lists.
//!
//! Owns when each is due; how it is done belongs to its owner.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use super::pressure::memory_is_short;
use crate::limits::{
    CRL_ALARM_INTERVAL, EXPIRY_STAGES_LOOK, FLEET_LOOK, PRESSURE_LOOK, TICKET_ALONE_FACTOR,
    TICKET_LOOK,
};
use control::{Control, CrlDirectory, CrlFiles, Moment, ToldOfExpiry};
use datapath::connection::Shared;
use fetch::limits::CRL_FILE_LOOK;
use fetch::{AcmeClient, CrlFetcher, HealthChecker, NameWatch, OcspClient, Stapler};
use vocabulary::clock::now_sec;

/// Does until it is dropped what belongs to the process that has the store.
pub(crate) async fn run(
    shared: Arc<Shared>,
    control: Arc<Control>,
    lists: Arc<CrlFetcher>,
    stapler: Arc<Stapler>,
    acme: Arc<AcmeClient>,
    crl_directory: Option<PathBuf>,
    leads: watch::Receiver<bool>,
) {
    let mirrored = acme.clone();
    let work = || {
        let (control, lists, acme) = (control.clone(), lists.clone(), acme.clone());
        async move {
            acme.lead().await;
            tokio::join!(watch_ends(control), lists.run(), acme.run());
        }
    };
    let once = while_leading(leads.clone(), work, || acme.leave_to_other_edge());
    tokio::join!(
        rotate_tickets(shared, control.clone()),
        watch_lists(control.clone()),
        publish_lists(control.clone(), crl_directory),
        stapler.run(),
        mirror_challenges(control.clone(), mirrored, leads.clone()),
        once,
    );
}

/// Does what is done once in a fleet, for as long as this process is the one that does it, and then what has to be
/// done before another one does.
async fn while_leading<W: Future<Output = ()>, A: Future<Output = ()>>(
    mut leads: watch::Receiver<bool>,
    work: impl Fn() -> W,
    afterwards: impl Fn() -> A,
) {
    loop {
        // Who could say that it leads no more is gone: it goes on.
        let gone = async |leads: &mut watch::Receiver<bool>, wanted: bool| {
            if leads.wait_for(|leads| *leads == wanted).await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        if !*leads.borrow_and_update() {
            gone(&mut leads, true).await;
        }
        tokio::select! {
            () = work() => return,
            () = gone(&mut leads, false) => {}
        }
        afterwards().await;
    }
}

/// Does until it is dropped what connections need, those of a replaced process too.
pub(crate) async fn keep(
    shared: Arc<Shared>,
    responders: Arc<OcspClient>,
    health: Arc<HealthChecker>,
    names: Arc<NameWatch>,
) {
    tokio::join!(relieve(shared), responders.run(), health.run(), names.run());
}

/// Has the heaviest client give back half when open files or memory run short.
async fn relieve(shared: Arc<Shared>) {
    let mut look = tokio::time::interval(PRESSURE_LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        look.tick().await;
        if let Some(shed) = shared.shares.relieve(memory_is_short()) {
            let short = if shed.memory { "memory" } else { "open files" };
            tracing::warn!(
                client = %shed.client, held = shed.held, short,
                "the heaviest client gives back half of what it holds"
            );
        }
    }
}

/// Those of a fleet are its leader's to rotate.
async fn rotate_tickets(shared: Arc<Shared>, control: Arc<Control>) {
    let mut look = tokio::time::interval(TICKET_LOOK);
    loop {
        look.tick().await;
        let mut every = shared.live.load().ticket_rotation;
        if control.membership().is_some() {
            // Nobody who leads has been heard of for long: a key of one's own is better than an old one.
            every = every.saturating_mul(TICKET_ALONE_FACTOR);
        }
        match shared.acceptor.tickets().rotate(now_sec(), every) {
            Ok(true) => tracing::debug!("session tickets have a new key"),
            Ok(false) => {}
            Err(error) => tracing::error!(%error, "session tickets keep their key"),
        }
    }
}

/// Shows ACME servers what the edge that leads has its orders checked with.
async fn mirror_challenges(
    control: Arc<Control>,
    acme: Arc<AcmeClient>,
    leads: watch::Receiver<bool>,
) {
    let mut look = tokio::time::interval(FLEET_LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        look.tick().await;
        // Also when it has become the one that leads, or alone: what it has shown of another's goes.
        let leads = *leads.borrow() || control.membership().is_none();
        acme.mirror(leads).await;
    }
}

/// Tells of what comes to its end.
async fn watch_ends(control: Arc<Control>) {
    let mut told = ToldOfExpiry::default();
    let mut look = tokio::time::interval(EXPIRY_STAGES_LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        look.tick().await;
        control.warn_of_expiry(&mut told, Moment::now());
    }
}

/// Writes the managed CAs' lists into `crl.directory`, when there is one.
async fn publish_lists(control: Arc<Control>, directory: Option<PathBuf>) {
    let Some(path) = directory else { return };
    let mut directory = CrlDirectory::new(path.clone());
    let mut look = tokio::time::interval(CRL_FILE_LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        look.tick().await;
        if !directory.is_due(&control, Moment::now()) {
            continue;
        }
        let of = control.clone();
        let written = tokio::task::spawn_blocking(move || {
            directory.publish(&of, Moment::now());
            directory
        });
        directory = match written.await {
            Ok(directory) => directory,
            Err(error) => {
                tracing::error!(%error, "writing revocation lists failed");
                // All of them are written again.
                CrlDirectory::new(path.clone())
            }
        };
    }
}

async fn watch_lists(control: Arc<Control>) {
    let mut look = tokio::time::interval(CRL_FILE_LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut seen = CrlFiles::default();
    let mut warned: Option<Instant> = None;
    loop {
        look.tick().await;
        let warn = warned.is_none_or(|at| at.elapsed() >= CRL_ALARM_INTERVAL);
        if warn {
            control.warn_of_crls(Moment::now());
            warned = Some(Instant::now());
        }
        if !control.watches_crl_files() {
            continue;
        }
        let (of, mut files) = (control.clone(), std::mem::take(&mut seen));
        let read = tokio::task::spawn_blocking(move || {
            of.read_crl_files(&mut files);
            files
        });
        match read.await {
            Ok(files) => seen = files,
            // All files are looked at again.
            Err(error) => tracing::error!(%error, "watching revocation lists failed"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[tokio::test]
    async fn who_does_not_lead_any_more_gives_up_what_it_has_begun() {
        let (tell, leads) = watch::channel(true);
        let done = Mutex::new(Vec::new());
        let (began, mut begun) = tokio::sync::mpsc::unbounded_channel();
        let note = &|what: &'static str| {
            done.lock().unwrap().push(what);
            let _told = began.send(());
        };
        let work = || async move {
            note("works");
            std::future::pending::<()>().await;
        };
        let leading = while_leading(leads, work, || async move { note("gives up") });
        let told = async {
            for leads in [false, true, false] {
                begun.recv().await;
                tell.send_replace(leads);
            }
            begun.recv().await;
        };
        tokio::select! {
            () = leading => {}
            () = told => {}
        }
        let done = done.lock().unwrap().clone();
        assert_eq!(done, ["works", "gives up", "works", "gives up"]);
    }
}
