//! Lists and patterns: what rules ask membership of. Knows neither rules nor facts.
//!
//! [`Pattern`] is one pattern, [`Set`] many of them indexed,
//! [`List`] a set with values that may come from a file and reloads alone.

mod action;
mod glob;
mod list;
mod literals;
mod load;
mod location;
mod needle;
mod network;
mod ordered;
mod overlap;
mod parents;
mod pattern;
mod pcre;
mod rewrite;
mod row;
mod set;
mod sieve;
mod sites;
mod table;
mod value;

pub use action::TableAction;
pub use action::Verb;
pub use list::Given;
pub use list::Hit;
pub use list::Kind;
pub use list::List;
pub use list::Spec;
pub use parents::MAX_PARENTS;
pub use pattern::Pattern;
pub use pattern::Query;
pub use pattern::Subject;
pub use set::Set;
pub use sites::add_site;
pub use value::ListValue;
pub use value::Names;
pub use value::To;

use crate::near::did_you_mean;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What `local.networks` of gatepost.yaml becomes.
const LOCAL_NETWORKS: &str = "local.networks";

/// The lists of a policy by name.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    lists: BTreeMap<String, Arc<List>>,
    /// Also among the others.
    local_networks: Option<Arc<List>>,
}

impl Registry {
    /// False if there is a list of this name; it stays.
    pub fn add(&mut self, list: Arc<List>) -> bool {
        if self.lists.contains_key(list.name()) {
            return false;
        }
        if list.name() == LOCAL_NETWORKS {
            self.local_networks = Some(Arc::clone(&list));
        }
        self.lists.insert(list.name().to_owned(), list);
        true
    }

    /// The one that every mail is compared with.
    pub fn local_networks(&self) -> Option<&Arc<List>> {
        self.local_networks.as_ref()
    }

    /// The list, or a message that names the one probably meant.
    pub fn get(&self, name: &str) -> Result<&Arc<List>, String> {
        self.lists.get(name).ok_or_else(|| {
            let hint = did_you_mean(name, self.lists.keys().map(String::as_str));
            format!("no list `{name}`{hint}")
        })
    }

    pub fn contains(&self, name: &str) -> bool {
        self.lists.contains_key(name)
    }

    /// In the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<List>> {
        self.lists.values()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml::Source;
    use list::Kind;
    use list::Spec;

    #[test]
    fn a_list_that_is_not_there_is_told_with_its_neighbour() {
        let source = Arc::new(Source { name: "p.yaml".into(), text: String::new() });
        let mut registry = Registry::default();
        let list = Arc::new(List::build(Spec::new("partners", Kind::Client, source)).unwrap());
        assert!(registry.add(Arc::clone(&list)));
        assert!(!registry.add(list));
        assert!(registry.get("partners").is_ok());
        assert_eq!(registry.get("partner").unwrap_err(), "no list `partner`; did you mean `partners`?");
        assert_eq!(registry.get("zebra").unwrap_err(), "no list `zebra`");
    }
}
