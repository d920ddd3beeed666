//! The two parsers agree, lines are cut where they are parsed, and no line changes the meaning of another.

use proptest::prelude::*;

use std::cell::Cell;

use super::*;

thread_local! {
    static LOOKED_AT: Cell<usize> = const { Cell::new(0) };
}

/// Counts the bytes that a search for the end of a line visits.
pub(super) fn looked_at(bytes: usize) {
    LOOKED_AT.set(LOOKED_AT.get() + bytes);
}

fn line_len(text: &[u8], complete: bool, bytes_max: usize) -> Option<usize> {
    first_line(text, complete, bytes_max).map(|line| line.len)
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
    // The two parsers may add series in a different order.
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
    /// Law: both parsers give the same result.
    #[test]
    fn both_parsers_give_the_same_result(text in pieces()) {
        prop_assert_eq!(points(text.as_bytes(), true), points(text.as_bytes(), false));
    }

    #[test]
    fn no_bytes_cause_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert_eq!(points(&bytes, true), points(&bytes, false));
    }
}

proptest! {
    /// Law: a text cut by `first_line` gives the same points as the complete text, for any read size.
    #[test]
    fn a_cut_stream_gives_the_same_points(text in pieces(), read in 1_usize..40) {
        let text = text.as_bytes();
        let (mut at, mut have, mut parts) = (0, 0, Vec::new());
        while at < text.len() {
            match line_len(&text[at..have], have == text.len(), STRING_LINE_BYTES_MAX) {
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
        // Type conflicts are detected within one batch, so a cut may hide them.
        let complete = points(text, true);
        if complete.1.iter().all(|bad| !bad.reason.is_of_the_schema()) {
            prop_assert_eq!(sorted(parts), sorted(complete.0));
        }
    }
}

proptest! {
    #[test]
    fn fast_and_exact_line_ends_agree(text in pieces()) {
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
fn first_line_finds_the_line_end() {
    assert_eq!(line_len(b"", true, STRING_LINE_BYTES_MAX), None);
    assert_eq!(line_len(b"m v=1", false, STRING_LINE_BYTES_MAX), None);
    assert_eq!(line_len(b"m v=1", true, STRING_LINE_BYTES_MAX), Some(5));
    assert_eq!(line_len(b"m v=1\n", false, STRING_LINE_BYTES_MAX), Some(6));
    assert_eq!(line_len(b"m s=\"a\nb\"\nm v=1", false, STRING_LINE_BYTES_MAX), Some(10));
    assert_eq!(line_len(b"m\\\n", false, STRING_LINE_BYTES_MAX), None, "the next byte decides");
    assert_eq!(line_len(b"m\\\nx v=1\n ", false, STRING_LINE_BYTES_MAX), Some(9));
}

#[test]
fn rejected_lines_are_numbered() {
    let text = b"m v=1 1\n# note\n\nm v= 2\nm s=\"two\nlines\" 3\nm v=x 4\nm v=5 5";
    let (points, rejected) = points(text, true);
    let shown: Vec<String> = rejected.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["line 4: missing field value", "line 7: invalid boolean"]);
    assert_eq!(points.iter().map(|(_, column)| column.len()).sum::<usize>(), 3);
}

/// The result of a text: the values of each key in order of arrival, and the rejected lines.
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

/// The lines of a text, cut as in a stream.
fn cut(text: &[u8]) -> Vec<&[u8]> {
    let (mut rest, mut lines) = (text, Vec::new());
    while let Some(len) = line_len(rest, true, 60) {
        lines.push(&rest[..len]);
        rest = &rest[len..];
    }
    lines
}

/// A word that may contain every byte with a special meaning, escaped or not.
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

/// Lines whose keys and fields come from a few words, each with and without its backslashes. All values of a
/// text have one type.
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

    /// Law: no line changes the meaning of another line. Story: the fast parser compared an unescaped field
    /// name with raw text. After `m a\=1\,b=2` the line `m a=1,b=7` became one field named `a=1,b`.
    #[test]
    fn no_line_changes_another(lines in lines_of_a_grammar()) {
        let text = lines.concat().into_bytes();
        let (together, _) = given_by(&text, BatchBuilder::new());
        prop_assume!(!together.1.iter().any(|(_, reason)| matches!(reason, Reason::FieldTypeConflict { .. })));
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
        prop_assert_eq!(together, alone);
    }
}

/// Story: after a name with escapes, a later line with two fields became one field, and invalid lines were
/// accepted.
#[test]
fn an_escaped_name_is_not_expected_again() {
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

/// Story: a torn line with an open quote swallowed all lines after it. They counted as one rejected line.
#[test]
fn a_torn_line_affects_no_other_line() {
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
    assert_eq!(rejected, Vec::<String>::new(), "an escaped line end is part of a measurement");
    assert_eq!(points, 2, "a comment ends at its line end");
    let (points, rejected) = shown(b"dir C:\\\nm v=1 1\n", STRING_LINE_BYTES_MAX);
    assert_eq!((points, rejected.len()), (1, 1), "{rejected:?}");
}

#[test]
fn a_string_that_is_too_long_ends_the_line() {
    let line = "m s=\"a\nb\" 1\n";
    for (bytes_max, points) in [(11, 1), (10, 0)] {
        assert_eq!(shown(line.as_bytes(), bytes_max).0, points, "{bytes_max}");
        let is_one_line = line_len(line.as_bytes(), true, bytes_max) == Some(line.len());
        assert_eq!(is_one_line, points == 1, "{bytes_max}");
        let is_cut = first_line(line.as_bytes(), true, bytes_max).expect("a line").is_cut;
        assert_eq!(is_cut, points == 0, "{bytes_max}");
    }
    for torn in ["m s=\"a\nm v=1 1\n", "m s=\"a\nm s=\"b\" 1\n"] {
        assert!(
            !first_line(torn.as_bytes(), true, 100).expect("a line").is_cut,
            "the limit does not end {torn}"
        );
    }
    let one = format!("m s=\"{}\" 1\n", "x".repeat(100));
    assert_eq!(shown(one.as_bytes(), 10).0, 1, "the limit applies only to strings with line ends");
}

/// If a line has the form of a point but its values are refused, the lines inside its string are not lines of
/// their own.
#[test]
fn a_refused_point_includes_its_string() {
    let (points, rejected) = shown(b"m s=1 1\nm s=\"a\ncpu v=1 1\nb\" 2\nm s=2 3\n", STRING_LINE_BYTES_MAX);
    assert_eq!((points, rejected.len()), (2, 1), "{rejected:?}");
    assert!(rejected[0].starts_with("line 2: field type conflict"), "{rejected:?}");
}

/// Story: for each rejected line that ends in a backslash, the parser searched up to 1 MiB for the end of the
/// line. An import of 400 KB took minutes.
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
        ("quotes that may or may not open a string", "", "m\",b=\"x v=1,\",c==\"\n", strings, 0),
        ("strings with line ends", "", "m v=\"a\nb\" 1\n", 1, lines),
    ] {
        let text = head.to_owned() + &line.repeat(lines);
        // Two more passes scan the open string and check its form. Each line is also parsed once.
        let bytes_max = (passes + 3) * text.len();
        LOOKED_AT.set(0);
        let (found, _) = shown(text.as_bytes(), STRING_LINE_BYTES_MAX);
        assert!(LOOKED_AT.get() <= bytes_max, "{what}: the parser visited {} bytes", LOOKED_AT.get());
        assert!(found.abs_diff(points) <= 1, "{what}: {found} points");
        LOOKED_AT.set(0);
        let mut rest = text.as_bytes();
        while let Some(len) = line_len(rest, true, STRING_LINE_BYTES_MAX) {
            rest = &rest[len..];
        }
        assert!(LOOKED_AT.get() <= bytes_max, "{what}: first_line visited {} bytes", LOOKED_AT.get());
    }
}

/// A line with too many line ends ends at its first one, in both parsers and in `first_line`.
#[test]
fn a_line_with_too_many_line_ends_is_cut() {
    for (what, begin, piece, end, max) in [
        ("strings", "m ", "s=\"a\nb\",", "v=1 1\n", exact::STRINGS_MAX),
        ("backslashes", "m", "\\\nx", " v=1 1\n", exact::ESCAPED_LINE_ENDS_MAX),
    ] {
        for (count, is_one_line) in [(max, true), (max + 1, false)] {
            let text = format!("{begin}{}{end}", piece.repeat(count));
            let text = text.as_bytes();
            let len = line_len(text, true, STRING_LINE_BYTES_MAX);
            assert_eq!(len == Some(text.len()), is_one_line, "{count} {what}");
            let (_, rejected) = points(text, true);
            assert_eq!(rejected.is_empty(), is_one_line, "{count} {what}: {rejected:?}");
            assert_eq!(points(text, true), points(text, false), "{count} {what}");
        }
    }
}
