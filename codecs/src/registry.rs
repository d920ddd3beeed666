//! The [`registry!`](crate::registry!) macro: one line an implementation.

/// Declares the implementations of a seam.
///
/// From one line per implementation it makes `standard()`, the list of entries, each by `Entry::of::<Impl>(name, summary)`;
/// and in tests a module for each implementation, with one `#[test]` for each law of the suite. In its longer form it makes
/// a list of names and summaries instead, and `with_*(name, visitor)`, which runs a visitor for the implementation of that
/// name, statically dispatched.
///
/// The suite is a macro of the calling crate's `testing` module; it gets the type, and a list of further suites may
/// follow the summary of an implementation that promises more than the others.
#[macro_export]
#[expect(clippy::crate_in_macro_def, reason = "the suite is the calling crate's")]
macro_rules! registry {
    (
        $(#[$doc:meta])*
        pub trait $Trait:ident => $Entry:ident, suite = $suite:ident;
        $($name:literal => $Impl:ident : $summary:literal $(, also $more:ident)* ;)+
    ) => {
        $(#[$doc])*
        pub(crate) fn standard() -> Vec<$Entry> {
            vec![$($Entry::of::<$Impl>($name, $summary)),+]
        }

        #[cfg(test)]
        #[expect(non_snake_case, reason = "a module of laws is named after the type it judges")]
        mod conformance {
            $(mod $Impl {
                #[allow(unused_imports, reason = "a suite may name the type by its path")]
                use super::super::*;
                crate::testing::$suite!($Impl);
                $(crate::testing::$more!($Impl);)*
            })+
        }
    };
    (
        $(#[$doc:meta])*
        pub trait $Trait:ident => $with:ident, $Visitor:ident, $NAMES:ident, suite = $suite:ident;
        $($name:literal => $Impl:ident : $summary:literal $(, also $more:ident)* ;)+
    ) => {
        $(#[$doc])*
        pub const $NAMES: &[(&str, &str)] = &[$(($name, $summary)),+];

        /// A computation over an implementation that is chosen by name at run time.
        pub trait $Visitor {
            /// What the computation yields.
            type Out;
            /// Runs it for one implementation.
            fn visit<T: $Trait>(self) -> Self::Out;
        }

        /// Runs `visitor` for the implementation called `name`; `None` when there is none of that name.
        pub fn $with<V: $Visitor>(name: &str, visitor: V) -> Option<V::Out> {
            match name {
                $($name => Some(visitor.visit::<$Impl>()),)+
                _ => None,
            }
        }

        #[cfg(test)]
        #[expect(non_snake_case, reason = "a module of laws is named after the type it judges")]
        mod conformance {
            $(mod $Impl {
                #[allow(unused_imports, reason = "a suite may name the type by its path")]
                use super::super::*;
                crate::testing::$suite!($Impl);
                $(crate::testing::$more!($Impl);)*
            })+
        }
    };
}
