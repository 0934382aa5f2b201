//! Requests on the port, byte by byte: every protocol rejects for the same reasons, with the same texts.

mod arrival;
mod enums;
mod hosts;
mod messages;
mod secrets;

use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, Value};

/// Returns messages of a kind that have one of `values` in one field each, however deep, with the path of that field.
fn each_field(
    kind: &MessageDescriptor,
    values: &dyn Fn(&FieldDescriptor) -> Vec<Value>,
) -> Vec<(String, DynamicMessage)> {
    below(kind, values, &[])
}

fn below(
    kind: &MessageDescriptor,
    values: &dyn Fn(&FieldDescriptor) -> Vec<Value>,
    above: &[MessageDescriptor],
) -> Vec<(String, DynamicMessage)> {
    // A message may contain itself.
    if above.contains(kind) {
        return Vec::new();
    }
    let above = [above, std::slice::from_ref(kind)].concat();
    let mut all = Vec::new();
    for field in kind.fields() {
        let own = values(&field).into_iter().map(|value| (None, value));
        let inner = match field.kind() {
            Kind::Message(inner) if !field.is_map() => below(&inner, values, &above),
            _ => Vec::new(),
        };
        let inner = inner
            .into_iter()
            .map(|(path, message)| (Some(path), Value::Message(message)));
        for (path, value) in own.chain(inner) {
            let (name, value) = match field.is_list() {
                true => (format!("{}[0]", field.name()), Value::List(vec![value])),
                false => (field.name().to_owned(), value),
            };
            let mut message = DynamicMessage::new(kind.clone());
            message.set_field(&field, value);
            let path = path.map_or(name.clone(), |path| format!("{name}.{path}"));
            all.push((path, message));
        }
    }
    all
}
