//! `client call`: any unary call, by its name, with the request and the response in JSON. The calls come from the
//! descriptors.

use std::path::PathBuf;

use bytes::{Buf, BufMut, Bytes};
use clap::builder::PossibleValuesParser;
use prost_reflect::SerializeOptions;
use serde_json::Value;
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

use super::connect::Connection;
use super::words::HIDDEN;
use crate::cli::exit::Failure;
use crate::cli::input;
use crate::cli::output::Output;
use crate::http::json;
use crate::proto::call::UNARY;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Name of the call.
    #[arg(value_name = "CALL", value_parser = PossibleValuesParser::new(UNARY))]
    name: String,
    /// The request as JSON.
    #[arg(value_name = "JSON", default_value = "{}", conflicts_with = "file")]
    request: String,
    /// File with the request as JSON; "-" is standard input.
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Print owner tokens, too.
    #[arg(long)]
    show_token: bool,
}

/// Makes the call and prints its response.
pub(super) async fn run(
    args: Args,
    connection: &Connection,
    output: &mut Output,
) -> Result<(), Failure> {
    let path = format!("/rpc/{}", args.name);
    let method = connection.methods().find(&path);
    let method = method.ok_or_else(|| Failure::usage(format!("there is no call {}", args.name)))?;
    let text = match &args.file {
        Some(file) => input::text(file, input::SMALL)?,
        None => args.request,
    };
    let request = json::read(&method.input, text.as_bytes());
    let request = request.map_err(|error| Failure::usage(error.to_string()))?;
    let (answer, _) = connection.ask(&method.path, request.into(), Raw).await?;
    let unreadable = |error: String| Status::internal(format!("the answer is unreadable: {error}"));
    let options = SerializeOptions::new().use_proto_field_name(true);
    let answer = json::decode(&method.output, &answer).map_err(|error| error.to_string());
    let printed = answer.and_then(|answer| {
        let printed = answer.serialize_with_options(serde_json::value::Serializer, &options);
        printed.map_err(|error| error.to_string())
    });
    let mut printed = printed.map_err(|error| connection.error(unreadable(error)))?;
    if !args.show_token {
        hide_tokens(&mut printed);
    }
    output.document(&printed)
}

/// Replaces owner tokens by a placeholder.
fn hide_tokens(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match name.as_str() {
                    "owner_token" => *value = HIDDEN.into(),
                    _ => hide_tokens(value),
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(hide_tokens),
        _ => {}
    }
}

/// Messages that are encoded already.
#[derive(Debug, Clone, Copy)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(message);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        let length = buffer.remaining();
        Ok(Some(buffer.copy_to_bytes(length)))
    }
}
