//! What is made from the table: reference, example file, schema. Pure text, the same on every machine.

mod example;
mod reference;
mod schema;
mod text;

pub use example::example_toml;
pub use reference::reference_markdown;
pub use schema::json_schema;
