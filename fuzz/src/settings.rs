//! Settings out of the first bytes of an input.

use rgunicorn_http::{HeaderMap, Options};

use crate::support::Feed;

/// The settings that the first three bytes stand for, and the rest. All zeros: the defaults, with the peer's end closed.
pub fn take(data: &[u8]) -> Option<(Feed, &[u8])> {
    let (&[doors, more, limits], input) = data.split_first_chunk()?;
    let limit = |shift: u8, default: usize| match limits >> shift & 3 {
        0 => default,
        1 => 0,
        2 => 5,
        _ => 40,
    };
    let mut options = Options::new(limit(0, 4094), limit(2, 100), limit(4, 8190));
    let door = |bit: u8| doors >> bit & 1 == 1;
    options.permit_obsolete_folding = door(0);
    options.strip_header_spaces = door(1);
    options.permit_unconventional_http_method = door(2);
    options.permit_unconventional_http_version = door(3);
    options.casefold_http_method = door(4);
    options.require_host = door(5);
    options.header_map =
        [HeaderMap::Drop, HeaderMap::Refuse, HeaderMap::Dangerous, HeaderMap::Drop][usize::from(more & 3)];
    if more & 4 != 0 {
        options.forwarder_headers = vec!["*".to_owned()];
    }
    Some((Feed { options, trusted: door(6), eof: !door(7), ..Feed::default() }, input))
}
