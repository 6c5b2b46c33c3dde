//! The profile of the process itself: within bounds, and for one at a time.

use crate::world::{PATIENCE, World, problem};
use harness::until;
use reqwest::{Method, StatusCode};

const PROFILE: &str = "/debug/pprof/profile";

#[tokio::test]
async fn a_profile_is_a_file_and_how_long_it_takes_has_bounds() {
    let world = World::new().await;
    for (asked, expect) in [("", "10 s"), ("?seconds=3", "3 s")] {
        let answer = world.get(&format!("{PROFILE}{asked}")).await;
        assert_eq!(answer.headers()["content-type"], "application/octet-stream");
        assert_eq!(answer.headers()["content-disposition"], "attachment; filename=\"profile.pb.gz\"");
        assert_eq!(answer.text().await.expect("a body"), expect);
    }
    for wrong in ["seconds=0", "seconds=61", "seconds=x", "seconds=-1", "minutes=1"] {
        problem(world.get(&format!("{PROFILE}?{wrong}")).await, 422, "bad-query").await;
    }
    let why = problem(world.get(&format!("{PROFILE}?seconds=59")).await, 503, "unavailable").await;
    assert!(why.contains("it has no timer"), "{why}");
}

#[tokio::test]
async fn two_never_sample_at_once_and_whoever_goes_makes_room() {
    let world = World::new().await;
    let short = format!("{PROFILE}?seconds=1");
    let status_is = async |status: StatusCode| {
        let asked = async || Ok((world.get(&short).await.status() == status).then_some(()));
        until(&format!("a profile to be answered by {status}"), PATIENCE, asked).await.expect("in time");
    };
    let endless = tokio::spawn(world.call(Method::GET, &format!("{PROFILE}?seconds=60")).send());
    status_is(StatusCode::SERVICE_UNAVAILABLE).await;
    let answer = world.get(&short).await;
    assert!(answer.headers().contains_key("retry-after"));
    assert!(problem(answer, 503, "unavailable").await.contains("one at a time"));
    endless.abort();
    status_is(StatusCode::OK).await;
}

#[tokio::test]
async fn the_end_of_the_gateway_ends_its_profile() {
    let world = World::new().await;
    let endless = tokio::spawn(world.call(Method::GET, &format!("{PROFILE}?seconds=60")).send());
    let asked = async || {
        let status = world.get(&format!("{PROFILE}?seconds=1")).await.status();
        Ok((status == StatusCode::SERVICE_UNAVAILABLE).then_some(()))
    };
    until("somebody to sample", PATIENCE, asked).await.expect("in time");
    world.end().await;
    let answer = endless.await.expect("a task").expect("an answer");
    assert!(problem(answer, 503, "unavailable").await.contains("about to end"));
}
