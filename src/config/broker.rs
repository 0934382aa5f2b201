//! The URL of a broker, parsed strictly: invalid escapes are rejected before a part counts as a host. Such a URL may
//! have a password, so no error repeats a part of it.

use std::fmt;

/// The parts of an `amqp://` or `amqps://` URL, decoded.
#[derive(Clone, PartialEq, Eq)]
pub struct BrokerUrl {
    /// Whether it is amqps.
    pub is_secure: bool,
    /// User; empty without one.
    pub user: String,
    /// Password, if one is given.
    pub password: Option<String>,
    /// Host name or IP address, without brackets.
    pub host: String,
    /// Port, if one is given.
    pub port: Option<u16>,
    /// Virtual host.
    pub vhost: String,
    /// Parameters, in their order.
    pub query: Vec<(String, String)>,
}

/// Without what may be secret.
impl fmt::Debug for BrokerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BrokerUrl")
            .field("is_secure", &self.is_secure)
            .field("host", &self.host)
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}

const SCHEME: &str = "must begin with amqp:// or amqps://";
const FRAGMENT: &str = "has a '#'; in a user or password write it as %23";
const CHARACTER: &str = "has a character that must be percent-encoded, such as a space, a quote, a bracket or a letter that is not ASCII";
const AT: &str = "has an '@' that does not end the user and password; within them write '@' as %40, '/' as %2F and '?' as %3F";
const ESCAPE: &str = "has a '%' that is not followed by two hexadecimal digits; write it as %25";
const ENCODING: &str = "has percent-encoded bytes that are no UTF-8 text";
const HOST: &str =
    "has no host after the user and password, or one with characters that no host has";
const PORT: &str = "has something else than a port from 1 to 65535 after the host and its ':'; if that is a part of a password, escape its special characters and put '@' and the host after it";

impl BrokerUrl {
    /// Parses a URL.
    ///
    /// # Errors
    /// What is wrong with it, without any part of it.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let (is_secure, rest) = match (text.strip_prefix("amqp://"), text.strip_prefix("amqps://"))
        {
            (Some(rest), _) => (false, rest),
            (_, Some(rest)) => (true, rest),
            (None, None) => return Err(SCHEME),
        };
        if rest.contains('#') {
            return Err(FRAGMENT);
        }
        // A password may contain the first character of a path or query: then the '@' comes after it.
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, tail) = rest.split_at(end);
        if authority.matches('@').count() > 1 || tail.contains('@') {
            return Err(AT);
        }
        let (userinfo, address) = match authority.split_once('@') {
            Some((userinfo, address)) => (Some(userinfo), address),
            None => (None, authority),
        };
        let (user, password) = match userinfo.map(|text| text.split_once(':').unwrap_or((text, "")))
        {
            Some((user, password)) => (decode(user)?, Some(decode(password)?)),
            None => (String::new(), None),
        };
        let password = password.filter(|_| userinfo.is_some_and(|text| text.contains(':')));
        let (host, port) = host_and_port(address)?;
        let (path, query) = tail.split_once('?').unwrap_or((tail, ""));
        // Without a path it is the default one, named "/".
        let vhost = path.strip_prefix('/').map_or(Ok("/".to_owned()), decode)?;
        let pairs = query.split('&').filter(|pair| !pair.is_empty());
        let pairs = pairs.map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((decode(key)?, decode(value)?))
        });
        Ok(Self {
            is_secure,
            user,
            password,
            host,
            port,
            vhost,
            query: pairs.collect::<Result<_, &'static str>>()?,
        })
    }

    /// Returns the last value of a parameter.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        let mut query = self.query.iter().rev();
        query
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }
}

/// Whether a text that should be a path is a URL, which must not be printed.
pub fn is_url(path: &str) -> bool {
    path.contains("://")
}

fn host_and_port(address: &str) -> Result<(String, Option<u16>), &'static str> {
    let (host, port) = match address.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']').ok_or(HOST)?;
            host.parse::<std::net::Ipv6Addr>().map_err(|_| HOST)?;
            (host, port)
        }
        None => {
            let (host, port) = address.split_at(address.find(':').unwrap_or(address.len()));
            let is_legal = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
            if host.is_empty() || host.len() > 253 || !host.chars().all(is_legal) {
                return Err(HOST);
            }
            (host, port)
        }
    };
    if port.is_empty() {
        return Ok((host.to_owned(), None));
    }
    let digits = port.strip_prefix(':').ok_or(HOST)?;
    let number = digits.parse::<u16>().ok().filter(|port| *port > 0);
    let is_plain = digits.bytes().all(|byte| byte.is_ascii_digit());
    match number.filter(|_| is_plain) {
        Some(port) => Ok((host.to_owned(), Some(port))),
        None => Err(PORT),
    }
}

/// Decodes a part whose other characters are those that RFC 3986 allows there.
fn decode(part: &str) -> Result<String, &'static str> {
    let mut bytes = Vec::with_capacity(part.len());
    let mut rest = part.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'%' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                let (Some(high), Some(low)) = (digit(), digit()) else {
                    return Err(ESCAPE);
                };
                bytes.extend(u8::try_from(high * 16 + low));
            }
            _ if byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:/?@".contains(&byte) => {
                bytes.push(byte)
            }
            _ => return Err(CHARACTER),
        }
    }
    String::from_utf8(bytes).map_err(|_| ENCODING)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn parts_are_decoded() {
        let url = BrokerUrl::parse(
            "amqps://jane:p%40ss%2Fw%c3%b6rd:1@broker.example:5671/a%2fb?heartbeat=5&x",
        )
        .unwrap();
        assert!(url.is_secure);
        assert_eq!(
            (url.user.as_str(), url.password.as_deref()),
            ("jane", Some("p@ss/wörd:1"))
        );
        assert_eq!(
            (url.host.as_str(), url.port),
            ("broker.example", Some(5671))
        );
        assert_eq!(
            (url.vhost.as_str(), url.parameter("heartbeat")),
            ("a/b", Some("5"))
        );
        for (text, host, vhost) in [
            ("amqp://broker", "broker", "/"),
            ("amqp://broker/", "broker", ""),
            ("amqp://broker//", "broker", "/"),
            ("amqp://[::1]:5672/team", "::1", "team"),
            ("amqp://127.0.0.1?x=y", "127.0.0.1", "/"),
        ] {
            let url = BrokerUrl::parse(text).unwrap();
            assert_eq!(
                (url.host.as_str(), url.vhost.as_str()),
                (host, vhost),
                "{text}"
            );
            assert_eq!((url.user.as_str(), &url.password), ("", &None), "{text}");
        }
        let url = BrokerUrl::parse("amqp://token@broker").unwrap();
        assert_eq!((url.user.as_str(), url.password), ("token", None));
    }

    #[test]
    fn what_is_badly_escaped_is_named_and_not_repeated() {
        for (text, why) in [
            ("", SCHEME),
            ("user:word@host", SCHEME),
            ("http://user:word@host", SCHEME),
            ("amqp://user:p@ss/word@host", AT),
            ("amqp://user:p/ss@host", AT),
            ("amqp://user:p?ss@host", AT),
            ("amqp://user:p@ss@host", AT),
            ("amqp://user:p#ss@host", FRAGMENT),
            ("amqp://user:p%zz@host", ESCAPE),
            ("amqp://user:p%4@host", ESCAPE),
            ("amqp://user:100%@host", ESCAPE),
            ("amqp://user:p%ff@host", ENCODING),
            ("amqp://user:p ss@host", CHARACTER),
            ("amqp://user:p\\ss@host", CHARACTER),
            ("amqp://user:p[ss@host", CHARACTER),
            ("amqp://user:pöss@host", CHARACTER),
            ("amqp://user:p\nss@host", CHARACTER),
            ("amqp://user:word@", HOST),
            ("amqp://user:word@:5672", HOST),
            ("amqp://user:word@ho st", HOST),
            ("amqp://user:word@[::1", HOST),
            ("amqp://user:word@[::1]x", HOST),
            ("amqp://", HOST),
            ("amqp:///vhost", HOST),
            ("amqp://user:word", PORT),
            ("amqp://user:word@host:", PORT),
            ("amqp://user:word@host:0", PORT),
            ("amqp://user:word@host:+5", PORT),
            ("amqp://user:word@host:65536", PORT),
        ] {
            assert_eq!(BrokerUrl::parse(text).map(|_| ()), Err(why), "{text:?}");
        }
    }

    proptest! {
        /// Any text as the password, unescaped: it is rejected, or parsed as the password and nothing else.
        #[test]
        fn no_part_of_a_password_is_taken_for_anything_else(word in r"[a-z@/?#%:&=\[\]\\ é]{0,24}") {
            let text = format!("amqp://user:{word}@broker.example:5672/team");
            if let Ok(url) = BrokerUrl::parse(&text) {
                prop_assert_eq!(url.host, "broker.example");
                prop_assert_eq!((url.user.as_str(), url.port), ("user", Some(5672)));
                prop_assert_eq!((url.vhost.as_str(), url.query), ("team", vec![]));
            }
        }

        /// A valid escape is decoded.
        #[test]
        fn what_is_escaped_comes_back(password in any::<String>()) {
            let escaped: String = password.bytes().map(|byte| format!("%{byte:02X}")).collect();
            let url = BrokerUrl::parse(&format!("amqp://user:{escaped}@host")).unwrap();
            prop_assert_eq!(url.password, Some(password));
        }
    }
}
