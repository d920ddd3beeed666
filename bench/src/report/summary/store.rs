//! What reports say of a whole store of another project.

use std::fmt;

use serde::{Deserialize, Serialize};
use tsmith_codecs::FieldType;

use crate::peer::{Keeps, StorePeer};

/// A store and its promises.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StoreLabel {
    pub(crate) name: String,
    pub(crate) summary: String,
    /// What an acknowledged write survives. `None` if the store cannot write in this way.
    pub(crate) durable: Option<String>,
    pub(crate) not_durable: Option<String>,
    /// Types whose values it keeps only roughly, and not at all.
    pub(crate) roughly: Vec<String>,
    pub(crate) ignores: Vec<String>,
}

impl StoreLabel {
    pub(crate) fn of(store: &dyn StorePeer) -> Self {
        let promise = |durable| store.promise(durable).map(String::from);
        let types = |keeps| {
            let all = FieldType::ALL.into_iter().filter(|of| store.keeps(*of) == keeps);
            all.map(|of| of.name().to_owned()).collect()
        };
        Self {
            name: store.name().into(),
            summary: store.summary(),
            durable: promise(true),
            not_durable: promise(false),
            roughly: types(Keeps::Roughly),
            ignores: types(Keeps::Nothing),
        }
    }

    /// Everything but the name, in sentences.
    pub(crate) fn sentences(&self) -> String {
        let mut all = vec![self.summary.clone()];
        for (mode, promise) in [("durable", &self.durable), ("not durable", &self.not_durable)] {
            all.extend(promise.as_ref().map(|promise| format!("{mode}: {promise}")));
        }
        for (what, types) in [
            ("only the number of values is checked, because it changes", &self.roughly),
            ("ignores", &self.ignores),
        ] {
            if !types.is_empty() {
                all.push(format!("{what} {} values", types.join(", ")));
            }
        }
        all.join("; ")
    }
}

impl fmt::Display for StoreLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.sentences())
    }
}
