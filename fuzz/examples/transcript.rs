//! For `compare.py`: reads inputs (each after its length, four bytes, big-endian), writes for each a line of JSON that says
//! what the decoder made of it.

#[path = "../../crates/http/tests/it/support.rs"]
#[allow(dead_code)]
mod support;

use std::io::{self, BufWriter, Read, Write};

use serde_json::{Value, json};
use support::{Bytes, End, Feed, Request};

fn main() -> io::Result<()> {
    let (mut input, mut output) = (io::stdin().lock(), BufWriter::new(io::stdout().lock()));
    let mut length = [0; 4];
    while input.read_exact(&mut length).is_ok() {
        let mut data = vec![0; u32::from_be_bytes(length) as usize];
        input.read_exact(&mut data)?;
        let got = Feed::default().whole(&data);
        let error = match got.end {
            End::Failed { status, message } => json!([status, message]),
            _ => Value::Null,
        };
        let requests: Vec<Value> = got.requests.iter().map(request).collect();
        serde_json::to_writer(&mut output, &json!({ "requests": requests, "error": error }))?;
        output.write_all(b"\n")?;
        output.flush()?;
    }
    Ok(())
}

fn text(bytes: &Bytes) -> String {
    bytes.0.iter().copied().map(char::from).collect()
}

fn request(request: &Request) -> Value {
    json!({
        "method": text(&request.method),
        "target": text(&request.target),
        "version": request.version,
        "fields": request.fields.iter().map(|(name, value)| (text(name), text(value))).collect::<Vec<_>>(),
        "body": text(&request.body),
        "complete": request.complete,
        "keep_alive": request.keep_alive,
    })
}
