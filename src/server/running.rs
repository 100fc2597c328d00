//! A server without sockets: its handles, its endpoints and its tasks.

use std::sync::Arc;

use super::{drained, open};
use crate::{
    api,
    app::{App, Handles},
    appservice::Appservices,
    base::{clock::Clock, metrics::Metrics, random::Random, shutdown::Shutdown, tasks::Tasks},
    config::{self, Config},
    ephemeral::typing::Typing,
    federation::{
        self, Federation, Identity, Inbox, PolicyServers, Sender, Servers, Transport, joining::Handshakes,
        sender::Retries,
    },
    flows::{guest_access, room_changes, tell_rooms},
    graph::{self, Graph},
    http::{Budget, RateLimits, Routes, Site},
    rooms::Rooms,
    store::Store,
    sync::Sync,
    users::Users,
};

/// How long the content of a redacted event is kept, in ms.
const KEEP_REDACTED: u64 = 7 * 24 * 60 * 60 * 1_000;

/// What a server is made of.
pub struct Parts {
    /// The configuration.
    pub config: Arc<Config>,
    /// The store.
    pub store: Store,
    /// The server's own keys.
    pub identity: Identity,
    /// How it reaches other servers.
    pub transport: Arc<dyn Transport>,
    /// Where the time comes from.
    pub clock: Clock,
    /// Where randomness comes from.
    pub random: Random,
}

/// A server that runs, without sockets.
pub struct Server {
    site: Site,
    /// What other servers ask for, if that has listeners of its own.
    federation: Option<Site>,
}

impl Server {
    /// Wires the parts and starts the tasks. Must be called on the runtime that is to run them.
    pub fn start(parts: Parts) -> Self {
        let limits = rate_limits(&parts.config.rate_limits);
        let app = wire(parts);
        start_tasks(&app);
        let (is_federating, apart) = (app.config.federation.enabled, !app.config.listeners.federation.is_empty());
        let mut routes = Routes::default();
        api::client_routes(&mut routes);
        if is_federating && !apart {
            api::federation::routes(&mut routes);
        }
        let site = Site::new(app.clone(), routes, limits);
        let federation = (is_federating && apart).then(|| {
            let mut routes = Routes::default();
            api::federation_listener_routes(&mut routes);
            Site::new(app, routes, limits)
        });
        Self { site, federation }
    }

    /// What answers requests of other servers, if that is not the same.
    pub fn federation_site(&self) -> Option<&Site> {
        self.federation.as_ref()
    }

    /// Replaces the rate limits.
    pub fn set_limits(&self, limits: RateLimits) {
        self.site.set_limits(limits);
        if let Some(federation) = &self.federation {
            federation.set_limits(limits);
        }
    }

    /// What answers requests.
    pub fn site(&self) -> &Site {
        &self.site
    }

    /// What the endpoints work on.
    pub fn app(&self) -> &App {
        self.site.app()
    }

    /// Ends the tasks, lets what is under way in rooms be written, and takes no further write.
    pub async fn stop(&self) {
        let app = self.app();
        app.shutdown.trigger();
        if let Err(error) = app.users.write_seen().await {
            tracing::warn!(%error, "when devices were last seen could not be written");
        }
        if !drained(|| app.graph.lane_depth() == (0, 0)).await {
            tracing::warn!("some events were still waiting to be written; they were not acknowledged");
        }
        app.sender.stop().await;
        app.store.close();
    }
}

/// All endpoints: for clients, administrators and other servers.
pub fn routes(routes: &mut Routes) {
    api::client_routes(routes);
    api::federation::routes(routes);
}

fn wire(parts: Parts) -> App {
    let Parts { config, store, identity, transport, clock, random } = parts;
    let (shutdown, metrics) = (Shutdown::new(), Metrics::new());
    let tasks = Tasks::new(tokio::runtime::Handle::current(), shutdown.clone(), metrics.clone());
    let server_name = config.server.name.clone();
    let users =
        Users::new(store.clone(), clock.clone(), random.clone(), server_name.clone(), open::user_options(&config));
    let settings = graph::Settings {
        server_name: server_name.clone(),
        key: Arc::clone(&identity.active),
        cache_bytes: open::graph_cache(&config),
        keep_redacted: KEEP_REDACTED,
    };
    let graph = Graph::new(&store, &tasks, &clock, &random, settings);
    let federation = Federation::new(federation_options(&config), identity, transport, &store, (&clock, &tasks));
    let typing = Typing::new(clock.clone());
    let policy = PolicyServers::new((&store, &graph), &federation, &clock);
    let inbox = Inbox::new((&store, &graph, &typing), (&federation, &policy), (&clock, &tasks, &shutdown));
    let retries = Retries { first: config.federation.first_retry, longest: config.federation.longest_retry };
    let sender = Sender::new((&federation, &graph, &typing), retries, &store, (&clock, &random, &tasks));
    let rooms = Rooms::new(store.clone(), graph.reader().clone());
    let handshakes = Handshakes::new((&federation, &policy), &graph, &rooms, &typing);
    let appservices = Appservices::new(config.appservices.clone());
    let sync = Sync::new((&store, &users, &graph, &typing), (&clock, &random), (&tasks, &shutdown));
    App::from(Handles {
        server_name,
        config,
        clock,
        random,
        shutdown,
        tasks,
        metrics,
        store,
        users,
        appservices,
        graph,
        rooms,
        typing,
        federation,
        policy,
        inbox,
        sender,
        handshakes,
        sync,
    })
}

fn start_tasks(app: &App) {
    if app.config.federation.enabled {
        app.sender.start();
    }
    let (users, typing) = (app.users.clone(), app.typing.clone());
    app.tasks.spawn_forever("housekeeping of accounts", move || {
        let users = users.clone();
        async move { users.keep_house().await }
    });
    let graph = app.graph.clone();
    app.tasks.spawn_forever("housekeeping of rooms", move || {
        let graph = graph.clone();
        async move { graph.keep_house().await }
    });
    let inbox = app.inbox.clone();
    app.tasks.spawn_forever("housekeeping of the inbox", move || {
        let inbox = inbox.clone();
        async move { inbox.keep_house().await }
    });
    app.tasks.spawn_forever("typing", move || typing.clone().run());
    room_changes::follow(app);
    let keeper = app.clone();
    app.tasks.spawn("guests who are to leave", async move {
        if let Err(error) = guest_access::resume(&keeper).await {
            tracing::warn!(%error, "some guests will leave rooms that are not for them only after the next start");
        }
    });
    let teller = app.clone();
    app.tasks.spawn("profiles that rooms were not told of", async move {
        if let Err(error) = tell_rooms::resume(&teller).await {
            tracing::warn!(%error, "rooms will be told of some profiles only at their next change");
        }
    });
}

fn federation_options(config: &Config) -> federation::Options {
    let options = &config.federation;
    federation::Options {
        servers: Servers {
            own: config.server.name.clone(),
            enabled: options.enabled,
            allowed: options.allowed_servers.clone(),
            denied: options.denied_servers.clone(),
        },
        notaries: options.trusted_notaries.clone(),
    }
}

/// The rate limits of the configuration.
pub(super) fn rate_limits(limits: &config::RateLimits) -> RateLimits {
    if !limits.enabled {
        return RateLimits::default();
    }
    let budget = |rate: config::Rate| Some(Budget { per_second: rate.per_second, burst: rate.burst });
    RateLimits {
        light: budget(limits.light),
        heavy: budget(limits.heavy),
        send: budget(limits.send),
        poll: budget(limits.sync),
        login: budget(limits.login),
        register: budget(limits.registration),
        federation: budget(limits.federation),
    }
}
