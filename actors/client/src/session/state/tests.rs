use baton_domain::ServerName;

use super::*;

fn epoch(index: u64) -> Epoch {
    Epoch { generation: 0, index }
}

fn news(index: u64, host: Option<&str>) -> PlacementNews {
    let name = |name: &str| ServerName::new(name).unwrap();
    PlacementNews {
        epoch: epoch(index),
        host: host.map(name),
        address: host.map(|host| format!("{host}:1")),
        servers: Vec::new(),
    }
}

fn up(name: &str, connection: u64) -> Input {
    Input::LinkUp { name: name.into(), connection }
}

fn down(name: &str, connection: u64) -> Input {
    Input::LinkDown { name: name.into(), connection }
}

fn answered(name: &str, connection: u64, news: PlacementNews) -> Input {
    Input::Answered { name: name.into(), connection, news: Some(news) }
}

fn ask(name: &str, connection: u64) -> Effect {
    Effect::Ask { name: name.into(), connection }
}

fn at(name: &str, connection: u64, index: u64) -> Effect {
    Effect::At { name: name.into(), connection, epoch: epoch(index) }
}

fn wake_ms(ms: u64) -> Effect {
    Effect::WakeAfter(Duration::from_millis(ms))
}

/// A session that knows the engine at server `a`, epoch 5, with links to `a` and `b`.
fn connected() -> State {
    let mut state = State::default();
    for input in [up("a", 1), up("b", 2), answered("a", 1, news(5, Some("a"))), answered("b", 2, news(5, Some("a")))] {
        state.step(input);
    }
    state.step(Input::Wake);
    assert_eq!(state.reported, Some(("a".into(), 1, epoch(5))));
    state
}

#[test]
fn every_new_link_is_asked_and_the_first_that_knows_settles_it() {
    let mut state = State::default();
    assert_eq!(state.step(up("a", 1)), [ask("a", 1), wake_ms(20)]);
    assert_eq!(state.step(up("b", 2)), [ask("b", 2)]);
    assert_eq!(state.step(answered("b", 2, news(5, Some("b")))), [at("b", 2, 5)]);
    assert_eq!(state.step(answered("a", 1, news(5, Some("b")))), []);
    assert_eq!(state.step(Input::Wake), [], "nothing to ask once it is known");
    assert_eq!(state.step(up("c", 3)), [ask("c", 3)], "so that it tells of changes");
}

#[test]
fn while_nobody_knows_servers_are_asked_with_a_growing_delay() {
    let mut state = State::default();
    assert_eq!(state.step(up("a", 1)), [ask("a", 1), wake_ms(20)]);
    for delay in [40, 80, 160, 250, 250] {
        assert_eq!(state.step(answered("a", 1, news(0, None))), []);
        assert_eq!(state.step(Input::Wake), [ask("a", 1), wake_ms(delay)]);
    }
    assert_eq!(state.step(Input::Wake), [wake_ms(250)], "a server that has not answered is not asked twice");
}

#[test]
fn the_newest_epoch_wins_and_older_news_change_nothing() {
    let mut state = connected();
    assert_eq!(state.step(Input::News(news(9, Some("b")))), [at("b", 2, 9)]);
    assert_eq!(state.step(Input::News(news(5, Some("a")))), []);
    assert!(!state.accepts(epoch(5)));
    assert!(state.accepts(epoch(9)));
}

#[test]
fn a_delivery_of_a_newer_epoch_makes_older_ones_stale() {
    let mut state = connected();
    assert!(state.accepts(epoch(5)));
    assert!(state.accepts(epoch(7)));
    assert!(!state.accepts(epoch(5)));
}

#[test]
fn a_lost_host_is_gone_until_another_activation_or_its_return() {
    let mut state = connected();
    let effects = state.step(down("a", 1));
    assert_eq!(effects, [Effect::Gone, ask("b", 2), wake_ms(20)]);
    assert_eq!(state.step(answered("b", 2, news(5, Some("a")))), [], "b has not noticed yet");
    assert_eq!(state.step(Input::News(news(9, Some("b")))), [at("b", 2, 9)]);
    assert_eq!(state.step(up("a", 7)), [ask("a", 7)]);
    assert_eq!(state.step(down("a", 1)), [], "the old link's end says nothing of the new one");
}

#[test]
fn a_host_without_a_link_is_reported_once_the_link_is_up() {
    let mut state = connected();
    assert_eq!(state.step(Input::News(news(9, Some("c")))), [Effect::Gone, ask("a", 1), ask("b", 2), wake_ms(20)]);
    assert_eq!(state.step(up("c", 3)), [ask("c", 3), at("c", 3, 9)]);
}

#[test]
fn after_trouble_the_engine_is_reported_again_once_a_server_names_it() {
    let mut state = connected();
    assert_eq!(state.step(Input::Trouble { epoch: epoch(5), news: Some(news(5, Some("a"))) }), [wake_ms(20)]);
    assert_eq!(state.step(Input::Trouble { epoch: epoch(5), news: None }), [], "one wake-up at a time");
    assert_eq!(state.step(Input::Wake), [ask("a", 1), ask("b", 2), wake_ms(40)]);
    assert_eq!(state.step(answered("b", 2, news(5, Some("a")))), [at("a", 1, 5)]);
    assert_eq!(state.step(answered("a", 1, news(5, Some("a")))), [], "once is enough");
}

#[test]
fn trouble_with_an_engine_that_was_left_behind_is_no_news() {
    let mut state = connected();
    state.step(Input::News(news(9, Some("b"))));
    assert_eq!(state.step(Input::Trouble { epoch: epoch(5), news: None }), []);
}

#[test]
fn an_engine_that_was_stopped_is_gone() {
    let mut state = connected();
    let stopped = Input::Trouble { epoch: epoch(5), news: Some(news(5, None)) };
    assert_eq!(state.step(stopped), [Effect::Gone, ask("a", 1), ask("b", 2), wake_ms(20)]);
}

#[test]
fn the_delay_grows_until_the_engine_serves() {
    let mut state = connected();
    let trouble = |state: &mut State| {
        let effects = state.step(Input::Trouble { epoch: epoch(5), news: None });
        state.step(answered("b", 2, news(5, Some("a"))));
        state.step(Input::Wake);
        effects
    };
    assert_eq!(trouble(&mut state), [wake_ms(20)]);
    assert_eq!(trouble(&mut state), [wake_ms(40)]);
    assert_eq!(trouble(&mut state), [wake_ms(80)]);
    state.step(Input::Works { epoch: epoch(5) });
    assert_eq!(trouble(&mut state), [wake_ms(20)]);
}

#[test]
fn the_links_are_asked_to_reach_all_servers_once_per_change() {
    let mut state = connected();
    let servers =
        vec![(ServerName::new("a").unwrap(), "a:1".to_owned()), (ServerName::new("c").unwrap(), "c:1".into())];
    let told = PlacementNews { servers, ..news(5, Some("a")) };
    let expected = vec![("a".to_owned(), "a:1".to_owned()), ("c".to_owned(), "c:1".to_owned())];
    assert_eq!(state.step(Input::News(told.clone())), [Effect::Ensure(expected)]);
    assert_eq!(state.step(Input::News(told)), []);
}
