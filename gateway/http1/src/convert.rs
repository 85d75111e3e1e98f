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
        self.share(input, &mut map, named)?;
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
        self.share(input, map, |name| names.of(name))
    }

    fn share(
        &self,
        input: &Bytes,
        map: &mut HeaderMap,
        mut name: impl FnMut(&[u8]) -> Result<HeaderName, HeadError>,
    ) -> Result<(), HeadError> {
        self.fields(input).iter().try_for_each(|field| {
            let value = HeaderValue::from_maybe_shared(input.slice_ref(field.value));
            append(map, name(field.name)?, value)
        })
    }
}

impl Fields<'_> {
    /// Appends the fields to a map. Values are copied.
    ///
    /// # Errors
    /// The fields are too many for a map.
    pub fn append_to(&self, map: &mut HeaderMap) -> Result<(), HeadError> {
        self.iter().try_for_each(|field| {
            let value = HeaderValue::from_bytes(field.value);
            append(map, named(field.name)?, value)
        })
    }
}

pub(crate) fn named(name: &[u8]) -> Result<HeaderName, HeadError> {
    HeaderName::from_bytes(name).map_err(|_invalid| HeadError::FieldName)
}

fn append(
    map: &mut HeaderMap,
    name: HeaderName,
    value: Result<HeaderValue, http::header::InvalidHeaderValue>,
) -> Result<(), HeadError> {
    let value = value.map_err(|_invalid| HeadError::Control)?;
    let appended = map.try_append(name, value);
    appended.map_err(|_full| HeadError::TooManyFields)?;
    Ok(())
}
