//! Host names in records: how serde writes and reads one, and a set of them.

/// Host names in records, as text.
pub(crate) mod one {
    use serde::{Deserialize, Deserializer, Serializer};

    use vocabulary::hostname::HostName;

    pub(crate) fn serialize<S: Serializer>(name: &HostName, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(name.as_str())
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<HostName, D::Error> {
        HostName::parse(&String::deserialize(d)?).map_err(serde::de::Error::custom)
    }
}

/// Sets of host names in records, as texts.
pub(crate) mod all {
    use serde::{Deserialize, Deserializer, Serializer};

    use vocabulary::hostname::HostName;

    pub(crate) fn serialize<'a, S: Serializer, C>(names: &'a C, s: S) -> Result<S::Ok, S::Error>
    where
        &'a C: IntoIterator<Item = &'a HostName>,
    {
        s.collect_seq(names.into_iter().map(HostName::as_str))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>, C>(d: D) -> Result<C, D::Error>
    where
        C: FromIterator<HostName>,
    {
        Vec::<String>::deserialize(d)?
            .iter()
            .map(|text| HostName::parse(text).map_err(serde::de::Error::custom))
            .collect()
    }
}
