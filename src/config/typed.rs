//! All that the user typed: one TOML file and the environment, checked against the descriptions of the options.

use std::collections::BTreeMap;

use toml::de::{DeTable, DeValue};

use super::{
    problem::{Place, Problem, What, nearest},
    setting::{Describe, Presence, Section, Setting, variable},
    value::Value,
};

/// Options by section and key, with the place where each was typed.
pub(super) struct Typed {
    values: BTreeMap<(&'static str, &'static str), (Value, Place)>,
}

impl Typed {
    /// Reads `file` (TOML) and then `environment`, which overrides it. Answers all problems at once.
    pub(super) fn read(
        sections: &'static [&'static Section],
        file: &str,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, Vec<Problem>> {
        let (mut typed, mut problems) = (Self { values: BTreeMap::new() }, Vec::new());
        match DeTable::parse(file) {
            Ok(table) => typed.read_file(sections, file, table.get_ref(), &mut problems),
            Err(error) => {
                let place = error.span().map_or(Place::Nowhere, |span| Place::Line(line_of(file, span.start)));
                problems.push(Problem { place, what: What::Syntax(error.message().to_owned()) });
            }
        }
        typed.read_environment(sections, environment, &mut problems);
        for (section, setting) in all(sections) {
            if let Err(problem) = typed.check(section.name, setting) {
                problems.push(problem);
            }
        }
        if problems.is_empty() { Ok(typed) } else { Err(problems) }
    }

    fn read_file(
        &mut self,
        sections: &'static [&'static Section],
        file: &str,
        table: &DeTable<'_>,
        problems: &mut Vec<Problem>,
    ) {
        for (name, value) in table {
            let place = Place::Line(line_of(file, name.span().start));
            let Some(section) = sections.iter().find(|section| section.name == name.get_ref().as_ref()) else {
                let what = unknown(name.get_ref(), "", sections.iter().map(|section| section.name));
                problems.push(Problem { place, what });
                continue;
            };
            let DeValue::Table(keys) = value.get_ref() else {
                let (key, value) = (section.name.to_owned(), Value::from_toml(value.get_ref()).to_string());
                let what = What::Bad { key, value, allowed: format!("a section `[{}]`", section.name) };
                problems.push(Problem { place, what });
                continue;
            };
            for (key, value) in keys {
                let place = Place::Line(line_of(file, key.span().start));
                match section.settings.iter().find(|setting| setting.key() == key.get_ref().as_ref()) {
                    Some(setting) => {
                        self.values.insert((section.name, setting.key()), (Value::from_toml(value.get_ref()), place));
                    }
                    None => problems.push(Problem { place, what: unknown_key(sections, section, key.get_ref()) }),
                }
            }
        }
    }

    fn read_environment(
        &mut self,
        sections: &'static [&'static Section],
        environment: impl IntoIterator<Item = (String, String)>,
        problems: &mut Vec<Problem>,
    ) {
        let known: BTreeMap<String, (&'static str, &'static str)> = all(sections)
            .map(|(section, setting)| (variable(section.name, setting.key()), (section.name, setting.key())))
            .collect();
        for (name, text) in environment {
            if !name.starts_with("MYELIN_") || is_not_ours(&name) {
                continue;
            }
            let place = Place::Variable(name.clone());
            match known.get(&name) {
                Some(path) => {
                    self.values.insert(*path, (Value::Untyped(text), place));
                }
                None => {
                    let near = nearest(&name, known.keys().map(String::as_str)).map(str::to_owned).ok_or_else(Vec::new);
                    problems.push(Problem { place, what: What::Unknown { key: name, near } });
                }
            }
        }
    }

    /// Whether what was typed for the option, if anything, may stand there.
    fn check(&self, section: &'static str, setting: &dyn Describe) -> Result<(), Problem> {
        let path = format!("{section}.{}", setting.key());
        let Some((value, place)) = self.values.get(&(section, setting.key())) else {
            let Presence::Required(example) = setting.presence() else { return Ok(()) };
            let example = format!("{} = {example}", setting.key());
            let variable = variable(section, setting.key());
            let what = What::Missing { key: path, allowed: setting.allowed().to_owned(), example, variable };
            return Err(Problem { place: Place::Nowhere, what });
        };
        if setting.accepts(value) {
            return Ok(());
        }
        let value = if setting.is_secret() { "(hidden)".to_owned() } else { value.to_string() };
        let what = What::Bad { key: path, value, allowed: setting.allowed().to_owned() };
        Err(Problem { place: place.clone(), what })
    }

    /// The options of one section.
    pub(super) fn section(&self, section: &Section) -> Reader<'_> {
        Reader { typed: self, section: section.name }
    }
}

/// Reads the options of one section.
pub(super) struct Reader<'a> {
    typed: &'a Typed,
    section: &'static str,
}

impl Reader<'_> {
    /// What holds for an option: what was typed, or else the default.
    pub(super) fn get<T>(&self, setting: &'static Setting<T>) -> Result<T, Problem> {
        let default = match setting.presence {
            Presence::Default(default) => Value::from_toml_text(default),
            Presence::Required(_) | Presence::Optional(_) => None,
        };
        // Everything typed was checked when it was read, and every default is checked by a test.
        let missing = || Problem::unfit(format!("`{}.{}` has no value", self.section, setting.key));
        let found = self.find(setting)?;
        found.or_else(|| default.as_ref().and_then(setting.read)).ok_or_else(missing)
    }

    /// What was typed for an option, if anything.
    pub(super) fn find<T>(&self, setting: &'static Setting<T>) -> Result<Option<T>, Problem> {
        self.typed.check(self.section, setting)?;
        let typed = self.typed.values.get(&(self.section, setting.key));
        Ok(typed.and_then(|(value, _)| (setting.read)(value)))
    }
}

/// Every option with its section.
pub(super) fn all(
    sections: &'static [&'static Section],
) -> impl Iterator<Item = (&'static Section, &'static dyn Describe)> {
    sections.iter().flat_map(|section| section.settings.iter().map(|setting| (*section, *setting)))
}

/// The variable that names the configuration file itself, and those that Kubernetes makes for a service named "myelin".
fn is_not_ours(variable: &str) -> bool {
    variable == "MYELIN_CONFIG" || variable.starts_with("MYELIN_SERVICE_") || variable.starts_with("MYELIN_PORT")
}

fn unknown(typed: &str, prefix: &str, known: impl Iterator<Item = &'static str> + Clone) -> What {
    let near = nearest(typed, known.clone()).map(|near| format!("{prefix}{near}"));
    let near = near.ok_or_else(|| known.map(|name| format!("`{name}`")).collect());
    What::Unknown { key: format!("{prefix}{typed}"), near }
}

/// An unknown key: a near miss in its section, or the right key in a wrong section.
fn unknown_key(sections: &'static [&'static Section], section: &Section, typed: &str) -> What {
    let elsewhere = all(sections).find(|(_, setting)| setting.key() == typed);
    let known = section.settings.iter().map(|setting| setting.key());
    match elsewhere {
        Some((other, setting)) if nearest(typed, known.clone()).is_none() => What::Unknown {
            key: format!("{}.{typed}", section.name),
            near: Ok(format!("{}.{}", other.name, setting.key())),
        },
        _ => unknown(typed, &format!("{}.", section.name), known),
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|byte| *byte == b'\n').count()
}
