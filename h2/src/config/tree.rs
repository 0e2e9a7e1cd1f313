//! JSON whose every value knows its key and its line, so that a complaint can name both.
//!
//! serde_json reads the text; a [`Node`] is a slice of it that serde_json has found to be one
//! value. Where a slice starts is where it lies in the text.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::error::{ConfigError, Place, ValueError};
use super::limits::Limits;
use super::nearest::hint;

/// A text and the name that it is reported under.
#[derive(Debug)]
pub(super) struct Source<'a> {
    pub(super) name: &'a str,
    pub(super) text: &'a str,
}

impl<'a> Source<'a> {
    /// The value that the text is.
    pub(super) fn root(&self) -> Result<Node<'_, 'a>, ConfigError> {
        if self.text.trim().is_empty() {
            let problem = "it is empty".to_owned();
            return Err(ConfigError::Syntax { place: self.place(0), column: 1, problem });
        }
        let raw: &RawValue =
            serde_json::from_str(self.text).map_err(|error| self.syntax(&error, 0))?;
        Ok(Node { source: self, path: String::new(), raw })
    }

    /// The place of a key such as `vifs[1].mac`, or of the nearest thing above it that exists.
    pub(super) fn locate(&self, key: &str) -> Place {
        let mut offset = 0;
        let mut node = self.root().ok();
        for step in key.split(['.', '[']) {
            node = node.and_then(|node| match step.strip_suffix(']') {
                Some(index) => node.elements().ok()?.into_iter().nth(index.parse().ok()?),
                None => node
                    .entries()
                    .ok()?
                    .into_iter()
                    .find(|entry| entry.name == step)
                    .map(|entry| entry.value),
            });
            offset = node.as_ref().map_or(offset, Node::offset);
        }
        self.place(offset)
    }

    fn place(&self, offset: usize) -> Place {
        let before = self.text.as_bytes().get(..offset).unwrap_or_default();
        let line = before.iter().filter(|&&byte| byte == b'\n').count() + 1;
        Place { source: self.name.to_owned(), line }
    }

    /// The error for a part of the text that starts at `offset` and is not JSON.
    fn syntax(&self, error: &serde_json::Error, offset: usize) -> ConfigError {
        let message = error.to_string();
        let problem = match message.split(" at line ").next().unwrap_or(&message) {
            "key must be a string" => {
                "expected a key in quotation marks; is there a comma too many?".to_owned()
            }
            problem => problem.to_owned(),
        };
        let mut place = self.place(offset);
        place.line += error.line().saturating_sub(1);
        ConfigError::Syntax { place, column: error.column(), problem }
    }

    fn offset_of(&self, part: &str) -> usize {
        part.as_ptr().addr().saturating_sub(self.text.as_ptr().addr())
    }
}

/// One value.
#[derive(Debug)]
pub(super) struct Node<'s, 'a> {
    source: &'s Source<'a>,
    path: String,
    raw: &'a RawValue,
}

impl<'s, 'a> Node<'s, 'a> {
    /// What is wrong with this value.
    pub(super) fn error(&self, problem: impl fmt::Display) -> ConfigError {
        let key = if self.path.is_empty() { "(all of it)".to_owned() } else { self.path.clone() };
        ConfigError::Value {
            place: self.source.place(self.offset()),
            key,
            problem: problem.to_string(),
        }
    }

    /// A number within its limits.
    pub(super) fn number(&self, limits: &Limits) -> Result<u64, ConfigError> {
        let number = self.raw.get().parse::<u64>().map_err(|_| limits.error(self.found()));
        number.and_then(|number| limits.check(number)).map_err(|error| self.error(error))
    }

    /// A text.
    pub(super) fn text(&self, noun: &str, right: &str) -> Result<String, ConfigError> {
        serde_json::from_str::<String>(self.raw.get())
            .map_err(|_| self.error(ValueError::not(self.found(), noun, right)))
    }

    /// A truth value.
    pub(super) fn truth(&self) -> Result<bool, ConfigError> {
        serde_json::from_str::<bool>(self.raw.get()).map_err(|_| {
            self.error(ValueError::not(self.found(), "a truth value", "true or false"))
        })
    }

    /// The elements of a list.
    pub(super) fn list(&self, noun: &str, right: &str) -> Result<Vec<Self>, ConfigError> {
        if !self.raw.get().starts_with('[') {
            return Err(self.error(ValueError::not(self.found(), noun, right)));
        }
        self.elements()
    }

    /// The keys of an object, none of them unknown, none given twice.
    pub(super) fn object(
        &self,
        keys: &[&str],
        noun: &str,
        right: &str,
    ) -> Result<Object<'s, 'a>, ConfigError> {
        if !self.is_object() {
            return Err(self.error(ValueError::not(self.found(), noun, right)));
        }
        let entries = self.entries()?;
        for (index, entry) in entries.iter().enumerate() {
            let place = || self.source.place(entry.offset);
            let key = entry.value.path.clone();
            if !keys.contains(&entry.name.as_str()) {
                return Err(ConfigError::UnknownKey {
                    place: place(),
                    key,
                    hint: hint(&entry.name, keys),
                });
            }
            if let Some(first) = entries.iter().take(index).find(|other| other.name == entry.name) {
                let first = self.source.place(first.offset).line;
                return Err(ConfigError::DuplicateKey { place: place(), key, first });
            }
        }
        Ok(Object { source: self.source, path: self.path.clone(), offset: self.offset(), entries })
    }

    pub(super) fn is_object(&self) -> bool {
        self.raw.get().starts_with('{')
    }

    /// The value as it stands in the text, if it is short.
    fn found(&self) -> String {
        match self.raw.get() {
            text if text.starts_with('{') => "an object".to_owned(),
            text if text.starts_with('[') => "a list".to_owned(),
            text => shown(text),
        }
    }

    fn offset(&self) -> usize {
        self.source.offset_of(self.raw.get())
    }

    fn elements(&self) -> Result<Vec<Self>, ConfigError> {
        let raws: Vec<&'a RawValue> = self.parse()?;
        let node = |(index, raw)| Node {
            source: self.source,
            path: format!("{}[{index}]", self.path),
            raw,
        };
        Ok(raws.into_iter().enumerate().map(node).collect())
    }

    fn entries(&self) -> Result<Vec<Entry<'s, 'a>>, ConfigError> {
        let pairs: Pairs<'a> = self.parse()?;
        // A key is the first string behind the value before it.
        let mut end = self.offset() + 1;
        let entry = |(name, raw): (String, &'a RawValue)| {
            let gap = self.source.text.get(end..).unwrap_or_default();
            let offset = end + gap.find('"').unwrap_or(0);
            end = self.source.offset_of(raw.get()) + raw.get().len();
            let path = if self.path.is_empty() {
                shown(&name)
            } else {
                format!("{}.{}", self.path, shown(&name))
            };
            Entry { name, offset, value: Node { source: self.source, path, raw } }
        };
        Ok(pairs.0.into_iter().map(entry).collect())
    }

    fn parse<T: Deserialize<'a>>(&self) -> Result<T, ConfigError> {
        serde_json::from_str(self.raw.get())
            .map_err(|error| self.source.syntax(&error, self.offset()))
    }
}

/// A part of the text in a form that does not break the line of a message, nor the terminal that
/// shows it.
fn shown(text: &str) -> String {
    const LONGEST: usize = 60;
    let mut chars = text.chars();
    let mut shown = String::new();
    for c in chars.by_ref().take(LONGEST) {
        if c.is_control() { shown.extend(c.escape_default()) } else { shown.push(c) }
    }
    if chars.next().is_some() { shown + "..." } else { shown }
}

/// A key with its value.
#[derive(Debug)]
struct Entry<'s, 'a> {
    name: String,
    /// Where the key itself stands.
    offset: usize,
    value: Node<'s, 'a>,
}

/// An object whose keys are known.
#[derive(Debug)]
pub(super) struct Object<'s, 'a> {
    source: &'s Source<'a>,
    path: String,
    offset: usize,
    entries: Vec<Entry<'s, 'a>>,
}

impl<'s, 'a> Object<'s, 'a> {
    /// The value of a key, if it is there.
    pub(super) fn get(&self, name: &str) -> Option<&Node<'s, 'a>> {
        self.entries.iter().find(|entry| entry.name == name).map(|entry| &entry.value)
    }

    /// The value of a key that must be there.
    pub(super) fn require(&self, name: &str, right: &str) -> Result<&Node<'s, 'a>, ConfigError> {
        self.get(name).ok_or_else(|| {
            let key = if self.path.is_empty() {
                name.to_owned()
            } else {
                format!("{}.{name}", self.path)
            };
            ConfigError::MissingKey {
                place: self.source.place(self.offset),
                key,
                right: right.to_owned(),
            }
        })
    }
}

/// The keys and values of an object in the order of the text.
struct Pairs<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Pairs<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(PairsVisitor)
    }
}

struct PairsVisitor;

impl<'de> Visitor<'de> for PairsVisitor {
    type Value = Pairs<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut pairs = Vec::new();
        while let Some(pair) = map.next_entry()? {
            pairs.push(pair);
        }
        Ok(Pairs(pairs))
    }
}
