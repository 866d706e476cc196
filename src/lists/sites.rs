//! The entries of a list of zones: those of the rule file, and a file of their own with
//! one a line, in postscreen's notation.

use super::location::Format;
use super::location::Location;
use super::pattern::Subject;
use super::row::Body;
use super::row::Key;
use super::table;
use crate::reputation::Site;
use crate::yaml::Mistake;
use std::fs::File;

/// Zones of one list: each of them is asked about each client.
const MAX_SITES: usize = 100;

/// Adds an entry; those of one zone become one.
pub fn add_site(sites: &mut Vec<Site>, site: Site) -> Result<(), String> {
    if let Some(known) = sites.iter_mut().find(|known| known.is_same_zone(&site)) {
        return known.join(site);
    }
    if sites.len() >= MAX_SITES {
        return Err(format!("more than {MAX_SITES} zones, each of which would be asked about each client"));
    }
    sites.push(site);
    Ok(())
}

pub(super) fn read(file: File, location: &Location, sites: &mut Vec<Site>) -> Vec<Mistake> {
    table::read(file, &location.path, Format::Plain, Subject::Text, &mut |row| {
        let Body::Entry { key: Key::Text(text), .. } = row.body else {
            return Ok(());
        };
        Site::parse(text).and_then(|site| add_site(sites, site)).map_err(|message| (row.key_at, message))
    })
}
