//! Parses one file for the import check: its modules, and the names it defines, imports and uses.

/// A module of a file: the file itself, or a `mod x { .. }` inside.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Module {
    /// The names of the inline modules down to this one. Empty for the file itself.
    pub(super) inside: Vec<String>,
    /// Children in files of their own.
    pub(super) children: Vec<String>,
    /// Children that exist only for tests.
    pub(super) test_children: Vec<String>,
    /// Names that it defines at its top level.
    pub(super) defined: Vec<String>,
    pub(super) imports: Vec<Import>,
    /// Paths in its code, with two segments or more.
    pub(super) paths: Vec<Vec<String>>,
    /// Single names in its code.
    pub(super) words: Vec<String>,
    /// Macros that it defines, and macros that it calls without a path.
    pub(super) macros: Vec<String>,
    pub(super) called: Vec<String>,
}

/// One name that a `use` imports.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Import {
    pub(super) path: Vec<String>,
    /// The local name. `*` for all names of a module.
    pub(super) name: String,
    /// Whether it is re-exported: `pub use`, `pub(crate) use`.
    pub(super) public: bool,
}

/// Parses the modules of a text without comments and literals.
pub(super) fn modules(code: &str) -> Vec<Module> {
    let mut reader = Reader { tokens: tokens(code), at: 0, out: Vec::new() };
    reader.module(Vec::new());
    reader.out
}

/// Tokens: names, `::`, and single characters.
fn tokens(code: &str) -> Vec<&str> {
    let mut out = Vec::new();
    let mut rest = code.trim_start();
    while let Some(first) = rest.chars().next() {
        let is_name = |c: char| c.is_alphanumeric() || c == '_';
        let len = match first {
            _ if is_name(first) => rest.find(|c| !is_name(c)).unwrap_or(rest.len()),
            ':' if rest.starts_with("::") => 2,
            _ => first.len_utf8(),
        };
        let (token, behind) = rest.split_at(len);
        out.push(token);
        rest = behind.trim_start();
    }
    out
}

struct Reader<'a> {
    tokens: Vec<&'a str>,
    at: usize,
    out: Vec<Module>,
}

impl<'a> Reader<'a> {
    fn peek(&self, ahead: usize) -> &'a str {
        self.tokens.get(self.at + ahead).copied().unwrap_or_default()
    }

    /// Parses one module up to its closing brace.
    fn module(&mut self, inside: Vec<String>) {
        let mut module = Module { inside, ..Module::default() };
        // Open braces inside items.
        let mut depth = 0_usize;
        let mut for_tests = false;
        while self.at < self.tokens.len() {
            let token = self.peek(0);
            match token {
                "#" => {
                    for_tests |= self.attribute();
                    continue;
                }
                "mod" if self.peek(2) == ";" => {
                    let children = if for_tests { &mut module.test_children } else { &mut module.children };
                    children.push(self.peek(1).to_owned());
                    self.at += 3;
                    for_tests = false;
                    continue;
                }
                _ if for_tests => {
                    self.skip_item();
                    for_tests = false;
                    continue;
                }
                "mod" if self.peek(2) == "{" => {
                    let mut inside = module.inside.clone();
                    inside.push(self.peek(1).to_owned());
                    self.at += 3;
                    self.module(inside);
                    continue;
                }
                "use" => {
                    let public = self
                        .at
                        .checked_sub(1)
                        .is_some_and(|before| ["pub", ")"].contains(&self.tokens[before]));
                    self.at += 1;
                    self.import(&[], public, &mut module.imports);
                    continue;
                }
                "macro_rules" => module.macros.push(self.peek(2).to_owned()),
                "fn" | "struct" | "enum" | "union" | "trait" | "type" | "const" | "static" if depth == 0 => {
                    module.defined.push(self.peek(1).to_owned());
                }
                "{" => depth += 1,
                "}" if depth == 0 => {
                    self.at += 1;
                    break;
                }
                "}" => depth -= 1,
                _ => {}
            }
            self.path(&mut module);
        }
        self.out.push(module);
    }

    /// Skips an attribute. Returns whether it limits its item to tests.
    fn attribute(&mut self) -> bool {
        let begin = self.at;
        self.at += if self.peek(1) == "!" { 2 } else { 1 };
        self.skip_group();
        let tokens = &self.tokens[begin..self.at];
        tokens.contains(&"cfg")
            && tokens.contains(&"test")
            && !tokens.contains(&"any")
            && !tokens.contains(&"not")
    }

    /// Skips a bracket and everything up to its closing bracket.
    fn skip_group(&mut self) {
        let mut open = 0_usize;
        while self.at < self.tokens.len() {
            match self.peek(0) {
                "(" | "[" | "{" => open += 1,
                ")" | "]" | "}" => open = open.saturating_sub(1),
                _ => {}
            }
            self.at += 1;
            if open == 0 {
                return;
            }
        }
    }

    /// Skips an item: up to its `;`, or to the end of its braces.
    fn skip_item(&mut self) {
        while self.at < self.tokens.len() {
            match self.peek(0) {
                ";" => {
                    self.at += 1;
                    return;
                }
                "}" => return,
                "{" => {
                    self.skip_group();
                    if self.peek(0) != ";" {
                        return;
                    }
                }
                "(" | "[" => self.skip_group(),
                _ => self.at += 1,
            }
        }
    }

    /// Parses a tree of imports after `prefix`, up to the `;`, `,` or `}` that ends it.
    fn import(&mut self, prefix: &[String], public: bool, out: &mut Vec<Import>) {
        let mut path = prefix.to_vec();
        let mut name = None;
        loop {
            let token = self.peek(0);
            match token {
                "" => break,
                ";" | "," | "}" => {
                    self.at += usize::from(token == ";");
                    break;
                }
                "::" => self.at += 1,
                "as" => {
                    name = Some(self.peek(1).to_owned());
                    self.at += 2;
                }
                "{" => {
                    self.at += 1;
                    while !["}", ""].contains(&self.peek(0)) {
                        self.import(&path, public, out);
                        self.at += usize::from(self.peek(0) == ",");
                    }
                    self.at += 1;
                    // The end of the group is the end of the tree.
                    self.at += usize::from(self.peek(0) == ";");
                    return;
                }
                "self" if !path.is_empty() => self.at += 1,
                _ => {
                    path.push(token.to_owned());
                    self.at += 1;
                }
            }
        }
        if path.last().is_some_and(|last| last == "*") {
            path.pop();
            name = Some("*".to_owned());
        }
        let Some(last) = path.last() else { return };
        let name = name.unwrap_or_else(|| last.clone());
        out.push(Import { path, name, public });
    }

    /// Parses a path, or skips one character.
    fn path(&mut self, module: &mut Module) {
        let is_name = |token: &str| token.starts_with(|c: char| c.is_alphabetic() || c == '_');
        let first = self.peek(0);
        self.at += 1;
        if !is_name(first) {
            return;
        }
        let before = self.at.checked_sub(2).map_or("", |before| self.tokens[before]);
        let mut path = vec![first.to_owned()];
        while self.peek(0) == "::" && is_name(self.peek(1)) {
            path.push(self.peek(1).to_owned());
            self.at += 2;
        }
        if before == "." || before == "::" {
            // A method or field, or a name after a type in brackets.
            return;
        }
        if path.len() == 1 {
            if self.peek(0) == "!" {
                module.called.push(first.to_owned());
            }
            module.words.push(first.to_owned());
        } else {
            module.paths.push(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn imports_are_trees() {
        let modules = modules("use a::{self, b::C, d::{E as F, *}};\npub(crate) use super::g;\n");
        let of = |path: &[&str], name: &str, public| Import {
            path: path.iter().map(|segment| (*segment).to_owned()).collect(),
            name: name.to_owned(),
            public,
        };
        let expected = [
            of(&["a"], "a", false),
            of(&["a", "b", "C"], "C", false),
            of(&["a", "d", "E"], "F", false),
            of(&["a", "d"], "*", false),
            of(&["super", "g"], "g", true),
        ];
        assert_eq!(modules[0].imports, expected);
    }

    #[test]
    fn items_of_tests_are_skipped() {
        let text = "mod a;\n#[cfg(test)]\nmod tests;\n#[cfg(test)]\nuse x::Y;\n#[cfg(test)]\nmod b { fn c() { d::e(); } }\n\
                    #[cfg(test)]\nfn f() -> [u8; 2] { [1; 2] }\nfn g() { h::i(); }\n";
        let modules = modules(text);
        assert_eq!(modules.len(), 1);
        let module = &modules[0];
        assert_eq!(
            (&module.children[..], &module.test_children[..]),
            (&["a".to_owned()][..], &["tests".to_owned()][..])
        );
        assert_eq!((&module.defined[..], module.imports.len()), (&["g".to_owned()][..], 0));
        assert_eq!(module.paths, [["h", "i"]]);
    }

    #[test]
    fn inline_modules_are_separate() {
        let modules = modules("fn a() {}\nmod b { fn c() { if x { y() } } }\nstruct D { e: f::G }\n");
        assert_eq!(
            (&modules[0].inside[..], &modules[0].defined[..]),
            (&["b".to_owned()][..], &["c".to_owned()][..])
        );
        assert_eq!(modules[1].defined, ["a", "D"]);
        assert_eq!(modules[1].paths, [["f", "G"]]);
    }
}
