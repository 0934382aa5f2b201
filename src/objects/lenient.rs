//! Serde functions under which a value of the wrong type reads as absent instead of failing the whole object.
//!
//! They stream: nothing is buffered, so they cost no more than a strict decode and work under any deserializer.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// A JSON value, parsed without an error for its type.
pub(super) trait Lenient: Sized {
    /// The value of null, of a missing value or of a value of another type.
    fn absent() -> Self;
    fn from_str(_: &str) -> Self {
        Self::absent()
    }
    fn from_i64(_: i64) -> Self {
        Self::absent()
    }
    fn from_bool(_: bool) -> Self {
        Self::absent()
    }
    fn from_seq<'de, A: SeqAccess<'de>>(seq: A) -> Result<Self, A::Error> {
        skip_seq(seq)?;
        Ok(Self::absent())
    }
    fn from_map<'de, A: MapAccess<'de>>(map: A) -> Result<Self, A::Error> {
        skip_map(map)?;
        Ok(Self::absent())
    }
}

/// The function for `#[serde(deserialize_with)]`.
pub(super) fn any<'de, D: Deserializer<'de>, T: Lenient>(deserializer: D) -> Result<T, D::Error> {
    deserializer.deserialize_any(AnyVisitor(PhantomData))
}

/// The function for `#[serde(skip_serializing_if)]`: an absent value is not written.
pub(super) fn is_absent<T: Lenient + PartialEq>(value: &T) -> bool {
    *value == T::absent()
}

/// A type whose fields are all read leniently, so that reading it from a map cannot fail on a type.
pub trait Object: for<'de> Deserialize<'de> + Default {}

impl<T: Object> Lenient for T {
    fn absent() -> Self {
        T::default()
    }
    fn from_map<'de, A: MapAccess<'de>>(map: A) -> Result<Self, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map))
    }
}

impl<T: Object> Lenient for Option<T> {
    fn absent() -> Self {
        None
    }
    fn from_map<'de, A: MapAccess<'de>>(map: A) -> Result<Self, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(Some)
    }
}

impl Lenient for String {
    fn absent() -> Self {
        String::new()
    }
    fn from_str(value: &str) -> Self {
        value.to_owned()
    }
}

impl Lenient for Option<String> {
    fn absent() -> Self {
        None
    }
    fn from_str(value: &str) -> Self {
        Some(value.to_owned())
    }
}

impl Lenient for bool {
    fn absent() -> Self {
        false
    }
    fn from_bool(value: bool) -> Self {
        value
    }
}

impl Lenient for i64 {
    fn absent() -> Self {
        0
    }
    fn from_i64(value: i64) -> Self {
        value
    }
}

impl Lenient for Option<i64> {
    fn absent() -> Self {
        None
    }
    fn from_i64(value: i64) -> Self {
        Some(value)
    }
}

impl Lenient for Option<jiff::Timestamp> {
    fn absent() -> Self {
        None
    }
    fn from_str(value: &str) -> Self {
        value.parse().ok()
    }
}

impl<T: Object> Lenient for Vec<T> {
    fn absent() -> Self {
        Vec::new()
    }
    fn from_seq<'de, A: SeqAccess<'de>>(mut seq: A) -> Result<Self, A::Error> {
        let mut values = Vec::new();
        while let Some(Read::<T>(value)) = seq.next_element()? {
            values.push(value);
        }
        Ok(values)
    }
}

/// A list of strings; entries of another type are dropped.
impl Lenient for Vec<String> {
    fn absent() -> Self {
        Vec::new()
    }
    fn from_seq<'de, A: SeqAccess<'de>>(mut seq: A) -> Result<Self, A::Error> {
        let mut values = Vec::new();
        while let Some(Read::<Option<String>>(value)) = seq.next_element()? {
            values.extend(value);
        }
        Ok(values)
    }
}

/// A map of strings; entries of another type are dropped.
impl Lenient for BTreeMap<String, String> {
    fn absent() -> Self {
        BTreeMap::new()
    }
    fn from_map<'de, A: MapAccess<'de>>(mut map: A) -> Result<Self, A::Error> {
        let mut values = BTreeMap::new();
        while let Some((key, Read::<Option<String>>(value))) = map.next_entry::<String, _>()? {
            if let Some(value) = value {
                values.insert(key, value);
            }
        }
        Ok(values)
    }
}

struct Read<T>(T);

impl<'de, T: Lenient> Deserialize<'de> for Read<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        any(deserializer).map(Read)
    }
}

struct AnyVisitor<T>(PhantomData<T>);

impl<'de, T: Lenient> Visitor<'de> for AnyVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }
    fn visit_bool<E>(self, value: bool) -> Result<T, E> {
        Ok(T::from_bool(value))
    }
    fn visit_i64<E>(self, value: i64) -> Result<T, E> {
        Ok(T::from_i64(value))
    }
    fn visit_u64<E>(self, value: u64) -> Result<T, E> {
        Ok(i64::try_from(value).map_or_else(|_| T::absent(), T::from_i64))
    }
    fn visit_f64<E>(self, _: f64) -> Result<T, E> {
        Ok(T::absent())
    }
    fn visit_str<E>(self, value: &str) -> Result<T, E> {
        Ok(T::from_str(value))
    }
    fn visit_none<E>(self) -> Result<T, E> {
        Ok(T::absent())
    }
    fn visit_unit<E>(self) -> Result<T, E> {
        Ok(T::absent())
    }
    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<T, D::Error> {
        deserializer.deserialize_any(self)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<T, A::Error> {
        T::from_seq(seq)
    }
    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        T::from_map(map)
    }
}

fn skip_seq<'de, A: SeqAccess<'de>>(mut seq: A) -> Result<(), A::Error> {
    while seq.next_element::<IgnoredAny>()?.is_some() {}
    Ok(())
}

fn skip_map<'de, A: MapAccess<'de>>(mut map: A) -> Result<(), A::Error> {
    while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
    Ok(())
}
