//! Finding one member of a text without parsing it.

/// The string at member `name` of the object that `bytes` is, where the way to it is plain: no escapes in names before
/// it or in itself. What lies behind it is not looked at, so this decides nothing but where a text goes to be parsed.
pub fn string_member<'a>(bytes: &'a [u8], name: &str) -> Option<&'a str> {
    let mut scan = Scan { bytes, offset: 0 };
    scan.expect(b'{')?;
    loop {
        let found = scan.string()?;
        scan.expect(b':')?;
        if found == name.as_bytes() {
            return std::str::from_utf8(scan.string()?).ok();
        }
        scan.skip_value()?;
        scan.expect(b',')?;
    }
}

struct Scan<'a> {
    bytes: &'a [u8],
    offset: usize,
}

impl<'a> Scan<'a> {
    fn next(&mut self) -> Option<u8> {
        let byte = self.bytes.get(self.offset).copied();
        self.offset += 1;
        byte
    }

    fn peek(&mut self) -> Option<u8> {
        while matches!(self.bytes.get(self.offset), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.offset += 1;
        }
        self.bytes.get(self.offset).copied()
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.offset += 1)
    }

    /// A string without escapes.
    fn string(&mut self) -> Option<&'a [u8]> {
        self.expect(b'"')?;
        let start = self.offset;
        loop {
            match self.next()? {
                b'"' => return self.bytes.get(start..self.offset - 1),
                b'\\' => return None,
                _ => {}
            }
        }
    }

    fn skip_value(&mut self) -> Option<()> {
        let mut depth = 0_usize;
        loop {
            match self.peek()? {
                b'"' => {
                    self.offset += 1;
                    self.skip_string()?;
                }
                b'{' | b'[' => {
                    depth += 1;
                    self.offset += 1;
                }
                b'}' | b']' => {
                    depth = depth.checked_sub(1)?;
                    self.offset += 1;
                }
                b',' if depth == 0 => return Some(()),
                _ => self.offset += 1,
            }
            if depth == 0 && matches!(self.peek()?, b',' | b'}') {
                return Some(());
            }
        }
    }

    fn skip_string(&mut self) -> Option<()> {
        loop {
            match self.next()? {
                b'"' => return Some(()),
                b'\\' => {
                    self.next()?;
                }
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert, proptest};
    use proptest::{collection, sample};

    use super::super::{Json, parse};
    use super::string_member;

    #[test]
    fn the_member_of_the_outer_object_is_found() {
        for text in [
            r#"{"id":"9"}"#,
            r#" { "a" : {"id":"1","b":[{"id":"2"},"}"]} , "n": -1.5e3, "t": true, "id" : "9" , "id":"7"}"#,
            r#"{"a":"quote \" and }","id":"9","rest": nothing that is JSON"#,
        ] {
            assert_eq!(string_member(text.as_bytes(), "id"), Some("9"), "{text}");
        }
        for text in [
            "",
            "[]",
            r#"{"a":1}"#,
            r#"{"id":9}"#,
            r#"{"id":"\u0039"}"#,
            r#"{"i\u0064":"9"}"#,
            r#"{"id":"9"#,
            "{]",
        ] {
            assert_eq!(string_member(text.as_bytes(), "id"), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn it_never_differs_from_the_parser(
            bytes in collection::vec(sample::select(&b"{}[]\":,\\ id19a"[..]), 0..64),
            noise in collection::vec(any::<u8>(), 0..64),
        ) {
            for bytes in [&bytes, &noise] {
                let found = string_member(bytes, "id");
                if let (Some(found), Ok(parsed)) = (found, parse(bytes, 32)) {
                    prop_assert!(parsed.member("id").and_then(Json::as_str) == Some(found));
                }
            }
        }
    }
}
