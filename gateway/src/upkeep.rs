//! What has to be done now and then for as long as the process runs: new keys for session tickets,
//! revocation lists whose files changed or that are due from their URLs, warnings of lists that grow old.
//!
//! Owns when it is done; how is its owners' business.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use tokio::time::MissedTickBehavior;

use crate::control::{Control, CrlFiles, Moment};
use crate::inquire::{Lists, Responders};
use crate::limits::{CRL_ALARM_INTERVAL, CRL_FILE_LOOK, TICKET_LOOK};
use crate::worker::Shared;

/// Does all of it until it is dropped.
pub(crate) async fn run(
    shared: Arc<Shared>,
    control: Arc<Control>,
    lists: Arc<Lists>,
    responders: Arc<Responders>,
) {
    tokio::join!(
        rotate_tickets(shared),
        watch_lists(control),
        lists.run(),
        responders.run(),
    );
}

async fn rotate_tickets(shared: Arc<Shared>) {
    let mut look = tokio::time::interval(TICKET_LOOK);
    loop {
        look.tick().await;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now_sec = now.map_or(0, |now| i64::try_from(now.as_secs()).unwrap_or(i64::MAX));
        let every = shared.live.load().ticket_rotation;
        match shared.acceptor.tickets().rotate(now_sec, every) {
            Ok(true) => tracing::debug!("session tickets have a new key"),
            Ok(false) => {}
            Err(error) => tracing::error!(%error, "session tickets keep their key"),
        }
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
