//! The field names that requests commonly have, and a table that finds them.

use crate::bytes::same_token;

/// A well-known field name, or [`Name::Other`]. Its number is an index for tables of whoever has some: interned
/// strings, environ keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
#[allow(missing_docs, reason = "each is the name that it says")]
pub enum Name {
    /// None of the others.
    #[default]
    Other,
    Host,
    ContentLength,
    ContentType,
    TransferEncoding,
    Connection,
    Expect,
    Upgrade,
    Te,
    Trailer,
    Authorization,
    Accept,
    AcceptCharset,
    AcceptEncoding,
    AcceptLanguage,
    CacheControl,
    ContentEncoding,
    ContentLanguage,
    Cookie,
    Date,
    Dnt,
    Forwarded,
    IfMatch,
    IfModifiedSince,
    IfNoneMatch,
    IfRange,
    IfUnmodifiedSince,
    KeepAlive,
    MaxForwards,
    Origin,
    Pragma,
    Priority,
    ProxyConnection,
    Range,
    Referer,
    SecChUa,
    SecChUaMobile,
    SecChUaPlatform,
    SecFetchDest,
    SecFetchMode,
    SecFetchSite,
    SecFetchUser,
    SecGpc,
    SecWebsocketExtensions,
    SecWebsocketKey,
    SecWebsocketProtocol,
    SecWebsocketVersion,
    Traceparent,
    Tracestate,
    UpgradeInsecureRequests,
    UserAgent,
    Via,
    XApiKey,
    XCsrfToken,
    XCsrftoken,
    XForwardedFor,
    XForwardedHost,
    XForwardedPort,
    XForwardedPrefix,
    XForwardedProto,
    XForwardedProtocol,
    XForwardedSsl,
    XRealIp,
    XRequestId,
    XRequestedWith,
}

/// In the order of the enum; the first stands for no name.
const NAMES: [(Name, &str); Name::COUNT] = [
    (Name::Other, ""),
    (Name::Host, "host"),
    (Name::ContentLength, "content-length"),
    (Name::ContentType, "content-type"),
    (Name::TransferEncoding, "transfer-encoding"),
    (Name::Connection, "connection"),
    (Name::Expect, "expect"),
    (Name::Upgrade, "upgrade"),
    (Name::Te, "te"),
    (Name::Trailer, "trailer"),
    (Name::Authorization, "authorization"),
    (Name::Accept, "accept"),
    (Name::AcceptCharset, "accept-charset"),
    (Name::AcceptEncoding, "accept-encoding"),
    (Name::AcceptLanguage, "accept-language"),
    (Name::CacheControl, "cache-control"),
    (Name::ContentEncoding, "content-encoding"),
    (Name::ContentLanguage, "content-language"),
    (Name::Cookie, "cookie"),
    (Name::Date, "date"),
    (Name::Dnt, "dnt"),
    (Name::Forwarded, "forwarded"),
    (Name::IfMatch, "if-match"),
    (Name::IfModifiedSince, "if-modified-since"),
    (Name::IfNoneMatch, "if-none-match"),
    (Name::IfRange, "if-range"),
    (Name::IfUnmodifiedSince, "if-unmodified-since"),
    (Name::KeepAlive, "keep-alive"),
    (Name::MaxForwards, "max-forwards"),
    (Name::Origin, "origin"),
    (Name::Pragma, "pragma"),
    (Name::Priority, "priority"),
    (Name::ProxyConnection, "proxy-connection"),
    (Name::Range, "range"),
    (Name::Referer, "referer"),
    (Name::SecChUa, "sec-ch-ua"),
    (Name::SecChUaMobile, "sec-ch-ua-mobile"),
    (Name::SecChUaPlatform, "sec-ch-ua-platform"),
    (Name::SecFetchDest, "sec-fetch-dest"),
    (Name::SecFetchMode, "sec-fetch-mode"),
    (Name::SecFetchSite, "sec-fetch-site"),
    (Name::SecFetchUser, "sec-fetch-user"),
    (Name::SecGpc, "sec-gpc"),
    (Name::SecWebsocketExtensions, "sec-websocket-extensions"),
    (Name::SecWebsocketKey, "sec-websocket-key"),
    (Name::SecWebsocketProtocol, "sec-websocket-protocol"),
    (Name::SecWebsocketVersion, "sec-websocket-version"),
    (Name::Traceparent, "traceparent"),
    (Name::Tracestate, "tracestate"),
    (Name::UpgradeInsecureRequests, "upgrade-insecure-requests"),
    (Name::UserAgent, "user-agent"),
    (Name::Via, "via"),
    (Name::XApiKey, "x-api-key"),
    (Name::XCsrfToken, "x-csrf-token"),
    (Name::XCsrftoken, "x-csrftoken"),
    (Name::XForwardedFor, "x-forwarded-for"),
    (Name::XForwardedHost, "x-forwarded-host"),
    (Name::XForwardedPort, "x-forwarded-port"),
    (Name::XForwardedPrefix, "x-forwarded-prefix"),
    (Name::XForwardedProto, "x-forwarded-proto"),
    (Name::XForwardedProtocol, "x-forwarded-protocol"),
    (Name::XForwardedSsl, "x-forwarded-ssl"),
    (Name::XRealIp, "x-real-ip"),
    (Name::XRequestId, "x-request-id"),
    (Name::XRequestedWith, "x-requested-with"),
];

/// Indexes into `NAMES` by hash; 0 where there is no name.
const BY_HASH: [u8; 256] = {
    let mut table = [0; 256];
    let mut index = 1;
    while index < NAMES.len() {
        let hash = hash(NAMES[index].1.as_bytes());
        // No two share a place: the factors in `hash` were searched for until that was so.
        assert!(table[hash] == 0);
        table[hash] = index as u8;
        index += 1;
    }
    table
};

/// Of a name of at least two bytes, in whatever case.
const fn hash(name: &[u8]) -> usize {
    let length = name.len();
    let (first, middle, late) = (name[0] | 0x20, name[length / 2] | 0x20, name[length - 2] | 0x20);
    (length * 126 + first as usize * 225 + late as usize * 88 + middle as usize * 234) & 0xff
}

impl Name {
    /// How many there are, `Other` included.
    pub const COUNT: usize = 65;

    /// All of them, by number.
    pub fn all() -> impl Iterator<Item = Name> {
        NAMES.iter().map(|&(name, _)| name)
    }

    /// The name in lower case; empty for `Other`.
    pub fn as_str(self) -> &'static str {
        NAMES[self as usize].1
    }

    pub(crate) fn of(name: &[u8]) -> Name {
        if name.len() < 2 {
            return Name::Other;
        }
        let (found, text) = NAMES[BY_HASH[hash(name)] as usize];
        if same_token(name, text.as_bytes()) { found } else { Name::Other }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_found_in_any_case_and_is_at_its_place() {
        for (index, name) in Name::all().enumerate() {
            assert_eq!(index, name as usize);
            for text in [name.as_str().to_owned(), name.as_str().to_uppercase()] {
                assert_eq!(Name::of(text.as_bytes()), name, "{text}");
            }
        }
    }

    #[test]
    fn other_names_are_other() {
        for text in ["", "x", "hos", "hosts", "content_length", "content-lengtH2", "transfer-encodinh", "\u{df}\u{df}"]
        {
            assert_eq!(Name::of(text.as_bytes()), Name::Other, "{text}");
        }
    }
}
