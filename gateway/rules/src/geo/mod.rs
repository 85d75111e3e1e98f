//! GeoIP databases in MaxMind's format: the country, city and AS number of an address.
//!
//! Owns checking a database whole before it is used, and look-ups in memory. Does no I/O: the
//! caller reads the file. Which fields of a rule show a place is `eval`'s business. Format:
//! <https://maxmind.github.io/MaxMind-DB/>.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use maxminddb::{MaxMindDbError, Reader, WithinOptions};
use serde::Deserialize;

use crate::limits::{GEOIP_DATABASE_BYTES_MAX, GEOIP_RECORDS_TRIED};

/// Why a database is not taken.
#[derive(Debug, thiserror::Error)]
pub enum GeoError {
    /// It is no database, or a damaged one.
    #[error("the GeoIP database {path} is damaged or not in MaxMind's format: {why}")]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: MaxMindDbError,
    },
    /// It is larger than what is kept in memory.
    #[error("the GeoIP database {path} has more than {GEOIP_DATABASE_BYTES_MAX} bytes")]
    Size {
        /// The file.
        path: PathBuf,
    },
    /// Its records tell nothing that a rule could ask for.
    #[error(
        "the GeoIP database {path} (`{kind}`) has neither countries, cities nor AS numbers where MaxMind's have them"
    )]
    Content {
        /// The file.
        path: PathBuf,
        /// What it says of itself.
        kind: String,
    },
}

/// A database as it was read.
pub struct Database {
    /// Where it came from, for errors.
    pub path: PathBuf,
    /// What is in the file.
    pub bytes: Vec<u8>,
}

/// The databases, in memory.
pub struct Geo {
    databases: Vec<Reader<Vec<u8>>>,
}

impl fmt::Debug for Geo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds = self
            .databases
            .iter()
            .map(|one| &one.metadata().database_type);
        f.debug_list().entries(kinds).finish()
    }
}

/// What is known of an address. Nothing is empty: what is not known is `None`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Location {
    /// The number of the autonomous system that announces it.
    pub asnum: Option<u32>,
    /// ISO 3166-1 alpha-2: `GB`.
    pub country: Option<Box<str>>,
    /// `AF`, `AN`, `AS`, `EU`, `NA`, `OC` or `SA`.
    pub continent: Option<Box<str>>,
    /// The first subdivision's name in English.
    pub region: Option<Box<str>>,
    /// The first subdivision's code without the country: `ENG`.
    pub region_code: Option<Box<str>>,
    /// The city's name in English.
    pub city: Option<Box<str>>,
    /// Known when the country is.
    pub is_in_european_union: Option<bool>,
    /// ISO 3166-2: `GB-ENG`.
    pub subdivision_1: Option<Box<str>>,
    /// ISO 3166-2 of the subdivision below that one.
    pub subdivision_2: Option<Box<str>>,
}

/// A record as MaxMind's databases have it: those of cities, of countries and of AS numbers alike.
#[derive(Debug, Default, Deserialize)]
struct Record<'d> {
    autonomous_system_number: Option<u32>,
    #[serde(borrow, default)]
    city: Named<'d>,
    #[serde(borrow, default)]
    continent: Continent<'d>,
    #[serde(borrow, default)]
    country: Country<'d>,
    #[serde(borrow, default)]
    subdivisions: Vec<Subdivision<'d>>,
}

#[derive(Debug, Default, Deserialize)]
struct Named<'d> {
    #[serde(borrow, default)]
    names: Names<'d>,
}

#[derive(Debug, Default, Deserialize)]
struct Names<'d> {
    en: Option<&'d str>,
}

#[derive(Debug, Default, Deserialize)]
struct Continent<'d> {
    code: Option<&'d str>,
}

#[derive(Debug, Default, Deserialize)]
struct Country<'d> {
    iso_code: Option<&'d str>,
    /// Absent where it is not.
    #[serde(default)]
    is_in_european_union: bool,
}

#[derive(Debug, Default, Deserialize)]
struct Subdivision<'d> {
    iso_code: Option<&'d str>,
    #[serde(borrow, default)]
    names: Names<'d>,
}

impl Geo {
    /// Takes databases; `None` when there are none. Each is checked whole, so that a look-up finds
    /// no damage later, when a rule would quietly miss.
    ///
    /// # Errors
    /// The first that cannot be used.
    pub fn new(databases: impl IntoIterator<Item = Database>) -> Result<Option<Self>, GeoError> {
        let databases: Vec<_> = databases
            .into_iter()
            .map(checked)
            .collect::<Result<_, _>>()?;
        Ok((!databases.is_empty()).then_some(Self { databases }))
    }

    /// What is known of an address; the database named first wins.
    #[must_use]
    pub fn place(&self, address: IpAddr) -> Location {
        let mut place = Location::default();
        for database in &self.databases {
            // Of an IPv6 address a database of IPv4 knows nothing; damage was looked for before.
            let record = database.lookup(address).and_then(|found| found.decode());
            if let Ok(Some(record)) = record {
                place.add(&record);
            }
        }
        place
    }
}

impl Location {
    fn add(&mut self, record: &Record<'_>) {
        fn fill(slot: &mut Option<Box<str>>, text: Option<&str>) {
            if slot.is_none() {
                *slot = text.filter(|text| !text.is_empty()).map(Into::into);
            }
        }
        let country = record.country.iso_code;
        fill(&mut self.country, country);
        if country.is_some() && self.is_in_european_union.is_none() {
            self.is_in_european_union = Some(record.country.is_in_european_union);
        }
        fill(&mut self.continent, record.continent.code);
        fill(&mut self.city, record.city.names.en);
        let mut subdivisions = record.subdivisions.iter();
        let (first, second) = (subdivisions.next(), subdivisions.next());
        fill(&mut self.region, first.and_then(|one| one.names.en));
        fill(&mut self.region_code, first.and_then(|one| one.iso_code));
        for (slot, subdivision) in [
            (&mut self.subdivision_1, first),
            (&mut self.subdivision_2, second),
        ] {
            let code = subdivision.and_then(|one| one.iso_code);
            if let (None, Some(country), Some(code)) = (&slot, country, code) {
                *slot = Some(format!("{country}-{code}").into());
            }
        }
        self.asnum = self.asnum.or(record.autonomous_system_number);
    }
}

fn checked(database: Database) -> Result<Reader<Vec<u8>>, GeoError> {
    let Database { path, bytes } = database;
    if bytes.len() as u64 > GEOIP_DATABASE_BYTES_MAX {
        return Err(GeoError::Size { path });
    }
    let damaged = |why| GeoError::Format {
        path: path.clone(),
        why,
    };
    let reader = Reader::from_source(bytes).map_err(damaged)?;
    reader.verify().map_err(damaged)?;
    let mut useful = false;
    let networks = reader.networks(WithinOptions::default()).map_err(damaged)?;
    for network in networks.take(GEOIP_RECORDS_TRIED) {
        let found = network.and_then(|found| found.decode()).map_err(damaged)?;
        if let Some(record) = found {
            let mut place = Location::default();
            place.add(&record);
            useful |= place != Location::default();
        }
    }
    if !useful {
        return Err(GeoError::Content {
            path,
            kind: reader.metadata().database_type.clone(),
        });
    }
    Ok(reader)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::database::{database, write};

    #[test]
    fn places() {
        let cities = database(&[
            (
                "203.0.113.0/24",
                json!({
                    "city": { "names": { "en": "Leeds", "de": "Leeds" } },
                    "continent": { "code": "EU", "names": { "en": "Europe" } },
                    "country": { "iso_code": "GB", "names": { "en": "United Kingdom" } },
                    "location": { "time_zone": "Europe/London" },
                    "subdivisions": [
                        { "iso_code": "ENG", "names": { "en": "England" } },
                        { "iso_code": "LDS", "names": { "en": "Leeds" } },
                    ],
                }),
            ),
            (
                "2001:db8::/32",
                json!({ "country": { "iso_code": "DE", "is_in_european_union": true } }),
            ),
            ("198.51.100.0/25", json!({ "continent": { "code": "OC" } })),
        ]);
        let numbers = database(&[
            (
                "203.0.113.0/25",
                json!({ "autonomous_system_number": 64496, "autonomous_system_organization": "x" }),
            ),
            (
                "2001:db8::/32",
                json!({ "autonomous_system_number": 4_200_000_000_u32 }),
            ),
        ]);
        let geo = Geo::new([cities, numbers]).unwrap().unwrap();
        let place = |address: &str| geo.place(address.parse().unwrap());
        let some = |text: &str| Some(Box::from(text));
        let leeds = Location {
            asnum: Some(64496),
            country: some("GB"),
            continent: some("EU"),
            region: some("England"),
            region_code: some("ENG"),
            city: some("Leeds"),
            is_in_european_union: Some(false),
            subdivision_1: some("GB-ENG"),
            subdivision_2: some("GB-LDS"),
        };
        assert_eq!(place("203.0.113.9"), leeds);
        assert_eq!(
            place("203.0.113.200"),
            Location {
                asnum: None,
                ..leeds
            }
        );
        let abroad = Location {
            asnum: Some(4_200_000_000),
            country: some("DE"),
            is_in_european_union: Some(true),
            ..Location::default()
        };
        assert_eq!(place("2001:db8:1::9"), abroad);
        let ocean = Location {
            continent: some("OC"),
            ..Location::default()
        };
        assert_eq!(place("198.51.100.1"), ocean);
        for unknown in ["198.51.100.128", "10.0.0.1", "::1", "2001:db9::1"] {
            assert_eq!(place(unknown), Location::default(), "{unknown}");
        }
        assert!(Geo::new([]).unwrap().is_none());
    }

    #[test]
    fn what_is_no_database_is_refused() {
        let good = write(&[("10.0.0.0/8", json!({ "country": { "iso_code": "DE" } }))]);
        let text = |bytes: &[u8]| {
            let (path, bytes) = (PathBuf::from("x.mmdb"), bytes.to_vec());
            let error = Geo::new([Database { path, bytes }]).unwrap_err();
            error.to_string()
        };
        assert!(text(b"").contains("damaged"));
        assert!(text(b"this is a text\n").contains("damaged"));
        for cut in [good.len() / 3, good.len() - 20] {
            assert!(text(&good[..cut]).contains("damaged"), "{cut}");
        }
        let mut lying = good;
        // The first node's first record points far beyond the data.
        lying[..3].fill(0xff);
        assert!(text(&lying).contains("damaged"));
        let other = write(&[("10.0.0.0/8", json!({ "domain": "example.com" }))]);
        assert!(text(&other).contains("neither countries"));
        let shape = write(&[("10.0.0.0/8", json!({ "country": "DE" }))]);
        assert!(text(&shape).contains("damaged or not in MaxMind's format"));
    }
}
