//! The beginning of a session: what the server offers and the client takes (P-My2), without the credentials.
//! <https://mariadb.com/docs/server/reference/clientserver-protocol/1-connecting/connection>

use super::fields::{Fields, text};

const LONG_PASSWORD: u32 = 1;
const CONNECT_WITH_DB: u32 = 1 << 3;
const COMPRESS: u32 = 1 << 5;
const PROTOCOL_41: u32 = 1 << 9;
const SSL: u32 = 1 << 11;
const SECURE_CONNECTION: u32 = 1 << 15;
const PLUGIN_AUTH: u32 = 1 << 19;
const CONNECT_ATTRIBUTES: u32 = 1 << 20;
const LENGTH_OF_AUTH: u32 = 1 << 21;
const SESSION_TRACK: u32 = 1 << 23;
const DEPRECATE_EOF: u32 = 1 << 24;
const OPTIONAL_METADATA: u32 = 1 << 25;
const ZSTD: u32 = 1 << 26;
const QUERY_ATTRIBUTES: u32 = 1 << 27;
/// Of MariaDB, in a word of their own.
const EXTENDED_METADATA: u32 = 1 << 3;
const CACHE_METADATA: u32 = 1 << 4;
/// Length of a request for TLS.
const SSL_REQUEST_BYTES: u64 = 32;

/// Capabilities of one end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Offer {
    flags: u32,
    mariadb: u32,
}

/// What both ends can; `None` where the beginning of the session was not seen.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Agreed {
    pub(super) query_attributes: Option<bool>,
    pub(super) session_track: Option<bool>,
    /// Definitions do not end in a packet of their own. Seen in replies, where the beginning was not.
    pub(super) deprecate_eof: Option<bool>,
    /// MySQL can leave out definitions of columns; a flag before their count says so.
    pub(super) optional_metadata: bool,
    /// MariaDB can leave out those that the client knows; a flag after their count says so.
    pub(super) cache_metadata: Option<bool>,
    pub(super) extended_metadata: Option<bool>,
    pub(super) is_compressed: bool,
}

impl Agreed {
    fn new(server: Offer, client: Offer) -> Self {
        let has = |flag| server.flags & client.flags & flag != 0;
        let has_mariadb = |flag| server.mariadb & client.mariadb & flag != 0;
        Self {
            query_attributes: Some(has(QUERY_ATTRIBUTES)),
            session_track: Some(has(SESSION_TRACK)),
            deprecate_eof: Some(has(DEPRECATE_EOF)),
            optional_metadata: has(OPTIONAL_METADATA),
            cache_metadata: Some(has_mariadb(CACHE_METADATA)),
            extended_metadata: Some(has_mariadb(EXTENDED_METADATA)),
            is_compressed: has(COMPRESS) || has(ZSTD),
        }
    }
}

/// Version 10 of the greeting; `None` if it is none.
pub(super) fn greeting(payload: &[u8]) -> Option<Offer> {
    let mut fields = Fields(payload);
    if fields.byte()? != 10 {
        return None;
    }
    fields.text();
    // Id of the thread, first part of the challenge, filler.
    fields.bytes(4 + 8 + 1)?;
    let low = fields.int16()?;
    let mut offer = Offer {
        flags: low.into(),
        mariadb: 0,
    };
    if fields.0.is_empty() {
        return Some(offer);
    }
    // Character set, status.
    fields.bytes(1 + 2)?;
    offer.flags |= u32::from(fields.int16()?) << 16;
    fields.bytes(1 + 6)?;
    let extension = fields.int32()?;
    if offer.flags & LONG_PASSWORD == 0 {
        offer.mariadb = extension;
    }
    Some(offer)
}

/// What the client answers to the greeting.
#[derive(Debug)]
pub(super) enum Login {
    /// Asks for TLS; the answer proper follows inside of it.
    Tls,
    /// Logs in.
    User(User),
    /// Of a version before 4.1.
    Old,
}

/// Who logs in, and to what.
#[derive(Debug, Default)]
pub(super) struct User {
    pub(super) name: String,
    pub(super) database: Option<String>,
    /// Name of the program.
    pub(super) client: Option<String>,
    pub(super) agreed: Agreed,
}

/// An answer, of which `payload` was kept out of `length` bytes.
pub(super) fn login(payload: &[u8], length: u64, server: Offer) -> Option<Login> {
    let mut fields = Fields(payload);
    let flags = fields.int32()?;
    if flags & PROTOCOL_41 == 0 {
        return Some(Login::Old);
    }
    // Longest packet, character set, filler.
    fields.bytes(4 + 1 + 19)?;
    let extension = fields.int32()?;
    let mariadb = if flags & LONG_PASSWORD == 0 { extension } else { 0 };
    if flags & SSL != 0 && length == SSL_REQUEST_BYTES {
        return Some(Login::Tls);
    }
    let mut user = User {
        name: text(fields.text()),
        agreed: Agreed::new(server, Offer { flags, mariadb }),
        ..User::default()
    };
    let has = |flag| flags & flag != 0;
    // Past the credential; what follows is not needed to go on.
    _ = rest(&mut fields, &mut user, has);
    Some(Login::User(user))
}

fn rest(fields: &mut Fields<'_>, user: &mut User, has: impl Fn(u32) -> bool) -> Option<()> {
    if has(LENGTH_OF_AUTH) {
        fields.string()?;
    } else if has(SECURE_CONNECTION) {
        let length = fields.byte()?;
        fields.bytes(length.into())?;
    } else {
        fields.text();
    }
    if has(CONNECT_WITH_DB) {
        user.database = Some(text(fields.text())).filter(|name| !name.is_empty());
    }
    if has(PLUGIN_AUTH) {
        fields.text();
    }
    if has(CONNECT_ATTRIBUTES) {
        let length = usize::try_from(fields.number()?).ok()?;
        let mut attributes = Fields(fields.up_to(length));
        while let (Some(name), Some(value)) = (attributes.string(), attributes.string()) {
            match name {
                b"program_name" => user.client = Some(text(value)),
                b"_client_name" => {
                    user.client.get_or_insert_with(|| text(value));
                }
                _ => {}
            }
        }
    }
    Some(())
}

/// User and database of `COM_CHANGE_USER`, its first byte left out. The database is `None` where it cannot be told.
pub(super) fn change_user(payload: &[u8]) -> (String, Option<String>) {
    let mut fields = Fields(payload);
    let name = text(fields.text());
    // All that speak version 4.1 with this command send the length of the credential.
    let database = fields.byte().and_then(|length| {
        fields.bytes(length.into())?;
        Some(text(fields.text()))
    });
    (name, database.filter(|name| !name.is_empty()))
}
