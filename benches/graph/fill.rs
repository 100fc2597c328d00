//! Fills a data folder with one large room, for `benches/join`: as many members as are asked for, all of them users of the
//! server whose folder it is, and other state up to so many entries.

use std::path::Path;

use myelin::{
    base::{clock::Clock, metrics::Metrics, random::Random, shutdown::Shutdown, tasks::Tasks},
    federation::identity,
    graph::{Graph, Settings},
};
use ruma::{OwnedServerName, ServerName};
use serde_json::json;

use super::{AT_ONCE, KIND, VERSION, open, state};

/// Writes the room, and prints its id. The server must not run.
pub(super) async fn fill(folder: &Path, server_name: &str, members: usize, entries: usize) {
    let server_name: OwnedServerName = ServerName::parse(server_name).expect("a server name");
    let random = Random::system();
    std::fs::create_dir_all(folder).expect("a data folder");
    let key = identity::load_or_create(folder, &server_name, &random).expect("a signing key").active;
    let store = open(folder);
    let tasks = Tasks::new(tokio::runtime::Handle::current(), Shutdown::new(), Metrics::new());
    let settings = Settings { server_name: server_name.clone(), key, cache_bytes: 128 << 20, keep_redacted: 1_000 };
    let graph = Graph::new(&store, &tasks, &Clock::system(), &random, settings);
    let owner = format!("@owner:{server_name}");
    let joins = |user: &str| state(user, "m.room.member", user, json!({"membership": "join", "displayname": user}));
    let begin = vec![
        state(&owner, "m.room.create", "", json!({})),
        joins(&owner),
        state(&owner, "m.room.power_levels", "", json!({"users": {owner.as_str(): 100}})),
        state(&owner, "m.room.join_rules", "", json!({"join_rule": "public"})),
        state(&owner, "m.room.history_visibility", "", json!({"history_visibility": "shared"})),
    ];
    let more = members.saturating_sub(1);
    let others = entries.saturating_sub(begin.len() + more);
    let room = graph.create(VERSION, begin).await.expect("a room").room;
    let all: Vec<_> = (0..more)
        .map(|at| joins(&format!("@member{at}:{server_name}")))
        .chain((0..others).map(|at| state(&owner, KIND, &format!("entry {at}"), json!({"at": at}))))
        .collect();
    for some in all.chunks(AT_ONCE) {
        graph.send(room, some.to_vec()).await.expect("sent");
    }
    let head = store.read_blocking(|view| graph.reader().head(view, room)).expect("readable").expect("a head");
    println!("{}", head.room_id);
}
