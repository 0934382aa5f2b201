//! Sets up the log on stderr: text for a terminal, JSON otherwise.

use std::collections::BTreeSet;
use std::fmt;
use std::io::IsTerminal;

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::{JsonFields, Writer};
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormattedFields};
use tracing_subscriber::registry::{LookupSpan, SpanRef};

/// Starts the log. `RUST_LOG` wins over `verbose`.
pub fn init(verbose: bool, json: Option<bool>) {
    // Libraries stay at info: at TRACE some of them log whole requests, and requests have secrets.
    let default = if verbose {
        "info,wsman=debug"
    } else {
        // The client library logs every request that fails; we log the start and the end of an outage.
        "info,kube_client=off,rustls=error"
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    // Always: these log credentials, and messages with tokens.
    let quiet = ["lapin=off", "amq_protocol_tcp=off"];
    let quiet = quiet.iter().filter_map(|directive| directive.parse().ok());
    let filter = quiet.fold(filter, EnvFilter::add_directive);
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    // A second call, as in tests, changes nothing.
    let _ = if json.unwrap_or_else(|| !std::io::stderr().is_terminal()) {
        let line = JsonLine { target: verbose };
        log.fmt_fields(JsonFields::new())
            .event_format(line)
            .try_init()
    } else {
        log.with_target(verbose)
            .with_ansi(std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none())
            .try_init()
    };
}

/// A line of the log as a JSON object, with the fields of the event at its root. Keys are unique: a field with the name
/// of one of the line's own keys, or of another field, gets another name.
#[derive(Debug, Clone, Copy)]
pub struct JsonLine {
    /// Whether the line has the module.
    pub target: bool,
}

/// The line's own keys.
const OWN: [&str; 6] = ["timestamp", "level", "message", "target", "span", "spans"];

impl<S> FormatEvent<S, JsonFields> for JsonLine
where
    S: Subscriber + for<'lookup> LookupSpan<'lookup>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, JsonFields>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut time = String::new();
        SystemTime.format_time(&mut Writer::new(&mut time))?;
        let metadata = event.metadata();
        let mut line = Line::default();
        line.own("timestamp", time.into());
        line.own("level", metadata.level().as_str().into());
        event.record(&mut line);
        if self.target {
            line.own("target", metadata.target().into());
        }
        let leaf = event.parent().and_then(|id| context.span(id));
        if let Some(leaf) = leaf.or_else(|| context.lookup_current()) {
            line.own("span", span(&leaf));
            let all = leaf.scope().from_root().map(|each| span(&each));
            line.own("spans", all.collect());
        }
        writeln!(writer, "{}", line.text()?)
    }
}

/// Returns a span's fields and its name.
fn span<S>(span: &SpanRef<'_, S>) -> Value
where
    S: for<'lookup> LookupSpan<'lookup>,
{
    let extensions = span.extensions();
    let fields = extensions.get::<FormattedFields<JsonFields>>();
    let fields = fields.and_then(|fields| serde_json::from_str(fields).ok());
    let mut fields: Map<String, Value> = fields.unwrap_or_default();
    if let Some(name) = fields.insert("name".to_owned(), span.name().into()) {
        fields.insert("field.name".to_owned(), name);
    }
    fields.into()
}

/// The members of a line, in their order.
#[derive(Debug, Default)]
struct Line {
    members: Vec<(String, Value)>,
    keys: BTreeSet<String>,
}

impl Line {
    fn own(&mut self, key: &'static str, value: Value) {
        self.keys.insert(key.to_owned());
        self.members.push((key.to_owned(), value));
    }

    fn field(&mut self, field: &Field, value: Value) {
        let name = field.name().trim_start_matches("r#");
        let is_message = name == "message" && !self.keys.contains(name);
        let mut key = match OWN.contains(&name) && !is_message {
            true => format!("field.{name}"),
            false => name.to_owned(),
        };
        let first = key.clone();
        for count in 2_usize.. {
            if self.keys.insert(key.clone()) {
                break;
            }
            key = format!("{first}.{count}");
        }
        self.members.push((key, value));
    }

    fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::from("{");
        for (at, (key, value)) in self.members.iter().enumerate() {
            let key = serde_json::to_string(key).map_err(|_| fmt::Error)?;
            let comma = if at == 0 { "" } else { "," };
            text.push_str(&format!("{comma}{key}:{value}"));
        }
        text.push('}');
        Ok(text)
    }
}

impl Visit for Line {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.field(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.field(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.field(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.field(field, value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.field(field, value.into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.field(field, format!("{value:?}").into());
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use tracing::{info, info_span, warn};

    use super::*;
    use crate::json;

    /// Collects a log.
    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Returns the lines that `work` logs; duplicate keys are an error.
    fn logged(work: impl FnOnce()) -> Vec<Value> {
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .fmt_fields(JsonFields::new())
            .event_format(JsonLine { target: true })
            .with_writer(move || writer.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, work);
        let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        let lines = text.lines();
        let read = lines.map(|line| {
            let (read, twice) = json::read(line).expect(line);
            assert!(twice.is_empty(), "{twice:?} in {line}");
            read
        });
        read.collect()
    }

    #[test]
    fn no_key_comes_twice() {
        let lines = logged(|| {
            let outer = info_span!("outer", name = "a", workspace = "x", level = 1);
            let _outer = outer.enter();
            let inner = info_span!("inner", name = "b", workspace = "y");
            let _inner = inner.enter();
            info!(
                timestamp = 1,
                level = "l",
                target = "t",
                span = "s",
                spans = 2,
                name = "n",
                workspace = "z",
                "logged"
            );
            warn!(a = 1, a = true, a = ?"x", message = "second", "first");
            info!(field.level = 1, level = 2, "again");
        });
        assert_eq!(lines.len(), 3);
        let [line, first, again] = &lines[..] else {
            panic!()
        };
        for (key, value) in [
            ("message", Value::from("logged")),
            ("level", "INFO".into()),
            ("field.level", "l".into()),
            ("field.timestamp", 1.into()),
            ("field.target", "t".into()),
            ("field.span", "s".into()),
            ("field.spans", 2.into()),
            ("name", "n".into()),
            ("workspace", "z".into()),
            ("target", "wsman::telemetry::tests".into()),
        ] {
            assert_eq!(line[key], value, "{key}");
        }
        assert_eq!(line["span"]["name"], "inner");
        assert_eq!(line["span"]["field.name"], "b");
        let workspaces: Vec<_> = line["spans"]
            .as_array()
            .unwrap()
            .iter()
            .map(|s| &s["workspace"])
            .collect();
        assert_eq!(workspaces, ["x", "y"]);
        assert_eq!(
            (&first["a"], &first["a.2"], &first["a.3"]),
            (&1.into(), &true.into(), &"\"x\"".into())
        );
        assert_eq!(
            (&again["field.level"], &again["field.level.2"]),
            (&1.into(), &2.into())
        );
    }

    #[test]
    fn texts_are_escaped() {
        let lines =
            logged(|| info!(text = "a\"b\n\u{1b}", error = %"c\"", nan = f64::NAN, "\u{0}"));
        assert_eq!(
            (&lines[0]["text"], &lines[0]["error"]),
            (&"a\"b\n\u{1b}".into(), &"c\"".into())
        );
        assert_eq!(
            (&lines[0]["message"], &lines[0]["nan"]),
            (&"\u{0}".into(), &Value::Null)
        );
    }
}
