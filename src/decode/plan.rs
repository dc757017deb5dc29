//! The places that a mapping names, as a trie: one walk over a document finds them all.
//!
//! Places live in two scopes, the record and (with `each`) one element of its list; every scope has its own root and
//! its own numbered slots.

use super::keys::bit_of;

/// Where the values of a document go.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    nodes: Vec<Node>,
    slots: [usize; 2],
    has_each: bool,
    /// How many numbers a decision's arrays hold together, for making room once.
    pub numbers_expected: usize,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Node {
    children: Vec<Child>,
    /// The bits of the children's keys: most members of a document are none of them, and one test tells.
    bits: u64,
    /// Some child names an element of an array.
    pub has_indexes: bool,
    /// The slot that a value found here is put in.
    pub slot: Option<usize>,
    /// What to keep of the elements if an array is found here.
    pub collect: Collect,
    /// This is the list whose elements are decisions.
    pub each: bool,
}

#[derive(Debug, Clone)]
struct Child {
    key: Box<str>,
    /// The same key where the document has an array: RFC 6901 writes indexes without leading zeros.
    index: Option<usize>,
    node: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Collect {
    #[default]
    Nothing,
    Numbers,
    Ids,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    Record,
    Element,
}

const ROOTS: [usize; 2] = [0, 1];

impl Plan {
    /// `each` is the list of a slate.
    pub fn new(each: Option<&str>) -> Result<Plan, String> {
        let mut plan = Plan {
            nodes: vec![Node::default(), Node::default()],
            slots: [0, 0],
            has_each: each.is_some(),
            numbers_expected: 0,
        };
        if let Some(pointer) = each {
            let (scope, keys) = parse(pointer)?;
            if scope == Scope::Element {
                return Err(format!("{pointer:?} must begin at the record: write it with a leading \"/\""));
            }
            let node = plan.node(scope, &keys);
            plan.nodes[node].each = true;
        }
        Ok(plan)
    }

    /// The slot for what `pointer` names; the same pointer has one slot.
    pub fn slot(&mut self, pointer: &str, collect: Collect) -> Result<(Scope, usize), String> {
        let (scope, keys) = parse(pointer)?;
        if scope == Scope::Element && !self.has_each {
            return Err(format!("{pointer:?} begins at the element of a list: set mapping.each, or begin with \"/\""));
        }
        let node = self.node(scope, &keys);
        let fresh = self.slots[scope as usize];
        let Node { slot, collect: kept, .. } = &mut self.nodes[node];
        match (*kept, collect) {
            (Collect::Nothing, _) => *kept = collect,
            (_, Collect::Nothing) => {}
            (Collect::Numbers, Collect::Numbers) | (Collect::Ids, Collect::Ids) => {}
            (Collect::Numbers, Collect::Ids) | (Collect::Ids, Collect::Numbers) => {
                return Err(format!("{pointer:?} cannot be read as numbers and as item ids at once"));
            }
        }
        let index = *slot.get_or_insert(fresh);
        if index == fresh {
            self.slots[scope as usize] += 1;
        }
        Ok((scope, index))
    }

    /// Elements are walked from a root of their own, so nothing of the record's scope may lie at or below their list.
    pub fn check(&self) -> Result<(), String> {
        match self.nodes.iter().find(|node| node.each && (node.slot.is_some() || !node.children.is_empty())) {
            Some(_) => Err("another pointer leads into this list: begin that pointer with \"./\"".to_owned()),
            None => Ok(()),
        }
    }

    pub fn root(&self, scope: Scope) -> &Node {
        &self.nodes[ROOTS[scope as usize]]
    }

    pub fn slots(&self, scope: Scope) -> usize {
        self.slots[scope as usize]
    }

    /// `hint` is where the search begins: documents tend to keep the order in which the mapping was written.
    pub fn member(&self, node: &Node, key: &str, hint: &mut usize) -> Option<&Node> {
        if node.bits & bit_of(key.as_bytes()) == 0 {
            return None;
        }
        let is_it = |child: &Child| *child.key == *key;
        let at = match node.children.get(*hint) {
            Some(child) if is_it(child) => *hint,
            Some(_) | None => node.children.iter().position(is_it)?,
        };
        *hint = at + 1;
        Some(&self.nodes[node.children[at].node])
    }

    pub fn element(&self, node: &Node, index: usize) -> Option<&Node> {
        node.children.iter().find(|child| child.index == Some(index)).map(|child| &self.nodes[child.node])
    }

    fn node(&mut self, scope: Scope, keys: &[String]) -> usize {
        let mut at = ROOTS[scope as usize];
        for key in keys {
            at = match self.nodes[at].children.iter().find(|child| *child.key == **key) {
                Some(child) => child.node,
                None => {
                    let node = self.nodes.len();
                    self.nodes.push(Node::default());
                    let index = array_index(key);
                    let parent = &mut self.nodes[at];
                    parent.bits |= bit_of(key.as_bytes());
                    parent.has_indexes |= index.is_some();
                    parent.children.push(Child { key: key.as_str().into(), index, node });
                    node
                }
            };
        }
        at
    }
}

/// RFC 6901, with `./` for the element's scope. The whole record is no field, so `""` is refused.
fn parse(pointer: &str) -> Result<(Scope, Vec<String>), String> {
    let (scope, path) = match pointer.strip_prefix('.') {
        Some(path) => (Scope::Element, path),
        None => (Scope::Record, pointer),
    };
    if path.is_empty() && scope == Scope::Element {
        return Ok((scope, Vec::new()));
    }
    let Some(path) = path.strip_prefix('/') else {
        return Err(format!("{pointer:?} is not a JSON Pointer: it must start with \"/\", as in \"/user/id\""));
    };
    let keys = path.split('/').map(|token| unescape(token).ok_or_else(|| bad_escape(pointer)));
    Ok((scope, keys.collect::<Result<_, _>>()?))
}

fn bad_escape(pointer: &str) -> String {
    format!("{pointer:?} is not a JSON Pointer: write \"~0\" for \"~\" and \"~1\" for \"/\" inside a name")
}

fn unescape(token: &str) -> Option<String> {
    let mut pieces = token.split('~');
    let mut key = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let rest = match piece.strip_prefix('0') {
            Some(rest) => {
                key.push('~');
                rest
            }
            None => {
                key.push('/');
                piece.strip_prefix('1')?
            }
        };
        key.push_str(rest);
    }
    Some(key)
}

fn array_index(key: &str) -> Option<usize> {
    let canonical = key == "0" || (!key.starts_with('0') && key.bytes().all(|byte| byte.is_ascii_digit()));
    canonical.then(|| key.parse().ok()).flatten()
}
