//! A file has one subject and reads from top to bottom; a function fits on a page or two.

use proc_macro2::Span;
use syn::{
    ImplItemFn, ItemFn, ItemMod,
    spanned::Spanned as _,
    visit::{self, Visit},
};

use super::sources::{self, is_test};

const LONGEST_FILE: usize = 600;
const LONGEST_FUNCTION: usize = 100;

#[test]
fn files_and_functions_are_short() {
    let mut wrong = Vec::new();
    for source in sources::all() {
        let lines = source.text.lines().take_while(|line| *line != "#[cfg(test)]").count();
        if lines > LONGEST_FILE {
            wrong.push(format!("{}: {lines} lines", source.path));
        }
        let mut functions = Functions::default();
        functions.visit_file(&source.file);
        wrong.extend(functions.long.into_iter().map(|(name, lines)| format!("{}: {name}: {lines} lines", source.path)));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[derive(Default)]
struct Functions {
    long: Vec<(String, usize)>,
}

impl Functions {
    fn check(&mut self, name: &syn::Ident, span: Span) {
        let lines = span.end().line - span.start().line + 1;
        if lines > LONGEST_FUNCTION {
            self.long.push((name.to_string(), lines));
        }
    }
}

impl<'ast> Visit<'ast> for Functions {
    fn visit_item_mod(&mut self, module: &'ast ItemMod) {
        if !is_test(&module.attrs) {
            visit::visit_item_mod(self, module);
        }
    }

    fn visit_item_fn(&mut self, function: &'ast ItemFn) {
        self.check(&function.sig.ident, function.span());
    }

    fn visit_impl_item_fn(&mut self, function: &'ast ImplItemFn) {
        self.check(&function.sig.ident, function.span());
    }
}
