//! The two parsers agree, lines are cut where they are read, and no line changes what another one means.

use proptest::prelude::*;

use std::cell::Cell;

use super::*;

thread_local! {
    static LOOKED_AT: Cell<usize> = const { Cell::new(0) };
}

/// Counts bytes that a search for the end of a line looks at.
pub(super) fn looked_at(bytes: usize) {
    LOOKED_AT.set(LOOKED_AT.get() + bytes);
}

type Points = Vec<(Vec<u8>, tsmith_codecs::Column)>;

fn points(input: &[u8], fast: bool) -> (Points, Vec<Rejected>) {
    let options = LineOptions::new(Timestamp(77));
    let mut builder = BatchBuilder::new();
    let (schema, default_time, fresh) = (&mut AnySchema, 77, Vec::new());
    let builder_ref = &mut builder;
    let widening = Widening::default();
    let mut parser =
        Parser { input, options: &options, default_time, schema, builder: builder_ref, fresh, widening };
    let rejected = if fast { parser.lines(Parser::fast_line) } else { parser.lines(|_, _| None) };
    let batch = builder.finish();
    let mut points: Points =
        batch.columns().map(|(key, column)| (key.to_composite(), column.to_column())).collect();
    // The exact parser begins a series later than the fast one: their order is no promise.
    points.sort_by(|a, b| a.0.cmp(&b.0));
    (points, rejected)
}

fn pieces() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        prop::sample::select(vec![
            "cpu",
            "m",
            ",",
            " ",
            "=",
            "\n",
            "\"",
            "\\",
            "i",
            "u",
            "-",
            ".",
            "e",
            "t",
            "true",
            "False",
            "#",
            "time",
            "0",
            "12",
            "3.5",
            "\t",
            "\0",
            "host=a",
            "v=1",
            "s=\"a b\"",
            "9223372036854775807",
            " 17",
        ])
        .prop_map(str::to_owned),
        Just("cpu,host=a v=1.5,w=2i,s=\"x y\",b=t 10\n".to_owned()),
        Just("cpu,host=a v=2.5,s=\"\",w=-2i 11\n".to_owned()),
    ];
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

proptest! {
    /// The fast parser is the exact one, only faster.
    #[test]
    fn both_parsers_give_the_same_points_and_errors(text in pieces()) {
        prop_assert_eq!(points(text.as_bytes(), true), points(text.as_bytes(), false));
    }

    #[test]
    fn any_bytes_are_points_or_errors_never_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert_eq!(points(&bytes, true), points(&bytes, false));
    }
}

proptest! {
    /// Texts that are cut where `first_line` says parse to what the whole parses to, wherever the stream stops.
    #[test]
    fn a_cut_stream_is_the_whole_text(text in pieces(), read in 1_usize..40) {
        let text = text.as_bytes();
        let (mut at, mut have, mut parts) = (0, 0, Vec::new());
        while at < text.len() {
            match first_line(&text[at..have], have == text.len(), STRING_LINE_BYTES_MAX) {
                Some(len) => {
                    parts.extend(points(&text[at..at + len], true).0);
                    at += len;
                }
                None => have = text.len().min(have + read),
            }
        }
        let sorted = |parts: Points| {
            let mut values: Vec<_> = parts.iter().flat_map(|(key, column)| {
                (0..column.len()).map(move |i| format!(
                    "{key:?} {} {:?}", column.times()[i], column.values().as_ref().get(i)
                ))
            }).collect();
            values.sort();
            values
        };
        // A conflict of types is one of the batch, so it may end at a cut.
        let whole = points(text, true);
        if whole.1.iter().all(|bad| !bad.reason.is_of_the_schema()) {
            prop_assert_eq!(sorted(parts), sorted(whole.0));
        }
    }
}

proptest! {
    #[test]
    fn leaps_end_where_steps_do(text in pieces()) {
        let text = text.as_bytes();
        let end = exact::line_end(text, 0, STRING_LINE_BYTES_MAX);
        if let Some(plain) = plain_line_end(text) {
            prop_assert_eq!(plain, end);
        } else {
            let special = |b: &u8| matches!(b, b'\\' | b'"');
            prop_assert!(end == text.len() || text[..end].iter().any(special));
        }
    }
}

#[test]
fn a_line_ends_where_the_parser_ends_it() {
    assert_eq!(first_line(b"", true, STRING_LINE_BYTES_MAX), None);
    assert_eq!(first_line(b"m v=1", false, STRING_LINE_BYTES_MAX), None);
    assert_eq!(first_line(b"m v=1", true, STRING_LINE_BYTES_MAX), Some(5));
    assert_eq!(first_line(b"m v=1\n", false, STRING_LINE_BYTES_MAX), Some(6));
    assert_eq!(first_line(b"m s=\"a\nb\"\nm v=1", false, STRING_LINE_BYTES_MAX), Some(10));
    assert_eq!(first_line(b"m\\\n", false, STRING_LINE_BYTES_MAX), None, "what follows decides");
    assert_eq!(first_line(b"m\\\nx v=1\n ", false, STRING_LINE_BYTES_MAX), Some(9));
}

#[test]
fn bad_lines_are_numbered_and_good_ones_kept() {
    let text = b"m v=1 1\n# note\n\nm v= 2\nm s=\"two\nlines\" 3\nm v=x 4\nm v=5 5";
    let (points, rejected) = points(text, true);
    let shown: Vec<String> = rejected.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["line 4: missing field value", "line 7: invalid boolean"]);
    assert_eq!(points.iter().map(|(_, column)| column.len()).sum::<usize>(), 3);
}

/// What a text gives: each value in order of arrival within its key, and the rejected lines.
type Given = (Vec<(Vec<u8>, i64, String)>, Vec<(Vec<u8>, Reason)>);

fn given_by<'a>(text: &'a [u8], mut builder: BatchBuilder<'a>) -> (Given, tsmith_codecs::Batch<'a>) {
    let options = LineOptions { string_line_bytes_max: 60, ..LineOptions::new(Timestamp(77)) };
    let rejected = parse(text, &options, &mut AnySchema, &mut builder);
    let batch = builder.finish();
    let mut values = Vec::new();
    for (key, column) in batch.columns() {
        for (at, &time) in column.times().iter().enumerate() {
            values.push((key.to_composite(), time, format!("{:?}", column.values().get(at))));
        }
    }
    values.sort_by(|a, b| a.0.cmp(&b.0));
    let rejected = rejected.into_iter().map(|line| (text[line.bytes].to_vec(), line.reason)).collect();
    ((values, rejected), batch)
}

/// The lines of a text, cut as a stream is.
fn cut(text: &[u8]) -> Vec<&[u8]> {
    let (mut rest, mut lines) = (text, Vec::new());
    while let Some(len) = first_line(rest, true, 60) {
        lines.push(&rest[..len]);
        rest = &rest[len..];
    }
    lines
}

/// A word with every byte that has a meaning somewhere, escaped or not.
fn word() -> impl Strategy<Value = String> {
    let atom = prop::sample::select(vec![
        "a", "a", "b", "b", "c", "1", "\\ ", "\\,", "\\=", "\\\"", "\\\\", "\\", "\"", ",", " ", "=", "\n",
        "\\\n",
    ]);
    prop::collection::vec(atom, 1..4).prop_map(|atoms| atoms.concat())
}

fn unescaped(word: &str) -> String {
    word.replace('\\', "")
}

/// Lines that draw their keys and fields from few words, each with and without its backslashes. All values of a text
/// have one type.
fn lines_of_a_grammar() -> impl Strategy<Value = Vec<String>> {
    let words = |count| {
        prop::collection::vec(word(), count).prop_map(|mut words| {
            let bare: Vec<String> = words.iter().map(|word| unescaped(word)).collect();
            words.extend(bare);
            words
        })
    };
    let values = prop::sample::select(vec![
        vec!["1", "2.5", "-3", "7e1"],
        vec!["\"\"", "\"a,b=c d\"", "\"x\\\"y\"", "\"l\nm\"", "\"\\\\\"", "\"t", "\"a\"b\""],
        vec!["1i", "-7i"],
        vec!["t", "false"],
    ]);
    (words(2), words(3), values).prop_flat_map(|(keys, names, values)| {
        let times = vec!["", " 5", " 6", " ", " x"];
        let field = (prop::sample::select(names), prop::sample::select(values))
            .prop_map(|(name, value)| format!("{name}={value}"));
        let fields = prop::collection::vec(field, 1..4).prop_map(|fields| fields.join(","));
        let key = (prop::sample::select(keys.clone()), prop::option::of(prop::sample::select(keys)))
            .prop_map(|(name, tag)| tag.map_or(name.clone(), |tag| format!("{name},t={tag}")));
        let line = (key, fields, prop::sample::select(times))
            .prop_map(|(key, fields, time)| format!("{key} {fields}{time}\n"));
        prop::collection::vec(line, 1..8).prop_shuffle()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Law: no line changes what another one means. Story: the fast parser compared a field name without its backslashes
    /// with raw text, so `m a=1,b=7` after `m a\=1\,b=2` became one field named `a=1,b`.
    #[test]
    fn a_line_means_the_same_in_any_company(lines in lines_of_a_grammar()) {
        let text = lines.concat().into_bytes();
        let (whole, _) = given_by(&text, BatchBuilder::new());
        prop_assume!(!whole.1.iter().any(|(_, reason)| matches!(reason, Reason::FieldTypeConflict { .. })));
        let mut alone = Given::default();
        let mut recycled = BatchBuilder::new();
        for line in cut(&text) {
            let (given, _) = given_by(line, BatchBuilder::new());
            let (again, batch) = given_by(line, recycled);
            prop_assert_eq!(&again, &given, "with the buffers of an earlier call");
            recycled = batch.recycle();
            alone.0.extend(given.0);
            alone.1.extend(given.1);
        }
        alone.0.sort_by(|a, b| a.0.cmp(&b.0));
        prop_assert_eq!(whole, alone);
    }
}

/// Story: a name that needed escapes made a later line with two fields one field, and let bad lines pass.
#[test]
fn a_name_with_escapes_is_never_expected() {
    let ((values, rejected), _) = given_by(b"m a\\=1\\,b=2 1\nm a=1,b=7 2\n", BatchBuilder::new());
    let value =
        |field: &str, time, value: &str| (format!("m#!~#{field}").into_bytes(), time, value.to_owned());
    let expected =
        [value("a", 2, "Float(1.0)"), value("a=1,b", 1, "Float(2.0)"), value("b", 2, "Float(7.0)")];
    assert_eq!((values, rejected.len()), (expected.to_vec(), 0));
    let text = b"cpu,host=x pct\\ idle=4 1\ncpu,host=x pct idle=5 2\ncpu,host=x pct\\,idle=4 3\ncpu,host=x pct,idle=6 4\n";
    let ((values, rejected), _) = given_by(text, BatchBuilder::new());
    assert_eq!((values.len(), rejected.len()), (2, 2), "{rejected:?}");
}

fn shown(text: &[u8], bytes_max: usize) -> (usize, Vec<String>) {
    let options = LineOptions { string_line_bytes_max: bytes_max, ..LineOptions::new(Timestamp(77)) };
    let mut builder = BatchBuilder::new();
    let rejected = parse(text, &options, &mut AnySchema, &mut builder);
    (builder.point_count(), rejected.iter().map(ToString::to_string).collect())
}

/// Story: one torn line with an open quote took all lines behind it, and they counted as one rejected line.
#[test]
fn a_torn_line_costs_no_other_line() {
    let torn = "log,h=a msg=\"torn\n";
    for (what, behind, good) in [
        ("no quotes", "cpu,h=a v=1 1\ncpu,h=a v=2 2\n".to_owned(), 2),
        ("strings", "log,h=b msg=\"good\" 2\nlog,h=c msg=\"more, of=it\",n=1 3\n".to_owned(), 2),
        ("empty strings", "log msg=\"\" 2\nlog msg=\"\" 3\n".to_owned(), 2),
        ("strings that begin with a blank", "log msg=\" a\" 2\nlog msg=\", b\" 3\n".to_owned(), 2),
        ("a string that spans lines", "log msg=\"a\nb\" 2\ncpu v=1 3\n".to_owned(), 2),
        ("nothing", String::new(), 0),
    ] {
        let (points, rejected) = shown(format!("{torn}{behind}").as_bytes(), STRING_LINE_BYTES_MAX);
        assert_eq!((points, &rejected[..]), (good, &["line 1: unbalanced quotes".to_owned()][..]), "{what}");
    }
    let (points, rejected) = shown(b"C:\\\nm v=1 1\n# it=\"s\nm v=2 2\n", STRING_LINE_BYTES_MAX);
    assert_eq!(rejected, Vec::<String>::new(), "a measurement holds a line end behind a backslash");
    assert_eq!(points, 2, "and a comment none");
    let (points, rejected) = shown(b"dir C:\\\nm v=1 1\n", STRING_LINE_BYTES_MAX);
    assert_eq!((points, rejected.len()), (1, 1), "{rejected:?}");
}

#[test]
fn a_string_too_long_is_cut_at_its_first_line_end() {
    let line = "m s=\"a\nb\" 1\n";
    for (bytes_max, points) in [(11, 1), (10, 0)] {
        assert_eq!(shown(line.as_bytes(), bytes_max).0, points, "{bytes_max}");
        let whole = first_line(line.as_bytes(), true, bytes_max) == Some(line.len());
        assert_eq!(whole, points == 1, "{bytes_max}");
        let is_cut = cut_line(line.as_bytes(), true, bytes_max).expect("a line").is_cut;
        assert_eq!(is_cut, points == 0, "{bytes_max}");
    }
    for torn in ["m s=\"a\nm v=1 1\n", "m s=\"a\nm s=\"b\" 1\n"] {
        assert!(
            !cut_line(torn.as_bytes(), true, 100).expect("a line").is_cut,
            "the limit does not end {torn}"
        );
    }
    let one = format!("m s=\"{}\" 1\n", "x".repeat(100));
    assert_eq!(shown(one.as_bytes(), 10).0, 1, "the limit is for line ends in strings");
}

/// A line that has the form of a point and is refused for its values is one line: what is in its string is no line.
#[test]
fn a_refused_point_takes_its_string_with_it() {
    let (points, rejected) = shown(b"m s=1 1\nm s=\"a\ncpu v=1 1\nb\" 2\nm s=2 3\n", STRING_LINE_BYTES_MAX);
    assert_eq!((points, rejected.len()), (2, 1), "{rejected:?}");
    assert!(rejected[0].starts_with("line 2: field type conflict"), "{rejected:?}");
}

/// Story: each rejected line that ends in a backslash was searched for its end up to the limit of 1 MiB. An import of
/// 400 KB took minutes.
#[test]
fn the_search_for_line_ends_is_linear() {
    let (lines, escapes, strings) = (3_000, exact::ESCAPED_LINE_ENDS_MAX, exact::STRINGS_MAX);
    for (what, head, line, passes, points) in [
        ("a backslash behind the time", "", "m v=1 1\\\n", escapes, 0),
        ("a backslash behind a tag", "", "m,a=b\\\n", escapes, 0),
        ("a backslash behind a measurement", "", "m\\\n", escapes, 0),
        ("an open string before backslashes", "m v=\"\n", "m,a=b v=1\\\n", escapes, 0),
        ("an open string with backslashes", "m v=\"\\\n", "x\\\n", escapes, 0),
        ("an open string before good text", "m v=\"torn 1\n", "m,p=a v=1 1\n", 1, lines),
        ("an open string, and times with a backslash", "m v=\"torn 1\n", "m,p=a v=1 1\\\n", escapes, 0),
        ("quotes that open a string in either reading", "", "m\",b=\"x v=1,\",c==\"\n", strings, 0),
        ("strings with line ends", "", "m v=\"a\nb\" 1\n", 1, lines),
    ] {
        let text = head.to_owned() + &line.repeat(lines);
        // The open string and its form are two more passes, and each line is read once itself.
        let bytes_max = (passes + 3) * text.len();
        LOOKED_AT.set(0);
        let (found, _) = shown(text.as_bytes(), STRING_LINE_BYTES_MAX);
        assert!(LOOKED_AT.get() <= bytes_max, "{what}: the parser looks at {} bytes", LOOKED_AT.get());
        assert!(found.abs_diff(points) <= 1, "{what}: {found} points");
        LOOKED_AT.set(0);
        let mut rest = text.as_bytes();
        while let Some(len) = first_line(rest, true, STRING_LINE_BYTES_MAX) {
            rest = &rest[len..];
        }
        assert!(LOOKED_AT.get() <= bytes_max, "{what}: the cuts look at {} bytes", LOOKED_AT.get());
    }
}

/// A line that takes in line ends too often ends at its first one, for both parsers and for the cuts.
#[test]
fn a_line_with_too_many_line_ends_is_cut() {
    for (what, begin, piece, end, max) in [
        ("strings", "m ", "s=\"a\nb\",", "v=1 1\n", exact::STRINGS_MAX),
        ("backslashes", "m", "\\\nx", " v=1 1\n", exact::ESCAPED_LINE_ENDS_MAX),
    ] {
        for (count, is_one_line) in [(max, true), (max + 1, false)] {
            let text = format!("{begin}{}{end}", piece.repeat(count));
            let text = text.as_bytes();
            let len = first_line(text, true, STRING_LINE_BYTES_MAX);
            assert_eq!(len == Some(text.len()), is_one_line, "{count} {what}");
            let (_, rejected) = points(text, true);
            assert_eq!(rejected.is_empty(), is_one_line, "{count} {what}: {rejected:?}");
            assert_eq!(points(text, true), points(text, false), "{count} {what}");
        }
    }
}
