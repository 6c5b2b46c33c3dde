//! Fields that a newer version of the program added: not understood here, carried along unchanged.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use std::collections::BTreeMap;

/// Unknown fields of a JSON object, by name, each as JSON text. Flattened into the object that has them.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Unknown(BTreeMap<String, String>);

impl Unknown {
    /// The name of one of them, if there is any.
    pub fn first(&self) -> Option<&str> {
        self.0.keys().next().map(String::as_str)
    }
}

impl Serialize for Unknown {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let value = |text: &String| serde_json::from_str::<Value>(text).map_err(serde::ser::Error::custom);
        let fields = self.0.iter().map(|(name, text)| Ok((name, value(text)?)));
        serializer.collect_map(fields.collect::<Result<Vec<_>, S::Error>>()?)
    }
}

impl<'de> Deserialize<'de> for Unknown {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let fields = BTreeMap::<String, Value>::deserialize(deserializer)?;
        Ok(Unknown(fields.into_iter().map(|(name, value)| (name, value.to_string())).collect()))
    }
}
