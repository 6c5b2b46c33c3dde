//! The table of routes. The API's document names the same ones, and a test compares the two.

use crate::{
    Gateway, access, actions, artifacts, capabilities, cors, create, devices, gpu, intake, jobs, openapi,
    page,
};
use crate::{performance, problem, sampling, socket, stream, system, telemetry};
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{MethodRouter, get, post};
use std::sync::Arc;

/// Whom a route answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum For {
    /// Whoever has the token.
    Caller,
    /// Everybody: it tells nothing of any job.
    Everybody,
    /// A browser; no part of the API.
    Page,
    /// Whoever has the token and looks after this process; no part of the API.
    Keeper,
}

/// Path, methods and handler of a route.
pub(crate) struct Route {
    pub(crate) path: &'static str,
    #[cfg_attr(not(test), expect(dead_code, reason = "a test compares them with the API's document"))]
    pub(crate) methods: &'static [&'static str],
    pub(crate) whom: For,
    handler: MethodRouter<Arc<Gateway>>,
}

fn route(
    path: &'static str,
    methods: &'static [&'static str],
    whom: For,
    handler: MethodRouter<Arc<Gateway>>,
) -> Route {
    Route { path, methods, whom, handler }
}

/// All routes.
pub(crate) fn routes() -> Vec<Route> {
    use For::{Caller, Everybody, Keeper, Page};
    const GET: &[&str] = &["get"];
    const POST: &[&str] = &["post"];
    vec![
        route("/api/jobs", &["get", "post"], Caller, get(jobs::list).post(create::create)),
        route("/api/jobs/{id}", GET, Caller, get(jobs::show)),
        route("/api/jobs/{id}/upload", GET, Caller, get(artifacts::upload)),
        route("/api/jobs/{id}/artifacts/{name}", GET, Caller, get(artifacts::artifact)),
        route("/api/jobs/{id}/events", GET, Caller, get(stream::of_job)),
        route("/api/jobs/{id}/ws", GET, Caller, get(socket::of_job)),
        route("/api/jobs/{id}/profile", GET, Caller, get(performance::of_job)),
        route("/api/jobs/{id}/explain", GET, Caller, get(gpu::explain)),
        route("/api/performance/summary", GET, Caller, get(performance::summary)),
        route("/api/performance/bottlenecks", GET, Caller, get(performance::bottlenecks)),
        route("/api/performance/timings", GET, Caller, get(performance::timings)),
        route("/api/performance/recommendations", GET, Caller, get(performance::recommendations)),
        route("/api/devices", GET, Caller, get(devices::list)),
        route("/api/gpu/summary", GET, Caller, get(gpu::summary)),
        route("/api/gpu/batch-size", GET, Caller, get(gpu::batch_size)),
        route("/api/gpu/recommendations", GET, Caller, get(gpu::recommendations)),
        route("/api/gpu/optimize-cache", POST, Caller, post(gpu::optimize_cache)),
        route("/api/events", GET, Caller, get(stream::of_all)),
        route("/api/jobs/{id}/cancel", POST, Caller, post(actions::cancel)),
        route("/api/jobs/{id}/redrive", POST, Caller, post(actions::redrive)),
        route("/api/jobs/{id}/retry", POST, Caller, post(actions::redrive)),
        route("/api/dead-letters", GET, Caller, get(actions::dead_letters)),
        route("/api/dead-letters/{id}/redrive", POST, Caller, post(actions::redrive)),
        route("/api/sweep", POST, Caller, post(actions::sweep)),
        route("/metrics", GET, Caller, get(system::metrics)),
        route("/debug/pprof/profile", GET, Keeper, get(sampling::profile)),
        route("/livez", GET, Everybody, get(system::live)),
        route("/readyz", GET, Everybody, get(system::ready)),
        route("/api/version", GET, Everybody, get(system::version)),
        route("/api/capabilities", GET, Everybody, get(capabilities::capabilities)),
        route("/api/openapi.json", GET, Everybody, get(openapi::document)),
        route("/", GET, Page, get(page::index)),
        route("/plain", GET, Page, get(page::plain)),
        route("/assets/{name}", GET, Page, get(page::asset)),
        route("/app.js", GET, Page, get(page::script)),
        route("/style.css", GET, Page, get(page::style)),
        route("/icon.svg", GET, Page, get(page::icon)),
    ]
}

/// All routes, with what every call goes through.
pub(crate) fn router(gateway: Arc<Gateway>) -> Router {
    let (mut closed, mut open) = (Router::new(), Router::new());
    for Route { path, whom, handler, .. } in routes() {
        match whom {
            For::Caller | For::Keeper => closed = closed.route(path, handler),
            For::Everybody | For::Page => open = open.route(path, handler),
        }
    }
    let closed = closed.layer(from_fn_with_state(gateway.clone(), access::has_token));
    let cors = cors::layer(&gateway.settings.cors_origins);
    let answering = closed
        .merge(open)
        .fallback(problem::not_found)
        .method_not_allowed_fallback(problem::wrong_method)
        .layer(DefaultBodyLimit::max(intake::body_bytes_max(&gateway)))
        .layer(from_fn_with_state(gateway.clone(), intake::refuse_early))
        .layer(from_fn_with_state(gateway.clone(), access::is_neighbour))
        .layer(from_fn(problem::dress));
    // Around everything that refuses: a page may read why.
    let answering = match cors {
        Some(cors) => answering.layer(cors),
        None => answering,
    };
    answering.layer(from_fn(telemetry::count)).layer(from_fn(access::headers)).with_state(gateway)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_route_is_in_the_document_and_every_one_there_is_served() {
        let served: BTreeSet<(String, String)> = routes()
            .iter()
            .filter(|route| !matches!(route.whom, For::Page | For::Keeper))
            .flat_map(|route| {
                route.methods.iter().map(|method| (route.path.to_owned(), (*method).to_owned()))
            })
            .collect();
        let document = openapi::paths();
        let written: BTreeSet<(String, String)> = document
            .as_object()
            .expect("paths")
            .iter()
            .flat_map(|(path, operations)| {
                operations
                    .as_object()
                    .expect("operations")
                    .keys()
                    .map(|method| (path.clone(), method.clone()))
            })
            .collect();
        assert_eq!(served, written);
    }

    #[test]
    fn what_needs_no_token_tells_of_no_job() {
        for route in routes().iter().filter(|route| matches!(route.whom, For::Everybody | For::Page)) {
            assert!(!route.path.starts_with("/debug"), "{}", route.path);
            assert!(!route.path.starts_with("/api/jobs") && !route.path.contains("{id}"), "{}", route.path);
        }
    }
}
