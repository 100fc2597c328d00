//! `config.example.toml`, written from the descriptions of the options.

use std::fmt::Write;

use super::{
    SECTIONS,
    setting::{Describe, Presence, variable},
};

const WIDTH: usize = 100;

const HEAD: &str = "\
# The configuration of Myelin: every option, with its meaning and its default.
#
# Written by `myelin config example`. An option that is commented out shows its default, or an example if it has none.
# Each option can be set by the environment too: the variable below it overrides the file.
# `myelin config check --config FILE` tells whether a file is right.
";

/// The text of the example file. It is a right configuration as it stands.
pub fn example() -> String {
    let mut out = HEAD.to_owned();
    for section in SECTIONS {
        out.push('\n');
        comment(&mut out, section.about);
        line(&mut out, &format!("[{}]", section.name));
        for setting in section.settings {
            describe(&mut out, section.name, *setting);
        }
    }
    out
}

fn describe(out: &mut String, section: &str, setting: &dyn Describe) {
    let key = setting.key();
    out.push('\n');
    comment(out, setting.about());
    comment(out, &format!("Allowed: {}.", setting.allowed()));
    let (mark, value, note) = match setting.presence() {
        Presence::Required(example) => ("", example, "Must be set."),
        Presence::Default(default) => ("#", default, ""),
        Presence::Optional(example) => ("#", example, "Not set by default."),
    };
    if !note.is_empty() {
        comment(out, note);
    }
    comment(out, &variable(section, key));
    line(out, &format!("{mark}{key} = {value}"));
}

/// Comment lines of at most [`WIDTH`] characters.
fn comment(out: &mut String, text: &str) {
    let mut width = 0;
    for word in text.split_whitespace() {
        if width > 0 && width + 1 + word.len() > WIDTH {
            out.push('\n');
            width = 0;
        }
        if width == 0 {
            out.push('#');
            width = 1;
        }
        // Writing into a string does not fail.
        let _ = write!(out, " {word}");
        width += 1 + word.len();
    }
    out.push('\n');
}

fn line(out: &mut String, text: &str) {
    out.push_str(text);
    out.push('\n');
}
