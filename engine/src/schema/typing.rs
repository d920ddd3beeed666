//! [`FieldTyping`]: the scope in which a field must keep one type.

/// Scope in which a field must keep one type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FieldTyping {
    /// One type per series. The default for new directories: it accepts data of any origin.
    #[default]
    Series,
    /// One type per measurement: the rule of InfluxDB 1.x, which refuses to open a shard that breaks it.
    Measurement,
}

impl FieldTyping {
    /// All values with their names.
    pub(crate) const NAMES: &'static [(&'static str, Self)] =
        &[("series", Self::Series), ("measurement", Self::Measurement)];

    /// The name in manifests and flags.
    pub fn name(self) -> &'static str {
        match self {
            Self::Series => "series",
            Self::Measurement => "measurement",
        }
    }

    /// The value with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(known, _)| *known == name).map(|(_, typing)| *typing)
    }
}
