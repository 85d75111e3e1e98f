//! How a key of a common kind becomes an entry of the table: a time, a number, a path, a switch.
//!
//! The table itself is `keys`'.

macro_rules! duration {
    ($name:literal, $field:ident, $default:literal, $min:expr, $max:expr, $doc:literal) => {
        Key {
            name: $name,
            kind: Kind::Duration($min, $max),
            default: $default,
            change: Change::Live,
            doc: $doc,
            set: |config, text| {
                value::duration(text, $min, $max).map(|value| config.tunables.$field = value)
            },
            show: |config| value::show_duration(config.tunables.$field),
        }
    };
}

macro_rules! path_or_none {
    ($name:literal, $field:ident, $doc:literal) => {
        Key {
            name: $name,
            kind: Kind::PathOrNone,
            default: "none",
            change: Change::Reload,
            doc: $doc,
            set: |config, text| {
                config.$field = none(text, &["none", ""], value::path)?;
                Ok(())
            },
            show: |config| {
                let path = config.$field.as_ref();
                path.map_or_else(|| "none".into(), |path| path.display().to_string())
            },
        }
    };
}

macro_rules! number {
    ($name:literal, $kind:ident, $reader:ident, $show:expr, $field:ident, $default:literal, $min:expr, $max:expr, $doc:literal) => {
        Key {
            name: $name,
            kind: Kind::$kind($min, $max),
            default: $default,
            change: Change::Live,
            doc: $doc,
            set: |config, text| {
                let value = value::$reader(text, $min, $max)?;
                // The range fits: every maximum in the table is far below 2^63.
                config.tunables.$field = usize::try_from(value).unwrap_or(usize::MAX);
                Ok(())
            },
            show: |config| $show(config.tunables.$field as u64),
        }
    };
}

macro_rules! auto_number {
    ($name:literal, $field:ident, $max:expr, $doc:literal) => {
        Key {
            name: $name,
            kind: Kind::AutoCount($max),
            default: "auto",
            change: Change::Live,
            doc: $doc,
            set: |config, text| {
                let value = match text {
                    "auto" => 0,
                    text => value::count(text, 1, $max)?,
                };
                config.tunables.$field = usize::try_from(value).unwrap_or(usize::MAX);
                Ok(())
            },
            show: |config| match config.tunables.$field {
                0 => "auto".into(),
                value => value.to_string(),
            },
        }
    };
}

macro_rules! switch {
    ($name:literal, $field:ident, $default:literal, $doc:literal) => {
        Key {
            name: $name,
            kind: Kind::Switch,
            default: $default,
            change: Change::Live,
            doc: $doc,
            set: |config, text| value::switch(text).map(|value| config.tunables.$field = value),
            show: |config| value::show_switch(config.tunables.$field),
        }
    };
}

pub(crate) use {auto_number, duration, number, path_or_none, switch};
