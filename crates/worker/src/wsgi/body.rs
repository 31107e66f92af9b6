//! A request's body that the app reads from the connection.

use rgunicorn_http::{Error as HttpError, Event};

use crate::engine::{Conn, Read};

/// What came of reading a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece {
    /// Some more of it.
    Some,
    /// Nothing yet.
    Nothing,
    /// It has ended.
    End,
}

/// What was found to be wrong with a request's body while the app read it.
#[derive(Debug, Clone)]
pub enum BadBody {
    /// It breaks the rules of HTTP.
    Invalid(HttpError),
    /// It is longer than `limit_request_body`.
    TooLarge(u64),
}

impl BadBody {
    /// The status to answer with, and its reason phrase.
    pub fn status(&self) -> (u16, &'static str) {
        match self {
            BadBody::Invalid(error) => (error.status(), error.reason()),
            BadBody::TooLarge(_) => (413, "Content Too Large"),
        }
    }
}

impl std::fmt::Display for BadBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            BadBody::Invalid(error) => error.fmt(f),
            BadBody::TooLarge(limit) => f.write_str(&super::too_large(*limit)),
        }
    }
}

/// Why a request's body cannot be read to its end.
#[derive(Debug)]
pub enum BodyError {
    /// It may not be as it is.
    Bad(BadBody),
    /// The client closed the connection within it.
    Gone,
    /// The client sends nothing any more, or too slowly.
    Stalled,
    /// The worker has to leave now.
    Leaving,
}

/// Reads what is there of a body.
pub fn read_piece(conn: &mut Conn, body: &mut Vec<u8>, limit: u64) -> Result<Piece, BodyError> {
    let before = body.len();
    let mut piece = [0u8; 65536];
    loop {
        let mut at = 0;
        let event = loop {
            let (consumed, event) =
                conn.decoder.advance(&conn.input[at..]).map_err(|error| BodyError::Bad(BadBody::Invalid(error)))?;
            if let Event::Data(span) = event {
                let data = span.of(&conn.input[at..]);
                conn.body_read += data.len() as u64;
                if conn.body_read > limit {
                    return Err(BodyError::Bad(BadBody::TooLarge(limit)));
                }
                body.extend_from_slice(data);
            }
            at += consumed;
            if !matches!(event, Event::Data(_)) {
                break event;
            }
        };
        conn.input.drain(..at);
        match event {
            Event::End | Event::Head => return Ok(Piece::End),
            _ if body.len() > before => return Ok(Piece::Some),
            _ => {}
        }
        match conn.read(&mut piece) {
            Read::Bytes(length) => conn.input.extend_from_slice(&piece[..length]),
            Read::End => return Err(BodyError::Gone),
            Read::Empty => return Ok(Piece::Nothing),
        }
    }
}
