//! All application services of this server.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use arc_swap::ArcSwap;
use ruma::{RoomAliasId, UserId};

use super::registration::{Registration, RegistrationError};

/// Application services, each told from all others.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    all: Vec<Arc<Registration>>,
    /// By the hash of their tokens, so that looking says nothing about how much of a guess was right.
    by_token: HashMap<[u8; 32], Arc<Registration>>,
}

impl Registry {
    /// Of these.
    ///
    /// # Errors
    /// When two of them are the same in what tells them apart.
    pub fn new(registrations: impl IntoIterator<Item = Registration>) -> Result<Self, RegistrationError> {
        let (mut registry, mut seen) = (Self::default(), BTreeMap::new());
        for registration in registrations {
            for (what, value) in [
                ("id", registration.id.as_str()),
                ("as_token", &registration.as_token),
                ("hs_token", &registration.hs_token),
                ("sender_localpart", registration.sender.as_str()),
            ] {
                if let Some(other) = seen.insert((what, value.to_owned()), registration.id.clone()) {
                    let text = format!("`{}` has the same `{what}` as `{other}`", registration.id);
                    return Err(RegistrationError(text));
                }
            }
            let registration = Arc::new(registration);
            registry.by_token.insert(hash(&registration.as_token), Arc::clone(&registration));
            registry.all.push(registration);
        }
        Ok(registry)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }
}

fn hash(token: &str) -> [u8; 32] {
    blake3::hash(token.as_bytes()).into()
}

/// The application services of a running server. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Appservices(Arc<ArcSwap<Registry>>);

impl Appservices {
    /// To begin with, these.
    pub fn new(registry: Registry) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(registry)))
    }

    /// From now on, these.
    pub fn replace(&self, registry: Registry) {
        self.0.store(Arc::new(registry));
    }

    /// The one that this is the token of.
    pub fn by_token(&self, token: &str) -> Option<Arc<Registration>> {
        let registry = self.0.load();
        if registry.is_empty() { None } else { registry.by_token.get(&hash(token)).cloned() }
    }

    /// Whether nobody but an application service, and not this one, makes this user.
    pub fn keep_user(&self, user_id: &UserId, from: Option<&Registration>) -> bool {
        self.0.load().all.iter().any(|one| Some(&**one) != from && one.has_user_alone(user_id))
    }

    /// Whether nobody but an application service, and not this one, names rooms so.
    pub fn keep_alias(&self, alias: &RoomAliasId, from: Option<&Registration>) -> bool {
        self.0.load().all.iter().any(|one| Some(&**one) != from && one.has_alias_alone(alias))
    }
}

#[cfg(test)]
mod tests {
    use ruma::{room_alias_id, server_name, user_id};

    use super::*;

    fn registration(id: &str, as_token: &str, hs_token: &str, sender: &str) -> Registration {
        let text = format!(
            "{{id: {id}, url: null, as_token: {as_token}, hs_token: {hs_token}, sender_localpart: {sender}, namespaces: \
             {{users: [{{exclusive: true, regex: '@{id}_'}}], aliases: [{{exclusive: true, regex: '#{id}_'}}]}}}}"
        );
        Registration::parse(&text, server_name!("a.b")).unwrap()
    }

    #[test]
    fn each_is_told_from_all_others() {
        let irc = || registration("irc", "ta", "th", "bot");
        for (other, what) in [
            (registration("irc", "ua", "uh", "tob"), "`id`"),
            (registration("xmpp", "ta", "uh", "tob"), "`as_token`"),
            (registration("xmpp", "ua", "th", "tob"), "`hs_token`"),
            (registration("xmpp", "ua", "uh", "bot"), "`sender_localpart`"),
        ] {
            assert!(Registry::new([irc(), other]).unwrap_err().to_string().contains(what));
        }
        let all = Appservices::new(Registry::new([irc(), registration("xmpp", "ua", "uh", "tob")]).unwrap());
        let irc = all.by_token("ta").unwrap();
        assert_eq!(irc.id, "irc");
        assert!(all.by_token("th").is_none() && all.by_token("").is_none());
        let (own, other) = (user_id!("@irc_bob:a.b"), user_id!("@xmpp_bob:a.b"));
        assert!(!all.keep_user(own, Some(&irc)) && all.keep_user(own, None) && all.keep_user(other, Some(&irc)));
        assert!(all.keep_user(user_id!("@bot:a.b"), None) && !all.keep_user(user_id!("@bob:a.b"), None));
        let alias = room_alias_id!("#irc_den:a.b");
        assert!(!all.keep_alias(alias, Some(&irc)) && all.keep_alias(alias, None));
        all.replace(Registry::default());
        assert!(all.by_token("ta").is_none() && !all.keep_user(own, None));
    }
}
