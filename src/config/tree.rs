//! Parses YAML text into a tree in which every node knows its place.
//!
//! The tree is built from the parser's events. The tree of the saphyr crate keeps one of two equal
//! keys, stops at the first problem, and is built by recursion as deep as the text nests.

use std::collections::HashMap;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use saphyr_parser::{Event, Parser, ScalarStyle, Span};

use super::problem::{Place, Problem, shown};
use super::slips::{self, Slip};
use crate::terminal::printable;

/// The largest number of keys and values in one file. 10,000 rules have about 300,000.
/// docs/access.md names this number.
const MAX_NODES: usize = 1_000_000;

/// The largest number of keys and values that anchors and aliases repeat. A few lines of aliases
/// can stand for any number of values, so this bound is smaller.
const MAX_REPEATED: usize = 200_000;

/// The largest depth of nested lists and sections. The deepest key of a configuration is at level
/// 4.
const MAX_DEPTH: usize = 32;

/// A value and the place at which it was written.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) data: Data,
}

#[derive(Clone, Debug)]
pub(super) enum Data {
    Scalar(Scalar),
    List(Vec<Node>),
    Mapping(Vec<Entry>),
}

/// A key of a mapping and its value.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) place: Place,
    pub(super) value: Node,
}

/// A scalar as written. Its type is not decided yet.
#[derive(Clone, Debug)]
pub(super) struct Scalar {
    pub(super) text: String,
    /// `true` if the scalar was written without quotes, so that it may be a number, a boolean or
    /// null.
    pub(super) plain: bool,
}

/// The type of a scalar in the YAML 1.2 core schema.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Resolved {
    Null,
    Boolean(bool),
    Integer(i64),
    Float,
    Text,
}

impl Scalar {
    /// Returns the type that the text of a quoted scalar would have without its quotes. A scalar
    /// without quotes is text.
    pub(super) fn unquoted(&self) -> Resolved {
        let text = self.text.trim();
        if self.plain || text.is_empty() {
            return Resolved::Text;
        }
        Self { text: text.to_owned(), plain: true }.resolve()
    }

    pub(super) fn resolve(&self) -> Resolved {
        if !self.plain {
            return Resolved::Text;
        }
        let text = self.text.as_str();
        match text {
            "" | "~" | "null" | "Null" | "NULL" => Resolved::Null,
            "true" | "True" | "TRUE" => Resolved::Boolean(true),
            "false" | "False" | "FALSE" => Resolved::Boolean(false),
            _ => match text.parse() {
                Ok(integer) => Resolved::Integer(integer),
                // Rust parses "inf" and "nan" as floats, but they are words in YAML.
                Err(_)
                    if text.contains(|c: char| c.is_ascii_digit())
                        && text.parse::<f64>().is_ok() =>
                {
                    Resolved::Float
                }
                Err(_) => Resolved::Text,
            },
        }
    }
}

impl Node {
    pub(super) fn is_null(&self) -> bool {
        matches!(&self.data, Data::Scalar(scalar) if scalar.resolve() == Resolved::Null)
    }

    /// Parses the only document of a text. `None` if the text cannot be read or is empty; the
    /// reason is then in `problems`.
    /// `slips` are those in the text, which explain a mistake better than the parser.
    pub(super) fn parse(
        text: &str,
        file: &Path,
        slips: &[Slip],
        problems: &mut Vec<Problem>,
    ) -> Option<Self> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut reader = Reader::new(file);
        for event in Parser::new_from_str(text) {
            let result = match event {
                Ok((event, span)) => reader.take(event, span),
                Err(error) => {
                    let marker = error.marker();
                    let (line, column) = within(text, marker.line(), marker.col());
                    let mut explained = slips::around(slips, text, line, file);
                    let last = explained.pop().unwrap_or_else(|| {
                        Problem::new(reader.place(line, column), syntax_message(error.info()))
                    });
                    problems.append(&mut explained);
                    Err(last)
                }
            };
            if let Err(problem) = result {
                problems.extend(reader.problems);
                problems.push(problem);
                return None;
            }
        }
        problems.extend(reader.problems);
        let root = reader.root.filter(|root| !root.is_null());
        if root.is_none() {
            let message = "the file contains no config; start from config/moorgate.yml";
            problems.push(Problem::new(Place::start_of(file), message));
        }
        root
    }
}

/// Returns a line (from 1) and a column (from 0) of the parser, moved into the text. The parser
/// reports some mistakes after the last line; their place is the end of that line.
fn within(text: &str, line: usize, column: usize) -> (usize, usize) {
    let text = text.replace("\r\n", "\n");
    let lines: Vec<&str> = text.split(['\n', '\r']).collect();
    let end = || lines.last().map_or(0, |last| last.chars().count());
    if line > lines.len() { (lines.len(), end()) } else { (line, column) }
}

fn syntax_message(info: &str) -> String {
    format!(
        "the file is not valid YAML: {}; write `key: value`, indented with spaces",
        printable(info)
    )
}

/// The builder of the tree. It has a stack of its own, so that deeply nested text cannot exhaust
/// the stack of the thread.
struct Reader {
    file: Arc<Path>,
    open: Vec<Open>,
    anchors: HashMap<usize, Rc<Node>>,
    nodes: usize,
    /// The number of nodes that anchors and aliases have copied.
    repeated: usize,
    documents: usize,
    root: Option<Node>,
    problems: Vec<Problem>,
}

/// A list or mapping whose end has not been read yet.
struct Open {
    node: Node,
    anchor: usize,
    /// The key that was read and whose value follows.
    key: Option<(String, Place)>,
    /// The lines of the keys that were read.
    keys: HashMap<String, usize>,
}

impl Reader {
    fn new(file: &Path) -> Self {
        Self {
            file: file.into(),
            open: Vec::new(),
            anchors: HashMap::new(),
            nodes: 0,
            repeated: 0,
            documents: 0,
            root: None,
            problems: Vec::new(),
        }
    }

    /// Returns the place for a line (from 1) and a column (from 0) of the parser.
    fn place(&self, line: usize, column: usize) -> Place {
        Place::File { file: Arc::clone(&self.file), line: line.max(1), column: column + 1 }
    }

    /// Processes one event. An error ends the reading, because the rest of the text would make no
    /// sense.
    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Problem> {
        let place = self.place(span.start.line(), span.start.col());
        match event {
            Event::DocumentStart(_) => {
                self.documents += 1;
                if self.documents > 1 {
                    let message = "a second YAML document starts here; write one document per file";
                    return Err(Problem::new(place, message));
                }
                Ok(())
            }
            Event::Scalar(text, style, anchor, tag) => {
                refuse_tag(tag.is_some(), &place)?;
                if anchor > 0 && text.is_empty() && style == ScalarStyle::Plain {
                    let message = "a value that begins with `&` is an anchor in YAML, and no value \
                                   follows it here; write it in quotes, e.g. \"&…\"";
                    return Err(Problem::new(place, message));
                }
                let scalar = Scalar { text: text.into_owned(), plain: style == ScalarStyle::Plain };
                self.add(Node { place, data: Data::Scalar(scalar) }, anchor)
            }
            Event::SequenceStart(anchor, tag) => {
                refuse_tag(tag.is_some(), &place)?;
                self.start(Node { place, data: Data::List(Vec::new()) }, anchor)
            }
            Event::MappingStart(anchor, tag) => {
                refuse_tag(tag.is_some(), &place)?;
                self.start(Node { place, data: Data::Mapping(Vec::new()) }, anchor)
            }
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(Open { node, anchor, .. }) => self.add(node, anchor),
                None => Ok(()),
            },
            Event::Alias(anchor) => match self.anchors.get(&anchor).cloned() {
                Some(node) => {
                    self.repeat(&node, &place)?;
                    self.add(Node::clone(&node), 0)
                }
                None => Err(Problem::new(
                    place,
                    "an alias is inside the value that it refers to; write a value instead",
                )),
            },
            Event::DocumentEnd | Event::StreamStart | Event::StreamEnd | Event::Nothing => Ok(()),
        }
    }

    fn start(&mut self, node: Node, anchor: usize) -> Result<(), Problem> {
        self.refuse_as_key(&node.place)?;
        if self.open.len() >= MAX_DEPTH {
            let message = format!(
                "lists and sections are nested more than {MAX_DEPTH} levels deep; remove the inner \
                 levels"
            );
            return Err(Problem::new(node.place, message));
        }
        self.open.push(Open { node, anchor, key: None, keys: HashMap::new() });
        Ok(())
    }

    /// Puts a complete node into the tree, as a key, a value, an item or the root.
    fn add(&mut self, node: Node, anchor: usize) -> Result<(), Problem> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            let message = format!(
                "the file has more than {MAX_NODES} keys and values, the most that the gate reads; \
                 merge rules, e.g. with wildcards or with several callers in one `who`"
            );
            return Err(Problem::new(node.place, message));
        }
        if anchor > 0 {
            self.repeat(&node, &node.place)?;
            self.anchors.insert(anchor, Rc::new(node.clone()));
        }
        let Some(parent) = self.open.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        match (&mut parent.node.data, parent.key.take(), node) {
            (Data::List(items), _, node) => items.push(node),
            (Data::Mapping(entries), Some((key, place)), value) => {
                if let Some(first) = parent.keys.get(&key) {
                    let message = format!(
                        "the key `{}` is already in line {first}; remove one of the two",
                        shown(&key)
                    );
                    self.problems.push(Problem::new(place, message));
                } else {
                    let line = match &place {
                        Place::File { line, .. } => *line,
                        Place::Environment(_) => 0,
                    };
                    parent.keys.insert(key.clone(), line);
                    entries.push(Entry { key, place, value });
                }
            }
            (Data::Mapping(_), None, Node { place, data: Data::Scalar(scalar) }) => {
                parent.key = Some((scalar.text, place));
            }
            (Data::Mapping(_) | Data::Scalar(_), _, node) => return Err(not_a_key(node.place)),
        }
        Ok(())
    }

    /// Counts the nodes of a copy before it is made.
    fn repeat(&mut self, node: &Node, place: &Place) -> Result<(), Problem> {
        self.repeated += size(node);
        if self.repeated > MAX_REPEATED {
            let message = format!(
                "anchors and aliases repeat more than {MAX_REPEATED} keys and values, the most \
                 that the gate reads; write values instead of some aliases"
            );
            return Err(Problem::new(place.clone(), message));
        }
        Ok(())
    }

    fn refuse_as_key(&self, place: &Place) -> Result<(), Problem> {
        match self.open.last() {
            Some(Open { node: Node { data: Data::Mapping(_), .. }, key: None, .. }) => {
                Err(not_a_key(place.clone()))
            }
            _ => Ok(()),
        }
    }
}

fn not_a_key(place: Place) -> Problem {
    Problem::new(place, "a list or a section cannot be a key; write a word")
}

fn refuse_tag(tagged: bool, place: &Place) -> Result<(), Problem> {
    if tagged {
        let message = "a value that begins with `!` is a tag in YAML, and tags are not supported; \
                       write it in quotes, or remove the tag";
        Err(Problem::new(place.clone(), message))
    } else {
        Ok(())
    }
}

/// Returns the number of nodes in a node, itself included, that an alias repeats.
fn size(node: &Node) -> usize {
    match &node.data {
        Data::Scalar(_) => 1,
        Data::List(items) => 1 + items.iter().map(size).sum::<usize>(),
        Data::Mapping(entries) => {
            1 + entries.iter().map(|entry| 1 + size(&entry.value)).sum::<usize>()
        }
    }
}
