//! Fields to and from the types of the crate `http`.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use crate::head::{Fields, Head, HeadError};
use crate::names::Names;

impl Head {
    /// The method of a request as the crate `http` has it. `input` is what the head was read from.
    ///
    /// # Errors
    /// [`HeadError::Method`], which cannot be of a head that was read.
    pub fn http_method(&self, input: &[u8]) -> Result<Method, HeadError> {
        Method::from_bytes(self.method(input)).map_err(|_invalid| HeadError::Method)
    }

    /// The fields as a map whose values share the memory of `input`, which is what the head was read
    /// from.
    ///
    /// # Errors
    /// The fields are too many for a map.
    pub fn shared_map(&self, input: &Bytes) -> Result<HeaderMap, HeadError> {
        let mut map = HeaderMap::with_capacity(self.fields(input).len());
        share(self.fields(input), input, &mut map, named)?;
        Ok(map)
    }

    /// Appends the fields to a map, as [`Head::shared_map`] makes one; their names are those of `names`,
    /// where they have come before.
    ///
    /// # Errors
    /// The fields are too many for a map.
    pub fn share_into(
        &self,
        input: &Bytes,
        names: &mut Names,
        map: &mut HeaderMap,
    ) -> Result<(), HeadError> {
        share(self.fields(input), input, map, |name| names.of(name))
    }
}

/// Appends fields to a map whose values share the memory of `input`, which they are parts of.
pub(crate) fn share(
    fields: Fields<'_>,
    input: &Bytes,
    map: &mut HeaderMap,
    mut name: impl FnMut(&[u8]) -> Result<HeaderName, HeadError>,
) -> Result<(), HeadError> {
    fields.iter().try_for_each(|field| {
        let value = HeaderValue::from_maybe_shared(input.slice_ref(field.value));
        let value = value.map_err(|_invalid| HeadError::Control)?;
        append(map, name(field.name)?, value)
    })
}

impl Fields<'_> {
    /// Appends the fields to a map. Values are copied.
    ///
    /// # Errors
    /// The fields are too many for a map.
    pub fn append_to(&self, map: &mut HeaderMap) -> Result<(), HeadError> {
        self.iter().try_for_each(|field| {
            let value = HeaderValue::from_bytes(field.value);
            let value = value.map_err(|_invalid| HeadError::Control)?;
            append(map, named(field.name)?, value)
        })
    }
}

pub(crate) fn named(name: &[u8]) -> Result<HeaderName, HeadError> {
    HeaderName::from_bytes(name).map_err(|_invalid| HeadError::FieldName)
}

pub(crate) fn append(
    map: &mut HeaderMap,
    name: HeaderName,
    value: HeaderValue,
) -> Result<(), HeadError> {
    let appended = map.try_append(name, value);
    appended.map_err(|_full| HeadError::TooManyFields)?;
    Ok(())
}
