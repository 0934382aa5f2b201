//! Messages to bytes and back, without type parameters: a function that has them is compiled again in each crate that
//! calls it, one that has none only here.

use std::marker::PhantomData;

use prost::bytes::Buf;
use prost::{DecodeError, Message};
use tonic::Status;
use tonic::codec::{DecodeBuf, Decoder, EncodeBuf, Encoder};

/// A message that is written and read here.
pub trait Wire: Message + Default + 'static {
    /// Appends it to what is sent.
    fn put(&self, buf: &mut EncodeBuf<'_>);

    /// Encodes it.
    fn to_bytes(&self) -> Vec<u8>;

    /// Decodes one.
    ///
    /// # Errors
    /// If these are no such message.
    fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError>;
}

macro_rules! wire {
    ($message:ty) => {
        impl $crate::wire::Wire for $message {
            fn put(&self, buf: &mut ::tonic::codec::EncodeBuf<'_>) {
                ::prost::Message::encode_raw(self, buf);
            }

            fn to_bytes(&self) -> Vec<u8> {
                ::prost::Message::encode_to_vec(self)
            }

            fn from_bytes(bytes: &[u8]) -> Result<Self, ::prost::DecodeError> {
                ::prost::Message::decode(bytes)
            }
        }
    };
}
pub(crate) use wire;

wire!(::pbjson_types::Empty);

#[allow(deprecated)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/wire.rs"));
}

/// How calls write `T` and read `U`.
#[derive(Debug)]
pub struct Codec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for Codec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T: Wire, U: Wire> tonic::codec::Codec for Codec<T, U> {
    type Encode = T;
    type Decode = U;
    type Encoder = Half<T>;
    type Decoder = Half<U>;

    fn encoder(&mut self) -> Half<T> {
        Half(PhantomData)
    }

    fn decoder(&mut self) -> Half<U> {
        Half(PhantomData)
    }
}

/// One direction of a [`Codec`].
#[derive(Debug)]
pub struct Half<T>(PhantomData<T>);

impl<T: Wire> Encoder for Half<T> {
    type Item = T;
    type Error = Status;

    fn encode(&mut self, message: T, buf: &mut EncodeBuf<'_>) -> Result<(), Status> {
        message.put(buf);
        Ok(())
    }
}

impl<T: Wire> Decoder for Half<T> {
    type Item = T;
    type Error = Status;

    fn decode(&mut self, buf: &mut DecodeBuf<'_>) -> Result<Option<T>, Status> {
        let size = buf.remaining();
        // It is in one piece, as it was received; a copy is for the day on which it is not.
        let message = if buf.chunk().len() == size {
            let message = T::from_bytes(buf.chunk());
            buf.advance(size);
            message
        } else {
            T::from_bytes(&buf.copy_to_bytes(size))
        };
        let message = message.map_err(|error| Status::internal(error.to_string()))?;
        Ok(Some(message))
    }
}
