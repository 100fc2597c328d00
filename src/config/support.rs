//! `[support]`: whom to ask for help, as `/.well-known/matrix/support` tells it.

use ruma::{OwnedUserId, UserId};
use url::Url;

use super::{
    problem::Problem,
    server::web_address,
    setting::{Presence, Section, Setting},
    typed::Reader,
    value::Value,
};

/// Whom to ask for help. When nothing is set, `/.well-known/matrix/support` is 404.
#[derive(Clone, Debug)]
pub struct Support {
    /// A page for users in need.
    pub page: Option<Url>,
    /// The e-mail address of who runs this server.
    pub admin_email: Option<String>,
    /// Their Matrix user id.
    pub admin_matrix_id: Option<OwnedUserId>,
    /// The e-mail address for reports of security problems.
    pub security_email: Option<String>,
    /// The Matrix user id for reports of security problems.
    pub security_matrix_id: Option<OwnedUserId>,
}

const fn email(key: &'static str, about: &'static str, example: &'static str) -> Setting<String> {
    let read = |value: &Value| value.text().filter(|text| text.contains('@')).map(str::to_owned);
    let presence = Presence::Optional(example);
    Setting { key, about, allowed: "an e-mail address", presence, secret: false, read }
}

const fn matrix_id(key: &'static str, about: &'static str, example: &'static str) -> Setting<OwnedUserId> {
    let read = |value: &Value| UserId::parse(value.text()?).ok();
    let presence = Presence::Optional(example);
    Setting { key, about, allowed: "a Matrix user id", presence, secret: false, read }
}

static PAGE: Setting<Url> = Setting {
    key: "page",
    about: "A web page where users of this server get help.",
    allowed: "an https:// or http:// address without a query",
    presence: Presence::Optional("\"https://example.org/help\""),
    secret: false,
    read: web_address,
};
static ADMIN_EMAIL: Setting<String> =
    email("admin_email", "The e-mail address of who runs this server.", "\"admin@example.org\"");
static ADMIN_MATRIX_ID: Setting<OwnedUserId> =
    matrix_id("admin_matrix_id", "The Matrix user id of who runs this server.", "\"@admin:example.org\"");
static SECURITY_EMAIL: Setting<String> =
    email("security_email", "The e-mail address for reports of security problems.", "\"security@example.org\"");
static SECURITY_MATRIX_ID: Setting<OwnedUserId> = matrix_id(
    "security_matrix_id",
    "The Matrix user id for reports of security problems.",
    "\"@security:example.org\"",
);

pub(super) static SECTION: Section = Section {
    name: "support",
    about: "Whom to ask for help, as `/.well-known/matrix/support` tells it.",
    settings: &[&PAGE, &ADMIN_EMAIL, &ADMIN_MATRIX_ID, &SECURITY_EMAIL, &SECURITY_MATRIX_ID],
};

impl Support {
    pub(super) fn read(reader: &Reader<'_>) -> Result<Self, Problem> {
        Ok(Self {
            page: reader.find(&PAGE)?,
            admin_email: reader.find(&ADMIN_EMAIL)?,
            admin_matrix_id: reader.find(&ADMIN_MATRIX_ID)?,
            security_email: reader.find(&SECURITY_EMAIL)?,
            security_matrix_id: reader.find(&SECURITY_MATRIX_ID)?,
        })
    }
}
