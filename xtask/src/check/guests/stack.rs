//! How much stack a guest needs at most: the deepest path of calls through its functions.
//!
//! What is called through a pointer is not known. It counts as each function whose address is taken
//! anywhere, so as the one that needs most. Functions that call each other in a circle count once
//! each. Both are more than what happens; only a recursion that really goes round is more than
//! that, and there is a guard below the stack for it.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};

use super::code::{Callee, Code, Function};

/// What a call into the hypercall page uses, beyond its return address.
const HYPERCALL: i64 = 16;

/// What a guest needs.
#[derive(Debug)]
pub(super) struct Need {
    /// Bytes on the deepest path.
    pub(super) deepest: u64,
    /// The functions on that path, and how deep the stack is behind each.
    pub(super) path: Vec<(String, u64)>,
    /// The largest frame of a function, and whose it is.
    pub(super) frame: u64,
    pub(super) of: String,
}

/// Follows all calls from the image's entry.
pub(super) fn need(image: &[u8]) -> Result<Need> {
    let code = Code::read(image)?;
    let (functions, pointers) = code.functions()?;
    let mut graph = Graph::new(&functions, &pointers);
    let entry = Callee::At(code.entry);
    let circle = graph.visit(entry);
    let (of, frame) = functions
        .iter()
        .map(|(at, function)| (*at, function.frame))
        .max_by_key(|(_, frame)| *frame)
        .context("no function")?;
    let path = graph.path(circle).map(|(callee, depth)| {
        let name = match callee {
            Callee::At(at) => code.name(at),
            Callee::Pointer => "through a pointer".to_owned(),
            Callee::Hypercall => "a hypercall".to_owned(),
        };
        Ok((name, depth.try_into()?))
    });
    Ok(Need {
        deepest: graph.circles[circle].need.try_into()?,
        path: path.collect::<Result<_>>()?,
        frame: frame.try_into()?,
        of: code.name(of),
    })
}

#[derive(Debug, Default)]
struct Node {
    frame: i64,
    calls: Vec<(Callee, i64)>,
    /// When the search came here, from 1 on, and the earliest that it can get back to.
    visited: usize,
    earliest: usize,
    circle: Option<usize>,
}

/// Functions that can call each other; mostly one that cannot.
#[derive(Debug)]
struct Circle {
    one: Callee,
    /// Bytes, with all that is called.
    need: i64,
    /// Where the deepest path goes on, and how deep.
    next: Option<(usize, i64)>,
}

/// Who calls whom: Tarjan's search for circles, which ends each after all that it calls.
#[derive(Debug)]
struct Graph {
    nodes: BTreeMap<Callee, Node>,
    circles: Vec<Circle>,
    stack: Vec<Callee>,
    visits: usize,
}

impl Graph {
    fn new(functions: &BTreeMap<u64, Function>, pointers: &BTreeSet<u64>) -> Graph {
        let node = |frame, calls| Node { frame, calls, ..Node::default() };
        let mut nodes: BTreeMap<Callee, Node> = functions
            .iter()
            .map(|(at, function)| {
                let calls = function.calls.iter().map(|(callee, depth)| (*callee, *depth));
                (Callee::At(*at), node(function.frame, calls.collect()))
            })
            .collect();
        let pointers = pointers.iter().map(|at| (Callee::At(*at), 0)).collect();
        nodes.insert(Callee::Pointer, node(0, pointers));
        nodes.insert(Callee::Hypercall, node(HYPERCALL, Vec::new()));
        Graph { nodes, circles: Vec::new(), stack: Vec::new(), visits: 0 }
    }

    fn node(&mut self, callee: Callee) -> &mut Node {
        self.nodes.entry(callee).or_default()
    }

    /// Finds the circle that `callee` is in.
    fn visit(&mut self, callee: Callee) -> usize {
        self.visits += 1;
        let visit = self.visits;
        let node = self.node(callee);
        (node.visited, node.earliest) = (visit, visit);
        let calls = node.calls.clone();
        self.stack.push(callee);
        let mut earliest = visit;
        for (called, _) in calls {
            let node = self.node(called);
            if node.visited == 0 {
                self.visit(called);
            }
            let node = self.node(called);
            if node.circle.is_none() {
                earliest = earliest.min(node.earliest);
            }
        }
        self.node(callee).earliest = earliest;
        if earliest == visit { self.close(callee) } else { usize::MAX }
    }

    /// All on the stack from `first` on are a circle.
    fn close(&mut self, first: Callee) -> usize {
        let at = self.stack.iter().rposition(|callee| *callee == first).unwrap_or(0);
        let members = self.stack.split_off(at);
        let number = self.circles.len();
        for member in &members {
            self.node(*member).circle = Some(number);
        }
        let (mut inside, mut beyond, mut next) = (0, 0, None);
        for member in &members {
            let node = &self.nodes[member];
            beyond = beyond.max(node.frame);
            let mut round = 0;
            for (callee, depth) in &node.calls {
                match self.nodes[callee].circle {
                    Some(circle) if circle == number => round = round.max(*depth),
                    Some(circle) if depth + self.circles[circle].need > beyond => {
                        beyond = depth + self.circles[circle].need;
                        next = Some((circle, *depth));
                    }
                    _ => {}
                }
            }
            inside += round;
        }
        let next = next.map(|(circle, depth)| (circle, inside + depth));
        self.circles.push(Circle { one: first, need: inside + beyond, next });
        number
    }

    /// The deepest path from a circle on: one function of each, and how deep the stack is there.
    fn path(&self, circle: usize) -> impl Iterator<Item = (Callee, i64)> {
        let mut next = Some((circle, 0));
        std::iter::from_fn(move || {
            let (circle, depth) = next?;
            let Circle { one, next: on, .. } = &self.circles[circle];
            next = on.map(|(circle, more)| (circle, depth + more));
            Some((*one, depth))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Its address, its frame, and whom it calls how deep.
    type Known<'a> = (u64, i64, &'a [(Callee, i64)]);

    /// The need of function 1.
    fn of(functions: &[Known<'_>], pointers: &[u64]) -> (i64, Vec<Callee>) {
        let functions = functions
            .iter()
            .map(|(at, frame, calls)| {
                let calls = calls.iter().copied().collect();
                (*at, Function { frame: *frame, calls })
            })
            .collect();
        let mut graph = Graph::new(&functions, &pointers.iter().copied().collect());
        let circle = graph.visit(Callee::At(1));
        let path = graph.path(circle).map(|(callee, _)| callee).collect();
        (graph.circles[circle].need, path)
    }

    #[test]
    fn the_deepest_path_counts() {
        let (one, two, three) = (Callee::At(1), Callee::At(2), Callee::At(3));
        let found = of(&[(1, 100, &[(two, 108), (three, 20)]), (2, 8, &[]), (3, 500, &[])], &[]);
        assert_eq!(found, (520, vec![one, three]));
    }

    #[test]
    fn a_circle_counts_once() {
        let (two, three) = (Callee::At(2), Callee::At(3));
        let functions: &[Known<'_>] = &[
            (1, 10, &[(two, 18)]),
            (2, 100, &[(three, 108)]),
            (3, 50, &[(two, 58), (Callee::Hypercall, 58)]),
        ];
        assert_eq!(of(functions, &[]).0, 18 + (108 + 58) + 100);
    }

    #[test]
    fn a_pointer_is_the_worst_that_it_can_be() {
        let (one, three) = (Callee::At(1), Callee::At(3));
        let functions: &[Known<'_>] =
            &[(1, 10, &[(Callee::Pointer, 18)]), (2, 100, &[]), (3, 300, &[]), (4, 900, &[])];
        assert_eq!(of(functions, &[2, 3]), (318, vec![one, Callee::Pointer, three]));
    }
}
