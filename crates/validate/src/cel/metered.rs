//! Expressions rewritten so that their work is counted: every turn of a loop is a step, and what puts texts and lists
//! together counts their bytes. Their meaning stays.
//!
//! The interpreter has no budget of its own, and its loops cannot be interrupted from outside. Names that begin with `@`
//! cannot be written in CEL, so the functions that are put in are never a user's.

use std::sync::Arc;

use cel::common::ast::{CallExpr, EntryExpr, Expr, LiteralValue, operators};
use cel::{Context, DeclarationError, ExecutionError, IdedExpr, Value};

use super::value;
use crate::meter;
use crate::pattern::Patterns;

/// Counts a step; true.
const STEP: &str = "@step";
/// Counts the bytes of a value; the value.
const KEEP: &str = "@keep";
/// Adds, and counts the bytes of the result.
const ADD: &str = "@add";
/// Whether a pattern fits somewhere in a text.
const MATCHES: &str = "@matches";
/// The function that people write for it.
const WRITTEN: &str = "matches";
/// The longest text or list that adding may give, in bytes.
const LONGEST: usize = 2 << 20;

/// Declares the functions that [`count`] puts in.
pub(super) fn functions(context: &mut Context<'_, '_>, patterns: &Patterns) -> Result<(), DeclarationError> {
    let patterns = patterns.clone();
    context.add_function(STEP, || {
        meter::step();
        true
    })?;
    context.add_function(KEEP, |kept: Value| -> Value {
        meter::bytes(value::size(&kept));
        kept
    })?;
    context.add_function(ADD, |left: Value, right: Value| -> Result<Value, ExecutionError> {
        let size = value::size(&left) + value::size(&right);
        if size > LONGEST {
            return Err(ExecutionError::function_error("+", "the result is longer than 2 MiB"));
        }
        meter::bytes(size);
        left + right
    })?;
    context.add_function(MATCHES, move |text: Arc<String>, pattern: Arc<String>| -> Result<bool, ExecutionError> {
        patterns.fits(&pattern, &text).map_err(|why| ExecutionError::function_error(WRITTEN, why))
    })
}

/// Puts the counting into an expression.
pub(super) fn count(expression: &mut IdedExpr) {
    match &mut expression.expr {
        Expr::Unspecified | Expr::Literal(_) | Expr::Ident(_) => {}
        Expr::Select(select) => count(&mut select.operand),
        Expr::Call(call) => {
            if let Some(target) = &mut call.target {
                count(target);
            }
            call.args.iter_mut().for_each(count);
            if call.func_name == operators::ADD {
                ADD.clone_into(&mut call.func_name);
            }
            if call.func_name == WRITTEN {
                MATCHES.clone_into(&mut call.func_name);
                let target = call.target.take().map(|target| *target);
                call.args = target.into_iter().chain(std::mem::take(&mut call.args)).collect();
            }
        }
        Expr::List(list) => list.elements.iter_mut().for_each(keep),
        Expr::Map(map) => {
            for entry in &mut map.entries {
                if let EntryExpr::MapEntry(entry) = &mut entry.expr {
                    keep(&mut entry.key);
                    keep(&mut entry.value);
                }
            }
        }
        Expr::Struct(_) => {}
        Expr::Comprehension(fold) => {
            count(&mut fold.iter_range);
            // The rest of a loop is the macro's own: only its step holds what the user wrote.
            step(&mut fold.loop_step, &fold.accu_var);
        }
    }
}

/// An element of a list or map: it is copied, so its bytes count.
fn keep(element: &mut IdedExpr) {
    count(element);
    if !matches!(element.expr, Expr::Literal(_)) {
        let kept = std::mem::take(element);
        *element = call(KEEP, vec![kept]);
    }
}

/// The step of a loop. Its shape is kept: the interpreter knows by it how to gather results and to stop early.
fn step(expression: &mut IdedExpr, result: &str) {
    let is_result = |part: &IdedExpr| matches!(&part.expr, Expr::Ident(name) if name == result);
    let Expr::Call(call) = &mut expression.expr else { return counted(expression) };
    match (call.func_name.as_str(), call.args.as_mut_slice()) {
        // map, filter: `result + [element]`; exists_one: `result + 1`.
        (operators::ADD, [left, right]) if is_result(left) => {
            if let Expr::List(list) = &mut right.expr {
                for element in &mut list.elements {
                    keep(element);
                    guarded(element);
                }
            }
        }
        // filter, exists_one, map with a condition.
        (operators::CONDITIONAL, [condition, then, otherwise]) if is_result(otherwise) => {
            counted(condition);
            step(then, result);
        }
        // all, exists.
        (operators::LOGICAL_AND | operators::LOGICAL_OR, [left, right]) if is_result(left) => counted(right),
        _ => counted(expression),
    }
}

fn counted(expression: &mut IdedExpr) {
    count(expression);
    guarded(expression);
}

/// `@step() ? expression : null`: the step comes first, and `@step` is never false.
fn guarded(expression: &mut IdedExpr) {
    let guarded = std::mem::take(expression);
    let null = IdedExpr { id: 0, expr: Expr::Literal(LiteralValue::Null) };
    *expression = call(operators::CONDITIONAL, vec![call(STEP, vec![]), guarded, null]);
}

fn call(function: &str, args: Vec<IdedExpr>) -> IdedExpr {
    IdedExpr { id: 0, expr: Expr::Call(CallExpr { func_name: function.to_owned(), target: None, args }) }
}
