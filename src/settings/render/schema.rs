//! The JSON schema of the TOML file, for editors.

use serde_json::{Map, Value, json};

use super::text::{example_value, has_plain_default};
use crate::settings::kind::Kind;
use crate::settings::table::{self, Setting};

/// The schema, as text.
pub fn json_schema() -> String {
    let properties: Map<String, Value> = table::all()
        .filter(|setting| setting.in_toml_file())
        .map(|setting| (setting.name.to_owned(), property(setting)))
        .collect();
    let schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "rgunicorn.toml",
        "description": "Configuration of rgunicorn",
        "type": "object",
        "additionalProperties": false,
        "properties": properties,
    });
    format!("{schema:#}\n")
}

fn property(setting: &Setting) -> Value {
    let mut property = accepted(setting.kind);
    let description = match setting.doc {
        "" => setting.summary.to_owned(),
        doc => format!("{}\n\n{doc}", setting.summary),
    };
    property.insert("description".to_owned(), json!(description));
    if has_plain_default(setting) {
        property.insert("default".to_owned(), example_value(setting));
    }
    Value::Object(property)
}

fn accepted(kind: Kind) -> Map<String, Value> {
    let strings = json!({ "type": "array", "items": { "type": "string" } });
    let accepted = match kind {
        Kind::PosInt => json!({ "type": "integer", "minimum": 0 }),
        Kind::Between(low, i64::MAX) => json!({ "type": "integer", "minimum": low }),
        Kind::Between(low, high) => json!({ "type": "integer", "minimum": low, "maximum": high }),
        Kind::Surge => json!({ "anyOf": [{ "type": "integer", "minimum": 1 }, { "const": "all" }] }),
        Kind::Size => json!({ "type": ["string", "integer"] }),
        Kind::Bool => json!({ "type": "boolean" }),
        Kind::TextList | Kind::FileList | Kind::CommaList | Kind::AddressList | Kind::Protocols => {
            json!({ "anyOf": [strings, { "type": "string" }] })
        }
        Kind::Choice { values, .. } | Kind::ExactChoice(values) => json!({ "enum": values }),
        Kind::ProxyProtocol => json!({ "enum": ["off", "v1", "v2", "auto", true, false] }),
        Kind::Http2Cleartext => json!({ "enum": ["off", "prior-knowledge", "upgrade", "both", true, false] }),
        Kind::Dict => json!({ "type": "object" }),
        Kind::Callable(_) | Kind::PostRequest => json!({ "type": "string", "pattern": "^.+\\..+$" }),
        Kind::User | Kind::Group | Kind::SslVersion => json!({ "type": ["string", "integer"] }),
        Kind::Text | Kind::Class | Kind::Directory | Kind::StatsdAddress => json!({ "type": "string" }),
    };
    match accepted {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}
