//! Our sources, parsed, without what is only for tests.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    sync::LazyLock,
};

use syn::{
    Attribute, File, Item, ItemMod, UseTree,
    visit::{self, Visit},
};

/// A file of `src`.
pub struct Source {
    /// Relative to `src`.
    pub path: String,
    /// As it is written.
    pub text: String,
    pub file: File,
    /// Where it stands among the modules: `["http", "route"]`.
    pub module: Vec<String>,
}

/// A path that a file names, as far as it is known from the root of the crate: `["store", "view", "View"]`.
pub type Named = Vec<String>;

/// Parses all files of `src`. Syntax trees stay on the thread that made them.
pub fn all() -> Vec<Source> {
    PATHS.iter().map(|path| Source::read(path)).collect()
}

static ROOT: LazyLock<PathBuf> = LazyLock::new(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));

/// All files that are compiled into the program.
static PATHS: LazyLock<Vec<PathBuf>> = LazyLock::new(|| {
    let (mut found, mut tests) = (Vec::new(), BTreeSet::new());
    walk(&ROOT, &mut found);
    for path in &found {
        let source = Source::read(path);
        let named = source.file.items.iter().filter_map(|item| match item {
            Item::Mod(module) if module.content.is_none() && is_test(&module.attrs) => Some(module.ident.to_string()),
            _ => None,
        });
        tests.extend(named.map(|name| [source.module.as_slice(), &[name]].concat()));
    }
    found.retain(|path| {
        let module = Source::read(path).module;
        !(1..=module.len()).any(|length| tests.contains(&module[..length]))
    });
    assert!(found.len() > 100, "the sources are somewhere else");
    found
});

fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            walk(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
}

impl Source {
    fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap();
        let file = syn::parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let path = path.strip_prefix(&*ROOT).unwrap().to_str().unwrap().to_owned();
        let module = path.trim_end_matches(".rs").split('/').map(str::to_owned);
        let mut module: Vec<String> = module.collect();
        if matches!(module.last().map(String::as_str), Some("mod" | "lib" | "main")) {
            module.pop();
        }
        Self { path, text, file, module }
    }

    /// The module of the first level that it belongs to; empty for `lib.rs` and `main.rs`.
    pub fn layer(&self) -> &str {
        self.module.first().map_or("", String::as_str)
    }

    /// What it names of this crate, outside of tests.
    pub fn names_of_ours(&self) -> BTreeSet<Named> {
        self.names().into_iter().filter_map(|named| self.as_from_root(named)).collect()
    }

    /// What it names of other crates, outside of tests.
    pub fn names_of_others(&self) -> BTreeSet<Named> {
        let ours = |named: &Named| matches!(named[0].as_str(), "crate" | "self" | "super" | "myelin");
        self.names().into_iter().filter(|named| !ours(named)).collect()
    }

    fn names(&self) -> BTreeSet<Named> {
        let mut names = Names::default();
        names.visit_file(&self.file);
        names.found
    }

    /// What it names of the layer that it belongs to, outside of tests: `["event", "pdu", "Pdu"]`.
    pub fn names_of_its_layer(&self) -> BTreeSet<Named> {
        let near = |named: Named| {
            let ups = named.iter().take_while(|segment| *segment == "super").count();
            match named[0].as_str() {
                "crate" => Some(named[1..].to_vec()),
                "self" => Some([&self.module, &named[1..]].concat()),
                "super" => Some([self.module.get(..self.module.len().checked_sub(ups)?)?, &named[ups..]].concat()),
                _ => None,
            }
        };
        let names = self.names().into_iter().filter_map(near);
        names.filter(|named| named.len() > 1 && named[0] == self.layer()).collect()
    }

    /// `crate::a::b` and `super::super::a::b` as `a::b`; `None` for what is nearer.
    fn as_from_root(&self, named: Named) -> Option<Named> {
        let ups = named.iter().take_while(|segment| *segment == "super").count();
        match named.first()?.as_str() {
            "crate" | "myelin" => Some(named[1..].to_vec()),
            "super" if ups >= self.module.len() => Some(named[ups..].to_vec()),
            _ => None,
        }
    }
}

/// Whether it is compiled only for tests.
pub fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("test")
            || (attribute.path().is_ident("cfg")
                && attribute.parse_args::<syn::Ident>().is_ok_and(|argument| argument == "test"))
    })
}

#[derive(Default)]
struct Names {
    found: BTreeSet<Named>,
}

impl Names {
    fn tree(&mut self, prefix: &[String], tree: &UseTree) {
        let with = |name: String| [prefix, &[name]].concat();
        match tree {
            UseTree::Path(path) => self.tree(&with(path.ident.to_string()), &path.tree),
            UseTree::Name(name) => drop(self.found.insert(with(name.ident.to_string()))),
            UseTree::Rename(name) => drop(self.found.insert(with(name.ident.to_string()))),
            UseTree::Glob(_) => drop(self.found.insert(with("*".to_owned()))),
            UseTree::Group(group) => group.items.iter().for_each(|tree| self.tree(prefix, tree)),
        }
    }
}

impl<'ast> Visit<'ast> for Names {
    fn visit_item(&mut self, item: &'ast Item) {
        let attributes = match item {
            Item::Mod(ItemMod { attrs, .. }) => attrs,
            Item::Fn(function) => &function.attrs,
            Item::Use(import) => &import.attrs,
            _ => return visit::visit_item(self, item),
        };
        if !is_test(attributes) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_use(&mut self, import: &'ast syn::ItemUse) {
        self.tree(&[], &import.tree);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if path.segments.len() > 1 {
            self.found.insert(path.segments.iter().map(|segment| segment.ident.to_string()).collect());
        }
        visit::visit_path(self, path);
    }
}
