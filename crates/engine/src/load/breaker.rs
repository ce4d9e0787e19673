//! Steps down while the agent uses more than its share, and back up with hysteresis. No clock: the caller says how much time
//! passed.
//!
//! * Down: the mean over [`WINDOW`] is over the share. After each step the window begins anew, so that the next one is judged by
//!   what this one saved.
//! * Up: the mean stayed below [`CALM_PERCENT`] of the share for the level's dwell time. Whether the load is gone cannot be seen at
//!   a level that does not look at it, so leaving a level is a trial: if it is entered again within its dwell time, that doubles, up
//!   to [`LONGEST_DWELL`]; if not, it is back to [`DWELL`].

use std::collections::VecDeque;
use std::time::Duration;

use super::LoadLevel;

/// What is averaged.
const WINDOW: Duration = Duration::from_secs(3);
/// A step up needs a mean below this part of the share.
const CALM_PERCENT: u64 = 70;
/// Least time below it.
const DWELL: Duration = Duration::from_secs(5);
/// Most time below it.
const LONGEST_DWELL: Duration = Duration::from_secs(300);
/// Memory is short from this part of its budget on: beyond the whole of it payload is refused, so it never uses much more.
const MEMORY_HIGH_PERMILLE: u64 = 900;
/// And ample again below this.
const MEMORY_LOW_PERMILLE: u64 = 600;

/// What the agent used between two looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Between the looks.
    pub elapsed: Duration,
    /// CPU time of all threads in that time.
    pub cpu: Duration,
    /// Part of the memory budget in use at the second look, in thousandths.
    pub memory_permille: u64,
}

/// A change of the level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Less is looked at.
    Down(LoadLevel),
    /// More is.
    Up(LoadLevel),
}

/// Means over the window so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mean {
    /// CPU time, in percent of one CPU.
    pub cpu_percent: u64,
    /// Part of the memory budget in use, in thousandths.
    pub memory_permille: u64,
}

/// Decides on the level.
#[derive(Clone, Debug)]
pub struct Breaker {
    cpu_limit: u64,
    level: LoadLevel,
    window: VecDeque<Usage>,
    /// Time below the threshold without a break.
    calm: Duration,
    /// What has to be calm before a level is left for the one above, by level.
    dwell: [Duration; LoadLevel::ALL.len()],
    /// Time since a level was left for the one above, while that has not proved itself.
    on_trial: [Option<Duration>; LoadLevel::ALL.len()],
    latest: Mean,
}

impl Breaker {
    /// With a limit in percent of one CPU.
    #[must_use]
    pub fn new(cpu_percent: u32) -> Self {
        Self {
            cpu_limit: u64::from(cpu_percent),
            level: LoadLevel::Full,
            window: VecDeque::new(),
            calm: Duration::ZERO,
            dwell: [DWELL; LoadLevel::ALL.len()],
            on_trial: [None; LoadLevel::ALL.len()],
            latest: Mean::default(),
        }
    }

    /// Another limit from now on.
    pub fn set_limit(&mut self, cpu_percent: u32) {
        self.cpu_limit = u64::from(cpu_percent);
    }

    /// The level in force.
    #[must_use]
    pub fn level(&self) -> LoadLevel {
        self.level
    }

    /// Takes one look; says whether the level changes.
    pub fn look(&mut self, usage: Usage) -> Option<Step> {
        self.window.push_back(usage);
        self.prove(usage.elapsed);
        let mut covered: Duration = self.window.iter().map(|usage| usage.elapsed).sum();
        while let Some(oldest) = self.window.front()
            && covered - oldest.elapsed >= WINDOW
        {
            covered -= oldest.elapsed;
            self.window.pop_front();
        }
        if covered < WINDOW {
            return None;
        }
        self.latest = self.mean();
        if self.is_over(self.latest) {
            self.calm = Duration::ZERO;
            return self.down();
        }
        if !self.is_calm(self.latest) {
            self.calm = Duration::ZERO;
            return None;
        }
        // The first whole window counts as a whole.
        self.calm += if self.calm.is_zero() {
            covered
        } else {
            usage.elapsed
        };
        if self.calm >= self.dwell_of(self.level) {
            self.up()
        } else {
            None
        }
    }

    /// What the latest look at a whole window came to.
    #[must_use]
    pub fn latest(&self) -> Mean {
        self.latest
    }

    fn mean(&self) -> Mean {
        let covered: u128 = self.window.iter().map(|usage| usage.elapsed.as_nanos()).sum();
        let cpu: u128 = self.window.iter().map(|usage| usage.cpu.as_nanos()).sum();
        let memory: u128 = (self.window.iter())
            .map(|usage| usage.elapsed.as_nanos() * u128::from(usage.memory_permille))
            .sum();
        let over_time = |sum: u128| u64::try_from(sum.checked_div(covered).unwrap_or(0)).unwrap_or(u64::MAX);
        Mean {
            cpu_percent: over_time(cpu * 100),
            memory_permille: over_time(memory),
        }
    }

    /// Memory asks for no more than the first step: without new bodies what is kept goes down by itself, and everything else
    /// that is held beyond the budget is given up at once.
    fn is_over(&self, mean: Mean) -> bool {
        mean.cpu_percent > self.cpu_limit
            || (self.level == LoadLevel::Full && mean.memory_permille > MEMORY_HIGH_PERMILLE)
    }

    fn is_calm(&self, mean: Mean) -> bool {
        let memory_allows = self.level > LoadLevel::Headers || mean.memory_permille < MEMORY_LOW_PERMILLE;
        mean.cpu_percent * 100 < self.cpu_limit * CALM_PERCENT && memory_allows
    }

    fn dwell_of(&self, level: LoadLevel) -> Duration {
        self.dwell.get(level as usize).copied().unwrap_or(DWELL)
    }

    /// Leaving a level was right if it was not entered again for long enough.
    fn prove(&mut self, elapsed: Duration) {
        for (dwell, trial) in self.dwell.iter_mut().zip(&mut self.on_trial) {
            let Some(passed) = trial else { continue };
            *passed += elapsed;
            if *passed >= *dwell {
                *dwell = DWELL;
                *trial = None;
            }
        }
    }

    fn down(&mut self) -> Option<Step> {
        let level = self.level.less()?;
        if let (Some(dwell), Some(trial)) = (
            self.dwell.get_mut(level as usize),
            self.on_trial.get_mut(level as usize),
        ) && trial.take().is_some()
        {
            *dwell = (*dwell * 2).min(LONGEST_DWELL);
        }
        self.enter(level);
        Some(Step::Down(level))
    }

    fn up(&mut self) -> Option<Step> {
        let level = self.level.more()?;
        if let Some(trial) = self.on_trial.get_mut(self.level as usize) {
            *trial = Some(Duration::ZERO);
        }
        self.enter(level);
        Some(Step::Up(level))
    }

    fn enter(&mut self, level: LoadLevel) {
        self.level = level;
        self.window.clear();
        self.calm = Duration::ZERO;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LOOK: Duration = Duration::from_millis(500);

    fn usage(cpu_percent: u64, memory_permille: u64) -> Usage {
        Usage {
            elapsed: LOOK,
            cpu: LOOK * u32::try_from(cpu_percent).unwrap() / 100,
            memory_permille,
        }
    }

    /// Looks for so long at a use that depends on the level; the steps with their times.
    fn run(breaker: &mut Breaker, seconds: u64, use_at: impl Fn(LoadLevel) -> u64) -> Vec<(Duration, Step)> {
        let looks = seconds * 2;
        (1..=looks)
            .filter_map(|number| {
                let step = breaker.look(usage(use_at(breaker.level()), 0))?;
                Some((LOOK * u32::try_from(number).unwrap(), step))
            })
            .collect()
    }

    #[test]
    fn use_over_the_share_steps_down_a_level_a_window() {
        let mut breaker = Breaker::new(100);
        let steps = run(&mut breaker, 20, |_| 101);
        let expected = [
            (3, Step::Down(LoadLevel::Headers)),
            (6, Step::Down(LoadLevel::NewCounted)),
            (9, Step::Down(LoadLevel::Counted)),
        ];
        assert_eq!(steps, expected.map(|(at, step)| (Duration::from_secs(at), step)));
    }

    #[test]
    fn use_up_to_the_share_changes_nothing() {
        assert_eq!(run(&mut Breaker::new(100), 600, |_| 100), []);
    }

    #[test]
    fn a_burst_shorter_than_the_window_changes_nothing() {
        let mut breaker = Breaker::new(100);
        for _ in 0..100 {
            assert_eq!(run(&mut breaker, 1, |_| 290), []);
            assert_eq!(run(&mut breaker, 5, |_| 5), []);
        }
    }

    #[test]
    fn it_comes_back_a_level_at_a_time_after_the_load() {
        let mut breaker = Breaker::new(100);
        run(&mut breaker, 10, |_| 300);
        assert_eq!(breaker.level(), LoadLevel::Counted);
        let steps = run(&mut breaker, 40, |_| 1);
        let levels: Vec<Step> = steps.iter().map(|(_, step)| *step).collect();
        let expected = [LoadLevel::NewCounted, LoadLevel::Headers, LoadLevel::Full];
        assert_eq!(levels, expected.map(Step::Up));
        assert!(steps[2].0 <= Duration::from_secs(25), "{steps:?}");
    }

    #[test]
    fn between_the_thresholds_it_stays() {
        let mut breaker = Breaker::new(100);
        run(&mut breaker, 3, |_| 300);
        assert_eq!(run(&mut breaker, 600, |_| 80), []);
        assert_eq!(breaker.level(), LoadLevel::Headers);
    }

    #[test]
    fn a_load_that_a_level_hides_makes_fewer_and_fewer_trials() {
        let mut breaker = Breaker::new(100);
        let steps = run(&mut breaker, 3600, |level| {
            if level == LoadLevel::Counted { 1 } else { 250 }
        });
        let ups: Vec<Duration> = (steps.iter())
            .filter(|(_, step)| matches!(step, Step::Up(_)))
            .map(|(at, _)| *at)
            .collect();
        // 5, 10, 20 … 300 s, then one in five minutes: not one in eight seconds.
        assert!((8..=18).contains(&ups.len()), "{ups:?}");
        let waits: Vec<Duration> = ups.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(waits.is_sorted(), "{waits:?}");
        // When it is gone, the levels above come at their own pace.
        let back = run(&mut breaker, 330, |_| 1);
        assert_eq!(
            back.last().map(|(_, step)| *step),
            Some(Step::Up(LoadLevel::Full))
        );
        // And once that has held, the next overload is met without prejudice.
        run(&mut breaker, 600, |_| 1);
        run(&mut breaker, 9, |_| 300);
        assert_eq!(run(&mut breaker, 9, |_| 1).len(), 1);
    }

    #[test]
    fn short_memory_takes_the_first_step_alone() {
        let mut breaker = Breaker::new(100);
        let steps: Vec<Step> = (0..200).filter_map(|_| breaker.look(usage(10, 990))).collect();
        assert_eq!(steps, [Step::Down(LoadLevel::Headers)]);
        assert!((0..200).all(|_| breaker.look(usage(10, 700)).is_none()));
        let steps: Vec<Step> = (0..40).filter_map(|_| breaker.look(usage(10, 100))).collect();
        assert_eq!(steps, [Step::Up(LoadLevel::Full)]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Whatever is used: neighbours only, never faster than the window or the dwell time, each with its cause.
        #[test]
        fn every_step_has_its_cause(uses in prop::collection::vec((0u64..400, 0u64..1100, 1u64..2000), 0..400)) {
            let mut breaker = Breaker::new(100);
            let mut since_step = Duration::ZERO;
            for (cpu, memory_permille, elapsed_ms) in uses {
                let elapsed = Duration::from_millis(elapsed_ms);
                let before = breaker.level();
                let usage = Usage { elapsed, cpu: elapsed * u32::try_from(cpu).unwrap() / 100, memory_permille };
                since_step += elapsed;
                match breaker.look(usage) {
                    None => prop_assert_eq!(before, breaker.level()),
                    Some(Step::Down(level)) => {
                        prop_assert_eq!(before.less(), Some(level));
                        prop_assert!(since_step >= WINDOW);
                        since_step = Duration::ZERO;
                    }
                    Some(Step::Up(level)) => {
                        prop_assert_eq!(before.more(), Some(level));
                        prop_assert!(since_step >= DWELL && cpu < 400);
                        since_step = Duration::ZERO;
                    }
                }
            }
        }

        /// Of two even loads the higher one never leaves more looked at.
        #[test]
        fn more_use_never_looks_at_more(low in 0u64..300, more in 0u64..300, limit in 1u32..300) {
            let (mut one, mut other) = (Breaker::new(limit), Breaker::new(limit));
            for _ in 0..100 {
                one.look(usage(low, 0));
                other.look(usage(low + more, 0));
                prop_assert!(other.level() >= one.level());
            }
        }

        /// However much each level saves, an even load makes few steps: at first one trial in 5, 10, 20 … s, then one in five minutes.
        #[test]
        fn an_even_load_does_not_flap(uses in prop::array::uniform4(0u64..300)) {
            let mut breaker = Breaker::new(100);
            let steps = run(&mut breaker, 3600, |level| uses[level as usize]);
            prop_assert!(steps.len() <= 60, "{} steps", steps.len());
        }

        /// However it came to be where it is: with no use it is back in bounded time.
        #[test]
        fn without_load_it_always_comes_back(uses in prop::collection::vec(0u64..400, 0..2000)) {
            let mut breaker = Breaker::new(100);
            for cpu in uses {
                breaker.look(usage(cpu, 0));
            }
            run(&mut breaker, 3 * 310, |_| 0);
            prop_assert_eq!(breaker.level(), LoadLevel::Full);
        }
    }
}
