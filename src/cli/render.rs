//! `wsman render`: prints the objects of a start request, without a cluster.

use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::Context;
use serde_json::{Value, json};

use super::client::request::unique;
use super::exit::{Exit, Failure, note};
use super::{config, input};
use crate::action::Dependant;
use crate::error::Error;
use crate::grpc::workspaces::start::token;
use crate::proto::wsman::StartWorkspaceRequest;
use crate::workspaces::plan::{Plan, Tokens, plan};
use crate::workspaces::{classes, request};

/// Show the pod, the secret and the services that a start request becomes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// StartWorkspaceRequest as proto3 JSON; "-" for stdin.
    #[arg(default_value = "-", value_name = "FILE")]
    file: PathBuf,
    /// Configuration file (JSON); "-" for stdin.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Value of GITPOD_CLI_APITOKEN; random unless given.
    #[arg(long, value_name = "TOKEN")]
    cli_api_token: Option<String>,
    /// Token of the owner; random unless given.
    #[arg(long, value_name = "TOKEN")]
    owner_token: Option<String>,
    /// Form of the output.
    #[arg(short, long, value_enum, default_value = "yaml")]
    output: Output,
    /// Skip the checks of the request and of the configuration.
    #[arg(long)]
    lenient: bool,
}

/// Forms of output.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(super) enum Output {
    /// One JSON object.
    Json,
    /// YAML.
    Yaml,
}

/// Prints the objects.
///
/// # Errors
/// Exit code 2 with the validation text for a request or a configuration that is not valid.
pub fn run(args: &Args) -> Result<(), Failure> {
    config::one_stdin(&args.file, &args.config)?;
    let settings = if args.lenient {
        config::load_lenient(&args.config)
    } else {
        config::load(&args.config)
    }?;
    let request = decode(&input::text(&args.file, input::SMALL)?).map_err(Failure::usage)?;
    let tokens = Tokens {
        cli_api: given_or_random(args.cli_api_token.as_deref())?,
        owner: given_or_random(args.owner_token.as_deref())?,
    };
    let asked = request
        .spec
        .as_ref()
        .map_or("", |spec| &spec.class)
        .to_owned();
    let parsed = if args.lenient {
        Ok(request::parse_lenient(request))
    } else {
        request::parse(request, &settings.manager)
    };
    let plan = parsed
        .and_then(|request| plan(&request, &settings.manager, &tokens))
        .map_err(|error| {
            let exit = if matches!(error, Error::Invalid { .. }) {
                Exit::Usage
            } else {
                Exit::Failed
            };
            Failure::new(exit, error.to_string())
        })?;
    if let Some(class) = classes::substitute(&asked, &settings.manager) {
        note(&format!(
            "warning: the configuration has no class {asked:?}; shown is class {class:?}"
        ));
    }
    print(&list(&plan)?, args.output)
}

/// Reads a request. JSON readers reject unknown enum numbers, but the wire has them: numbers are removed first and put
/// back, so that the same rules apply as over gRPC.
pub(crate) fn decode(text: &str) -> Result<StartWorkspaceRequest, String> {
    let mut value: Value = serde_json::from_str(text).map_err(|e| format!("no JSON: {e}"))?;
    unique(text)?;
    let kind = take_number(value.as_object_mut().and_then(|o| o.get_mut("type")));
    let spec = value.get_mut("spec");
    let spec = spec.and_then(Value::as_object_mut);
    let (mut admission, mut flags) = (None, Vec::new());
    if let Some(spec) = spec {
        admission = take_number(spec.get_mut("admission"));
        for key in ["featureFlags", "feature_flags"] {
            let list = spec.get_mut(key).and_then(Value::as_array_mut);
            let list = list.map(std::mem::take).unwrap_or_default();
            let mut named = Vec::new();
            for mut flag in list {
                match take_number(Some(&mut flag)) {
                    Some(number) => flags.push(number),
                    None => named.push(flag),
                }
            }
            if let Some(list) = spec.get_mut(key).filter(|list| list.is_array()) {
                *list = Value::Array(named);
            }
        }
    }
    let mut request: StartWorkspaceRequest = serde_path_to_error::deserialize(&value)
        .map_err(|e| format!("no StartWorkspaceRequest: {}: {}", e.path(), e.inner()))?;
    if let Some(number) = kind {
        request.r#type = number;
    }
    if let Some(spec) = &mut request.spec {
        spec.feature_flags.extend(flags);
        if let Some(number) = admission {
            spec.admission = number;
        }
    }
    Ok(request)
}

/// Removes a number and leaves the default of enums, 0.
fn take_number(value: Option<&mut Value>) -> Option<i32> {
    let value = value?;
    let number = i32::try_from(value.as_i64()?).ok()?;
    *value = json!(0);
    Some(number)
}

fn given_or_random(given: Option<&str>) -> anyhow::Result<String> {
    match given {
        Some(token) => Ok(token.to_owned()),
        None => Ok(token()?),
    }
}

/// Returns everything as one object for `kubectl apply`.
fn list(plan: &Plan) -> anyhow::Result<Value> {
    let mut items = vec![serde_json::to_value(&plan.pod)?];
    for dependant in &plan.dependants {
        items.push(match dependant {
            Dependant::Secret(secret) => serde_json::to_value(secret)?,
            Dependant::Pvc(pvc) => serde_json::to_value(pvc)?,
            Dependant::Service(service) => serde_json::to_value(service)?,
        });
    }
    Ok(json!({"apiVersion": "v1", "kind": "List", "items": items}))
}

/// Prints a List for `kubectl apply`.
///
/// # Errors
/// If stdout cannot be written.
pub(super) fn print(list: &Value, output: Output) -> Result<(), Failure> {
    let mut text = match output {
        Output::Json => serde_json::to_string_pretty(list).context("cannot encode")?,
        Output::Yaml => serde_saphyr::to_string(list).context("cannot encode")?,
    };
    if !text.ends_with('\n') {
        text.push('\n');
    }
    Ok(io::stdout().write_all(text.as_bytes())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_enum_numbers_are_kept() {
        let text = r#"{"type": 200, "spec": {"featureFlags": [8, "NOOP"], "admission": 7}}"#;
        let request = decode(text).unwrap();
        let spec = request.spec.unwrap();
        assert_eq!((request.r#type, spec.admission), (200, 7));
        assert_eq!(spec.feature_flags, [0, 8]);
    }

    #[test]
    fn names_and_both_spellings_are_read() {
        let text = r#"{"type": "PREBUILD", "service_prefix": "a", "spec": {"workspaceImage": "b", "feature_flags": ["SSH_CA"]}}"#;
        let request = decode(text).unwrap();
        assert_eq!((request.r#type, request.service_prefix.as_str()), (1, "a"));
        assert_eq!(request.spec.unwrap().feature_flags, [12]);
    }

    #[test]
    fn anything_else_is_an_error_with_its_path() {
        for (text, part) in [
            ("{", "no JSON"),
            ("[]", "no StartWorkspaceRequest"),
            (r#"{"spec": {"prots": []}}"#, "prots"),
            (
                r#"{"spec": {"ports": [{"port": "x"}]}}"#,
                "spec.ports[0].port",
            ),
            (r#"{"type": "NONE"}"#, "NONE"),
        ] {
            let why = decode(text).unwrap_err();
            assert!(why.contains(part), "{text}: {why}");
        }
    }
}
