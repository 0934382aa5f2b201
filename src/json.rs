//! Reads JSON as serde_json does, and reports an object with the same key twice: one of the two would be lost silently.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Where in a text a value is.
pub trait Place: Sized {
    /// Returns the path in errors.
    fn path(&self) -> &str;
    /// Returns what the key of a member means, and where its value is. Two keys may mean the same.
    fn member(&self, key: &str) -> (String, Self);
    /// Returns where an element of a list is.
    fn element(&self, at: usize) -> Self;
}

/// A key that is there twice.
#[derive(Debug)]
pub struct Twice {
    /// The path of its second value.
    pub path: String,
    /// The two are spelt differently.
    pub respelt: bool,
}

/// Reads a value; returns it with the paths of the keys that are given more than once.
///
/// # Errors
/// If it is no JSON.
pub fn read(text: &str) -> Result<(Value, Vec<String>), serde_json::Error> {
    let twice = RefCell::default();
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let reader = Reader {
        place: Path::default(),
        keeps: true,
        twice: &twice,
    };
    let value = reader.deserialize(&mut deserializer)?;
    deserializer.end()?;
    let twice = twice.take().into_iter().map(|twice| twice.path);
    Ok((value, twice.collect()))
}

/// Returns the first key that is there twice, without keeping what is read. What is no JSON is another's business.
pub fn first_twice(text: &[u8], place: impl Place) -> Option<Twice> {
    let twice = RefCell::default();
    let reader = Reader {
        place,
        keeps: false,
        twice: &twice,
    };
    // It fails at the first one that is found, or where a parser fails, too.
    let _ = reader.deserialize(&mut serde_json::Deserializer::from_slice(text));
    twice.take().pop()
}

/// Returns the path of a member; names that would be misread in it are quoted.
pub fn join(path: &str, key: &str) -> String {
    let plain = !key.is_empty()
        && key
            .chars()
            .all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '$'));
    match (path.is_empty(), plain) {
        (true, true) => key.to_owned(),
        (false, true) => format!("{path}.{key}"),
        (_, false) => format!("{path}[{key:?}]"),
    }
}

/// A place in a text of which nothing is known; every key means itself.
#[derive(Default)]
struct Path(String);

impl Place for Path {
    fn path(&self) -> &str {
        &self.0
    }

    fn member(&self, key: &str) -> (String, Self) {
        (key.to_owned(), Self(join(&self.0, key)))
    }

    fn element(&self, at: usize) -> Self {
        Self(format!("{}[{at}]", self.0))
    }
}

struct Reader<'a, P> {
    place: P,
    /// Returns what it reads; else it ends at the first key that is there twice.
    keeps: bool,
    twice: &'a RefCell<Vec<Twice>>,
}

impl<P> Reader<'_, P> {
    fn at(&self, place: P) -> Self {
        Self {
            place,
            keeps: self.keeps,
            twice: self.twice,
        }
    }
}

impl<'de, P: Place> DeserializeSeed<'de> for Reader<'_, P> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, P: Place> Visitor<'de> for Reader<'_, P> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(match self.keeps {
            true => value.into(),
            false => Value::Null,
        })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        for at in 0.. {
            let element = self.at(self.place.element(at));
            match list.next_element_seed(element)? {
                Some(value) if self.keeps => values.push(value),
                Some(_) => {}
                None => break,
            }
        }
        Ok(values.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Value, A::Error> {
        let (mut members, mut seen) = (Map::new(), BTreeMap::new());
        while let Some(key) = object.next_key::<String>()? {
            let (name, place) = self.place.member(&key);
            if let Some(before) = seen.insert(name, key.clone()) {
                self.twice.borrow_mut().push(Twice {
                    path: place.path().to_owned(),
                    respelt: before != key,
                });
                if !self.keeps {
                    return Err(A::Error::custom("a key is there twice"));
                }
            }
            let value = object.next_value_seed(self.at(place))?;
            if self.keeps {
                members.insert(key, value);
            }
        }
        Ok(members.into())
    }
}
