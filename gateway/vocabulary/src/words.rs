//! Enums whose values are words: one declaration gives the enum, its words, and reading them back.
//!
//! Owns the macro [`words!`](crate::words!) and what is said of a text that is none of the words. A
//! word that users type, or that a file or the API holds, is written once, beside its variant.

use std::fmt;

/// Characters of a refused text that an error shows.
const SHOWN_CHARS_MAX: usize = 32;

/// A text that is none of an enum's words. Displays as what it should have been:
///
/// ```
/// use vocabulary::settings::MtlsMode;
///
/// let error = "sometimes".parse::<MtlsMode>().unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "`sometimes` is not an mTLS mode: expected off, request or require",
/// );
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotAWord {
    /// The beginning of the text, escaped.
    text: String,
    /// What the word is for, with its article.
    what: &'static str,
    /// Every word there is.
    words: &'static [&'static str],
}

impl NotAWord {
    /// `text` is none of `words`.
    #[must_use]
    pub fn new(text: &str, what: &'static str, words: &'static [&'static str]) -> Self {
        let shown: String = text.chars().take(SHOWN_CHARS_MAX).collect();
        Self {
            text: shown.escape_debug().to_string(),
            what,
            words,
        }
    }

    /// Every word that would have been right.
    #[must_use]
    pub fn words(&self) -> &'static [&'static str] {
        self.words
    }
}

impl fmt::Display for NotAWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is not {}: expected ", self.text, self.what)?;
        match self.words {
            [] => f.write_str("nothing"),
            [one] => f.write_str(one),
            [first @ .., last] => write!(f, "{} or {last}", first.join(", ")),
        }
    }
}

impl std::error::Error for NotAWord {}

/// Declares an enum of words, with `ALL`, `as_str`, `Display`, `FromStr` (whose error lists the
/// words) and serde, which writes and reads the same words. The text after the name says what a
/// word is, with its article. `without serde` leaves serde out, for enums that are never written
/// or that are written in other words.
///
/// ```
/// vocabulary::words! {
///     /// How a valve stands.
///     #[derive(PartialOrd, Ord)]
///     pub enum Valve("a position of a valve") {
///         /// Nothing passes.
///         Shut = "shut",
///         /// Everything passes.
///         Open = "open",
///     }
/// }
///
/// assert_eq!("open".parse(), Ok(Valve::Open));
/// assert_eq!(Valve::ALL.map(Valve::as_str), ["shut", "open"]);
/// assert_eq!(serde_json::to_string(&Valve::Shut).unwrap(), "\"shut\"");
/// assert!(serde_json::from_str::<Valve>("\"ajar\"").is_err());
/// ```
#[macro_export]
macro_rules! words {
    (
        $(#[$meta:meta])*
        $vis:vis enum $name:ident($what:literal) {
            $($(#[$of_variant:meta])* $variant:ident = $word:literal),+ $(,)?
        }
    ) => {
        $crate::words! {
            $(#[$meta])*
            $vis enum $name($what, without serde) {
                $($(#[$of_variant])* $variant = $word),+
            }
        }

        impl $crate::words::serde::Serialize for $name {
            fn serialize<S: $crate::words::serde::Serializer>(
                &self,
                serializer: S,
            ) -> ::core::result::Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> $crate::words::serde::Deserialize<'de> for $name {
            fn deserialize<D: $crate::words::serde::Deserializer<'de>>(
                deserializer: D,
            ) -> ::core::result::Result<Self, D::Error> {
                $crate::words::read(deserializer, $what)
            }
        }
    };
    (
        $(#[$meta:meta])*
        $vis:vis enum $name:ident($what:literal, without serde) {
            $($(#[$of_variant:meta])* $variant:ident = $word:literal),+ $(,)?
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        $vis enum $name {
            $($(#[$of_variant])* $variant),+
        }

        impl $name {
            /// All there are, in the order of their declaration.
            $vis const ALL: [Self; [$($word),+].len()] = [$(Self::$variant),+];

            /// The stable word for it.
            #[must_use]
            $vis const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word),+
                }
            }
        }

        impl ::core::fmt::Display for $name {
            fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl ::core::str::FromStr for $name {
            type Err = $crate::words::NotAWord;

            fn from_str(text: &str) -> ::core::result::Result<Self, Self::Err> {
                match text {
                    $($word => ::core::result::Result::Ok(Self::$variant),)+
                    _ => ::core::result::Result::Err($crate::words::NotAWord::new(
                        text,
                        $what,
                        &[$($word),+],
                    )),
                }
            }
        }
    };
}

#[doc(hidden)]
pub use serde;

/// Reads a word, whatever form of text the format has.
#[doc(hidden)]
pub fn read<'de, D, T>(deserializer: D, what: &'static str) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: std::str::FromStr<Err = NotAWord>,
{
    struct Word<T>(&'static str, std::marker::PhantomData<T>);

    impl<T: std::str::FromStr<Err = NotAWord>> serde::de::Visitor<'_> for Word<T> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }

        fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
            text.parse().map_err(E::custom)
        }
    }

    deserializer.deserialize_str(Word(what, std::marker::PhantomData))
}

#[cfg(test)]
mod tests {
    crate::words! {
        /// For these tests.
        enum One("the one word") {
            /// It.
            Only = "only",
        }
    }

    crate::words! {
        /// For these tests.
        enum Two("a side") {
            /// Left.
            Left = "left",
            /// Right.
            Right = "right-hand",
        }
    }

    #[test]
    fn words_are_read_as_they_are_written_and_nothing_else_is() {
        for side in Two::ALL {
            assert_eq!(side.as_str().parse(), Ok(side));
            let json = serde_json::to_string(&side).unwrap();
            assert_eq!(json, format!("\"{side}\""));
            assert_eq!(serde_json::from_str::<Two>(&json).unwrap(), side);
        }
        for text in ["", "Left", "left ", "right"] {
            assert!(text.parse::<Two>().is_err(), "{text}");
        }
        assert_eq!("only".parse(), Ok(One::ALL[0]));
    }

    #[test]
    fn errors_say_what_was_expected_and_show_no_control_character() {
        for (text, expected) in [
            ("up", "`up` is not a side: expected left or right-hand"),
            (
                "\x1b[2J",
                "`\\u{1b}[2J` is not a side: expected left or right-hand",
            ),
        ] {
            assert_eq!(text.parse::<Two>().unwrap_err().to_string(), expected);
        }
        let error = "x".parse::<One>().unwrap_err();
        assert_eq!(error.to_string(), "`x` is not the one word: expected only");
        assert_eq!(error.words(), ["only"]);
        let long = "x".repeat(1000).parse::<One>().unwrap_err().to_string();
        assert!(long.len() < 100, "{long}");
        let json = serde_json::from_str::<Two>("\"up\"")
            .unwrap_err()
            .to_string();
        assert!(json.contains("expected left or right-hand"), "{json}");
        let number = serde_json::from_str::<Two>("7").unwrap_err().to_string();
        assert!(number.contains("a side"), "{number}");
    }
}
