//! All parts of a message, those of the messages within it with them, while they
//! are found: numbered, named, and capped.

use crate::content::Names;
use crate::message::boundaries::Level;
use crate::message::names;
use crate::message::parameters;
use crate::message::parameters::Field;
use crate::message::part::Part;
use crate::message::part::Place;
use crate::message::part_header::Kind;
use crate::message::part_header::MAX_FIELDS_BYTES;
use crate::message::trick::Trick;
use crate::message::trick::Tricks;

/// Parts read of one message (as rspamd).
pub(super) const MAX_PARTS: usize = 10_000;
/// Multiparts and messages within each other (as Postfix's `mime_nesting_limit`).
pub(super) const MAX_DEPTH: usize = 100;
/// Bytes of all names of a message.
pub(super) const MAX_ALL_NAMES_BYTES: usize = 1 << 20;
/// Bytes decoded to find one name.
const MAX_DECODED_NAME_BYTES: usize = MAX_FIELDS_BYTES * 3;

/// What a header begins.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Origin {
    /// Behind a boundary, or where one may be missing.
    Boundary,
    /// The message itself.
    Message,
    /// A message within another.
    Within,
}

#[derive(Debug, Default)]
pub(super) struct Parts {
    list: Vec<Part>,
    /// How many parts are in each.
    children: Vec<u32>,
    names_bytes: usize,
    pub tricks: Tricks,
    limit: Option<&'static str>,
}

impl Parts {
    pub(super) fn into_list(self) -> Vec<Part> {
        self.list
    }

    /// The first cap that was hit, in words.
    pub(super) fn limit(&self) -> Option<&'static str> {
        self.limit
    }

    pub(super) fn hit(&mut self, limit: &'static str) {
        self.limit.get_or_insert(limit);
    }

    pub(super) fn get(&self, part: u32) -> Option<&Part> {
        self.list.get(part as usize)
    }

    /// How many parts were found in it so far.
    pub(super) fn children(&self, part: u32) -> u32 {
        self.children.get(part as usize).copied().unwrap_or(0)
    }

    pub(super) fn set_place(&mut self, part: u32, place: Place) {
        if let Some(part) = self.list.get_mut(part as usize) {
            part.place = Some(place);
        }
    }

    pub(super) fn set_size(&mut self, part: u32, bytes: usize) {
        if let Some(part) = self.list.get_mut(part as usize) {
            part.size = bytes as u64;
        }
    }

    /// One more, by its place among all; None if there are too many.
    pub(super) fn add(
        &mut self,
        fields: &[(Kind, Field)],
        level: Level,
        origin: Origin,
        is_multipart: bool,
    ) -> Option<u32> {
        if self.list.len() >= MAX_PARTS {
            self.hit("more parts than are read");
            return None;
        }
        let all: Vec<_> = fields.iter().map(|(_, field)| field).collect();
        let mut names = Names::default();
        for reading in ["filename", "name"].iter().flat_map(|name| parameters::readings(&all, name)) {
            names.add(&reading.text(MAX_DECODED_NAME_BYTES));
        }
        if let Some(limit) = names.limit {
            self.hit(limit);
        }
        self.tricks.add_if(names::has_hidden(&names.found), Trick::NameHidden);
        self.tricks.add_if(names::differ(&names.found), Trick::NameConflict);
        self.names_bytes += names.found.iter().map(String::len).sum::<usize>();
        if self.names_bytes > MAX_ALL_NAMES_BYTES {
            self.hit("longer names of parts than are read");
            return None;
        }
        let number = u32::try_from(self.list.len()).ok()?;
        let within = (origin != Origin::Message).then_some(level.multipart);
        let first = |kind| fields.iter().find(|(k, f)| *k == kind && !f.value.is_empty());
        let part = Part {
            names: names.found,
            content_type: first(Kind::Type).map(|(_, field)| field.value.clone()),
            disposition: first(Kind::Disposition).map(|(_, field)| field.value.clone()),
            depth: level.depth,
            path: self.path(level.multipart, origin, is_multipart),
            within,
            ..Part::default()
        };
        self.list.push(part);
        self.children.push(0);
        Some(number)
    }

    /// RFC 9051, 6.4.5: `TEXT` is the multipart that a message within is.
    fn path(&mut self, within: u32, origin: Origin, is_multipart: bool) -> String {
        if origin == Origin::Message {
            return String::new();
        }
        let number = match self.children.get_mut(within as usize) {
            Some(children) => {
                *children += 1;
                *children
            }
            None => 1,
        };
        let above = self.get(within).map_or("", |part| part.path.as_str());
        if origin == Origin::Within && is_multipart {
            return if above.is_empty() { "TEXT".into() } else { format!("{above}.TEXT") };
        }
        let above = above.strip_suffix("TEXT").map_or(above, |above| above.trim_end_matches('.'));
        if above.is_empty() { number.to_string() } else { format!("{above}.{number}") }
    }
}
