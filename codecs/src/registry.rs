//! The [`registry!`](crate::registry!) macro: one line per implementation.

/// Declares the implementations of a trait.
///
/// It takes one line per implementation and generates two things. The first is a function `standard()` that returns
/// the list of entries, each created by `Entry::of::<Impl>(name, summary)`. The second is a test module per
/// implementation, with one `#[test]` for each law of the suite. If `Entry<F: Bound>` is given, the implementations
/// and the list have the parameter `F`, such as a file system.
///
/// The suite is a macro in the `testing` module of the calling crate. It gets the type of the implementation. After
/// the summary, a line may list more suites for an implementation that promises more.
#[macro_export]
#[expect(clippy::crate_in_macro_def, reason = "the suite belongs to the calling crate")]
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
        $($(#[$attr:meta])* $name:literal => $Impl:ident : $summary:literal $(, also $more:ident)* ;)+
    ) => {
        $($doc)*
        pub(crate) fn standard() -> Vec<$Entry> {
            Vec::from([$($(#[$attr])* $Entry::of::<$Impl>($name, $summary)),+])
        }
    };
    (
        @list [$($doc:tt)*] $Entry:ident [$F:ident: $Bound:ident];
        $($(#[$attr:meta])* $name:literal => $Impl:ident : $summary:literal $(, also $more:ident)* ;)+
    ) => {
        $($doc)*
        pub(crate) fn standard<$F: $Bound>() -> Vec<$Entry<$F>> {
            Vec::from([$($(#[$attr])* $Entry::of::<$Impl<$F>>($name, $summary)),+])
        }
    };
    (
        @laws $suite:ident;
        $($(#[$attr:meta])* $name:literal => $Impl:ident : $summary:literal $(, also $more:ident)* ;)+
    ) => {
        #[cfg(test)]
        #[expect(non_snake_case, reason = "each test module has the name of the type it tests")]
        mod conformance {
            $($(#[$attr])* mod $Impl {
                #[allow(unused_imports, reason = "some suites do not use it")]
                use super::super::*;
                crate::testing::$suite!($Impl);
                $(crate::testing::$more!($Impl);)*
            })+
        }
    };
}
