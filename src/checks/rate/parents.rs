//! Whose limits hold beside the key's own: a mailbox's domain, its customer, and
//! so on upwards, as a list `to: parent` says.

use crate::checks::limit::Allowance;
use crate::checks::limit::Key;
use crate::checks::limit::Part;
use crate::facts::Facts;
use crate::facts::Kind as FactKind;
use crate::lists::Kind;
use crate::lists::List;
use crate::lists::MAX_PARENTS;
use crate::lists::Query;
use crate::lists::To;
use crate::names::Mailbox;
use crate::state::Limits;
use crate::values::Loader;
use crate::yaml::Node;
use std::sync::Arc;

#[derive(Clone, Debug)]
pub(super) struct Parents {
    /// None: a mailbox has its domain above it, and nothing else has anything.
    list: Option<Arc<List>>,
    pub limits: Allowance,
}

impl Parents {
    pub(super) fn parse(node: &Node, key: &Key, cx: &mut Loader<'_>) -> Option<Self> {
        let options = node.as_map().unwrap_or_default();
        let fine = cx.only_keys(options, &["list", "limits"], "parents");
        let Some(limits_node) = node.get("limits") else {
            cx.mistake(
                node.place,
                "parents is a map with limits, and a list `to: parent` where there is one",
            );
            return None;
        };
        let is_several = matches!(key, Key::All(parts) if parts.len() > 1);
        if is_several {
            cx.mistake(node.place, "parents are those of one attribute: this key is made of several");
        }
        let limits = Allowance::parse(limits_node, cx);
        let by_attribute = limits.as_ref().and_then(Allowance::lookup).is_some_and(|it| it.of.is_some());
        if by_attribute {
            cx.mistake(
                limits_node.place,
                "limits of parents are looked up by the parent's name: leave out `of`",
            );
        }
        let list = match node.get("list") {
            Some(list) => Some(self::list(list, key, cx)?),
            None => None,
        };
        let has_domain = |part: &Part| part.fact.info().kind == FactKind::Address;
        if list.is_none() && !key.parts().iter().any(has_domain) {
            cx.mistake(
                node.place,
                "only a mailbox has a parent of itself, its domain: give a list `to: parent`",
            );
            return None;
        }
        let fine = fine && !is_several && !by_attribute;
        limits.filter(|_| fine).map(|limits| Self { list, limits })
    }

    /// The names above a key that have limits, the nearest first.
    pub(super) fn of(&self, key: &Key, facts: &Facts) -> Vec<(String, Arc<Limits>)> {
        let Some((part, text)) = key.first(facts) else {
            return Vec::new();
        };
        let Some(list) = &self.list else {
            let domain = Mailbox::parse(&text).domain.filter(|_| part.fact.info().kind == FactKind::Address);
            return domain.and_then(|domain| self.limited(domain.to_owned())).into_iter().collect();
        };
        let first = match part.fact.info().kind {
            FactKind::Domain => list.parent_of_name(&text),
            _ => list.parent(&Query { text: &text, folded: &text, ip: facts.ip(part.fact) }),
        };
        let names = std::iter::successors(first, |name| list.parent_of_name(name)).take(MAX_PARENTS);
        names.filter_map(|name| self.limited(name)).collect()
    }

    fn limited(&self, name: String) -> Option<(String, Arc<Limits>)> {
        self.limits.of_name(&name).map(|limits| (name, limits))
    }
}

fn list(node: &Node, key: &Key, cx: &mut Loader<'_>) -> Option<Arc<List>> {
    let name = cx.text(node, "`list`")?;
    let list = match cx.lists.get(name) {
        Ok(list) => Arc::clone(list),
        Err(message) => {
            cx.mistake(node.place, message);
            return None;
        }
    };
    if list.to() != Some(To::Parent) {
        cx.mistake(
            node.place,
            format!("`{name}` does not say who is above whom; say `to: parent` in the list"),
        );
        return None;
    }
    let kind = list.kind();
    let fits = |fact: FactKind| match fact {
        FactKind::Address | FactKind::Domain => matches!(kind, Kind::Address | Kind::Domain | Kind::Text),
        FactKind::Client | FactKind::Ip => matches!(kind, Kind::Client | Kind::Network | Kind::Text),
        FactKind::Number | FactKind::Text | FactKind::Words(_) => kind == Kind::Text,
    };
    for part in key.parts() {
        let info = part.fact.info();
        if !fits(info.kind) {
            let (of, name) = (kind.word(), list.name());
            cx.mistake(
                node.place,
                format!("`{name}` is a list of {of}, and can't say what is above `{}`", info.name),
            );
            return None;
        }
    }
    Some(list)
}
