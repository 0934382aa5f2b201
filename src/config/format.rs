//! The kinds of strings in the configuration: their names, and their rules in the schema.
//!
//! A schema checks a string by regular expressions. They accept every string that the checks accept, and reject what
//! can be recognised without arithmetic and without other keys.

use serde_json::{Value, json};

use super::rule::no;
use crate::duration::GoDuration;
use crate::quantity::Quantity;
use crate::workspaces::names::{DNS_LABEL, IMAGE, MAX_IMAGE, NAME_PART};
use crate::workspaces::port::PORT;
use crate::workspaces::url::Purpose;

/// A kind of string.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// Any text.
    Text,
    /// Path of a file.
    File,
    /// Path of a file; a URL, as in the file, is a mistake.
    FileOfUrl,
    /// Duration above zero.
    Duration,
    /// Duration that may be zero.
    DurationOrZero,
    /// Quantity of CPU.
    Cores,
    /// Quantity of memory or disk.
    Bytes,
    /// Quantity of disk that is not zero.
    Size,
    /// DNS label.
    Label,
    /// DNS subdomain.
    Subdomain,
    /// Id of a class.
    Class,
    /// Key of a label or of a taint.
    LabelKey,
    /// Image, or the beginning of images up to a slash.
    ImagePrefix,
    /// Path below a directory.
    PathBelow,
    /// Absolute path on a node.
    Path,
    /// Reference of an image.
    Image,
    /// Host without a scheme.
    Host,
    /// Host that may have a port.
    HostAndPort,
    /// Address to listen on.
    Listen,
    /// Loopback address to listen on.
    Loopback,
    /// Address to call.
    Target,
    /// Origin of web pages.
    Origin,
    /// URL of the platform.
    HostUrl,
    /// URL template.
    Template(Purpose),
    /// URL of a broker, without a password.
    BrokerUrl,
    /// Name of an exchange.
    Exchange,
    /// Value of a label.
    LabelValue,
    /// Quantity of any resource.
    Amount,
}

/// Part of an IPv4 address.
const OCTET: &str = "(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])";
/// IPv6 address, by its characters.
const IPV6: &str = "\\[[0-9A-Fa-f:.]+\\]";
/// Prefix of an http or https URL. More than two slashes are the same as two.
const WEB: &str = "[Hh][Tt][Tt][Pp][Ss]?://+";
/// Characters of a URL's user, host, path or parameter that need no escape, and escapes.
const URL_TEXT: &str = "([-A-Za-z0-9._~!$&'()*+,;=]|%[0-9A-Fa-f]{2})";

impl Format {
    /// Its name in docs/configuration.md.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Text => "string",
            Self::Exchange => "string, 1 to 255 bytes",
            Self::File | Self::FileOfUrl => "path of a file",
            Self::Duration => "duration",
            Self::DurationOrZero => "duration, 0 allowed",
            Self::Cores | Self::Bytes | Self::Size | Self::Amount => "quantity",
            Self::LabelValue => "value of a label",
            Self::Label => "DNS label",
            Self::Subdomain => "DNS subdomain",
            Self::Class => "id of a class",
            Self::LabelKey => "key of a label",
            Self::ImagePrefix => "image, or a prefix that ends in `/`",
            Self::PathBelow => "relative path",
            Self::Path => "absolute path",
            Self::Image => "image",
            Self::Host => "host",
            Self::HostAndPort => "host or host:port",
            Self::Listen | Self::Loopback | Self::Target => "host:port",
            Self::Origin => "origin",
            Self::HostUrl | Self::BrokerUrl => "URL",
            Self::Template(_) => "URL template",
        }
    }

    /// Units and syntax for the schema, after the key's description.
    pub(super) fn syntax(self) -> Option<&'static str> {
        match self {
            Self::Duration | Self::DurationOrZero => {
                Some("A duration with units: h, m, s, ms, us or ns, such as `1h30m`.")
            }
            Self::Cores => Some("A quantity of Kubernetes, such as `500m` or `2`."),
            Self::Bytes | Self::Size => Some("A quantity of Kubernetes, such as `512Mi` or `4Gi`."),
            _ => None,
        }
    }

    /// Returns its name among the definitions of the schema; none if every string is valid.
    pub(super) fn id(self) -> Option<&'static str> {
        Some(match self {
            Self::Text | Self::File | Self::Path => return None,
            Self::FileOfUrl => "fileOfUrl",
            Self::Duration => "duration",
            Self::DurationOrZero => "durationOrZero",
            Self::Cores => "cores",
            Self::Bytes => "bytes",
            Self::Size => "size",
            Self::Label => "label",
            Self::Subdomain => "subdomain",
            Self::Class => "class",
            Self::LabelKey => "labelKey",
            Self::ImagePrefix => "imagePrefix",
            Self::PathBelow => "pathBelow",
            Self::Image => "image",
            Self::Host => "host",
            Self::HostAndPort => "hostAndPort",
            Self::Listen => "listen",
            Self::Loopback => "loopback",
            Self::Target => "target",
            Self::Origin => "origin",
            Self::HostUrl => "hostUrl",
            Self::Template(Purpose::Workspace) => "urlTemplate",
            Self::Template(Purpose::Port) => "portUrlTemplate",
            Self::BrokerUrl => "brokerUrl",
            Self::Exchange => "exchange",
            Self::LabelValue => "labelValue",
            Self::Amount => "amount",
        })
    }

    /// Returns the schema of such a string.
    pub(super) fn schema(self) -> Value {
        match self {
            Self::Text | Self::File | Self::Path => json!({}),
            Self::FileOfUrl => json!({ "not": no("://") }),
            Self::Duration => json!({
                "pattern": format!("^({})$", GoDuration::pattern()),
                "allOf": [{ "pattern": "[1-9]" }],
            }),
            Self::DurationOrZero => json!({ "pattern": format!("^({})$", GoDuration::pattern()) }),
            Self::Cores => quantity(TOO_MANY_CORES),
            Self::Bytes => quantity(TOO_FEW_BYTES),
            Self::Size => {
                let mut schema = quantity(TOO_FEW_BYTES);
                schema["allOf"] = json!([{ "pattern": "^$|^[+0.]*[1-9]" }]);
                schema
            }
            Self::Label => optional(DNS_LABEL),
            Self::Subdomain => {
                let mut schema = optional(&format!("{DNS_LABEL}(\\.{DNS_LABEL})*"));
                schema["maxLength"] = 253.into();
                schema
            }
            Self::Class => optional(NAME_PART),
            Self::LabelKey => json!({
                "pattern": format!("^({DNS_LABEL}(\\.{DNS_LABEL})*/)?{NAME_PART}$"),
                "maxLength": 317,
            }),
            Self::ImagePrefix => json!({ "pattern": "^[!-~]+$", "not": no("^/|://") }),
            Self::PathBelow => json!({ "not": no("^/|(^|/)\\.\\.(/|$)") }),
            Self::Image => json!({ "pattern": format!("^({IMAGE})$"), "maxLength": MAX_IMAGE }),
            Self::Host => json!({ "pattern": "^[^/@ \\t\\n\\r]*$" }),
            Self::HostAndPort => optional(&format!("{}(:[0-9]*)?", host("@"))),
            Self::Listen => {
                // A name has a part that is no number.
                let part = "[A-Za-z0-9]([-A-Za-z0-9]*[A-Za-z0-9])?";
                let word =
                    "([0-9]*[A-Za-z]([-A-Za-z0-9]*[A-Za-z0-9])?|[0-9]+-[-A-Za-z0-9]*[A-Za-z0-9])";
                let name = format!("([0-9]+\\.)*{word}(\\.{part})*");
                let ipv4 = format!("{OCTET}(\\.{OCTET}){{3}}");
                optional(&format!("({name}|{ipv4}|{IPV6})?:\\+?(0+|{PORT})"))
            }
            Self::Loopback => {
                let ipv4 = format!("127(\\.{OCTET}){{3}}");
                optional(&format!("(localhost|{ipv4}|\\[::1\\]):\\+?(0+|{PORT})"))
            }
            Self::Target => optional(&format!("({}|\\[[^\\]\\[@ ]*\\]):\\+?{PORT}", host("@"))),
            Self::Origin => json!({
                "pattern": format!("^(\\*|https?://({}|{IPV6})(:(0|[1-9][0-9]{{0,4}}))?)$", "[-a-z0-9._~!$&'()*+,;=]+"),
                // Browsers omit the default port.
                "not": no("^(http://.*:80|https://.*:443)$"),
            }),
            Self::HostUrl => {
                let host = host("");
                let tail = "([/?#\\\\].*)?";
                // Without a scheme, what precedes a ':' must not look like one.
                let bare = format!("/*{host}((:[0-9]+)?{tail}|:([?#\\\\].*)?|:/([^/].*)?)");
                json!({
                    "pattern": format!("^({WEB}{host}(:[0-9]*)?{tail}|{bare})$"),
                    "not": no("[@ \\t\\n\\r]"),
                })
            }
            Self::Template(purpose) => template(purpose),
            Self::BrokerUrl => {
                let host = format!("({IPV6}|[-A-Za-z0-9._]+)(:{PORT})?");
                optional(&format!(
                    "amqps?://({URL_TEXT}*@)?{host}([/?]({URL_TEXT}|[/?:])*)?"
                ))
            }
            Self::LabelValue => optional(NAME_PART),
            Self::Amount => json!({ "pattern": format!("^({})$", Quantity::pattern()) }),
            Self::Exchange => json!({ "minLength": 1, "maxLength": 255, "not": no("^amq\\.") }),
        }
    }
}

/// Less than a mebibyte: up to six digits, of which one is not 0, without a unit or with a small one, or up to three
/// thousand.
const TOO_FEW_BYTES: &str = "(0*[1-9][0-9]{0,5}(\\.[0-9]*)?|0*\\.0*[1-9][0-9]*)[num]?|(0*[1-9][0-9]{0,2}(\\.[0-9]*)?|0*\\.0*[1-9][0-9]*)(k|Ki)";
/// Hundreds of thousands, or a unit that is wrong for cores.
const TOO_MANY_CORES: &str = "0*[1-9][0-9]{5,}(\\.[0-9]*)?|0*[1-9][0-9]*(\\.[0-9]*)?([MGTPE]i?)";

/// A text that matches a pattern, or an empty one.
fn optional(pattern: &str) -> Value {
    json!({ "pattern": format!("^({pattern})?$") })
}

/// A quantity with a plausible unit, or an empty text.
fn quantity(slip: &str) -> Value {
    json!({
        "pattern": format!("^({})?$", Quantity::pattern()),
        "not": no(&format!("^\\+?({slip})$")),
    })
}

/// The pattern of a host except for some more characters.
fn host(but: &str) -> String {
    format!("({IPV6}|[^\\x00-\\x20\\x7f\\]\\[:/?#\\\\<>^|{but}]+)")
}

/// A URL with variables, or an empty text.
fn template(purpose: Purpose) -> Value {
    let variable = |names: &str| format!("\\{{\\{{[ \\t]*\\.({names})[ \\t]*\\}}\\}}");
    let any = variable(&purpose.variables().collect::<Vec<_>>().join("|"));
    let host = variable("Host");
    let odd = "\\x00-\\x20\\x7f{}<>\"\\\\^`|@";
    optional(&format!(
        "({WEB}({any}|[^{odd}./?#:])|{host})({any}|[^{odd}])*"
    ))
}
