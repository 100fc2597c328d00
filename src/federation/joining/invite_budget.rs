//! How often users are invited by other servers.

use std::time::Duration;

use ruma::{ServerName, UserId};

use crate::base::budget::{Budget, Budgets};

/// How often one server invites one user: 50 at once, then one in 20 s.
const OF_SERVER: Budget = Budget { per_second: 0.05, burst: 50 };
/// How often all servers together invite one user: whoever has many names is still one. 200 at once, then one in 5 s.
const OF_ALL: Budget = Budget { per_second: 0.2, burst: 200 };

/// The budgets of those who invite.
#[derive(Debug)]
pub(super) struct InviteBudgets {
    of_server: Option<Budgets>,
    of_all: Option<Budgets>,
}

impl InviteBudgets {
    pub(super) fn new() -> Self {
        Self { of_server: Budgets::new(OF_SERVER), of_all: Budgets::new(OF_ALL) }
    }

    /// Takes an invite of this server to this user from the budgets, or says how long to wait.
    pub(super) fn take(&self, server: &ServerName, invitee: &UserId) -> Result<(), Duration> {
        if let Some(budgets) = &self.of_server {
            budgets.take(&(server, invitee))?;
        }
        self.of_all.as_ref().map_or(Ok(()), |budgets| budgets.take(invitee))
    }
}
