//! The templates of workspace and port URLs (docs/protocol.md#urls).

use crate::redact::show;

/// The purpose of a template; decides which variables it may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// `urlTemplate`: .ID, .Prefix and .Host.
    Workspace,
    /// `portUrlTemplate`: those and .WorkspacePort and .IngressPort.
    Port,
}

/// The variables by name; those of ports come last.
const VARIABLES: [(&str, Variable); 5] = [
    ("ID", Variable::Id),
    ("Prefix", Variable::Prefix),
    ("Host", Variable::Host),
    ("WorkspacePort", Variable::Port),
    ("IngressPort", Variable::Port),
];

impl Purpose {
    /// Returns the names of the variables, without their dot.
    pub fn variables(self) -> impl Iterator<Item = &'static str> {
        self.names().iter().map(|(name, _)| *name)
    }

    fn names(self) -> &'static [(&'static str, Variable)] {
        match self {
            Self::Workspace => &VARIABLES[..3],
            Self::Port => &VARIABLES,
        }
    }
}

/// A valid template: rendering it cannot fail.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UrlTemplate(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Variable(Variable),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Variable {
    Id,
    Prefix,
    Host,
    Port,
}

/// The values of the variables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Values<'a> {
    /// Instance id.
    pub id: &'a str,
    /// Service prefix: as requested for the URL of a workspace; for that of a port, the id if there is none.
    pub prefix: &'a str,
    /// `hostURL`, as configured.
    pub host: &'a str,
    /// Port of the workspace; 0 without a port.
    pub port: u32,
}

impl UrlTemplate {
    /// Parses a template: text and `{{ .Name }}`, the only syntax of Go that such templates use.
    ///
    /// # Errors
    /// What is invalid, and the alternatives.
    pub fn compile(text: &str, purpose: Purpose) -> Result<Self, String> {
        let names = purpose.names();
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(open) = rest.find("{{") {
            let (before, tail) = rest.split_at(open);
            let Some(close) = tail.find("}}") else {
                return Err("has a \"{{\" without its \"}}\"".to_owned());
            };
            let name = tail[2..close].trim_matches([' ', '\t']);
            let is_named = |(known, _): &&(_, _)| name.strip_prefix('.') == Some(*known);
            let Some((_, variable)) = names.iter().find(is_named) else {
                let known: Vec<_> = purpose.variables().map(|name| format!(".{name}")).collect();
                return Err(format!(
                    "uses {{{{ {name} }}}}, which it cannot; use {}",
                    known.join(", ")
                ));
            };
            if !before.is_empty() {
                parts.push(Part::Text(before.to_owned()));
            }
            parts.push(Part::Variable(*variable));
            rest = &tail[close + 2..];
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        Ok(Self(parts))
    }

    /// Returns whether it renders to nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Renders it. Values of a request are percent-encoded, so they stay within their part of the URL.
    pub fn render(&self, values: &Values<'_>) -> String {
        let mut url = String::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => url.push_str(text),
                Part::Variable(Variable::Id) => encode(&mut url, values.id),
                Part::Variable(Variable::Prefix) => encode(&mut url, values.prefix),
                Part::Variable(Variable::Host) => url.push_str(values.host),
                Part::Variable(Variable::Port) => url.push_str(&values.port.to_string()),
            }
        }
        url
    }
}

/// Appends `text` with everything encoded except RFC 3986's unreserved characters.
fn encode(url: &mut String, text: &str) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            url.push(char::from(byte));
        } else {
            url.push_str(&format!("%{byte:02X}"));
        }
    }
}

/// Validates a rendered URL for a browser: http or https, or a relative reference, without control characters or
/// spaces.
///
/// # Errors
/// Why it is invalid.
pub fn check(text: &str) -> Result<(), String> {
    if let Some(odd) = text.chars().find(|c| c.is_control() || *c == ' ') {
        return Err(format!("{} is no URL: it contains {odd:?}", show(text)));
    }
    let no_url = |why: &dyn std::fmt::Display| format!("{} is no URL: {why}", show(text));
    if !text.contains("://") {
        // Classic templates may omit the scheme. The rest must still be a host, not "javascript:" or "mailto:".
        let url = url::Url::parse(&format!("https://{text}")).map_err(|e| no_url(&e))?;
        return if url.username().is_empty() && url.password().is_none() {
            Ok(())
        } else {
            Err(no_url(&"it has no scheme, but a user"))
        };
    }
    let url = url::Url::parse(text).map_err(|e| no_url(&e))?;
    if matches!(url.scheme(), "http" | "https") {
        Ok(())
    } else {
        Err(format!("{} is no http or https URL", show(text)))
    }
}

#[cfg(test)]
mod tests;
