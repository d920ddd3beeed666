//! The [`registry!`](crate::registry!) macro: one line an implementation.

/// Declares the implementations of a seam.
///
/// From one line per implementation it makes `standard()`, the list of entries, each by `Entry::of::<Impl>(name, summary)`;
/// and in tests a module for each implementation, with one `#[test]` for each law of the suite. If `Entry<F: Bound>` is
/// given, the implementations and the list have `F` as a parameter, such as the file system.
///
/// The suite is a macro of the calling crate's `testing` module; it gets the type, and a list of further suites may
/// follow the summary of an implementation that promises more than the others.
#[macro_export]
#[expect(clippy::crate_in_macro_def, reason = "the suite is the calling crate's")]
macro_rules! registry {
    (
        $(#[$doc:meta])*
        pub trait $Trait:ident => $Entry:ident $(<$F:ident: $Bound:ident>)?, suite = $suite:ident;
        $($lines:tt)+
    ) => {
        $crate::registry! { @list [$(#[$doc])*] $Entry [$($F: $Bound)?]; $($lines)+ }
        $crate::registry! { @laws $suite; $($lines)+ }
    };
    (
        @list [$($doc:tt)*] $Entry:ident [];
        $($name:literal => $Impl:ident : $summary:literal $(, also $more:ident)* ;)+
    ) => {
        $($doc)*
        pub(crate) fn standard() -> Vec<$Entry> {
            vec![$($Entry::of::<$Impl>($name, $summary)),+]
        }
    };
    (
        @list [$($doc:tt)*] $Entry:ident [$F:ident: $Bound:ident];
        $($name:literal => $Impl:ident : $summary:literal $(, also $more:ident)* ;)+
    ) => {
        $($doc)*
        pub(crate) fn standard<$F: $Bound>() -> Vec<$Entry<$F>> {
            vec![$($Entry::of::<$Impl<$F>>($name, $summary)),+]
        }
    };
    (
        @laws $suite:ident;
        $($name:literal => $Impl:ident : $summary:literal $(, also $more:ident)* ;)+
    ) => {
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
