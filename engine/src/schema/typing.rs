//! [`FieldTyping`]: among what a field keeps its type.

/// Among what a field keeps its type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FieldTyping {
    /// A field has one type in each series. What a directory of our own has: data of any origin fits.
    #[default]
    Series,
    /// A field has one type in all series of its measurement: the rule of InfluxDB 1.x, which does not open a shard
    /// that breaks it.
    Measurement,
}

impl FieldTyping {
    /// Each with its name.
    pub const NAMES: &'static [(&'static str, Self)] =
        &[("series", Self::Series), ("measurement", Self::Measurement)];

    /// The name that manifests and flags use.
    pub fn name(self) -> &'static str {
        match self {
            Self::Series => "series",
            Self::Measurement => "measurement",
        }
    }

    /// The one of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(known, _)| *known == name).map(|(_, typing)| *typing)
    }
}
