//! Clients of the replicas: each does what its part of the seed says and writes down what it sees.

mod reader;
mod watcher;
mod wire;
mod writer;

use std::collections::HashMap;
use std::fmt::Display;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use anyhow::Result;
use http::Method;
use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use serde_json::Value;

pub(crate) use self::watcher::Pace;
pub(crate) use self::wire::Wire;
use self::wire::{Answer, Ask, Client};
use crate::model::history::{Filter, Micros, Revision, Seen, Selector};
use crate::recorder::Recorder;

const NAMESPACES: [&str; 2] = ["north", "south"];
/// Few, so that the clients meet.
const NAMES: usize = 10;
const COLORS: [&str; 3] = ["red", "green", "blue"];
const SHADES: [&str; 2] = ["dark", "light"];

/// What the clients have seen, to ask for it again.
#[derive(Clone, Default)]
pub(crate) struct Board(Arc<Notes>);

#[derive(Default)]
struct Notes {
    /// The newest object of each key that anybody saw; it may be long gone.
    objects: Mutex<HashMap<String, (Revision, Value)>>,
    newest: AtomicI64,
}

impl Board {
    fn saw(&self, revision: Revision) {
        self.0.newest.fetch_max(revision, Ordering::SeqCst);
    }

    fn saw_object(&self, seen: &Seen, object: &Value) {
        self.saw(seen.revision);
        let mut objects = self.0.objects.lock().expect("no holder of this lock panics");
        let newest = objects.entry(seen.key.clone()).or_default();
        if newest.0 < seen.revision {
            *newest = (seen.revision, object.clone());
        }
    }

    pub(crate) fn newest(&self) -> Revision {
        self.0.newest.load(Ordering::SeqCst)
    }

    fn object(&self, key: &str) -> Option<(Revision, Value)> {
        self.0.objects.lock().expect("no holder of this lock panics").get(key).cloned()
    }
}

/// One client: its name, its part of the seed, its connections.
pub(crate) struct Actor {
    name: String,
    rng: StdRng,
    client: Client,
    wire: Wire,
    board: Board,
    recorder: Recorder,
}

impl Actor {
    pub(crate) fn new(
        name: String,
        rng: StdRng,
        (wire, board, recorder): (&Wire, &Board, &Recorder),
    ) -> Self {
        let client = Client::new(wire.clone());
        let (wire, board, recorder) = (wire.clone(), board.clone(), recorder.clone());
        Self { name, rng, client, wire, board, recorder }
    }

    fn replica(&mut self) -> usize {
        self.rng.random_range(0..self.wire.replicas.len())
    }

    /// One exchange with its start and end.
    async fn timed(&mut self, replica: usize, ask: Ask) -> (Result<Answer>, Micros, Micros) {
        let start = self.recorder.now();
        let answer = self.client.ask(replica, ask).await;
        (answer, start, self.recorder.now())
    }

    fn key(&mut self) -> (String, String) {
        let namespace = self.pick(&NAMESPACES);
        // Half of the time one of the two that everybody fights for.
        let names = if self.rng.random_bool(0.5) { 2 } else { NAMES };
        (namespace, format!("thing-{:02}", self.rng.random_range(0..names)))
    }

    fn pick(&mut self, choices: &[&str]) -> String {
        (*choices.choose(&mut self.rng).expect("there are choices")).to_owned()
    }

    fn filter(&mut self) -> Filter {
        let namespace = self.rng.random_bool(0.6).then(|| self.pick(&NAMESPACES));
        let selector = match self.rng.random_range(0..10) {
            0..=4 => Selector::Everything,
            5 | 6 => Selector::Color(self.pick(&COLORS)),
            7 => Selector::NotColor(self.pick(&COLORS)),
            8 => Selector::Shade(self.pick(&SHADES)),
            _ => Selector::Name(self.key().1),
        };
        Filter { namespace, selector }
    }

    /// A revision that was current not long ago.
    fn recent(&mut self, back_max: Revision) -> Revision {
        let newest = self.board.newest().max(1);
        newest - self.rng.random_range(0..back_max.min(newest))
    }
}

/// A query string under construction.
struct Query(Vec<(&'static str, String)>);

impl Query {
    fn of(filter: &Filter) -> Self {
        let mut query = Self(Vec::new());
        match &filter.selector {
            Selector::Everything => {}
            Selector::Color(color) => query.put("labelSelector", format!("color={color}")),
            Selector::NotColor(color) => query.put("labelSelector", format!("color!={color}")),
            Selector::Shade(shade) => query.put("fieldSelector", format!("spec.shade={shade}")),
            Selector::Name(name) => query.put("fieldSelector", format!("metadata.name={name}")),
        }
        query
    }

    fn put(&mut self, name: &'static str, value: impl Display) {
        self.0.push((name, value.to_string()));
    }

    fn finish(self) -> String {
        form_urlencoded::Serializer::new(String::new()).extend_pairs(self.0).finish()
    }
}

const ROOT: &str = "/apis/history.x-k8s.io/v1";

fn collection(namespace: Option<&str>) -> String {
    namespace.map_or_else(
        || format!("{ROOT}/things"),
        |namespace| format!("{ROOT}/namespaces/{namespace}/things"),
    )
}

fn object(method: Method, namespace: &str, name: &str, body: Option<Value>) -> Ask {
    let path = format!("{}/{name}", collection(Some(namespace)));
    Ask { method, path, content_type: "application/json", body }
}
