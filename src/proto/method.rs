//! Methods and the fields of their requests by name, from the descriptors.

use std::sync::LazyLock;

use prost_reflect::{
    DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, Value,
};

use super::DESCRIPTORS;

/// The descriptors are compiled with the types; without them no method is known.
static POOL: LazyLock<DescriptorPool> =
    LazyLock::new(|| DescriptorPool::decode(DESCRIPTORS).unwrap_or_default());

/// Returns the message type of a full name, such as `wsman.StartWorkspaceRequest`.
pub fn message(name: &str) -> Option<MessageDescriptor> {
    POOL.get_message_by_name(name)
}

/// A unary method.
#[derive(Debug, Clone)]
pub struct Unary {
    request: MessageDescriptor,
}

/// The path to a string, an enum or a bool in a message.
#[derive(Debug, Clone)]
pub struct FieldPath(Vec<FieldDescriptor>);

impl Unary {
    /// Returns the method of this request type.
    pub fn of(request: MessageDescriptor) -> Self {
        Self { request }
    }

    /// Returns all of them by their full names.
    pub fn all() -> impl Iterator<Item = (String, Self)> {
        let methods = POOL.services().flat_map(|service| {
            let names = service
                .methods()
                .map(|method| method.full_name().to_owned());
            names.collect::<Vec<_>>()
        });
        methods.filter_map(|name| {
            let (service, method) = name.rsplit_once('.')?;
            let full = format!("/{service}/{method}");
            let found = Self::find(&full).ok()?;
            Some((full, found))
        })
    }

    /// Finds a method by its full name, such as `/wsman.WorkspaceManager/StartWorkspace`.
    ///
    /// # Errors
    /// Why there is no such unary method.
    pub fn find(full: &str) -> Result<Self, String> {
        let parts = full.strip_prefix('/').and_then(|rest| rest.split_once('/'));
        let Some((service, name)) = parts.filter(|(_, name)| !name.contains('/')) else {
            let example = "\"/wsman.WorkspaceManager/StartWorkspace\"";
            return Err(format!("is no full method; write it as {example}"));
        };
        let service = POOL
            .get_service_by_name(service)
            .ok_or_else(|| format!("names the service {service:?}, which is not served here"))?;
        let method = service.methods().find(|method| method.name() == name);
        let method = method.ok_or_else(|| {
            let names: Vec<String> = service.methods().map(|m| m.name().to_owned()).collect();
            format!("names no method; there are {}", names.join(", "))
        })?;
        if method.is_client_streaming() || method.is_server_streaming() {
            return Err("is a stream; only unary methods can be limited".to_owned());
        }
        Ok(Self {
            request: method.input(),
        })
    }

    /// Finds a field of the request by its path, such as `metadata.owner`.
    ///
    /// # Errors
    /// Why the path is invalid, or its field cannot select.
    pub fn field(&self, path: &str) -> Result<FieldPath, String> {
        let mut message = Some(self.request.clone());
        let mut fields: Vec<FieldDescriptor> = Vec::new();
        for name in path.split('.') {
            let Some(inside) = message else {
                let last = fields.last().map_or("", |field| field.name());
                return Err(format!(
                    "{path:?} goes on behind {last:?}, which is no message"
                ));
            };
            let field = inside.get_field_by_name(name).ok_or_else(|| {
                let names: Vec<String> = inside.fields().map(|f| f.name().to_owned()).collect();
                let known = names.join(", ");
                format!(
                    "{name:?} is no field of {}; there are {known}",
                    inside.full_name()
                )
            })?;
            if field.is_list() || field.is_map() {
                return Err(format!("{name:?} in {path:?} has many values"));
            }
            message = match field.kind() {
                Kind::Message(inside) => Some(inside),
                _ => None,
            };
            fields.push(field);
        }
        match fields.last().map(FieldDescriptor::kind) {
            Some(Kind::String | Kind::Enum(_) | Kind::Bool) => Ok(FieldPath(fields)),
            _ => Err(format!("{path:?} is no string, enum or bool")),
        }
    }

    /// Returns the paths of all fields that [`Self::field`] finds.
    pub fn fields(&self) -> Vec<String> {
        let mut paths = Vec::new();
        let mut messages = vec![(String::new(), self.request.clone())];
        // A message contains itself only through a list.
        while let Some((path, message)) = messages.pop() {
            for field in message
                .fields()
                .filter(|field| !field.is_list() && !field.is_map())
            {
                let path = format!("{path}{}", field.name());
                match field.kind() {
                    Kind::Message(inside) => messages.push((format!("{path}."), inside)),
                    Kind::String | Kind::Enum(_) | Kind::Bool => paths.push(path),
                    _ => {}
                }
            }
        }
        paths
    }

    /// Returns the values at `paths` in an encoded request, each after a bar: `|jane|1`. An unset field has its
    /// default.
    pub fn select(&self, request: &[u8], paths: &[FieldPath]) -> String {
        let request = DynamicMessage::decode(self.request.clone(), request);
        // The same descriptor checked it.
        let request = request.unwrap_or_else(|_| DynamicMessage::new(self.request.clone()));
        let mut selected = String::new();
        for FieldPath(fields) in paths {
            selected.push('|');
            selected.push_str(&value(&request, fields));
        }
        selected
    }
}

fn value(message: &DynamicMessage, fields: &[FieldDescriptor]) -> String {
    let Some((field, rest)) = fields.split_first() else {
        return String::new();
    };
    match message.get_field(field).as_ref() {
        Value::Message(inside) => value(inside, rest),
        Value::String(text) => text.clone(),
        Value::EnumNumber(number) => number.to_string(),
        Value::Bool(flag) => flag.to_string(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;
    use crate::proto::wsman::{
        MarkActiveRequest, StartWorkspaceRequest, WorkspaceMetadata, WorkspaceType,
    };

    #[test]
    fn fields_are_selected_by_value() {
        let start = Unary::find("/wsman.WorkspaceManager/StartWorkspace").unwrap();
        let paths = ["metadata.owner", "type"].map(|path| start.field(path).unwrap());
        let request = StartWorkspaceRequest {
            metadata: Some(WorkspaceMetadata {
                owner: "jane".to_owned(),
                ..Default::default()
            }),
            r#type: WorkspaceType::Prebuild.into(),
            ..Default::default()
        };
        assert_eq!(start.select(&request.encode_to_vec(), &paths), "|jane|1");
        assert_eq!(start.select(&[], &paths), "||0");

        let beat = Unary::find("/wsman.WorkspaceManager/MarkActive").unwrap();
        let paths = ["closed"].map(|path| beat.field(path).unwrap());
        let request = MarkActiveRequest {
            closed: true,
            ..Default::default()
        };
        assert_eq!(beat.select(&request.encode_to_vec(), &paths), "|true");
    }

    #[test]
    fn every_unary_method_is_found() {
        let methods = POOL.services().flat_map(|service| {
            let name = service.full_name().to_owned();
            let methods: Vec<_> = service.methods().collect();
            methods
                .into_iter()
                .map(move |m| (format!("/{name}/{}", m.name()), m))
        });
        for (full, method) in methods {
            let is_unary = !method.is_client_streaming() && !method.is_server_streaming();
            assert_eq!(Unary::find(&full).is_ok(), is_unary, "{full}");
        }
        let mut fields = 0;
        for (full, method) in Unary::all() {
            for path in method.fields() {
                assert!(method.field(&path).is_ok(), "{full} {path}");
                fields += 1;
            }
        }
        assert!(fields > 50, "{fields}");
    }
}
