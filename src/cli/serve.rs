//! `gatepost serve`: both protocols and the HTTP endpoint, until SIGTERM.
//!
//! SIGHUP reads the configuration and the rules again; what is bad leaves what is
//! in force. Lists whose files change are read again alone. Nothing here decides.

use super::Exit;
use super::complain;
use super::keep;
use super::keep::Keeping;
use super::nameservers;
use super::zones::Zones;
use crate::config::Config;
use crate::config::Decides;
use crate::config::Listener as Listens;
use crate::desk::Deadlines;
use crate::desk::Desk;
use crate::desk::Parts;
use crate::dns::Resolver;
use crate::geoip::GeoIp;
use crate::journal::Journal;
use crate::listen::ListenStats;
use crate::listen::Service;
use crate::listen::Shutdown;
use crate::listen::Stopper;
use crate::listen::control::Control;
use crate::listen::delegation;
use crate::listen::http;
use crate::listen::milter;
use crate::listen::socket::Access;
use crate::listen::socket::Listener;
use crate::listen::token::Token;
use crate::listen::workers::Workers;
use crate::metrics::FailOpen;
use crate::metrics::Interface;
use crate::metrics::ListCounters;
use crate::metrics::Metrics;
use crate::metrics::Reload;
use crate::policy;
use crate::policy::Loaded;
use crate::policy::Options;
use crate::policy::Policy;
use crate::state::Clock;
use crate::state::State;
use crate::yaml::Mistake;
use arc_swap::ArcSwapOption;
use jiff::Timestamp;
use sd_notify::NotifyState;
use std::path::Path;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use std::time::SystemTime;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::signal::unix::SignalKind;
use tokio::signal::unix::signal;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// How long mail that is under way may take to end after SIGTERM; below systemd's
/// TimeoutStopSec of 90 s.
const DRAIN: Duration = Duration::from_secs(60);

/// For the threads of connections to end, once there are none.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// How often old sessions are looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(30);

/// How often files of lists are looked at.
const LOOK_AT_LISTS_EVERY: Duration = Duration::from_secs(5);

/// Connections on one socket. Postfix holds one for each smtpd and service string;
/// default_process_limit is 100, and large sites set a few thousand.
const MAX_CONNECTIONS: usize = 20_000;

/// Why there is nothing to run.
pub(super) enum Trouble {
    /// Mistakes in what the operator wrote.
    Mistakes(Vec<Mistake>),
    /// The world: a port in use, a file that is not there.
    World(String),
}

/// Runs until it is told to stop. Mistakes go to standard error.
pub(super) fn run(config: Option<&Path>) -> ExitCode {
    match start(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Trouble::Mistakes(mistakes)) => {
            let unread = mistakes.iter().all(|mistake| mistake.is_unread);
            for mistake in &mistakes {
                complain(&mistake.to_string());
            }
            if unread { Exit::CouldNotRun.into() } else { Exit::Mistakes.into() }
        }
        Err(Trouble::World(why)) => {
            complain(&why);
            Exit::CouldNotRun.into()
        }
    }
}

fn start(path: Option<&Path>) -> Result<(), Trouble> {
    let config = Config::load(path).map_err(Trouble::Mistakes)?;
    let loaded = load(&config, 1).map_err(Trouble::Mistakes)?;
    // Its guard is dropped last, so that the last lines are written.
    let (journal, _guard) = crate::journal::init(config.log).map_err(Trouble::World)?;
    // It accepts, reloads and answers http; connections have threads of their own.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(|error| Trouble::World(format!("can't start threads: {error}")))?;
    let served = runtime.block_on(async {
        tokio::select! {
            // What ends many sessions has as many lines.
            never = journal.gather() => match never {},
            served = serve(path.map(Path::to_owned), config, loaded, journal.clone()) => served,
        }
    });
    journal.send_gathered();
    runtime.shutdown_timeout(Duration::from_secs(1));
    served
}

fn load(config: &Config, generation: u64) -> Result<Loaded, Vec<Mistake>> {
    let options = Options {
        local: config.local.clone(),
        enforce: config.enforce.clone(),
        disable: config.disable.clone(),
        geoip: Arc::new(GeoIp::load(config)?),
        generation,
    };
    policy::load(&config.policy_dir, &options)
}

/// The token that HTTP asks for, where there is to be one.
fn read_token(config: &Config) -> Result<Option<Arc<Token>>, String> {
    let file = config.http.as_ref().and_then(|http| http.token_file.as_ref());
    file.map(|file| Token::read(file).map(Arc::new)).transpose()
}

/// What stays while the policy changes.
struct Daemon {
    path: Option<PathBuf>,
    desk: Arc<Desk>,
    metrics: Arc<Metrics>,
    lists: Arc<ListCounters>,
    zones: Arc<Zones>,
    resolver: Resolver,
    /// What `/v1` asks for.
    token: Arc<ArcSwapOption<Token>>,
    /// Of the last load that was tried.
    generation: u64,
    /// What can't change without a restart.
    started_with: Config,
}

async fn serve(
    path: Option<PathBuf>,
    config: Config,
    loaded: Loaded,
    journal: Journal,
) -> Result<(), Trouble> {
    let metrics = Arc::new(Metrics::new(Timestamp::now()));
    let (stopper, shutdown) = Shutdown::new();
    warn(&loaded, &config);
    let lists = metrics.load_lists(names(&loaded.policy));
    let deadlines = Deadlines { envelope: config.deadline.envelope, message: config.deadline.message };
    let rules = loaded.policy.rules.len();
    let (state, clock) = (State::in_memory(config.state.max_keys), Clock::starting_at(SystemTime::now()));
    let keeper = keep::open(&config.state, &state, clock)?;
    let zones = Arc::new(Zones::new(Arc::clone(&metrics)));
    zones.adopt(&loaded.policy);
    let resolver = Resolver::live(nameservers(&config));
    let desk = Arc::new(Desk::new(Parts {
        policy: loaded.policy,
        state,
        resolver: resolver.clone(),
        clock,
        metrics: Arc::clone(&metrics),
        journal: Some(journal.clone()),
        deadlines,
        wall: Timestamp::now,
    }));
    let stats = Arc::new(ListenStats::default());
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let (gathering, sending) = (journal.clone(), journal.clone());
    let gather = move || async move { gathering.gather().await };
    let workers = Workers::start(workers, gather, move || sending.send_gathered())
        .map_err(|error| Trouble::World(format!("can't start threads: {error}")))?;
    let service = |listens: &Listens, decides| Service {
        name: Arc::clone(&listens.name),
        desk: Arc::clone(&desk),
        stats: Arc::clone(&stats),
        shutdown: shutdown.clone(),
        deadlines,
        max_connections: MAX_CONNECTIONS,
        decides,
        workers: Some(Arc::clone(&workers)),
    };
    let mut bound = Vec::new();
    for listens in &config.policy {
        bound.push((bind(listens, &workers).await?, service(listens, Decides::Message), Interface::Policy));
    }
    for listens in &config.milter {
        bound.push((
            bind(&listens.listener, &workers).await?,
            service(&listens.listener, listens.decides),
            Interface::Milter,
        ));
    }
    let ready = Arc::new(AtomicBool::new(false));
    let (stop_http, http_stopped) = watch::channel(false);
    let mut http_task = JoinSet::new();
    let token = Arc::new(ArcSwapOption::new(read_token(&config).map_err(Trouble::World)?));
    if let Some(address) = config.http.as_ref().map(|http| http.address) {
        let listener = TcpListener::bind(address)
            .await
            .map_err(|error| Trouble::World(format!("can't listen for http on {address}: {error}")))?;
        let sampled = (Arc::clone(&desk), Arc::clone(&metrics), Arc::clone(&stats), Arc::clone(&lists));
        let state = http::HttpState {
            metrics: Arc::clone(&metrics),
            ready: Arc::clone(&ready),
            sample: Arc::new(move || sample(&sampled.0, &sampled.1, &sampled.2)),
            desk: Arc::clone(&desk),
            token: Arc::clone(&token),
        };
        http_task.spawn(http::serve(listener, state, http_stopped));
    }
    // Who connects meanwhile waits: nothing is accepted yet.
    zones.test_new(&resolver).await;
    // Ends with this function.
    let mut looking = JoinSet::new();
    let (watching, watched, asking) = (Arc::clone(&zones), Arc::clone(&desk), resolver.clone());
    looking.spawn(async move { watching.watch(|| watched.active(), asking).await });
    let mut tasks = JoinSet::new();
    for ((listener, home), service, interface) in bound {
        tracing::info!(address = %listener.address(), listener = %service.name, protocol = interface.word(), "listening");
        match interface {
            Interface::Policy => tasks.spawn_on(delegation::serve(listener, service), &home),
            Interface::Milter => tasks.spawn_on(milter::serve(listener, service), &home),
        };
    }
    if let Some(path) = &config.control {
        let control = Control::bind(path).await.map_err(Trouble::World)?;
        tracing::info!(path = %path.display(), "listening for the command line");
        tasks.spawn(control.serve(Arc::clone(&desk), shutdown.clone()));
    }
    if keeper.is_none() {
        tracing::info!("without state.dir all that is remembered begins anew with each start");
    }
    let keeping = match keeper {
        Some(keeper) => Some(Keeping::start(keeper, Arc::clone(&desk), Arc::clone(&metrics), clock)?),
        None => None,
    };
    metrics.reloaded(Reload::Ok, Timestamp::now());
    tracing::info!(rules, "ready");
    ready.store(true, Relaxed);
    notify(NotifyState::Ready);
    let started_with = config;
    let daemon = Daemon { path, desk, metrics, lists, zones, resolver, token, generation: 1, started_with };
    let (desk, ended) = (Arc::clone(&daemon.desk), daemon.run(&mut tasks, stopper, &ready).await);
    // What they have gathered for the log is sent before the log ends.
    workers.finish(LAST_WORDS);
    desk.end_all().await;
    if let Some(keeping) = keeping {
        keeping.finish().await;
    }
    ended?;
    // Last, so that /readyz could say that we were draining.
    let _ = stop_http.send(true);
    while http_task.join_next().await.is_some() {}
    tracing::info!("stopped");
    Ok(())
}

/// A socket, and the thread that accepts from it.
async fn bind(listens: &Listens, workers: &Workers) -> Result<(Listener, Handle), Trouble> {
    let access = Access { mode: Some(listens.mode), group: listens.group.clone() };
    let (home, address) = (workers.next().clone(), listens.address.clone());
    let bound = home.spawn(async move { Listener::bind(&address, &access).await }).await;
    let bound = bound.map_err(|error| Trouble::World(format!("can't listen: {error}")))?;
    Ok((bound.map_err(Trouble::World)?, home))
}

impl Daemon {
    async fn run(
        mut self,
        tasks: &mut JoinSet<()>,
        stopper: Stopper,
        ready: &AtomicBool,
    ) -> Result<(), Trouble> {
        let trouble = |error: std::io::Error| Trouble::World(format!("can't wait for signals: {error}"));
        let mut hangup = signal(SignalKind::hangup()).map_err(trouble)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(trouble)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(trouble)?;
        let mut sweep = tokio::time::interval(SWEEP_EVERY);
        let mut look = tokio::time::interval(LOOK_AT_LISTS_EVERY);
        let mut stopping = false;
        loop {
            tokio::select! {
                _ = hangup.recv() => self.reload().await,
                _ = sweep.tick() => self.desk.sweep().await,
                _ = look.tick() => self.reload_lists().await,
                _ = async { tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} } } => {
                    ready.store(false, Relaxed);
                    notify(NotifyState::Stopping);
                    let drain = if std::mem::replace(&mut stopping, true) { Duration::ZERO } else { DRAIN };
                    tracing::info!(seconds = drain.as_secs(), "stopping; mail under way may end");
                    stopper.stop(drain);
                }
                ended = tasks.join_next() => match ended {
                    None => return Ok(()),
                    Some(Ok(())) => {}
                    Some(Err(error)) => {
                        ready.store(false, Relaxed);
                        tracing::error!(%error, "a socket is no longer listened on; restart gatepost");
                    }
                },
            }
        }
    }

    /// Reads everything again. What is bad is told, and the old stays in force.
    async fn reload(&mut self) {
        notify_reloading();
        self.generation += 1;
        let (path, generation) = (self.path.clone(), self.generation);
        // Reading a million entries takes a second, which answers must not wait for.
        let read = tokio::task::spawn_blocking(move || {
            let config = Config::load(path.as_deref())?;
            let loaded = load(&config, generation)?;
            let token =
                read_token(&config).map_err(|why| vec![Mistake::whole("listen.http.token_file", why)])?;
            Ok::<_, Vec<Mistake>>((config, loaded, token))
        });
        match read.await {
            Ok(Ok((config, loaded, token))) => {
                self.token.store(token);
                self.take_over(config, loaded).await;
            }
            Ok(Err(mistakes)) => {
                for mistake in &mistakes {
                    tracing::error!(mistake = %first_line(mistake), "the new configuration is bad");
                }
                tracing::error!(mistakes = mistakes.len(), "the old policy stays in force");
                self.metrics.reloaded(Reload::Failed, Timestamp::now());
            }
            Err(error) => {
                tracing::error!(%error, "reading the configuration failed; the old policy stays in force");
                self.metrics.reloaded(Reload::Failed, Timestamp::now());
            }
        }
        notify(NotifyState::Ready);
    }

    async fn take_over(&mut self, config: Config, loaded: Loaded) {
        let now = &self.started_with;
        let http = |config: &Config| config.http.as_ref().map(|http| http.address);
        let same_sockets =
            config.policy == now.policy && config.milter == now.milter && http(&config) == http(now);
        let same_sockets = same_sockets && config.control == now.control;
        self.desk.ask_dns_of(nameservers(&config));
        let same = same_sockets && config.deadline == now.deadline && config.state == now.state;
        if !same || config.log != now.log {
            tracing::warn!("sockets, deadlines, the state and the log change only with a restart");
        }
        warn(&loaded, &config);
        let rules = loaded.policy.rules.len();
        self.lists = self.metrics.load_lists(names(&loaded.policy));
        self.zones.adopt(&loaded.policy);
        self.zones.test_new(&self.resolver).await;
        self.desk.enforce(loaded.policy);
        self.metrics.reloaded(Reload::Ok, Timestamp::now());
        tracing::info!(rules, generation = self.generation, "the new policy is in force");
    }

    /// Each list alone, when its file has changed; a bad one keeps the old entries.
    async fn reload_lists(&self) {
        let active = self.desk.active();
        let lists: Vec<_> = active.policy.lists.iter().cloned().enumerate().collect();
        let looked = tokio::task::spawn_blocking(move || {
            let stale = lists.into_iter().filter(|(_, list)| list.is_stale());
            stale.map(|(index, list)| (index, list.name().to_owned(), list.reload())).collect::<Vec<_>>()
        });
        let Ok(looked) = looked.await else {
            return;
        };
        for (index, list, result) in looked {
            match result {
                Ok(true) => {
                    tracing::info!(list, "its file has changed and was read again");
                    self.lists.reloaded(index, Reload::Ok);
                }
                Ok(false) => {}
                Err(mistakes) => {
                    for mistake in &mistakes {
                        tracing::error!(list, mistake = %first_line(mistake), "its file is bad; the old entries stay");
                    }
                    self.lists.reloaded(index, Reload::Failed);
                }
            }
        }
        self.zones.adopt(&active.policy);
    }
}

fn names(policy: &Policy) -> impl Iterator<Item = String> {
    policy.lists.iter().map(|list| list.name().to_owned())
}

fn warn(loaded: &Loaded, config: &Config) {
    for warning in &loaded.warnings {
        tracing::warn!(warning = %first_line(warning), "odd in the policy");
    }
    for selector in &loaded.idle {
        let Config { source, .. } = config;
        tracing::warn!(
            file = source.name,
            line = selector.place.line,
            selector = selector.pattern,
            "enforce or disable names no rule and no file"
        );
    }
}

fn first_line(mistake: &Mistake) -> String {
    mistake.to_string().replace("\n    ", ": ")
}

/// Values that are looked up at each scrape.
fn sample(desk: &Desk, metrics: &Metrics, stats: &ListenStats) {
    desk.sample();
    for (interface, kind) in [(Interface::Policy, &stats.policy), (Interface::Milter, &stats.milter)] {
        metrics.set_connections(interface, kind.open.load(Relaxed), kind.total.load(Relaxed));
        metrics.set_protocol_errors(interface, "accept_failed", kind.accept_failures.load(Relaxed));
    }
    for (oddity, count) in stats.oddities() {
        metrics.set_protocol_errors(Interface::Policy, oddity.word(), count);
    }
    metrics.set_protocol_errors(Interface::Milter, "edit_refused", stats.edits_refused.load(Relaxed));
    let missed = stats.policy.deadlines_missed.load(Relaxed) + stats.milter.deadlines_missed.load(Relaxed);
    let panics = stats.policy.panics.load(Relaxed) + stats.milter.panics.load(Relaxed);
    metrics.set_fail_open_elsewhere(FailOpen::Deadline, missed);
    metrics.set_fail_open_elsewhere(FailOpen::Internal, panics);
}

fn notify(state: NotifyState<'_>) {
    // Not under systemd, or a socket of its that is gone: nothing to be done.
    let _ = sd_notify::notify(&[state]);
}

/// `Type=notify-reload` wants the time of it (sd_notify(3)).
fn notify_reloading() {
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        let _ = sd_notify::notify(&[NotifyState::Reloading, now]);
    }
}
