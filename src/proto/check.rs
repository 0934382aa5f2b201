//! Whether bytes are a message of a type, and otherwise which field is invalid. A decoder reports only that one is.

use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};

/// Deepest nesting of messages: far deeper than any request, and below the limit of decoders.
const MAX_DEPTH: usize = 64;

/// What is wrong with a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed {
    /// Path of the invalid field; empty for the whole message.
    pub field: String,
    /// What is wrong with it.
    pub why: &'static str,
}

/// Checks that bytes decode as a message of `kind`. Unknown fields are ignored.
///
/// # Errors
/// The first invalid field.
pub fn check(kind: &MessageDescriptor, bytes: &[u8]) -> Result<(), Malformed> {
    message(kind, bytes, 0)
}

impl Malformed {
    fn new(why: &'static str) -> Self {
        let field = String::new();
        Self { field, why }
    }

    /// Prepends the field of the error.
    fn within(self, outer: &str) -> Self {
        let field = match self.field.as_str() {
            "" => outer.to_owned(),
            inner => format!("{outer}.{inner}"),
        };
        Self { field, ..self }
    }
}

fn message(kind: &MessageDescriptor, bytes: &[u8], depth: usize) -> Result<(), Malformed> {
    if depth > MAX_DEPTH {
        return Err(Malformed::new("is nested too deep"));
    }
    let mut input = Input(bytes);
    // The number of earlier elements of repeated fields.
    let mut seen: Vec<(u32, usize)> = Vec::new();
    while !input.0.is_empty() {
        let (number, wire) = input.key()?;
        let Some(field) = kind.get_field(number) else {
            input.skip(number, wire, depth)?;
            continue;
        };
        if field.is_list() && matches!(field.kind(), Kind::Message(_) | Kind::String) {
            match seen.iter_mut().find(|(known, _)| *known == number) {
                Some((_, count)) => *count += 1,
                None => seen.push((number, 0)),
            }
        }
        value(&field, wire, &mut input, depth).map_err(|fault| {
            let at = seen.iter().find(|(known, _)| *known == number);
            match at {
                Some((_, at)) => fault.within(&format!("{}[{at}]", field.name())),
                None => fault.within(field.name()),
            }
        })?;
    }
    Ok(())
}

fn value(
    field: &FieldDescriptor,
    wire: u8,
    input: &mut Input<'_>,
    depth: usize,
) -> Result<(), Malformed> {
    let kind = field.kind();
    match (&kind, wire) {
        (Kind::Message(inner), Input::BYTES) => message(inner, input.bytes()?, depth + 1),
        (Kind::String, Input::BYTES) => match std::str::from_utf8(input.bytes()?) {
            Ok(_) => Ok(()),
            Err(_) => Err(Malformed::new("is no UTF-8")),
        },
        (Kind::Bytes, Input::BYTES) => input.bytes().map(|_| ()),
        (_, Input::BYTES) if field.is_list() && Input::of(&kind) != Input::BYTES => {
            let mut packed = Input(input.bytes()?);
            while !packed.0.is_empty() {
                packed.number(Input::of(&kind))?;
            }
            Ok(())
        }
        (_, wire) if wire == Input::of(&kind) && wire != Input::BYTES => input.number(wire),
        _ => Err(Malformed::new(
            "is encoded as a field of another type would be",
        )),
    }
}

/// The rest of the bytes.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    const VARINT: u8 = 0;
    const FIXED64: u8 = 1;
    const BYTES: u8 = 2;
    const GROUP: u8 = 3;
    const GROUP_END: u8 = 4;
    const FIXED32: u8 = 5;

    /// Returns the wire type of a kind of field.
    fn of(kind: &Kind) -> u8 {
        match kind {
            Kind::Double | Kind::Fixed64 | Kind::Sfixed64 => Self::FIXED64,
            Kind::Float | Kind::Fixed32 | Kind::Sfixed32 => Self::FIXED32,
            Kind::String | Kind::Bytes | Kind::Message(_) => Self::BYTES,
            Kind::Int32
            | Kind::Int64
            | Kind::Uint32
            | Kind::Uint64
            | Kind::Sint32
            | Kind::Sint64
            | Kind::Bool
            | Kind::Enum(_) => Self::VARINT,
        }
    }

    fn varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0_u64;
        for at in 0..10 {
            let byte = self.take(1)?[0];
            if at == 9 && byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7f) << (7 * at);
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Malformed::new("has a number that is too long"))
    }

    fn key(&mut self) -> Result<(u32, u8), Malformed> {
        let key = u32::try_from(self.varint()?).unwrap_or(0);
        match (key >> 3, (key & 7) as u8) {
            (0, _) | (_, 6 | 7) => Err(Malformed::new("has a field that cannot be")),
            (number, wire) => Ok((number, wire)),
        }
    }

    fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let length = self.varint()?;
        self.take(usize::try_from(length).unwrap_or(usize::MAX))
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let cut = self.0.split_at_checked(length);
        let (taken, rest) = cut.ok_or_else(|| Malformed::new("ends too early"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn number(&mut self, wire: u8) -> Result<(), Malformed> {
        match wire {
            Self::VARINT => self.varint().map(|_| ()),
            Self::FIXED64 => self.take(8).map(|_| ()),
            _ => self.take(4).map(|_| ()),
        }
    }

    /// Skips an unknown field.
    fn skip(&mut self, number: u32, wire: u8, depth: usize) -> Result<(), Malformed> {
        match wire {
            Self::BYTES => self.bytes().map(|_| ()),
            Self::GROUP if depth < MAX_DEPTH => loop {
                match self.key()? {
                    (end, Self::GROUP_END) if end == number => return Ok(()),
                    (inner, wire) => self.skip(inner, wire, depth + 1)?,
                }
            },
            Self::GROUP => Err(Malformed::new("is nested too deep")),
            Self::GROUP_END => Err(Malformed::new("has the end of a group without its begin")),
            wire => self.number(wire),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message;
    use prost_reflect::{DescriptorPool, DynamicMessage};

    use super::*;
    use crate::proto::wsman::{
        EnvironmentVariable, PortSpec, StartWorkspaceRequest, StartWorkspaceSpec,
    };

    fn kind() -> MessageDescriptor {
        let pool = DescriptorPool::decode(crate::proto::DESCRIPTORS).unwrap();
        pool.get_message_by_name("wsman.StartWorkspaceRequest")
            .unwrap()
    }

    fn request() -> Vec<u8> {
        let variable = |value: &str| EnvironmentVariable {
            name: "NAME".to_owned(),
            value: value.to_owned(),
            secret: None,
        };
        let request = StartWorkspaceRequest {
            id: "a".to_owned(),
            spec: Some(StartWorkspaceSpec {
                envvars: vec![variable("first"), variable("second")],
                feature_flags: vec![1, 2, 99],
                ports: vec![PortSpec {
                    port: 8080,
                    ..Default::default()
                }],
                ..Default::default()
            }),
            ..Default::default()
        };
        request.encode_to_vec()
    }

    fn fault(bytes: &[u8]) -> (String, &'static str) {
        let fault = check(&kind(), bytes).unwrap_err();
        (fault.field, fault.why)
    }

    #[test]
    fn the_field_at_fault_is_named() {
        assert_eq!(check(&kind(), &request()), Ok(()));
        let spoil = |from: &[u8], to: &[u8]| {
            let mut bytes = request();
            let at = bytes.windows(from.len()).position(|part| part == from);
            let at = at.unwrap();
            bytes.splice(at..at + from.len(), to.iter().copied());
            bytes
        };
        assert_eq!(
            fault(&spoil(b"second", b"sec\xffnd")),
            ("spec.envvars[1].value".to_owned(), "is no UTF-8")
        );
        let other = "is encoded as a field of another type would be";
        assert_eq!(fault(&[0x08, 1]), ("id".to_owned(), other));
        assert_eq!(fault(&[0xff; 20]).0, "");
        assert_eq!(fault(&[0x0a, 9, b'a']), ("id".to_owned(), "ends too early"));
        assert_eq!(fault(&[0x00, 1]).1, "has a field that cannot be");
        // Unknown fields of every wire type are skipped; ends of groups must match.
        let unknown = [
            &[0xf8, 0x07, 1][..],
            &[0xf9, 0x07, 1, 2, 3, 4, 5, 6, 7, 8],
            &[0xfa, 0x07, 1, 0],
            &[0xfb, 0x07, 0x08, 1, 0xfc, 0x07],
            &[0xfd, 0x07, 1, 2, 3, 4],
        ];
        for field in unknown {
            assert_eq!(check(&kind(), field), Ok(()), "{field:x?}");
            assert!(check(&kind(), &field[..field.len() - 1]).is_err());
        }
        assert!(check(&kind(), &[0xfc, 0x07]).is_err());
        assert!(check(&kind(), &[0xfb, 0x07].repeat(1000)).is_err());
    }

    proptest! {
        /// Whatever was changed, bytes that pass can be decoded.
        #[test]
        fn what_passes_decodes(at in 0..60_usize, byte: u8, cut in 0..200_usize) {
            let mut bytes = request();
            let length = bytes.len();
            bytes[at % length] = byte;
            bytes.truncate(cut);
            if check(&kind(), &bytes).is_ok() {
                prop_assert!(StartWorkspaceRequest::decode(bytes.as_slice()).is_ok());
                prop_assert!(DynamicMessage::decode(kind(), bytes.as_slice()).is_ok());
            }
        }
    }
}
