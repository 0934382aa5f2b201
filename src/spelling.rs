//! Guesses which of the known names was meant by one that is not known.

/// Returns the name that was probably meant: the same in other letters, or a few letters away.
pub fn nearest<'a>(text: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = text.to_lowercase();
    let letters = lower.chars().count();
    names
        .into_iter()
        .map(|name| {
            let known = name.to_lowercase();
            let shorter = known.chars().count();
            let abbreviates = (letters >= 3 && known.starts_with(&lower))
                || (lower.starts_with(&known) && 2 * shorter >= letters);
            let distance = strsim::osa_distance(&lower, &known);
            (
                if abbreviates {
                    distance.min(1)
                } else {
                    distance
                },
                name,
            )
        })
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, _)| *distance <= (letters / 3).max(1))
        .map(|(_, name)| name)
}
