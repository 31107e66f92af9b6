//! Whatever the bytes and however they are cut: the same events, in bounds, and nothing after an error.

use proptest::collection::vec;
use proptest::prelude::*;

use crate::generate::{cuts, hostile, options, pieces, valid};
use crate::support::{End, Feed, Request};

/// `PROPTEST_CASES` asks for more.
pub fn config() -> ProptestConfig {
    let default = ProptestConfig::default();
    ProptestConfig { cases: default.cases.max(1024), failure_persistence: None, ..default }
}

proptest! {
    #![proptest_config(config())]

    /// Valid requests one after the other come out as they were made up, cut anywhere.
    #[test]
    fn valid_requests_are_understood(made in vec(valid(), 1..4), cuts in cuts()) {
        let (bytes, requests): (Vec<Vec<u8>>, Vec<Request>) = made.into_iter().unzip();
        let input = bytes.concat();
        let feed = Feed { eof: true, ..Feed::default() };
        let transcript = feed.run(pieces(&input, &cuts));
        prop_assert_eq!(&transcript.requests, &requests);
        prop_assert_eq!(&transcript.end, &End::Closed);
        prop_assert_eq!(transcript.consumed, input.len());
        prop_assert_eq!(&feed.bytewise(&input), &transcript);
    }

    /// Anything at all, under any settings. The rules that `Feed` holds the decoder to are part of this.
    #[test]
    fn cuts_change_nothing(input in hostile(), (options, trusted) in options(), eof: bool, cuts in cuts()) {
        let mut feed = Feed { options, trusted, eof, ..Feed::default() };
        let whole = feed.whole(&input);
        prop_assert_eq!(&feed.run(pieces(&input, &cuts)), &whole);
        feed.idle = true;
        prop_assert_eq!(&feed.run(pieces(&input, &cuts)), &whole);
        prop_assert_eq!(&feed.bytewise(&input), &whole);
    }

    /// What is accepted with all doors closed means the same with default limits and any doors open: a setting lets more
    /// in, it changes nothing else.
    #[test]
    fn open_doors_change_no_request_that_passes_closed_ones(input in hostile(), (mut options, trusted) in options()) {
        use rgunicorn_http::{HeaderMap, Options};
        let strict = Feed { options: Options { header_map: HeaderMap::Refuse, ..Options::default() }, ..Feed::default() };
        let closed = strict.whole(&input);
        let limits = Options::default();
        options.limit_request_line = limits.limit_request_line;
        options.limit_request_fields = limits.limit_request_fields;
        options.limit_request_field_size = limits.limit_request_field_size;
        options.require_host = false;
        if !matches!(closed.end, End::Failed { .. }) {
            prop_assert_eq!(Feed { options, trusted, ..Feed::default() }.whole(&input), closed);
        }
    }
}
