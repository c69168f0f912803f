//! What the shop answers.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::rejection::{JsonRejection, PathRejection};
use axum::extract::{MatchedPath, Path, Request, State};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, Version, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use deadpool_postgres::Pool;
use serde::{Deserialize, Serialize};

use crate::database;
use crate::fault::{Fault, Share};
use crate::flags::Flags;
use crate::metrics::{self, Metrics};
use crate::readiness::Readiness;
use crate::release::Release;

/// All that an answer rests on.
pub struct App {
    /// Which statements are used.
    pub release: Release,
    /// What is wrong with it.
    pub fault: Fault,
    /// The requests that fail, where the fault is `Errors`.
    pub failing: Share,
    /// For whom the new column is read already.
    pub flags: Flags,
    /// The database.
    pub pool: Pool,
    /// What Prometheus is told.
    pub metrics: Metrics,
    /// What the readiness probe is told.
    pub readiness: Readiness,
    /// This pod's name: every answer says who gave it.
    pub pod: HeaderValue,
}

/// The name of this pod, as Kubernetes sets it.
pub fn pod() -> HeaderValue {
    let name = std::env::var("HOSTNAME").unwrap_or_default();
    HeaderValue::try_from(name).unwrap_or(HeaderValue::from_static(""))
}

/// The routes. Only those of users are counted, and only they have the fault.
pub fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/users/{id}", get(read))
        .route("/users", post(add))
        .fallback(nothing)
        .layer(from_fn_with_state(app.clone(), spoil))
        .layer(from_fn_with_state(app.clone(), count))
        .route("/livez", get(|| async { "alive\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(scrape))
        .layer(from_fn_with_state(app.clone(), say_goodbye))
        .layer(from_fn_with_state(app.clone(), sign))
        .with_state(app)
}

#[derive(Serialize)]
struct User {
    id: i64,
    name: String,
    release: String,
}

#[derive(Deserialize)]
struct NewUser {
    name: String,
}

enum Problem {
    BadRequest(String),
    NoUser(i64),
    NoName(i64),
    Database(database::Error),
}

impl From<tokio_postgres::Error> for Problem {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Database(error.into())
    }
}

impl From<deadpool_postgres::PoolError> for Problem {
    fn from(error: deadpool_postgres::PoolError) -> Self {
        Self::Database(error.into())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (status, error) = match self {
            Self::BadRequest(error) => (StatusCode::BAD_REQUEST, error),
            Self::NoUser(id) => (StatusCode::NOT_FOUND, format!("there is no user {id}")),
            Self::NoName(id) => (
                StatusCode::INTERNAL_SERVER_ERROR,
                format!("user {id} has no name here"),
            ),
            Self::Database(error) => (StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
        };
        if status.is_server_error() {
            tracing::warn!("{status}: {error}");
        }
        (status, Json(serde_json::json!({ "error": error }))).into_response()
    }
}

async fn read(State(app): State<Arc<App>>, id: Result<Path<i64>, PathRejection>) -> Response {
    let id = match id {
        Ok(Path(id)) => id,
        Err(error) => return Problem::BadRequest(error.body_text()).into_response(),
    };
    let flagged = app.flags.is_on(id).await;
    let answer = find(&app, id, flagged).await;
    // Whoever counts the answers sees whom the flag has reached.
    let flag = [("x-flag", if flagged { "on" } else { "off" })];
    (flag, answer).into_response()
}

async fn find(app: &App, id: i64, flagged: bool) -> Result<Json<User>, Problem> {
    let client = app.pool.get().await?;
    let select = client.prepare_cached(app.release.select(flagged)).await?;
    let row = client
        .query_opt(&select, &[&id])
        .await?
        .ok_or(Problem::NoUser(id))?;
    let name: Option<String> = row.try_get(0)?;
    let name = name.ok_or(Problem::NoName(id))?;
    Ok(Json(User {
        id,
        name,
        release: app.release.to_string(),
    }))
}

async fn add(
    State(app): State<Arc<App>>,
    new: Result<Json<NewUser>, JsonRejection>,
) -> Result<(StatusCode, Json<User>), Problem> {
    let Json(NewUser { name }) = new.map_err(|error| Problem::BadRequest(error.body_text()))?;
    let client = app.pool.get().await?;
    let insert = client.prepare_cached(app.release.insert()).await?;
    let id = client.query_one(&insert, &[&name]).await?.try_get(0)?;
    Ok((
        StatusCode::CREATED,
        Json(User {
            id,
            name,
            release: app.release.to_string(),
        }),
    ))
}

async fn nothing() -> (StatusCode, &'static str) {
    (StatusCode::NOT_FOUND, "try /users/1\n")
}

async fn ready(State(app): State<Arc<App>>) -> (StatusCode, String) {
    match app.readiness.check() {
        Ok(()) => (StatusCode::OK, "ready\n".to_owned()),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
    }
}

async fn scrape(State(app): State<Arc<App>>) -> Response {
    match app.metrics.render() {
        Ok(text) => ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// Counts and times the answers to users.
async fn count(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let start = Instant::now();
    let method = known(request.method());
    let path = request.extensions().get::<MatchedPath>().cloned();
    let response = next.run(request).await;
    let path = path.as_ref().map_or("other", MatchedPath::as_str);
    app.metrics
        .answered(method, path, response.status().as_u16(), start.elapsed());
    response
}

/// Clients may send any word as a method; series are bounded.
fn known(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

/// What is wrong with this release, if anything.
async fn spoil(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    match app.fault {
        Fault::Errors(_) if app.failing.next() => {
            return (StatusCode::INTERNAL_SERVER_ERROR, "failed, as told\n").into_response();
        }
        Fault::Slow(by) => tokio::time::sleep(by).await,
        _ => {}
    }
    next.run(request).await
}

/// A pod on its way out asks its clients to connect anew, elsewhere. HTTP/2 has no word for it in an answer:
/// there the connection says so when it is closed.
async fn say_goodbye(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let by_header = request.version() < Version::HTTP_2;
    let mut response = next.run(request).await;
    if by_header && app.readiness.is_draining() {
        response
            .headers_mut()
            .insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Clients, and whoever counts their answers, see which pod it was.
async fn sign(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    response
        .headers_mut()
        .insert(HeaderName::from_static("x-pod"), app.pod.clone());
    response
}
