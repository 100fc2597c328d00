//! The registration of an application service: a YAML file (application service API, "Registration").

use std::fmt;

use ruma::{OwnedUserId, RoomAliasId, ServerName, UserId};
use serde::Deserialize;
use url::Url;

use super::namespace::{self, Namespace, Namespaces};

/// The largest file, in bytes.
const LARGEST: usize = 256 << 10;
/// The longest id and token, in bytes.
const LONGEST: usize = 255;

/// An application service that the administrator has registered.
#[derive(Clone)]
pub struct Registration {
    /// Its name here.
    pub id: String,
    /// Where it listens; nowhere if absent.
    pub url: Option<Url>,
    /// By which it identifies itself.
    pub as_token: String,
    /// By which this server identifies itself to it.
    pub hs_token: String,
    /// The user that it is when it does not say which.
    pub sender: OwnedUserId,
    /// What it cares for.
    pub namespaces: Namespaces,
    /// Whether its users have the budgets of others. Its sender has none.
    pub rate_limited: bool,
}

/// Why something is no registration: what stands behind "the registration".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistrationError(pub(super) String);

impl fmt::Display for RegistrationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for RegistrationError {}

/// The file. What it says beside this is for other versions of the specification, or for other servers.
#[derive(Deserialize)]
struct File {
    id: String,
    url: Option<String>,
    as_token: String,
    hs_token: String,
    sender_localpart: String,
    namespaces: FileNamespaces,
    rate_limited: Option<bool>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct FileNamespaces {
    users: Option<Vec<FileNamespace>>,
    aliases: Option<Vec<FileNamespace>>,
    rooms: Option<Vec<FileNamespace>>,
}

#[derive(Deserialize)]
struct FileNamespace {
    exclusive: bool,
    regex: String,
}

impl Registration {
    /// Reads one for this server.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str, server_name: &ServerName) -> Result<Self, RegistrationError> {
        if text.len() > LARGEST {
            return Err(RegistrationError("is too large".to_owned()));
        }
        let file: File =
            serde_saphyr::from_str(text).map_err(|error| RegistrationError(format!("can't be read: {error}")))?;
        Self::of(file, server_name).map_err(RegistrationError)
    }

    fn of(file: File, server_name: &ServerName) -> Result<Self, String> {
        for (name, value) in [("id", &file.id), ("as_token", &file.as_token), ("hs_token", &file.hs_token)] {
            if value.is_empty() || value.len() > LONGEST {
                return Err(format!("must have an `{name}` of 1 to {LONGEST} bytes"));
            }
        }
        let sender = format!("@{}:{server_name}", file.sender_localpart);
        let sender = UserId::parse(&sender).ok().filter(|user_id| user_id.validate_historical().is_ok());
        let is_web = |url: &Url| matches!(url.scheme(), "http" | "https");
        let url = match file.url.filter(|url| !url.is_empty()) {
            Some(url) => Some(Url::parse(&url).ok().filter(is_web).ok_or("has a `url` that is none")?),
            None => None,
        };
        Ok(Self {
            id: file.id,
            url,
            as_token: file.as_token,
            hs_token: file.hs_token,
            sender: sender.ok_or("has a `sender_localpart` that is none")?,
            namespaces: Namespaces {
                users: namespaces("users", file.namespaces.users)?,
                aliases: namespaces("aliases", file.namespaces.aliases)?,
                rooms: namespaces("rooms", file.namespaces.rooms)?,
            },
            rate_limited: file.rate_limited.unwrap_or(true),
        })
    }

    /// Whether it may act as this user: its sender, or one of this server in its namespaces.
    pub fn has_user(&self, user_id: &UserId) -> bool {
        let is_local = user_id.server_name() == self.sender.server_name();
        *user_id == *self.sender || (is_local && namespace::any(&self.namespaces.users, user_id.as_str(), false))
    }

    /// Whether nobody else makes this user.
    pub fn has_user_alone(&self, user_id: &UserId) -> bool {
        *user_id == *self.sender || namespace::any(&self.namespaces.users, user_id.as_str(), true)
    }

    /// Whether it may name rooms so.
    pub fn has_alias(&self, alias: &RoomAliasId) -> bool {
        namespace::any(&self.namespaces.aliases, alias.as_str(), false)
    }

    /// Whether nobody else names rooms so.
    pub fn has_alias_alone(&self, alias: &RoomAliasId) -> bool {
        namespace::any(&self.namespaces.aliases, alias.as_str(), true)
    }
}

fn namespaces(kind: &str, typed: Option<Vec<FileNamespace>>) -> Result<Vec<Namespace>, String> {
    let read = |typed: FileNamespace| {
        Namespace::new(typed.exclusive, &typed.regex)
            .map_err(|error| format!("has a `regex` among the {kind} that is none: {error}"))
    };
    let namespaces: Vec<_> = typed.unwrap_or_default().into_iter().map(read).collect::<Result<_, _>>()?;
    namespace::check_count(&namespaces)?;
    Ok(namespaces)
}

impl fmt::Debug for Registration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not its tokens.
        write!(f, "Registration({} as {})", self.id, self.sender)
    }
}

/// It is told by its id.
impl PartialEq for Registration {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for Registration {}

#[cfg(test)]
mod tests {
    use ruma::{room_alias_id, server_name, user_id};

    use super::*;

    /// The example of the specification, with comments and what other servers want.
    const IRC: &str = r##"
id: "IRC Bridge"   # a name
url: "http://127.0.0.1:1234"
as_token: "30c05ae90a248a4188e620216fa72e349803310ec83e2a77b34fe90be6081f46"
hs_token: "312df522183efd404ec1cd22d2ffa4bbc76a8c1ccf541dd692eef281356bb74e"
sender_localpart: "_irc_bot"
de.sorunome.msc2409.push_ephemeral: true
namespaces:
  users:
    - exclusive: true
      regex: "@_irc_bridge_.*"
  aliases:
    - exclusive: false
      regex: "#_irc_bridge_.*"
  rooms: []
"##;

    fn parse(text: &str) -> Result<Registration, RegistrationError> {
        Registration::parse(text, server_name!("a.b"))
    }

    #[test]
    fn what_is_its_own() {
        let irc = parse(IRC).unwrap();
        assert_eq!((&*irc.id, irc.sender.as_str(), irc.rate_limited), ("IRC Bridge", "@_irc_bot:a.b", true));
        assert!(irc.has_user(user_id!("@_irc_bridge_bob:a.b")) && irc.has_user_alone(user_id!("@_irc_bot:a.b")));
        assert!(!irc.has_user(user_id!("@_irc_bridge_bob:c.d")), "a user of another server");
        assert!(!irc.has_user(user_id!("@bob:a.b")) && !irc.has_user_alone(user_id!("@bob:a.b")));
        let alias = room_alias_id!("#_irc_bridge_den:a.b");
        assert!(irc.has_alias(alias) && !irc.has_alias_alone(alias));
        assert!(!format!("{irc:?}").contains("30c05"), "tokens are not shown");
    }

    #[test]
    fn what_is_not_one_is_refused_with_the_reason() {
        let refused = |from: &str, to: &str| {
            assert!(IRC.contains(from));
            parse(&IRC.replace(from, to)).unwrap_err().to_string()
        };
        assert!(refused("sender_localpart", "sender").contains("sender_localpart"));
        assert!(refused("_irc_bot", "not: one").contains("`sender_localpart`"));
        assert!(refused("http://127", "ftp://127").contains("`url`"));
        assert!(refused("\"IRC Bridge\"", "\"\"").contains("`id`"));
        assert!(refused("#_irc_bridge_.*", "#(").contains("among the aliases"));
        assert!(refused("exclusive: true", "exclusive: perhaps").contains("can't be read"));
        assert!(parse("[1, 2]").is_err() && parse("").is_err() && parse(&" ".repeat(LARGEST + 1)).is_err());
        assert!(parse(&format!("a: &a [x,x]\nb: &b [*a,*a]\n{IRC}")).is_ok(), "what it says beside does not matter");
        assert_eq!(parse(&IRC.replace("url: \"http://127.0.0.1:1234\"", "url: null")).unwrap().url, None);
    }
}
