//! The process: starts the parts in order, listens to signals, stops them in order.
//!
//! | signal | what happens |
//! |---|---|
//! | TERM, QUIT | no new connections, requests are finished, exit 0 within `timeout.drain`; a second one exits at once |
//! | INT | the same, as from Ctrl-C |
//! | HUP | the configuration files are read again; one error, and everything stays as it is |
//! | USR1 | the access log is opened again |
//!
//! Owns no decision of its own: what is started with what is [`config`]'s and
//! [`control`]'s to say.

mod maintenance;
mod reload;
mod signals;
mod steering;

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::SystemTime;

use arc_swap::ArcSwapOption;
use rustix::process::{
    DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit,
};

use self::reload::look_for_default_host;
use self::signals::{Signals, wait};
use self::steering::steer;
use crate::geoip;
use crate::limits::{DESCRIPTORS_SPARE, LOG_FLUSH_TIMEOUT};
use admin::{self, AdminTls};
use config::{Config, Live, Loaded, Sources};
use control::{Control, OpenError, Options};
use datapath::connection::Shared;
use datapath::io::{RingError, probe};
use datapath::memory;
use datapath::observe::{AccessLog, AccessLogError};
use datapath::steer::helm::Helm;
use datapath::steer::{self, Owned};
use datapath::worker::{Inboxes, ListenError, Listeners, Placement, Workers};
use fetch::{Lists, Responders};
use snapshot::Published;
use snapshot::phases::Buckets;
use snapshot::questions::Questions;
use tls::Acceptor;

/// Why the gateway does not run.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No io_uring.
    #[error(transparent)]
    Ring(#[from] RingError),
    /// The store cannot be opened.
    #[error(transparent)]
    Control(#[from] OpenError),
    /// The access log cannot be written.
    #[error(transparent)]
    AccessLog(#[from] AccessLogError),
    /// An address cannot be had.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// A GeoIP database cannot be used.
    #[error(transparent)]
    Geo(#[from] geoip::GeoipError),
    /// The admin API cannot be served.
    #[error(transparent)]
    Admin(#[from] admin::ServeError),
    /// Its TLS cannot be set up.
    #[error(transparent)]
    AdminTls(#[from] admin::AdminTlsError),
    /// BoringSSL cannot be set up.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] boring::error::ErrorStack),
    /// The kernel is to steer and cannot.
    #[error("steer.mode is `kernel`, but {0}; set steer.mode to `auto` to start without")]
    Steer(#[from] steer::Unavailable),
    /// Anything else that the system refuses.
    #[error("{0}: {1}")]
    System(&'static str, io::Error),
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Every connection was finished.
    Drained,
    /// `timeout.drain` passed, or a second signal came: connections were cut.
    Cut,
}

/// Opens the store and runs until a signal ends it.
///
/// # Errors
/// See [`StartError`].
pub fn run(loaded: Loaded) -> Result<Ended, StartError> {
    keep_keys_out_of_core_dumps();
    let published = Arc::new(Published::default());
    let options = Options {
        key_file: loaded.config.key_file(),
        default_host: loaded.config.default_host.clone(),
    };
    let control = Control::open_with(&loaded.config.store_path, published.clone(), options)?;
    look_for_default_host(loaded.config.default_host.as_ref(), &published);
    serve(loaded.config, Some(loaded.sources), control, published)
}

/// Makes the kernel write no core dump of this process: keys of hosts and CAs are in its memory.
fn keep_keys_out_of_core_dumps() {
    if let Err(why) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        tracing::warn!(
            "core dumps could not be switched off ({why}): one would hold private keys; set \
             LimitCORE=0 for the service (`ulimit -c 0` in a shell)"
        );
    }
}

/// Takes as many open files as the system allows: the soft limit is often a thousand, for the sake
/// of programs that use `select`. Warns when that is too few for `limit.connections`.
fn raise_descriptor_limit(connections_max: usize) {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    let allowed = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    };
    // One to the client and one to the origin.
    let wanted = (connections_max as u64)
        .saturating_mul(2)
        .saturating_add(DESCRIPTORS_SPARE);
    if let Some(allowed) = allowed.filter(|allowed| *allowed < wanted) {
        tracing::warn!(
            "{allowed} open files are allowed, and `limit.connections` = {connections_max} can need \
             {wanted}: raise LimitNOFILE= of the service (`ulimit -Hn` in a shell), or lower the limit"
        );
    }
}

/// Runs on a control plane that is open already. Without `sources` SIGHUP has nothing to read.
///
/// # Errors
/// See [`StartError`].
pub fn serve(
    config: Config,
    sources: Option<Sources>,
    control: Arc<Control>,
    published: Arc<Published>,
) -> Result<Ended, StartError> {
    probe()?;
    raise_descriptor_limit(config.tunables.connections_max);
    let geo = geoip::open(config.geoip_databases())?.map(Arc::new);
    control.set_geo(geo.clone());
    let access_log = AccessLog::start(&config.access_log)?;
    let (workers, listen) = (config.workers, config.listen.clone());
    let admin_tls = match config.admin_tls() {
        Some((certificate, key)) => Some(AdminTls::load(certificate, key)?),
        None => None,
    };
    let listen_admin = admin::Listen {
        socket: config.admin_socket.clone(),
        tcp: config.admin_listen,
        tls: admin_tls.clone(),
    };
    let crl_directory = config.crl_directory.clone();
    let listeners = Listeners::bind(workers, &listen)?;
    let owned = Arc::new(Owned::default());
    let (helm, placed) = Helm::take(&config, listeners.of_workers(), owned.clone())?;
    let helm = Arc::new(helm);
    helm.hosts(&published.load(), &vec![true; workers]);
    let live = Arc::new(Live::new(config));
    let inboxes =
        Inboxes::new(workers).map_err(|error| StartError::System("the workers' inboxes", error))?;
    let questions = Arc::new(Questions::default());
    let shared = Arc::new(Shared {
        acceptor: Acceptor::new()?,
        published: published.clone(),
        live: live.clone(),
        geo: ArcSwapOption::new(geo),
        access_log: access_log.clone(),
        questions: questions.clone(),
        buckets: Buckets::new(std::time::Instant::now()),
    });
    let placement = Arc::new(Placement {
        connections: AtomicUsize::new(0),
        owned,
        placed,
        inboxes,
    });
    let responders = Responders::new(control.clone(), questions);
    let team = Arc::new(Workers::start(&shared, &placement, listeners, helm.clone()));
    let steered = published.clone();
    let lists = Lists::new(control.clone());
    let state = admin::State {
        control: control.clone(),
        lists: lists.clone(),
        responders: responders.clone(),
        published,
        fleet: team.clone(),
        live: live.clone(),
        access_log: access_log.clone(),
        started: SystemTime::now(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| StartError::System("the runtime of the admin API", error))?;
    let ended = runtime.block_on(async {
        let admin = admin::serve(listen_admin, state).await?;
        let admin = tokio::spawn(admin);
        if helm.steers() {
            let control = control.clone();
            tokio::spawn(steer(helm, team.clone(), control, steered, live.clone()));
        }
        // Reading the store and compiling it took more than keeping it.
        memory::give_back();
        for address in &listen {
            tracing::info!(%address, workers, "listening");
        }
        let maintenance = tokio::spawn(maintenance::run(
            shared.clone(),
            control.clone(),
            lists,
            responders,
            crl_directory,
        ));
        let mut signals = Signals::new()?;
        let ended = wait(
            &mut signals,
            &team,
            &shared,
            sources.as_ref(),
            &control,
            admin_tls.as_ref(),
            &access_log,
        )
        .await;
        admin.abort();
        maintenance.abort();
        Ok::<_, StartError>(ended)
    })?;
    access_log.finish(LOG_FLUSH_TIMEOUT);
    tracing::info!(cut = ended == Ended::Cut, "stopped");
    Ok(ended)
}
<<<<<<< HEAD:gateway/src/daemon/mod.rs
=======

/// Keeps the helm informed: of hosts as they come and go, of workers, of load.
async fn steer(
    helm: Arc<Helm>,
    team: Arc<Workers>,
    control: Arc<Control>,
    published: Arc<Published>,
    live: Arc<Live>,
) {
    let mut poll = tokio::time::interval(STEER_POLL);
    poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut generation = published.load().generation;
    let mut silent = vec![0_u32; team.alive().len()];
    let mut before = team.alive();
    let mut last_round = Instant::now();
    // The generation whose rules' addresses the kernel drops, when it is to.
    let mut blocked = None;
    loop {
        poll.tick().await;
        if helm.has_door() {
            let tunables = **live.load();
            let wanted = tunables
                .steer_drop_blocked
                .then(|| published.load().generation);
            if wanted.is_some() && wanted != blocked {
                helm.blocks(&control.blocked_addresses(BLOCKED_NETWORKS_MAX));
            }
            blocked = wanted;
            helm.door(&tunables);
        }
        let fit = |(lives, silent): (bool, &u32)| lives && *silent < STEER_SILENT_ROUNDS;
        let alive: Vec<bool> = team.alive().into_iter().zip(&silent).map(fit).collect();
        if alive != before {
            tracing::warn!(?alive, "workers died or came back: their hosts move");
            helm.workers(&alive);
            before.clone_from(&alive);
        }
        let snapshot = published.load();
        if snapshot.generation != generation {
            generation = snapshot.generation;
            helm.hosts(&snapshot, &alive);
            helm.pins(&live.pins(), &alive);
        }
        let passed = last_round.elapsed();
        if passed >= STEER_ROUND {
            last_round = Instant::now();
            helm.pins(&live.pins(), &alive);
            let answers = team.loads().await;
            for (silent, answer) in silent.iter_mut().zip(&answers) {
                *silent = if answer.is_some() { 0 } else { *silent + 1 };
            }
            let counts = HostLoad::sum(answers.into_iter().flatten());
            let balance = live.load().steer_balance;
            helm.round(&counts, passed.as_secs_f64(), &alive, balance);
        }
    }
}

struct Signals {
    hangup: Signal,
    interrupt: Signal,
    quit: Signal,
    terminate: Signal,
    user1: Signal,
}

impl Signals {
    fn new() -> Result<Self, StartError> {
        let open =
            |kind| signal(kind).map_err(|error| StartError::System("signals cannot be had", error));
        Ok(Self {
            hangup: open(SignalKind::hangup())?,
            interrupt: open(SignalKind::interrupt())?,
            quit: open(SignalKind::quit())?,
            terminate: open(SignalKind::terminate())?,
            user1: open(SignalKind::user_defined1())?,
        })
    }

    /// Waits for a signal that means to stop.
    async fn stop(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.quit.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Listens to signals until one of them, or the end of all workers, ends the run.
async fn wait(
    signals: &mut Signals,
    team: &Workers,
    shared: &Shared,
    sources: Option<&Sources>,
    control: &Control,
    admin_tls: Option<&AdminTls>,
    access_log: &AccessLog,
) -> Ended {
    loop {
        tokio::select! {
            _ = signals.hangup.recv() => reload(shared, sources, control, admin_tls),
            _ = signals.user1.recv() => access_log.reopen(),
            _ = signals.interrupt.recv() => break,
            _ = signals.quit.recv() => break,
            _ = signals.terminate.recv() => break,
        }
    }
    let live = &shared.live;
    let deadline = Instant::now() + live.load().drain_timeout;
    tracing::info!(
        seconds = live.load().drain_timeout.as_secs(),
        "stopping: requests are finished; a second signal stops at once"
    );
    team.drain();
    loop {
        if team.has_ended() {
            return Ended::Drained;
        }
        if Instant::now() >= deadline {
            tracing::warn!("timeout.drain passed: the remaining connections are cut");
            return Ended::Cut;
        }
        tokio::select! {
            () = signals.stop() => return Ended::Cut,
            () = tokio::time::sleep(DRAIN_POLL) => {}
        }
    }
}

/// Reads the configuration files again; one error, and everything stays as it is.
fn reload(
    shared: &Shared,
    sources: Option<&Sources>,
    control: &Control,
    admin_tls: Option<&AdminTls>,
) {
    let Some(sources) = sources else {
        tracing::info!("there are no configuration files to read again");
        return;
    };
    let loaded = Config::load(sources)
        .map_err(|errors| errors.to_string())
        .and_then(|loaded| {
            let geo = Geo::open(loaded.config.geoip_databases());
            let geo = geo.map_err(|error| error.to_string())?;
            match (admin_tls, loaded.config.admin_tls()) {
                (Some(tls), Some((certificate, key))) => tls
                    .reload(certificate, key)
                    .map_err(|error| error.to_string())?,
                (None, None) => {}
                // The socket is bound as it is: what was safe with TLS is not without.
                _ => tracing::warn!(
                    "TLS of the admin API is switched on or off at the next start; until then it stays"
                ),
            }
            Ok((loaded, geo))
        });
    match loaded {
        Err(errors) => {
            for line in errors.lines() {
                tracing::error!("{line}");
            }
            tracing::error!("the configuration stays as it was");
        }
        Ok((loaded, geo)) => {
            let geo = geo.map(Arc::new);
            control.set_geo(geo.clone());
            shared.geo.store(geo);
            for key in shared.live.reload(&loaded.config) {
                tracing::warn!(key, "this key changed and takes effect at the next start");
            }
            if let Err(error) = control.set_default_host(loaded.config.default_host.clone()) {
                tracing::error!(%error, "host.default stays as it was");
            }
            look_for_default_host(loaded.config.default_host.as_ref(), &shared.published);
            tracing::info!(
                files = loaded.files.len(),
                "the configuration was read again"
            );
        }
    }
}
>>>>>>> 01e0ee5 (datapath: all workers are Workers, one word for Workers and Workers):gateway/src/daemon.rs
