//! Cases of single reads.

use super::{ObjectFixture, key, version};

pub async fn get_of_what_is_not_there_is_a_404(f: &ObjectFixture) {
    for asked in ["", "0"] {
        let error = f.objects.get(&key("a"), asked).await.unwrap_err();
        assert!(error.is_not_found(), "{error}");
        assert_eq!(error.message(), "things.g.io \"a\" not found");
    }
}

pub async fn get_reads_its_own_write(f: &ObjectFixture) {
    for color in ["red", "blue"] {
        if color == "red" {
            f.create("a").await;
        }
        let written = f.paint("a", color).await;
        let read = f.objects.get(&key("a"), "").await.unwrap();
        assert_eq!(*read.object().unwrap(), written);
    }
    f.delete("a").await;
    assert!(f.objects.get(&key("a"), "").await.unwrap_err().is_not_found());
}

pub async fn get_of_any_version_finds_it_in_the_end(f: &ObjectFixture) {
    let a = f.create("a").await;
    // Any version may be none; a list that waits brings the cache there.
    f.names(&super::listing()).await;
    assert_eq!(*f.objects.get(&key("a"), "0").await.unwrap().object().unwrap(), a);
}

pub async fn get_not_older_than_waits_or_finds(f: &ObjectFixture) {
    let a = f.create("a").await;
    let read = f.objects.get(&key("a"), a.resource_version().unwrap()).await.unwrap();
    assert_eq!(*read.object().unwrap(), a);
    let later = f.bump().await;
    assert!(f.objects.get(&key("a"), &later.to_string()).await.is_ok());
}

pub async fn get_from_the_future_is_a_504(f: &ObjectFixture) {
    f.create("a").await;
    let future = f.revision().await + 1_000_000;
    let error = f.objects.get(&key("a"), &future.to_string()).await.unwrap_err();
    assert_eq!(error.code(), 504);
    assert!(error.message().starts_with("Timeout: Too large resource version: "), "{error}");
    assert_eq!(error.details().unwrap().causes[0].reason, "ResourceVersionTooLarge");
}

pub async fn get_with_nonsense_is_a_422(f: &ObjectFixture) {
    for nonsense in ["x", "-1", "+1", "1.0", "99999999999999999999"] {
        let error = f.objects.get(&key("a"), nonsense).await.unwrap_err();
        assert_eq!(error.code(), 422, "{nonsense}");
    }
}

pub async fn get_reports_what_cannot_be_decoded(f: &ObjectFixture) {
    f.put_raw("a", "{broken").await;
    let read = f.objects.get(&key("a"), "").await.unwrap();
    let error = read.json().unwrap_err();
    assert_eq!(error.code(), 500);
    assert!(error.message().contains(&f.path("a")), "{error}");
}

pub async fn get_sees_the_version_of_the_write(f: &ObjectFixture) {
    let a = f.create("a").await;
    f.bump().await;
    assert_eq!(f.objects.get(&key("a"), "").await.unwrap().revision(), version(&a));
}
