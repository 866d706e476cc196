//! Countries and networks of addresses, from files in MaxMind's format that the
//! operator has from whomever they like.
//!
//! A file is read whole into memory, at the start and at a reload, and walked through
//! once: what can't be read is told then, with the place in gatepost.yaml, and not when
//! a mail comes. A look-up allocates nothing but its answer.

use crate::config::Config;
use crate::config::GivenPath;
use crate::yaml::Mistake;
use maxminddb::PathElement;
use maxminddb::Reader;
use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::net::IpAddr;
use std::path::Path;

/// The largest that is sold, with cities and providers, has 150 MB.
const MAX_FILE_BYTES: u64 = 512 << 20;

/// How many networks are asked for what the file is to be asked.
const TRIED: usize = 10_000;

/// Where a country's code stands: with MaxMind and DB-IP, then with IPinfo.
const COUNTRY: &[&[PathElement<'_>]] = &[
    &[PathElement::Key("country"), PathElement::Key("iso_code")],
    &[PathElement::Key("country_code")],
    &[PathElement::Key("country")],
];

/// The files that there are.
#[derive(Debug, Default)]
pub struct GeoIp {
    country: Option<Base>,
    asn: Option<Base>,
}

struct Base(Reader<Vec<u8>>);

impl fmt::Debug for Base {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.metadata().database_type)
    }
}

impl GeoIp {
    /// Reads what `geoip` of the configuration names.
    pub fn load(config: &Config) -> Result<Self, Vec<Mistake>> {
        let mut mistakes = Vec::new();
        let mut open = |given: &Option<GivenPath>, what: What| {
            let GivenPath { path, place } = given.as_ref()?;
            match Base::open(path, what) {
                Ok(base) => Some(base),
                Err(why) => {
                    let message = format!("{}: {why}", path.display());
                    mistakes.push(Mistake::at(&config.source, *place, message));
                    None
                }
            }
        };
        let country = open(&config.geoip.country, What::Country);
        let asn = open(&config.geoip.asn, What::Asn);
        if mistakes.is_empty() { Ok(Self { country, asn }) } else { Err(mistakes) }
    }

    pub fn has_country(&self) -> bool {
        self.country.is_some()
    }

    pub fn has_asn(&self) -> bool {
        self.asn.is_some()
    }

    /// Two capital letters (ISO 3166).
    pub fn country(&self, ip: IpAddr) -> Option<String> {
        self.country.as_ref()?.country(ip)
    }

    /// The number of the network that announces it.
    pub fn asn(&self, ip: IpAddr) -> Option<u32> {
        self.asn.as_ref()?.asn(ip)
    }
}

/// What a file is to be asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
enum What {
    Asn,
    Country,
}

impl Base {
    fn open(path: &Path, what: What) -> Result<Self, String> {
        let file = File::open(path).map_err(|error| format!("can't be read: {error}"))?;
        let mut bytes = Vec::new();
        file.take(MAX_FILE_BYTES + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| format!("can't be read: {error}"))?;
        if bytes.len() as u64 > MAX_FILE_BYTES {
            return Err(format!("a file with addresses may have {} MB", MAX_FILE_BYTES >> 20));
        }
        Self::read(bytes, what)
    }

    fn read(bytes: Vec<u8>, what: What) -> Result<Self, String> {
        let unread = |error| format!("not a whole file in MaxMind's format (.mmdb): {error}");
        let base = Self(Reader::from_source(bytes).map_err(unread)?);
        base.0.verify().map_err(unread)?;
        if !base.answers(what).map_err(unread)? {
            let kind = &base.0.metadata().database_type;
            let (asked, other) = match what {
                What::Country => ("countries", What::Asn),
                What::Asn => ("numbers of networks (ASN)", What::Country),
            };
            let is_other = base.answers(other).map_err(unread)?;
            let remedy = match (is_other, other) {
                (false, _) => "",
                (true, What::Asn) => "; it is one for `geoip.asn`",
                (true, What::Country) => "; it is one for `geoip.country`",
            };
            return Err(format!("a file of the kind `{kind}` says nothing of {asked}{remedy}"));
        }
        Ok(base)
    }

    /// Whether any of its first networks has what is asked.
    fn answers(&self, what: What) -> Result<bool, maxminddb::MaxMindDbError> {
        for found in self.0.networks(Default::default())?.take(TRIED) {
            let ip = found?.network()?.ip();
            let known = match what {
                What::Country => self.country(ip).is_some(),
                What::Asn => self.asn(ip).is_some(),
            };
            if known {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn country(&self, ip: IpAddr) -> Option<String> {
        let found = self.0.lookup(ip).ok().filter(|found| found.has_data())?;
        let codes = COUNTRY.iter().filter_map(|path| found.decode_path::<&str>(path).ok().flatten());
        let is_code = |code: &&str| code.len() == 2 && code.bytes().all(|b| b.is_ascii_alphabetic());
        codes.into_iter().find(is_code).map(str::to_ascii_uppercase)
    }

    fn asn(&self, ip: IpAddr) -> Option<u32> {
        let found = self.0.lookup(ip).ok().filter(|found| found.has_data())?;
        let number = [PathElement::Key("autonomous_system_number")];
        if let Ok(Some(number)) = found.decode_path::<u32>(&number) {
            return Some(number);
        }
        let text = found.decode_path::<&str>(&[PathElement::Key("asn")]).ok().flatten()?;
        text.strip_prefix("AS").unwrap_or(text).parse().ok()
    }
}

#[cfg(test)]
mod tests;
