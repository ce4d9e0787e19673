//! Which function the labels agree on.

use std::collections::{BTreeSet, HashMap};

use super::labels::Label;

/// An internal logging function has one caller per label and few more; helpers that also follow a label have thousands.
const MAX_CALLERS: usize = 8;
/// Fewer references than this that agree are no evidence by themselves.
const MIN_UNANIMOUS: usize = 4;

/// One reference to a label, and the function called next.
#[derive(Clone, Copy, Debug)]
pub(super) struct Vote {
    pub(super) label: Label,
    pub(super) target: Option<u64>,
}

/// Every function with a vote.
pub(super) fn candidates(votes: &[Vote]) -> Vec<u64> {
    let targets: BTreeSet<u64> = votes.iter().filter_map(|vote| vote.target).collect();
    targets.into_iter().collect()
}

/// The function that is called with each label, given how many places call each candidate.
pub(super) fn elect(votes: &[Vote], callers: &HashMap<u64, usize>) -> Option<u64> {
    unanimous(votes, callers).or_else(|| exporter_and_random(votes, callers))
}

/// BoringSSL: every reference goes to one function, and nothing else calls it.
fn unanimous(votes: &[Vote], callers: &HashMap<u64, usize>) -> Option<u64> {
    let winner = votes.first()?.target?;
    let all_agree = votes.iter().all(|vote| vote.target == Some(winner));
    let only_they_call = callers.get(&winner) == Some(&votes.len());
    (votes.len() >= MIN_UNANIMOUS && all_agree && only_they_call).then_some(winner)
}

/// Labels that are not of a key log: every reference goes to one function, at least [`MIN_UNANIMOUS`] labels have one, and nothing else
/// calls it.
pub(super) fn agreed(calls: &[(usize, Option<u64>)], callers: &HashMap<u64, usize>) -> Option<u64> {
    let winner = calls.first()?.1?;
    let all_agree = calls.iter().all(|(_, callee)| *callee == Some(winner));
    let labels: BTreeSet<usize> = calls.iter().map(|(label, _)| *label).collect();
    let only_they_call = callers.get(&winner) == Some(&calls.len());
    (labels.len() >= MIN_UNANIMOUS && all_agree && only_they_call).then_some(winner)
}

/// OpenSSL and GnuTLS choose the traffic labels in a variable before one shared call, so those votes go astray; these
/// two labels are passed where they are named.
fn exporter_and_random(votes: &[Vote], callers: &HashMap<u64, usize>) -> Option<u64> {
    let targets_of = |label: Label| {
        (votes.iter())
            .filter(move |vote| vote.label == label)
            .filter_map(|vote| vote.target)
            .collect::<BTreeSet<u64>>()
    };
    let exporter = targets_of(Label::Exporter);
    let random = targets_of(Label::ClientRandom);
    let few_callers = |function: &&u64| {
        callers
            .get(*function)
            .is_some_and(|count| (2..=MAX_CALLERS).contains(count))
    };
    let mut agreed = exporter.intersection(&random).filter(few_callers);
    let winner = agreed.next().copied()?;
    // Two functions that both fit: nothing says which, so neither.
    agreed.next().is_none().then_some(winner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn votes(list: &[(Label, u64)]) -> Vec<Vote> {
        list.iter()
            .map(|(label, target)| Vote {
                label: *label,
                target: Some(*target),
            })
            .collect()
    }

    #[test]
    fn one_function_for_all_labels_wins_if_nothing_else_calls_it() {
        let all = votes(&Label::ALL.map(|label| (label, 0x1000)));
        assert_eq!(elect(&all, &HashMap::from([(0x1000, 7)])), Some(0x1000));
        assert_eq!(
            elect(&all, &HashMap::from([(0x1000, 3000)])),
            None,
            "a helper that everybody calls"
        );
    }

    #[test]
    fn exporter_and_client_random_suffice_when_the_others_go_astray() {
        let list = votes(&[
            (Label::ClientTraffic, 0x2000),
            (Label::ServerTraffic, 0x2000),
            (Label::Exporter, 0x1000),
            (Label::ClientRandom, 0x1000),
        ]);
        assert_eq!(
            elect(&list, &HashMap::from([(0x1000, 5), (0x2000, 4000)])),
            Some(0x1000)
        );
        assert_eq!(elect(&list, &HashMap::from([(0x1000, 9), (0x2000, 4000)])), None);
    }

    #[test]
    fn two_functions_that_both_fit_elect_nobody() {
        let list = votes(&[
            (Label::Exporter, 0x1000),
            (Label::Exporter, 0x2000),
            (Label::ClientRandom, 0x1000),
            (Label::ClientRandom, 0x2000),
        ]);
        assert_eq!(elect(&list, &HashMap::from([(0x1000, 4), (0x2000, 4)])), None);
    }

    #[test]
    fn other_labels_agree_only_if_there_are_enough_and_nothing_else_calls_their_function() {
        let calls = |labels: &[usize]| -> Vec<(usize, Option<u64>)> {
            labels.iter().map(|label| (*label, Some(0x1000))).collect()
        };
        let callers = HashMap::from([(0x1000, 4)]);
        assert_eq!(agreed(&calls(&[0, 1, 2, 3]), &callers), Some(0x1000));
        assert_eq!(agreed(&calls(&[0, 1, 2, 2]), &callers), None, "three labels only");
        assert_eq!(
            agreed(&calls(&[0, 1, 2, 3, 4]), &callers),
            None,
            "fewer calls than references"
        );
        let mut astray = calls(&[0, 1, 2, 3]);
        astray[2].1 = Some(0x2000);
        assert_eq!(agreed(&astray, &callers), None);
        assert_eq!(agreed(&[], &callers), None);
    }

    #[test]
    fn a_reference_without_a_call_prevents_unanimity() {
        let mut all = votes(&Label::ALL.map(|label| (label, 0x1000)));
        all[0].target = None;
        all[5].target = None;
        assert_eq!(elect(&all, &HashMap::from([(0x1000, 7)])), None);
    }
}
