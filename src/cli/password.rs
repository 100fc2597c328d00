//! Asking for a new password.

use std::{
    error::Error,
    io::{self, BufRead, IsTerminal},
};

/// Asks for a new password, twice and without showing it, or takes the first line of standard input.
pub(super) fn ask(from_stdin: bool) -> Result<String, Box<dyn Error>> {
    if from_stdin {
        return first_line(&mut io::stdin().lock());
    }
    if !io::stdin().is_terminal() {
        return Err("standard input is not a terminal: give the password there and add --password-stdin".into());
    }
    let password = rpassword::prompt_password("New password: ")?;
    if rpassword::prompt_password("The same again: ")? == password {
        Ok(password)
    } else {
        Err("the two passwords differ".into())
    }
}

fn first_line(input: &mut impl BufRead) -> Result<String, Box<dyn Error>> {
    let mut line = String::new();
    input.read_line(&mut line)?;
    let password = line.strip_suffix('\n').map_or(&*line, |line| line.strip_suffix('\r').unwrap_or(line));
    if password.is_empty() { Err("there is no password on standard input".into()) } else { Ok(password.to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_one_line_as_it_is() {
        let read = |mut input: &[u8]| first_line(&mut input).map_err(|error| error.to_string());
        assert_eq!(read(b" pass word \nrest"), Ok(" pass word ".to_owned()));
        assert_eq!(read(b"password\r\n"), Ok("password".to_owned()));
        assert_eq!(read(b"password"), Ok("password".to_owned()));
        assert!(read(b"\npassword").is_err());
        assert!(read(b"").is_err());
        assert!(read(b"\xff\n").is_err());
    }
}
