//! The document of the API: unchanged unless somebody means it, valid by somebody else's judgement, and true.

use crate::world::{PATIENCE, World, json, sent};
use harness::{Scratch, output, tool};
use reqwest::{Method, StatusCode};
use std::path::Path;

#[tokio::test]
async fn the_document_is_the_golden_one_valid_and_true() {
    let world = World::new().await;
    let document = json(world.get("/api/openapi.json").await, StatusCode::OK).await;
    let text = serde_json::to_string_pretty(&document).expect("JSON") + "\n";
    let golden = Path::new("tests/golden/openapi.json");
    if std::env::var_os("MESHWRIGHT_GOLDEN").is_some_and(|word| word == "write") {
        std::fs::create_dir_all(golden.parent().expect("a folder")).expect("the golden folder");
        std::fs::write(golden, &text).expect("the golden file");
    }
    let expected = std::fs::read_to_string(golden).expect("the golden file");
    assert!(
        text == expected,
        "the API's document has changed. If that is meant, run this test with MESHWRIGHT_GOLDEN=write and \
         read the difference; if not, a promise is broken"
    );

    let scratch = Scratch::new("openapi").expect("a folder");
    let file = scratch.path().join("openapi.json");
    std::fs::write(&file, &text).expect("a file");
    let validator = tool("openapi-spec-validator").expect("the validator (the harness says why not)");
    let mut validate = tokio::process::Command::new(validator);
    validate.args(["--schema", "3.1", "--errors", "all"]).arg(&file);
    output(validate, PATIENCE).await.expect("a valid document");

    for (path, operations) in document["paths"].as_object().expect("paths") {
        let real = path.replace("{id}", "0123456789abcdef0123456789abcdef").replace("{name}", "model.glb");
        for method in operations.as_object().expect("operations").keys() {
            let method: Method = method.to_uppercase().parse().expect("a method");
            // Only the head of the answer: streams have no end.
            let answer = sent(world.call(method.clone(), &real)).await;
            let status = answer.status().as_u16().to_string();
            let known = &operations[method.as_str().to_lowercase()]["responses"];
            assert!(known.get(&status).is_some(), "{method} {path} answers {status}, which is not written");
            if status == "404" {
                let said = answer.text().await.expect("text");
                assert!(!said.contains("no such address"), "{method} {path} is not served");
            }
        }
    }
}
