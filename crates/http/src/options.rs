//! What the settings say about requests, with limits already resolved.

/// Gunicorn never lets a request line be longer than this, whatever is asked for.
const MAX_REQUEST_LINE: usize = 8190;
/// "Unlimited" still ends somewhere: what Gunicorn's own parser in C takes for it.
const UNLIMITED_REQUEST_LINE: usize = 1 << 20;
const MAX_FIELDS: usize = 32768;
const DEFAULT_FIELD_SIZE: usize = 8190;

/// How requests are read: the HTTP settings, shared by all connections of a worker.
#[derive(Clone, Debug)]
pub struct Options {
    /// Most bytes of a request line, without its CRLF.
    pub limit_request_line: usize,
    /// Most fields of a head, and of a trailer section. Those that are left out count too (in Gunicorn they don't): the
    /// limit bounds work and memory, whatever becomes of a field.
    pub limit_request_fields: usize,
    /// Most bytes of one field with its CRLF, continuation lines included.
    pub limit_request_field_size: usize,
    /// Accept field values that go on in a line which starts with a blank (RFC 9112, section 5.2).
    pub permit_obsolete_folding: bool,
    /// Accept blanks between a field's name and its colon. A door to smuggling.
    pub strip_header_spaces: bool,
    /// Accept methods with lower case letters or `#`, or of an unusual length.
    pub permit_unconventional_http_method: bool,
    /// Accept versions outside of 1.0 to 1.9.
    pub permit_unconventional_http_version: bool,
    /// Turn the method into upper case.
    pub casefold_http_method: bool,
    /// What becomes of fields that have an underscore in their name.
    pub header_map: HeaderMap,
    /// Refuse an HTTP/1.1 request without a Host, as RFC 9112, section 3.2 says. Gunicorn accepts it, and so does this
    /// unless asked.
    pub require_host: bool,
    /// Names in upper case, with underscores, that a trusted peer may send all the same; `*` stands for all.
    pub forwarder_headers: Vec<String>,
}

/// What becomes of a field whose name has an underscore: in a WSGI environ it would look like the one with a dash.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HeaderMap {
    /// Leave it out, silently.
    #[default]
    Drop,
    /// Refuse the request.
    Refuse,
    /// Let it through.
    Dangerous,
}

impl Options {
    /// Options with these limits, clamped as Gunicorn clamps them, and every door closed.
    pub fn new(line: usize, fields: usize, field_size: usize) -> Options {
        Options {
            limit_request_line: if line == 0 { UNLIMITED_REQUEST_LINE } else { line.min(MAX_REQUEST_LINE) },
            limit_request_fields: if fields == 0 { MAX_FIELDS } else { fields.min(MAX_FIELDS) },
            limit_request_field_size: if field_size == 0 { DEFAULT_FIELD_SIZE } else { field_size },
            permit_obsolete_folding: false,
            strip_header_spaces: false,
            permit_unconventional_http_method: false,
            permit_unconventional_http_version: false,
            casefold_http_method: false,
            header_map: HeaderMap::Drop,
            require_host: false,
            forwarder_headers: vec!["SCRIPT_NAME".to_owned(), "PATH_INFO".to_owned()],
        }
    }

    /// Whether a trusted peer may send this name although it has an underscore.
    pub(crate) fn forwards(&self, name: &[u8]) -> bool {
        self.forwarder_headers.iter().any(|allowed| {
            allowed == "*"
                || (allowed.len() == name.len()
                    && allowed.bytes().zip(name).all(|(allowed, byte)| allowed == byte.to_ascii_uppercase()))
        })
    }
}

impl Default for Options {
    fn default() -> Options {
        Options::new(4094, 100, 8190)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_clamped_as_gunicorn_clamps_them() {
        let limits = |line, fields, size| {
            let options = Options::new(line, fields, size);
            (options.limit_request_line, options.limit_request_fields, options.limit_request_field_size)
        };
        assert_eq!(limits(4094, 100, 8190), (4094, 100, 8190));
        assert_eq!(limits(0, 0, 0), (1 << 20, 32768, 8190));
        assert_eq!(limits(8190, 32768, 1), (8190, 32768, 1));
        assert_eq!(limits(8191, 32769, 1 << 20), (8190, 32768, 1 << 20));
    }

    #[test]
    fn forwarder_headers_are_compared_whole_and_in_upper_case() {
        let options =
            Options { forwarder_headers: vec!["SCRIPT_NAME".into(), "lower_case".into()], ..Options::default() };
        assert!(options.forwards(b"script_Name"));
        assert!(!options.forwards(b"SCRIPT_NAME_"));
        assert!(!options.forwards(b"lower_case"), "an entry in lower case matches nothing, as in Gunicorn");
        assert!(Options { forwarder_headers: vec!["*".into()], ..Options::default() }.forwards(b"a_b"));
    }
}
