//! `myelin user …`

use std::{error::Error, ops::ControlFlow};

use clap::Subcommand;
use ruma::{OwnedUserId, ServerName, UserId};

use super::{
    Outcome,
    offline::{Data, Expect},
    output::{say, utc},
    password,
};
use crate::{
    config::Config,
    flows::{
        account::set_admin,
        register::{Entitlement, NewAccount, register},
    },
    store::ReadError,
    users::{
        Account, Users, accounts,
        registration::{self, UsernameError},
    },
};

#[derive(Debug, Subcommand)]
pub(super) enum User {
    /// Make an account, also under a name that registration does not give out.
    Create {
        /// The name, or the whole user id.
        name: String,
        /// Make an administrator: they may redact what other users of this server sent, and name and publish any
        /// room. There is no admin API yet.
        #[arg(long)]
        admin: bool,
        /// Before the server's first start: make the data folder if there is none.
        #[arg(long)]
        new: bool,
        /// Read the password from standard input instead of asking for it.
        #[arg(long)]
        password_stdin: bool,
    },
    /// Make an administrator of a user; `create --admin` says what that gives.
    Admin {
        /// The name, or the whole user id.
        name: String,
        /// Make an ordinary user of them again.
        #[arg(long)]
        revoke: bool,
    },
    /// List all accounts.
    List,
}

pub(super) fn run(command: User, config: &Config) -> Outcome {
    match command {
        User::Create { name, admin, new, password_stdin } => {
            let user_id = user_id(&name, &config.server.name)?;
            let data = Data::find(config, if new { Expect::NewOrExisting } else { Expect::Existing })?;
            let password = password::ask(password_stdin)?;
            data.run(async |users| create(&users, user_id, admin, password).await)
        }
        User::Admin { name, revoke } => {
            let user_id = user_id(&name, &config.server.name)?;
            Data::find(config, Expect::Existing)?.run(async |users| promote(&users, user_id, !revoke).await)
        }
        User::List => Data::find(config, Expect::Existing)?.run(async |users| list(&users).await),
    }
}

/// The user id for a name or for a whole user id.
fn user_id(name: &str, server_name: &ServerName) -> Result<OwnedUserId, Box<dyn Error>> {
    let name = match name.strip_prefix('@') {
        None => name,
        Some(_) => {
            let whole = UserId::parse(name)?;
            if whole.server_name() != server_name {
                return Err(format!("{whole} is not a user id of this server, {server_name}").into());
            }
            return Ok(registration::user_id_for(whole.localpart(), server_name)?);
        }
    };
    registration::user_id_for(name, server_name).map_err(|error: UsernameError| format!("{name:?}: {error}").into())
}

/// Makes an account, by decision of whoever can run this.
pub(super) async fn create(users: &Users, user_id: OwnedUserId, admin: bool, password: String) -> Outcome {
    let account = NewAccount {
        user_id: user_id.clone(),
        password_hash: Some(users.hash_password(password).await?),
        admin,
        guest: false,
        displayname: None,
        entitlement: Entitlement::Decision,
        session: None,
    };
    register(users, account).await.map_err(|error| format!("{user_id}: {error}"))?;
    say(&format!("Made {user_id}{}.", if admin { ", an administrator" } else { "" }))?;
    Ok(())
}

/// Makes an administrator of a user, or an ordinary user of an administrator.
pub(super) async fn promote(users: &Users, user_id: OwnedUserId, admin: bool) -> Outcome {
    set_admin(users, user_id.clone(), admin).await.map_err(|error| format!("{user_id}: {error}"))?;
    say(&format!("{user_id} is {} now.", if admin { "an administrator" } else { "an ordinary user" }))?;
    Ok(())
}

async fn list(users: &Users) -> Outcome {
    // Read in whole before anything is printed: a reading closure has no effects.
    let lines = users.read(|view| {
        let mut lines = Vec::new();
        accounts::each(view, |user_id, account| {
            lines.push(describe(&user_id, &account));
            ControlFlow::Continue(())
        })?;
        Ok::<_, ReadError>(lines)
    });
    for line in lines.await? {
        say(&line)?;
    }
    Ok(())
}

/// One line: when it was made, the user id, and what is special.
fn describe(user_id: &UserId, account: &Account) -> String {
    let flags = [
        (account.admin, "administrator"),
        (account.guest, "guest"),
        (account.locked, "locked"),
        (account.suspended, "suspended"),
        (account.deactivated, "deactivated"),
    ];
    let special: Vec<_> = flags.iter().filter(|(is_so, _)| *is_so).map(|(_, name)| *name).collect();
    format!("{}  {user_id}  {}", utc(account.created_at), special.join(" ")).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use ruma::server_name;

    use super::*;

    #[test]
    fn names_and_user_ids_are_taken() {
        let of = |name| user_id(name, server_name!("a.b")).map_err(|error| error.to_string());
        assert_eq!(of("alice").unwrap(), "@alice:a.b");
        assert_eq!(of("@alice:a.b").unwrap(), "@alice:a.b");
        assert_eq!(of("@alice:c.d").unwrap_err(), "@alice:c.d is not a user id of this server, a.b");
        assert_eq!(of("Alice").unwrap(), "@alice:a.b");
        assert_eq!(of("@ALICE:a.b").unwrap(), "@alice:a.b");
        assert!(of("al ice").unwrap_err().starts_with("\"al ice\": a user name must consist of"));
    }
}
