//! A server that replaces its signing key, as others see it.

use std::{path::Path, sync::Arc, time::Duration};

use http::Method;
use myelin::{
    base::{clock::Clock, random::Random},
    config::Config,
    federation::{Bounds, ClientError, identity, key_ring::Wanted},
    server::{Parts, Server},
    store::{Store, engine::memory::Memory},
};
use ruma::{api::federation::query::get_profile_information::v1 as get_profile, server_name, user_id};

use crate::harness::{Network, START, TestServer};

/// A server `a.b` with the keys of a folder.
fn start(folder: &Path, network: &Network, seed: u64) -> Server {
    let config = Arc::new(Config::read("[server]\nname = \"a.b\"\n", []).unwrap());
    let (clock, random) = (Clock::starting_at(START), Random::seeded(seed));
    let identity = identity::load_or_create(folder, &config.server.name, &random).unwrap();
    let (store, transport) = (Store::open(Memory::new()), Arc::new(network.of(&config.server.name)));
    let server = Server::start(Parts { config: Arc::clone(&config), store, identity, transport, clock, random });
    network.attach(&config.server.name, server.site());
    server
}

#[tokio::test(start_paused = true)]
async fn others_learn_a_new_key_and_go_on_believing_what_the_old_one_signed() {
    let (network, folder) = (Network::default(), tempfile::tempdir().unwrap());
    let peer = TestServer::in_network(&network, "c.d", "[registration]\nmode = \"open\"\n");
    peer.register_user("bob").await;
    let ask = async |server: &Server| {
        let request = get_profile::Request::new(user_id!("@bob:c.d").to_owned());
        server.app().federation.client().request(server_name!("c.d"), request, Bounds::USUAL).await
    };
    let before = start(folder.path(), &network, 1);
    ask(&before).await.unwrap();
    let old_key = identity::load_or_create(folder.path(), server_name!("a.b"), &Random::seeded(1)).unwrap().active;
    before.stop().await;
    let replaced_at = START + 1_000;
    identity::rotate(folder.path(), server_name!("a.b"), &Random::seeded(2), replaced_at).unwrap();
    let after = start(folder.path(), &network, 3);
    let refused = ask(&after).await.unwrap_err();
    assert!(matches!(&refused, ClientError::Refused { code, .. } if code == "M_UNAUTHORIZED"), "asked a moment ago");
    tokio::time::advance(Duration::from_mins(1)).await;
    ask(&after).await.unwrap();
    let wanted = |at| Wanted { server: server_name!("a.b").to_owned(), key_id: old_key.key_id().to_owned(), at };
    let keys = peer.app().federation.keys();
    for (at, is_valid) in [(Some(replaced_at), true), (Some(replaced_at + 1), false), (None, true)] {
        let set = keys.look_up(&[wanted(at)]).await.unwrap().valid_at(at);
        assert_eq!(set["a.b"].contains_key(old_key.key_id()), is_valid, "{at:?}");
    }
    let document = peer.request(Method::GET, "/_matrix/key/v2/query/a.b").send().await.ok();
    let old = &document["server_keys"][0]["old_verify_keys"][old_key.key_id()];
    assert_eq!(old["expired_ts"], replaced_at);
    after.stop().await;
}
