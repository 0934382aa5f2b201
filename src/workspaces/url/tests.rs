//! URL templates: which compile, what they render, what is a URL.

use proptest::prelude::*;

use super::*;

fn render(template: &str, purpose: Purpose) -> Result<String, String> {
    let values = Values {
        id: "1d",
        prefix: "pre/fix",
        host: "https://example.com",
        port: 8080,
    };
    UrlTemplate::compile(template, purpose).map(|template| template.render(&values))
}

#[test]
fn variables_are_put_in_and_requests_values_encoded() {
    for (template, url) in [
        ("", ""),
        ("{{ .ID }}-{{.Prefix}}", "1d-pre%2Ffix"),
        (
            "{{ .Host }}/workspaces/{{ .Prefix }}/",
            "https://example.com/workspaces/pre%2Ffix/",
        ),
        ("https://{{ .ID }}.x", "https://1d.x"),
        ("}} {{\t.ID\t}}", "}} 1d"),
    ] {
        assert_eq!(render(template, Purpose::Workspace).as_deref(), Ok(url));
    }
    let port = render("{{ .WorkspacePort }}-{{ .IngressPort }}", Purpose::Port);
    assert_eq!(port.as_deref(), Ok("8080-8080"));
}

#[test]
fn what_cannot_be_rendered_does_not_compile() {
    for template in [
        "{{ .Port }}",
        "{{ .ID",
        "{{}}",
        "{{ if .ID }}",
        "{{ .ID | html }}",
        "{{ .WorkspacePort }}",
    ] {
        assert!(render(template, Purpose::Workspace).is_err(), "{template}");
    }
}

#[test]
fn only_web_addresses_are_urls() {
    for good in [
        "https://a.example.com",
        "http://localhost:8080/x",
        "test-foo-gitpod.io",
        "gitpod.io:80",
    ] {
        assert_eq!(check(good), Ok(()), "{good}");
    }
    for bad in [
        "",
        "javascript:alert(1)",
        "ftp://a",
        "https://",
        "https://a b",
        "https://a\r\nX: y",
        "https://a%00b",
        "mailto:a@b",
        // No international name has such an encoding: a request with that prefix is rejected.
        "https://xn--0.ws.example.com",
    ] {
        assert!(check(bad).is_err(), "{bad:?}");
    }
}

proptest! {
    #[test]
    fn compiling_never_panics(text in ".{0,60}", braces in "[{}. a-zID]{0,40}") {
        let _ = UrlTemplate::compile(&text, Purpose::Port);
        let _ = UrlTemplate::compile(&braces, Purpose::Workspace);
    }

    #[test]
    fn no_value_escapes_its_part_of_the_url(id in any::<String>(), prefix in any::<String>(), port in any::<u32>()) {
        let template = "https://ws.example.com/{{ .ID }}/{{ .Prefix }}/{{ .WorkspacePort }}/end";
        let template = UrlTemplate::compile(template, Purpose::Port).unwrap();
        let values = Values { id: &id, prefix: &prefix, host: "x", port };
        let rendered = template.render(&values);
        prop_assert_eq!(check(&rendered), Ok(()));
        let url = ::url::Url::parse(&rendered).unwrap();
        prop_assert_eq!(url.host_str(), Some("ws.example.com"));
        prop_assert!(url.query().is_none() && url.fragment().is_none());
        prop_assert!(url.path().ends_with("/end"));
    }

    #[test]
    fn legal_ids_always_give_a_url(id in "[a-z0-9]([a-z0-9-]{0,40}[a-z0-9])?", prefix in "[a-z0-9]([a-z0-9-]{0,40}[a-z0-9])?") {
        prop_assume!(!id.starts_with("xn--") && !prefix.starts_with("xn--"));
        for template in ["https://{{ .Prefix }}.ws.example.com", "{{ .ID }}-{{ .Prefix }}-{{ .Host }}"] {
            let template = UrlTemplate::compile(template, Purpose::Workspace).unwrap();
            let values = Values { id: &id, prefix: &prefix, host: "gitpod.io", port: 0 };
            let rendered = template.render(&values);
            prop_assert_eq!(check(&rendered), Ok(()), "{}", rendered);
        }
    }

    #[test]
    fn what_compiles_renders_piece_by_piece(
        pieces in prop::collection::vec(prop_oneof![
            "[a-z:/.{} ]{0,5}",
            prop::sample::select(vec![
                "{{ .ID }}", "{{.Prefix}}", "{{\t.Host }}", "{{ .WorkspacePort }}", "{{.IngressPort}}", "{{ .No }}", "{{", "}}",
            ]).prop_map(str::to_owned),
        ], 0..6),
    ) {
        let values = Values { id: "1d", prefix: "pre", host: "h", port: 7 };
        let text: String = pieces.concat();
        let Ok(template) = UrlTemplate::compile(&text, Purpose::Port) else { return Ok(()) };
        let rendered = template.render(&values);
        prop_assert_eq!(template.is_empty(), text.is_empty());
        // The same by replacing texts.
        let mut replaced = text;
        while let Some((before, tail)) = replaced.split_once("{{") {
            let (name, after) = tail.split_once("}}").expect("it compiled");
            let value = match name.trim() {
                ".ID" => "1d",
                ".Prefix" => "pre",
                ".Host" => "h",
                _ => "7",
            };
            replaced = format!("{before}{value}{after}");
        }
        prop_assert_eq!(rendered, replaced);
    }

    #[test]
    fn a_checked_url_leads_to_the_web(text in "(https?|ftp|javascript|)(:|://|)[ -~\\x00é]{0,20}") {
        if check(&text).is_ok() {
            prop_assert!(!text.contains(|c: char| c.is_control() || c == ' '));
            let url = match text.contains("://") {
                true => ::url::Url::parse(&text),
                false => ::url::Url::parse(&format!("https://{text}")),
            };
            let url = url.unwrap();
            prop_assert!(matches!(url.scheme(), "http" | "https") && url.has_host());
        }
    }
}
