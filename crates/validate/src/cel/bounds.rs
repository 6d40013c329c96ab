//! What an expression may hold: a closed set of names and functions, and so much nesting. Checked before it first runs, so
//! that a misspelt name is told when the policy is written.

use cel::IdedExpr;
use cel::common::ast::{EntryExpr, Expr};

/// How deeply the parts of an expression may nest.
const DEPTH: usize = 200;
/// How deeply loops (`all`, `exists`, `map`, …) may nest.
const LOOPS: usize = 3;
/// Types, which `type(x)` is compared with.
const TYPES: [&str; 10] = ["bool", "bytes", "double", "int", "list", "map", "null_type", "string", "type", "uint"];
/// The functions that people write.
const FUNCTIONS: [&str; 13] = [
    "size",
    "contains",
    "startsWith",
    "endsWith",
    "matches",
    "int",
    "uint",
    "double",
    "string",
    "bool",
    "type",
    "dyn",
    "@in",
];

/// Whether an expression that may name these variables stays within its bounds; if not, why.
pub(super) fn check(expression: &IdedExpr, names: &[&str]) -> Result<(), String> {
    Bounds { names, loops: 0, scope: vec![] }.visit(expression, 0)
}

struct Bounds<'n> {
    /// What it may name.
    names: &'n [&'n str],
    loops: usize,
    /// Names of the loops around.
    scope: Vec<String>,
}

impl Bounds<'_> {
    fn visit(&mut self, expression: &IdedExpr, depth: usize) -> Result<(), String> {
        if depth > DEPTH {
            return Err("the expression nests too deeply, or chains too many operators: divide it into several rules"
                .to_owned());
        }
        let next = depth + 1;
        match &expression.expr {
            Expr::Unspecified => Err("the expression is empty".to_owned()),
            Expr::Literal(_) => Ok(()),
            Expr::Ident(name) => self.name(name),
            Expr::Select(select) => self.visit(&select.operand, next),
            Expr::Call(call) => {
                // Operators are written with underscores: `_+_`.
                let operator = call.func_name.contains('_') || call.func_name.starts_with('@');
                if !operator && !FUNCTIONS.contains(&call.func_name.as_str()) {
                    return Err(format!("there is no function {:?}: use {}", call.func_name, written()));
                }
                let target = call.target.as_deref();
                target.into_iter().chain(&call.args).try_for_each(|part| self.visit(part, next))
            }
            Expr::List(list) => list.elements.iter().try_for_each(|part| self.visit(part, next)),
            Expr::Map(map) => map.entries.iter().try_for_each(|entry| match &entry.expr {
                EntryExpr::MapEntry(entry) => {
                    self.visit(&entry.key, next).and_then(|()| self.visit(&entry.value, next))
                }
                EntryExpr::StructField(_) => Err("there are no messages here, only maps".to_owned()),
            }),
            Expr::Struct(_) => Err("there are no messages here, only maps".to_owned()),
            Expr::Comprehension(fold) => {
                self.visit(&fold.iter_range, next)?;
                self.loops += 1;
                if self.loops > LOOPS {
                    return Err(format!("the expression nests loops more than {LOOPS} deep"));
                }
                let before = self.scope.len();
                self.scope.extend([fold.iter_var.clone(), fold.accu_var.clone()]);
                self.scope.extend(fold.iter_var2.clone());
                let parts = [&fold.accu_init, &fold.loop_cond, &fold.loop_step, &fold.result];
                parts.into_iter().try_for_each(|part| self.visit(part, next))?;
                self.scope.truncate(before);
                self.loops -= 1;
                Ok(())
            }
        }
    }

    fn name(&self, name: &str) -> Result<(), String> {
        let known = self.names.contains(&name) || TYPES.contains(&name) || self.scope.iter().any(|known| known == name);
        if known {
            return Ok(());
        }
        Err(format!("there is no {name:?} here: an expression knows {}", self.names.join(", ")))
    }
}

fn written() -> String {
    FUNCTIONS.iter().filter(|name| !name.starts_with('@')).copied().collect::<Vec<_>>().join(", ")
}
