//! Writing JSON by hand, for replies into which stored bytes are spliced as they are.

use serde::Serialize;

/// An object of its own.
pub fn object(members: impl FnOnce(&mut Object<'_>)) -> Vec<u8> {
    let mut out = Vec::new();
    let mut object = Object::begin(&mut out);
    members(&mut object);
    object.end();
    out
}

/// Writes the members of one object into a buffer; the closing brace comes with [`Object::end`].
#[derive(Debug)]
pub struct Object<'a> {
    out: &'a mut Vec<u8>,
    first: bool,
}

impl<'a> Object<'a> {
    /// Opens an object.
    pub fn begin(out: &'a mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, first: true }
    }

    /// Goes on with an object whose opening brace and at least one member are in `out`.
    pub fn resume(out: &'a mut Vec<u8>) -> Self {
        Self { out, first: false }
    }

    /// Writes `name` and the colon; the caller writes the value into what it gets.
    pub fn key(&mut self, name: &str) -> &mut Vec<u8> {
        if !self.first {
            self.out.push(b',');
        }
        self.first = false;
        string(self.out, name);
        self.out.push(b':');
        self.out
    }

    /// Writes a member whose value is JSON already.
    pub fn raw(&mut self, name: &str, json: &[u8]) {
        self.key(name).extend_from_slice(json);
    }

    /// Writes a member.
    pub fn value(&mut self, name: &str, value: &(impl Serialize + ?Sized)) {
        any(self.key(name), value);
    }

    /// Writes a member that is an object of its own.
    pub fn object(&mut self, name: &str, members: impl FnOnce(&mut Object<'_>)) {
        let mut object = Object::begin(self.key(name));
        members(&mut object);
        object.end();
    }

    /// Writes a member that is an array.
    pub fn array(&mut self, name: &str, items: impl FnOnce(&mut Array<'_>)) {
        let mut array = Array::begin(self.key(name));
        items(&mut array);
        array.end();
    }

    /// Whether nothing was written yet.
    pub fn is_empty(&self) -> bool {
        self.first
    }

    /// Closes the object.
    pub fn end(self) {
        self.out.push(b'}');
    }
}

/// Writes the items of one array into a buffer; the closing bracket comes with [`Array::end`].
#[derive(Debug)]
pub struct Array<'a> {
    out: &'a mut Vec<u8>,
    first: bool,
}

impl<'a> Array<'a> {
    /// Opens an array.
    pub fn begin(out: &'a mut Vec<u8>) -> Self {
        out.push(b'[');
        Self { out, first: true }
    }

    /// Writes the comma if one is due; the caller writes the item into what it gets.
    pub fn item(&mut self) -> &mut Vec<u8> {
        if !self.first {
            self.out.push(b',');
        }
        self.first = false;
        self.out
    }

    /// Writes an item that is JSON already.
    pub fn raw(&mut self, json: &[u8]) {
        self.item().extend_from_slice(json);
    }

    /// Closes the array.
    pub fn end(self) {
        self.out.push(b']');
    }
}

/// Appends `text` as a JSON string.
pub fn string(out: &mut Vec<u8>, text: &str) {
    any(out, text);
}

/// Appends any value as JSON.
pub fn any(out: &mut Vec<u8>, value: &(impl Serialize + ?Sized)) {
    // INVARIANT: writing to a vector does not fail, and only plain data (string keys) is written here.
    #[expect(clippy::expect_used, reason = "the invariant above")]
    serde_json::to_writer(out, value).expect("plain data is always JSON");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_and_arrays_nest() {
        let mut out = Vec::new();
        let mut object = Object::begin(&mut out);
        object.value("a\"b", "c\n");
        object.raw("raw", b"[1,{}]");
        object.object("inner", |inner| inner.value("n", &1));
        object.array("list", |list| {
            list.raw(b"null");
            string(list.item(), "x");
        });
        object.object("empty", |_| ());
        object.end();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            r#"{"a\"b":"c\n","raw":[1,{}],"inner":{"n":1},"list":[null,"x"],"empty":{}}"#
        );
    }

    #[test]
    fn an_open_object_is_gone_on_with() {
        let mut out = br#"{"stored":1"#.to_vec();
        let mut object = Object::resume(&mut out);
        object.value("more", &true);
        object.end();
        assert_eq!(out, br#"{"stored":1,"more":true}"#);
    }
}
