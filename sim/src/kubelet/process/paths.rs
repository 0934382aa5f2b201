//! Paths of a container on this machine: there is no root file system, so a value that begins with the path of a mount
//! gets the real path instead; pure.

/// Mount paths and what is there.
#[derive(Clone, Debug, Default)]
pub(crate) struct Paths(Vec<(String, String)>);

impl Paths {
    /// Of absolute paths in the container and on the machine.
    pub(crate) fn new(pairs: impl IntoIterator<Item = (String, String)>) -> Paths {
        let clean = |path: String| match path.trim_end_matches('/') {
            "" => "/".to_owned(),
            path => path.to_owned(),
        };
        let mut pairs: Vec<_> = pairs
            .into_iter()
            .map(|(path, real)| (clean(path), real))
            .collect();
        // The innermost mount of a path comes first.
        pairs.sort_by_key(|(path, _)| std::cmp::Reverse(path.len()));
        Paths(pairs)
    }

    /// The path on the machine, if a mount has it.
    pub(crate) fn find(&self, path: &str) -> Option<String> {
        self.0.iter().find_map(|(mount, real)| {
            let rest = path.strip_prefix(mount.as_str())?;
            let whole = rest.is_empty() || rest.starts_with('/') || mount == "/";
            whole.then(|| match (mount.as_str(), rest) {
                ("/", "") => real.clone(),
                ("/", rest) => format!("{real}/{rest}"),
                (_, rest) => format!("{real}{rest}"),
            })
        })
    }

    /// A value of the environment or of the command line, with the path at its start or after its first `=`.
    pub(crate) fn rewrite(&self, value: &str) -> String {
        if let Some(path) = self.find(value) {
            return path;
        }
        let option = value.split_once('=').and_then(|(name, path)| {
            let path = self.find(path)?;
            Some(format!("{name}={path}"))
        });
        option.unwrap_or_else(|| value.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_components_at_the_start_are_rewritten() {
        let pairs = [
            ("/work", "/v/work"),
            ("/work/.cache/", "/v/cache"),
            ("/dev/termination-log", "/c/termination-log"),
        ];
        let paths = Paths::new(pairs.map(|(a, b)| (a.to_owned(), b.to_owned())));
        for (value, expected) in [
            ("/work", "/v/work"),
            ("/work/", "/v/work/"),
            ("/work/a b", "/v/work/a b"),
            ("/work/.cache/x", "/v/cache/x"),
            ("/work/.cached", "/v/work/.cached"),
            ("/workshop", "/workshop"),
            ("--root=/work/a", "--root=/v/work/a"),
            ("--log=/dev/termination-log", "--log=/c/termination-log"),
            ("a=b=/work", "a=b=/work"),
            ("echo /work", "echo /work"),
            ("", ""),
        ] {
            assert_eq!(paths.rewrite(value), expected, "{value:?}");
        }
    }
}
