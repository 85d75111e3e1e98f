//! Rules: written, ordered, versioned.
//!
//! Owns what a rule may contain and where it stands. Every change makes a new version of the
//! ruleset; older ones can be read and restored. Whether an expression is valid is decided by
//! [`rules`], before anything is stored.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde_json::Value;

use crate::change::draft::Draft;
use crate::change::error::{ChangeError, Noun};
use crate::change::{Changes, Control, Reads};
use crate::compile::rules::action_of;
use crate::compile::{self, FieldError, phases};
use crate::limits::{DESCRIPTION_BYTES_MAX, PHASE_RULES_MAX, REFERENCE_BYTES_MAX, RULES_MAX};
use crate::model::id::Id;
use crate::model::moment::Moment;
use crate::model::rule_diff::Difference;
use crate::model::{Model, Phase, RuleRecord, Ruleset};
use crate::operations::origin_rules;
use chunked_list::ChunkedList;
use rules::limits::EXPRESSION_BYTES_MAX;

/// A rule to be made.
#[derive(Debug, Clone)]
pub struct NewRule {
    /// Keeps this rule's identity when a whole ruleset is replaced; `None` makes a new one.
    pub id: Option<Id>,
    /// Rules-language text.
    pub expression: String,
    /// What it does: `block`, `log`.
    pub action: String,
    /// How, in the API's own shape.
    pub action_parameters: Option<Value>,
    /// What it limits, in the phase `http_ratelimit`, in the API's own shape.
    pub ratelimit: Option<Value>,
    /// A token of a zone set it, as documents say; see [`RuleRecord::confined`].
    pub confined: bool,
    /// `logging.enabled`, when it was said.
    pub logging: Option<bool>,
    /// For people.
    pub description: String,
    /// Whether it acts.
    pub enabled: bool,
    /// The user's own stable name; the id when `None`.
    pub reference: Option<String>,
}

/// What is to change of a rule. `None` leaves as it is.
#[derive(Debug, Clone, Default)]
pub struct RulePatch {
    /// Rules-language text.
    pub expression: Option<String>,
    /// What it does.
    pub action: Option<String>,
    /// How; `Some(None)` is the action's default.
    pub action_parameters: Option<Option<Value>>,
    /// What it limits.
    pub ratelimit: Option<Option<Value>>,
    /// `logging.enabled`.
    pub logging: Option<bool>,
    /// For people.
    pub description: Option<String>,
    /// Whether it acts.
    pub enabled: Option<bool>,
    /// The user's own stable name.
    pub reference: Option<String>,
}

/// Where a rule goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Position {
    /// Before this rule; `None` is before all.
    Before(Option<Id>),
    /// After this rule; `None` is after all.
    After(Option<Id>),
    /// To this place, counted from 1 as Cloudflare does.
    Index(usize),
}

fn check_rule(phase: Phase, rule: &RuleRecord) -> Result<(), ChangeError> {
    let invalid = |field, why: String| Err(ChangeError::invalid(field, why));
    if rule.expression.len() > EXPRESSION_BYTES_MAX {
        return invalid(
            "expression",
            format!("it has more than {EXPRESSION_BYTES_MAX} bytes"),
        );
    }
    if rule.description.len() > DESCRIPTION_BYTES_MAX {
        return invalid(
            "description",
            format!("it has more than {DESCRIPTION_BYTES_MAX} bytes"),
        );
    }
    if rule.reference.is_empty() || rule.reference.len() > REFERENCE_BYTES_MAX {
        return invalid(
            "ref",
            format!("it must have 1 to {REFERENCE_BYTES_MAX} bytes"),
        );
    }
    check_action(phase, rule)
}

/// Checks what a rule does, by the phase that it is of.
fn check_action(phase: Phase, rule: &RuleRecord) -> Result<(), ChangeError> {
    if phase != Phase::HttpRatelimit && rule.ratelimit.is_some() {
        let why = "only rules of the phase http_ratelimit have it";
        return Err(ChangeError::invalid("ratelimit", why));
    }
    if phase != Phase::HttpRequestOrigin && rule.confined {
        let why = "only rules of the phase http_request_origin have it";
        return Err(ChangeError::invalid("confined", why));
    }
    if phase == Phase::HttpRequestFirewallCustom {
        drop(action_of(rule)?);
    }
    phases::check(phase, rule).map_err(FieldError::from)?;
    Ok(())
}

/// Checks every rule that is not in `old` by itself, and all of them together.
fn check_rules(
    phase: Phase,
    old: &ChunkedList<Arc<RuleRecord>>,
    rules: &ChunkedList<Arc<RuleRecord>>,
) -> Result<(), ChangeError> {
    let max = match phase {
        Phase::HttpRequestFirewallCustom => RULES_MAX,
        _ => PHASE_RULES_MAX,
    };
    if rules.len() > max {
        let what = "rules of a ruleset";
        return Err(ChangeError::Full { what, max });
    }
    let Difference { hunks, out, new } = Difference::between(old, rules);
    let removed: HashSet<&str> = out.iter().map(|rule| rule.reference.as_str()).collect();
    let mut references = HashSet::with_capacity(new.len());
    let twice = |rule: &RuleRecord| {
        let why = format!("`{}` is used by two rules", rule.reference.escape_debug());
        Err(ChangeError::invalid("ref", why))
    };
    for rule in new {
        check_rule(phase, rule)?;
        if !references.insert(rule.reference.as_str()) {
            return twice(rule);
        }
    }
    // What was taken out here was not outside as well.
    references.retain(|reference| !removed.contains(reference));
    if references.is_empty() {
        return Ok(());
    }
    let mut hunks = hunks.into_iter().map(|hunk| hunk.new).peekable();
    for (place, rule) in rules.iter().enumerate() {
        while hunks.next_if(|hunk| hunk.end <= place).is_some() {}
        let is_new = hunks.peek().is_some_and(|hunk| hunk.contains(&place));
        if !is_new && references.contains(rule.reference.as_str()) {
            return twice(rule);
        }
    }
    Ok(())
}

/// Whether a zone's rules of a phase compile by themselves, so that the one at fault can be named.
pub(crate) fn check_compiles(model: &Model, zone: Id, phase: Phase) -> Result<(), ChangeError> {
    let lists = compile::lists::compile(model)
        .map_err(|why| ChangeError::invalid("lists", why.to_string()))?;
    let Some(ruleset) = model.rulesets.get(&(zone, phase)) else {
        return Ok(());
    };
    if phase == Phase::HttpRequestFirewallCustom {
        drop(compile::rules::compiled(ruleset, &lists, None)?);
    }
    phases::PhaseParts::default().add(ruleset, &lists, &Arc::default(), None)?;
    Ok(())
}

impl NewRule {
    /// A rule that blocks what `expression` matches, with the default answer.
    #[must_use]
    pub fn block(expression: &str) -> Self {
        Self {
            id: None,
            expression: expression.into(),
            action: "block".into(),
            action_parameters: None,
            ratelimit: None,
            confined: false,
            logging: None,
            description: String::new(),
            enabled: true,
            reference: None,
        }
    }

    fn record(self, known: Option<&RuleRecord>, now: Moment) -> RuleRecord {
        let id = known.map_or_else(Id::random, |rule| rule.id);
        let reference = self.reference.filter(|text| !text.is_empty());
        let parameters = self.action_parameters;
        let stays = |known: &RuleRecord| known.confined && known.action_parameters == parameters;
        let confined = self.confined || known.is_some_and(stays);
        let mut record = RuleRecord {
            id,
            version: known.map_or(1, |rule| rule.version),
            expression: self.expression,
            action: self.action,
            action_parameters: parameters,
            ratelimit: self.ratelimit,
            confined,
            logging: self.logging,
            description: self.description,
            enabled: self.enabled,
            reference: reference.unwrap_or_else(|| id.to_string()),
            last_updated: known.map_or(now, |rule| rule.last_updated),
        };
        if let Some(known) = known
            && record != *known
        {
            record.version += 1;
            record.last_updated = now;
        }
        record
    }
}

fn position(rules: &ChunkedList<Arc<RuleRecord>>, id: Id) -> Result<usize, ChangeError> {
    let place = rules.iter().position(|rule| rule.id == id);
    place.ok_or_else(|| ChangeError::not_found(Noun::Rule, id))
}

fn insert(
    rules: &mut ChunkedList<Arc<RuleRecord>>,
    rule: Arc<RuleRecord>,
    at: Option<&Position>,
) -> Result<(), ChangeError> {
    let place = match at {
        None | Some(Position::After(None)) => rules.len(),
        Some(Position::Before(None)) => 0,
        Some(Position::Before(Some(id))) => position(rules, *id)?,
        Some(Position::After(Some(id))) => position(rules, *id)? + 1,
        Some(Position::Index(index)) if (1..=rules.len() + 1).contains(index) => index - 1,
        Some(Position::Index(index)) => {
            let why = format!("index {index} is not between 1 and {}", rules.len() + 1);
            return Err(ChangeError::invalid("position", why));
        }
    };
    rules.insert(place, rule);
    Ok(())
}

pub(crate) fn find(model: &Model, zone: Id, ruleset: Id) -> Result<&Arc<Ruleset>, ChangeError> {
    let found = model.ruleset(ruleset).filter(|found| found.zone == zone);
    found.ok_or_else(|| ChangeError::not_found(Noun::Ruleset, ruleset))
}

pub(crate) fn put(
    draft: &mut Draft<'_>,
    old: Option<&Ruleset>,
    mut new: Ruleset,
) -> Result<Arc<Ruleset>, ChangeError> {
    let nothing = ChunkedList::default();
    let old_rules = old.map_or(&nothing, |old| &old.rules);
    check_rules(new.phase, old_rules, &new.rules)?;
    if new.phase == Phase::HttpRequestOrigin {
        origin_rules::confine(draft, new.zone, old_rules, &mut new.rules)?;
    }
    new.last_updated = draft.now;
    let new = draft.put_ruleset(new, old)?;
    draft.forget_versions(&new)?;
    Ok(new)
}

/// The ruleset of a phase with these texts and rules; `None` keeps what is there.
fn write_entrypoint(
    draft: &mut Draft<'_>,
    zone: Id,
    phase: Phase,
    (name, description): (Option<String>, Option<String>),
    rules: Option<Vec<NewRule>>,
) -> Result<Arc<Ruleset>, ChangeError> {
    let (old, mut new) = next(draft, zone, phase)?;
    let texts = [(&name, "name"), (&description, "description")];
    for (text, field) in texts {
        if text
            .as_ref()
            .is_some_and(|text| text.len() > DESCRIPTION_BYTES_MAX)
        {
            let why = format!("it has more than {DESCRIPTION_BYTES_MAX} bytes");
            return Err(ChangeError::invalid(field, why));
        }
    }
    new.name = name.unwrap_or(new.name);
    new.description = description.unwrap_or(new.description);
    if let Some(rules) = rules {
        let present = std::mem::take(&mut new.rules);
        let mut set = Vec::with_capacity(rules.len());
        let by_id: HashMap<Id, &Arc<RuleRecord>> =
            present.iter().map(|rule| (rule.id, rule)).collect();
        let by_reference: HashMap<&str, &Arc<RuleRecord>> = present
            .iter()
            .map(|rule| (rule.reference.as_str(), rule))
            .collect();
        let mut taken = HashSet::new();
        for rule in rules {
            let known = match (rule.id, &rule.reference) {
                (Some(id), _) => {
                    let known = by_id.get(&id).copied();
                    Some(known.ok_or_else(|| ChangeError::not_found(Noun::Rule, id))?)
                }
                (None, Some(reference)) => by_reference.get(reference.as_str()).copied(),
                (None, None) => None,
            };
            if known.is_some_and(|known| !taken.insert(known.id)) {
                return Err(ChangeError::invalid(
                    "rules",
                    "two of them have the same id",
                ));
            }
            set.push(Arc::new(
                rule.record(known.map(|known| &**known), draft.now),
            ));
        }
        new.rules = set.into();
    }
    put(draft, old.as_deref(), new)
}

impl<A: Reads> Control<A> {
    /// The ruleset with this id.
    ///
    /// # Errors
    /// The zone has none of this id.
    pub fn ruleset(&self, zone: Id, ruleset: Id) -> Result<Arc<Ruleset>, ChangeError> {
        find(&self.model(), zone, ruleset).cloned()
    }

    /// The ruleset of a zone in a phase.
    ///
    /// # Errors
    /// There is no zone, or no rule was ever made.
    pub fn entrypoint(&self, zone: Id, phase: Phase) -> Result<Arc<Ruleset>, ChangeError> {
        let model = self.model();
        if !model.zones.contains_key(&zone) {
            return Err(ChangeError::not_found(Noun::Zone, zone));
        }
        let found = model.rulesets.get(&(zone, phase)).cloned();
        found.ok_or_else(|| ChangeError::not_found(Noun::Ruleset, phase.as_str()))
    }
}

impl<A: Changes> Control<A> {
    /// Sets all rules of a phase, making the ruleset when there is none. Rules that carry the id
    /// (or the ref) of a present one keep their identity; they get a new version only if they
    /// differ.
    ///
    /// # Errors
    /// A rule is not acceptable.
    pub fn set_entrypoint(
        &self,
        zone: Id,
        phase: Phase,
        name: Option<String>,
        description: Option<String>,
        rules: Vec<NewRule>,
    ) -> Result<Arc<Ruleset>, ChangeError> {
        self.change(|draft| write_entrypoint(draft, zone, phase, (name, description), Some(rules)))
    }

    /// Makes the ruleset of a phase that has none.
    ///
    /// # Errors
    /// The phase has one, or a rule is not acceptable.
    pub fn create_entrypoint(
        &self,
        zone: Id,
        phase: Phase,
        name: Option<String>,
        description: Option<String>,
        rules: Vec<NewRule>,
    ) -> Result<Arc<Ruleset>, ChangeError> {
        self.change(|draft| {
            if draft.model.rulesets.contains_key(&(zone, phase)) {
                return Err(ChangeError::Exists {
                    noun: Noun::Ruleset,
                    key: phase.as_str().into(),
                });
            }
            write_entrypoint(draft, zone, phase, (name, description), Some(rules))
        })
    }

    /// Changes a ruleset's name, its description and all its rules, of these what is said. `phase`,
    /// when it is said, has to be the ruleset's.
    ///
    /// # Errors
    /// The zone has none of this id, it is of another phase, or a rule is not acceptable.
    pub fn replace_ruleset(
        &self,
        zone: Id,
        ruleset: Id,
        phase: Option<Phase>,
        texts: (Option<String>, Option<String>),
        rules: Option<Vec<NewRule>>,
    ) -> Result<Arc<Ruleset>, ChangeError> {
        self.change(|draft| {
            let is = find(&draft.model, zone, ruleset)?.phase;
            if phase.is_some_and(|said| said != is) {
                let why = format!("it cannot be changed, it is {}", is.as_str());
                return Err(ChangeError::invalid("phase", why));
            }
            write_entrypoint(draft, zone, is, texts, rules)
        })
    }

    /// Changes what a phase's ruleset is called, making it when there is none. Its rules are those
    /// that it has when the change is made, whatever was read before.
    ///
    /// # Errors
    /// A text is too long.
    pub fn describe_entrypoint(
        &self,
        zone: Id,
        phase: Phase,
        name: Option<String>,
        description: Option<String>,
    ) -> Result<Arc<Ruleset>, ChangeError> {
        self.change(|draft| write_entrypoint(draft, zone, phase, (name, description), None))
    }

    /// Removes a ruleset: the zone has no rules in that phase then.
    ///
    /// # Errors
    /// The zone has none of this id.
    pub fn delete_ruleset(&self, zone: Id, ruleset: Id) -> Result<(), ChangeError> {
        self.change(|draft| {
            let phase = find(&draft.model, zone, ruleset)?.phase;
            Ok(draft.remove_ruleset(zone, phase)?)
        })
    }

    /// Adds a rule: at the end, or where `position` says.
    ///
    /// # Errors
    /// The rule or the position is not acceptable.
    pub fn create_rule(
        &self,
        zone: Id,
        ruleset: Id,
        rule: NewRule,
        position: Option<&Position>,
    ) -> Result<Arc<Ruleset>, ChangeError> {
        self.edit(zone, ruleset, |rules, now| {
            insert(rules, Arc::new(rule.record(None, now)), position)
        })
    }

    /// Adds a rule to the zone's custom rules, making the ruleset when it is the first.
    ///
    /// # Errors
    /// The rule or the position is not acceptable.
    pub fn add_rule(
        &self,
        zone: Id,
        rule: NewRule,
        position: Option<&Position>,
    ) -> Result<(Arc<Ruleset>, Arc<RuleRecord>), ChangeError> {
        let phase = Phase::HttpRequestFirewallCustom;
        self.change(|draft| {
            let (old, mut new) = next(draft, zone, phase)?;
            let record = Arc::new(rule.record(None, draft.now));
            insert(&mut new.rules, record.clone(), position)?;
            Ok((put(draft, old.as_deref(), new)?, record))
        })
    }

    /// Changes a rule, moves it, or both.
    ///
    /// # Errors
    /// There is no such rule, or the result is not acceptable.
    pub fn update_rule(
        &self,
        zone: Id,
        ruleset: Id,
        rule: Id,
        patch: RulePatch,
        at: Option<&Position>,
    ) -> Result<Arc<Ruleset>, ChangeError> {
        self.edit(zone, ruleset, |rules, now| {
            change_rule(rules, rule, patch, at, now)
        })
    }

    /// Removes a rule.
    ///
    /// # Errors
    /// There is no such rule.
    pub fn delete_rule(
        &self,
        zone: Id,
        ruleset: Id,
        rule: Id,
    ) -> Result<Arc<Ruleset>, ChangeError> {
        self.edit(zone, ruleset, |rules, _| {
            let place = position(rules, rule)?;
            drop(rules.remove(place));
            Ok(())
        })
    }

    fn edit(
        &self,
        zone: Id,
        ruleset: Id,
        work: impl FnOnce(&mut ChunkedList<Arc<RuleRecord>>, Moment) -> Result<(), ChangeError> + Clone,
    ) -> Result<Arc<Ruleset>, ChangeError> {
        self.change(|draft| {
            let old = find(&draft.model, zone, ruleset)?.clone();
            let mut new = successor(&old);
            work(&mut new.rules, draft.now)?;
            put(draft, Some(&old), new)
        })
    }
}

/// Changes a rule of a list, moves it, or both.
pub(crate) fn change_rule(
    rules: &mut ChunkedList<Arc<RuleRecord>>,
    rule: Id,
    patch: RulePatch,
    at: Option<&Position>,
    now: Moment,
) -> Result<(), ChangeError> {
    let place = position(rules, rule)?;
    let old = rules[place].clone();
    let mut new = (*old).clone();
    new.expression = patch.expression.unwrap_or(new.expression);
    new.description = patch.description.unwrap_or(new.description);
    new.enabled = patch.enabled.unwrap_or(new.enabled);
    new.reference = patch.reference.unwrap_or(new.reference);
    if let Some(action) = patch.action.filter(|action| *action != new.action) {
        // Parameters of one action mean nothing to another.
        new.action = action;
        new.action_parameters = None;
    }
    new.action_parameters = patch.action_parameters.unwrap_or(new.action_parameters);
    new.ratelimit = patch.ratelimit.unwrap_or(new.ratelimit);
    new.confined &= new.action_parameters == old.action_parameters;
    new.logging = patch.logging.or(new.logging);
    if new != *old {
        new.version += 1;
        new.last_updated = now;
    }
    match at {
        // Beside itself is where it is.
        Some(Position::Before(Some(id)) | Position::After(Some(id))) if *id == rule => {}
        Some(at) => {
            drop(rules.remove(place));
            return insert(rules, Arc::new(new), Some(at));
        }
        None => {}
    }
    rules.replace(place..place + 1, [Arc::new(new)]);
    Ok(())
}

/// The name of a ruleset that was given none.
pub(crate) const DEFAULT_NAME: &str = "default";

/// The ruleset of a phase, if there is one, and what comes after it, without a change yet.
fn next(
    draft: &Draft<'_>,
    zone: Id,
    phase: Phase,
) -> Result<(Option<Arc<Ruleset>>, Ruleset), ChangeError> {
    if !draft.model.zones.contains_key(&zone) {
        return Err(ChangeError::not_found(Noun::Zone, zone));
    }
    let old = draft.model.rulesets.get(&(zone, phase)).cloned();
    let new = match &old {
        Some(old) => successor(old),
        None => empty(zone, phase, draft.now),
    };
    Ok((old, new))
}

pub(crate) fn successor(old: &Ruleset) -> Ruleset {
    Ruleset {
        version: old.version + 1,
        ..old.clone()
    }
}

fn empty(zone: Id, phase: Phase, now: Moment) -> Ruleset {
    Ruleset {
        id: Id::random(),
        zone,
        phase,
        name: DEFAULT_NAME.into(),
        description: String::new(),
        version: 1,
        last_updated: now,
        rules: ChunkedList::default(),
    }
}
