//! The tree of a document, and how its values are asked for.

use super::Place;

/// A value and where it begins.
#[derive(Clone, Debug)]
pub struct Node {
    pub place: Place,
    pub value: Value,
}

#[derive(Clone, Debug)]
pub enum Value {
    Scalar(Scalar),
    Seq(Vec<Node>),
    /// In the order of the file; keys are unique.
    Map(Vec<Entry>),
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Scalar {
    pub text: String,
    /// `present` is a word, `"present"` a text.
    pub quoted: bool,
    /// An unquoted text that YAML ended at ` #`.
    pub cut: bool,
}

/// One key with its value.
#[derive(Clone, Debug)]
pub struct Entry {
    pub key: String,
    pub key_quoted: bool,
    pub key_place: Place,
    pub value: Node,
}

impl Node {
    pub fn as_scalar(&self) -> Option<&Scalar> {
        match &self.value {
            Value::Scalar(scalar) => Some(scalar),
            _ => None,
        }
    }

    /// The text of a scalar, quoted or not.
    pub fn as_text(&self) -> Option<&str> {
        self.as_scalar().map(|scalar| scalar.text.as_str())
    }

    /// The text of an unquoted scalar.
    pub fn as_word(&self) -> Option<&str> {
        self.as_scalar().filter(|scalar| !scalar.quoted).map(|scalar| scalar.text.as_str())
    }

    pub fn as_map(&self) -> Option<&[Entry]> {
        match &self.value {
            Value::Map(entries) => Some(entries),
            _ => None,
        }
    }

    pub fn as_seq(&self) -> Option<&[Self]> {
        match &self.value {
            Value::Seq(items) => Some(items),
            _ => None,
        }
    }

    /// A list's items, or the one value as if it were a list of one.
    pub fn items(&self) -> &[Self] {
        self.as_seq().unwrap_or(std::slice::from_ref(self))
    }

    /// The value of a map's key.
    pub fn get(&self, key: &str) -> Option<&Self> {
        self.as_map()?.iter().find(|entry| entry.key == key).map(|entry| &entry.value)
    }

    /// What it is, for a message.
    pub fn form(&self) -> &'static str {
        match self.value {
            Value::Scalar(_) => "a text",
            Value::Seq(_) => "a list",
            Value::Map(_) => "a map",
        }
    }
}
