//! The configuration as a whole: the example file is true, and errors say what to do.

use std::{collections::BTreeSet, fs, net::IpAddr, time::Duration};

use super::{
    setting::{Presence, variable},
    typed::all,
    value::Value,
    *,
};

const NAME: &str = "[server]\nname = \"example.org\"\n";

fn read(text: &str) -> Result<Config, ConfigError> {
    Config::read(text, [])
}

/// What is wrong with a text, without the heading.
fn problems(text: &str, environment: &[(&str, &str)]) -> Vec<String> {
    let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    match Config::read(text, environment) {
        Ok(_) => Vec::new(),
        Err(ConfigError::Wrong(problems)) => problems.iter().map(ToString::to_string).collect(),
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn the_example_file_is_true() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/config.example.toml");
    let file = fs::read_to_string(path).unwrap_or_default();
    assert!(file == example(), "config.example.toml is old: `cargo run -- config example > config.example.toml`");
    read(&file).unwrap();
}

#[test]
fn the_example_file_holds_when_nothing_is_commented_out() {
    let uncommented: Vec<_> = example()
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(rest) if !rest.is_empty() && !rest.starts_with(' ') => rest.to_owned(),
            _ => line.to_owned(),
        })
        // One of the two ways to give a secret; the file does not exist here.
        .filter(|line| !line.starts_with("shared_secret_file"))
        .collect();
    let config = read(&uncommented.join("\n")).unwrap();
    assert_eq!(config.registration.shared_secret.unwrap().reveal(), "a long random text");
    assert!(config.tls.is_some());
}

#[test]
fn every_default_and_example_is_allowed() {
    let mut variables = BTreeSet::new();
    for (section, setting) in all(SECTIONS) {
        let (Presence::Default(text) | Presence::Required(text) | Presence::Optional(text)) = setting.presence();
        let path = format!("{}.{}", section.name, setting.key());
        assert!(setting.accepts(&Value::from_toml_text(text).unwrap()), "{path} = {text}");
        assert!(setting.about().ends_with('.'), "{path}");
        assert!(!setting.allowed().ends_with('.'), "{path}");
        assert!(variables.insert(variable(section.name, setting.key())), "{path} shares its variable with another");
    }
}

#[test]
fn defaults_hold() {
    let config = read(NAME).unwrap();
    assert_eq!(config.server.name, "example.org");
    assert_eq!(config.listeners.client, ["127.0.0.1:8008".parse().unwrap()]);
    assert_eq!(config.database, Database { durability: Durability::Fsync, cache: 256 << 20 });
    assert_eq!(config.registration.mode, RegistrationMode::Token);
    assert_eq!(config.rate_limits.login, Rate { per_second: 0.5, burst: 20 });
    assert_eq!(config.sessions.access_token_lifetime, Duration::from_hours(1));
    assert_eq!(config.rooms.default_version.as_str(), "12");
    assert!(config.listeners.trusted_proxies.iter().any(|network| network.contains(IpAddr::from([127, 0, 0, 1]))));
    assert!(config.tls.is_none() && config.listeners.metrics.is_none() && config.server.public_base_url.is_none());
}

#[test]
fn the_environment_overrides_the_file() {
    let environment = [
        ("MYELIN_SERVER_NAME", "other.example"),
        ("MYELIN_LISTENERS_CLIENT", "0.0.0.0:80,[::]:80"),
        ("MYELIN_RATE_LIMITS_ENABLED", "false"),
        ("MYELIN_CONFIG", "/etc/myelin.toml"),
        ("MYELIN_SERVICE_HOST", "made by Kubernetes"),
        ("HOME", "/"),
    ];
    let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let config = Config::read(NAME, environment).unwrap();
    assert_eq!(config.server.name, "other.example");
    assert_eq!(config.listeners.client.len(), 2);
    assert!(!config.rate_limits.enabled);
}

#[test]
fn unknown_keys_are_refused_with_a_hint() {
    assert_eq!(
        problems("[server]\nname = \"a.b\"\n\n[limits]\nsync_timout = \"1m\"\n", &[]),
        ["line 5: unknown key `limits.sync_timout`; did you mean `limits.sync_timeout`?"]
    );
    assert_eq!(
        problems("[sever]\nname = \"a.b\"\n", &[("MYELIN_SERVER_NAME", "a.b")]),
        ["line 1: unknown key `sever`; did you mean `server`?"]
    );
    assert_eq!(
        problems("[server]\nname = \"a.b\"\nguests = true\n", &[]),
        ["line 3: unknown key `server.guests`; did you mean `registration.guests`?"]
    );
    assert_eq!(
        problems("[server]\nname = \"a.b\"\ncolour = 1\n", &[]),
        ["line 3: unknown key `server.colour`; known are: `name`, `data`, `public_base_url`"]
    );
    assert_eq!(
        problems(NAME, &[("MYELIN_SERVER_DATTA", "x")]),
        [
            "environment variable MYELIN_SERVER_DATTA: unknown key `MYELIN_SERVER_DATTA`; did you mean `MYELIN_SERVER_DATA`?"
        ]
    );
}

#[test]
fn bad_values_are_refused_with_what_is_allowed() {
    assert_eq!(
        problems("[server]\nname = 5\n[database]\ndurability = \"none\"\n", &[]),
        [
            "line 2: `server.name` is 5, which is not allowed; allowed: a host name or an IP address, with or without a port",
            "line 4: `database.durability` is \"none\", which is not allowed; allowed: \"fsync\" or \"os\"",
        ],
        "all of them at once"
    );
    assert_eq!(
        problems(NAME, &[("MYELIN_LOG_LEVEL", "loud")]),
        ["environment variable MYELIN_LOG_LEVEL: `log.level` is \"loud\", which is not allowed; allowed: \"off\", \
          \"error\", \"warn\", \"info\", \"debug\" or \"trace\", or a list such as \"info,myelin::store=debug\""]
    );
    assert_eq!(
        problems("server = 1", &[("MYELIN_SERVER_NAME", "a.b")]),
        ["line 1: `server` is 1, which is not allowed; allowed: a section `[server]`"]
    );
    let problem = problems("[server]\nname = \n", &[]);
    assert!(problem.first().is_some_and(|problem| problem.starts_with("line 2: this is not TOML: ")), "{problem:?}");
}

#[test]
fn what_must_be_set_is_asked_for() {
    assert_eq!(
        problems("", &[]),
        ["`server.name` must be set to a host name or an IP address, with or without a port, for example `name = \
          \"example.org\"`; MYELIN_SERVER_NAME in the environment does it too"]
    );
    assert_eq!(
        problems(&format!("{NAME}[tls]\nkey = \"k.pem\"\n"), &[]),
        ["`tls.key` is set, so `tls.certificate` must be set too"]
    );
    let for_servers_only = format!("{NAME}[tls]\ncertificate = \"c.pem\"\nkey = \"k.pem\"\nclient = false\n");
    assert_eq!(
        problems(&for_servers_only, &[]),
        ["`tls.client` is false, so `listeners.federation` must be set: only there the certificate would be used"]
    );
    let config = read(&format!("{for_servers_only}[listeners]\nfederation = [\"[::]:8448\"]\n")).unwrap();
    assert!(!config.tls.unwrap().client);
}

#[test]
fn secrets_are_hidden_and_may_be_in_files() {
    let short = problems(&format!("{NAME}[registration]\nshared_secret = \"hunter2\"\n"), &[]);
    assert_eq!(
        short,
        ["line 4: `registration.shared_secret` is (hidden), which is not allowed; allowed: at least 8 characters"]
    );

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret");
    let named = format!("{NAME}[registration]\nshared_secret_file = {path:?}\n");
    assert!(problems(&named, &[]).concat().contains("can't be read"));
    fs::write(&path, "\n").unwrap();
    assert!(problems(&named, &[]).concat().contains("is empty"));
    fs::write(&path, "hunter2\n").unwrap();
    assert!(problems(&named, &[]).concat().contains("less than 8 characters"));
    fs::write(&path, "0123456789abcdef\n").unwrap();
    let config = read(&named).unwrap();
    assert_eq!(config.registration.shared_secret.as_ref().unwrap().reveal(), "0123456789abcdef");
    assert!(!format!("{config:?}").contains("0123456789abcdef"));
    assert!(
        problems(&named, &[("MYELIN_REGISTRATION_SHARED_SECRET", "0123456789abcdef")]).concat().contains("both set")
    );
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let error = Config::load(Some(Path::new("/nowhere/myelin.toml"))).unwrap_err().to_string();
    assert!(error.starts_with("the configuration file /nowhere/myelin.toml can't be read: "), "{error}");
}
