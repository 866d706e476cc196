//! YAML texts, what is kept of them, and what is said of their mistakes.

use super::*;
use std::sync::Arc;

fn mistakes_of(text: &str) -> Vec<String> {
    let source = Arc::new(Source { name: "x.yaml".into(), text: text.into() });
    let mut mistakes = Mistakes::new(source);
    parse(&mut mistakes);
    mistakes.found.iter().map(|m| m.to_string().lines().next().unwrap_or_default().to_owned()).collect()
}

fn tree(text: &str) -> Node {
    let mut mistakes = Mistakes::new(Arc::new(Source { name: "x.yaml".into(), text: text.into() }));
    let node = parse(&mut mistakes).unwrap();
    assert_eq!(mistakes.found, []);
    node
}

#[test]
fn places_and_quoting_are_kept() {
    let node = tree("a: [010, \"present\"]\nb:\n  - {c: present}\n");
    let a = node.get("a").unwrap().items();
    assert_eq!((a[0].place.line, a[0].place.col, a[0].as_word()), (1, 5, Some("010")));
    assert_eq!((a[1].place.col, a[1].as_word(), a[1].as_text()), (10, None, Some("present")));
    let c = node.get("b").unwrap().items()[0].get("c").unwrap();
    assert_eq!((c.place.line, c.place.col, c.as_word()), (3, 9, Some("present")));
}

#[test]
fn what_yaml_does_in_silence_is_a_mistake() {
    let null = "nothing given; the null sender is `<>`, a missing value is `absent`";
    assert_eq!(mistakes_of("when: {sender: null}"), [format!("x.yaml:1:16: {null}")]);
    assert_eq!(mistakes_of("when: {sender: ~}"), [format!("x.yaml:1:16: {null}")]);
    assert_eq!(mistakes_of("a: 1\nb: 2\na: 3"), ["x.yaml:3:1: `a` is given twice; first in line 1"]);
    assert_eq!(mistakes_of("a: !10.0.0.0/8"), ["x.yaml:1:4: a value that begins with `!` must be quoted"]);
    assert_eq!(mistakes_of("a: &x 1\nb: *x").len(), 2);
    assert_eq!(mistakes_of("a: 1\n---\nb: 2").len(), 1);
    assert_eq!(mistakes_of(&"[".repeat(20_000)).len(), 1);
}

#[test]
fn syntax_errors_name_the_cause() {
    assert_eq!(
        mistakes_of("when: {client_name: *.example.com}"),
        [
            "x.yaml:1:22: expected alphabetic or numeric character, but found '.' (a pattern that begins with * must be quoted)"
        ]
    );
    assert_eq!(
        mistakes_of("a: 1\nsender: @example.com"),
        [
            "x.yaml:2:9: found character '@' that cannot start any token (a value that begins with @ must be quoted)"
        ]
    );
    assert_eq!(
        mistakes_of("when: {helo_name: \"/\\.local$/\"}"),
        ["x.yaml:1:22: found unknown escape character '.' (patterns with \\ go in 'single quotes')"]
    );
    assert_eq!(
        mistakes_of("when: {helo_name: /^[0-9.]+$/}"),
        [
            "x.yaml:1:21: expected ',' or '}', but got '[' (inside {…} or […] a pattern or text with brackets must be quoted)"
        ]
    );
}

#[test]
fn a_text_cut_by_a_comment_is_known() {
    let node = tree("a: 5.7.1 see #12\nb: \"x\" # note\nc: observe   # note\n");
    assert!(node.get("a").unwrap().as_scalar().unwrap().cut);
    assert!(!node.get("b").unwrap().as_scalar().unwrap().cut);
    assert!(node.get("c").unwrap().as_scalar().unwrap().cut);
}

#[test]
fn an_empty_file_is_an_empty_map() {
    assert!(tree("").as_map().unwrap().is_empty());
    assert!(tree("# nothing\n").as_map().unwrap().is_empty());
}
